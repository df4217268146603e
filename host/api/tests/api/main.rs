//! The API, asked in this process and over a socket. One program, because linking it takes longer than
//! running it.

#![allow(clippy::unwrap_used)]

mod common;
mod errors;
mod native;
mod openai;
mod openapi;
mod serving;
mod uploads;
mod whole_path;

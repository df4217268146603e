//! `tenon store …`.

use serde_json::json;
use tenon_api::types::{SweepAnswer, SweepRequest, VerifyAnswer};

use super::Context;
use crate::args::{Gc, StoreCommand};
use crate::client::Request;
use crate::failure::{Failure, Result};
use crate::output::text;

/// Does what the command line says.
pub fn run(context: &Context, command: StoreCommand) -> Result<()> {
    match command {
        StoreCommand::Verify(_) => verify(context),
        StoreCommand::Gc(args) => gc(context, &args),
    }
}

fn verify(context: &Context) -> Result<()> {
    let answer = context
        .client()?
        .send(Request::post(&["store", "verify"]))?;
    let damaged = answer["damage"].as_array().map_or(0, Vec::len);
    context
        .output
        .answer(answer, |answer: &VerifyAnswer, page| {
            page.line(format!(
                "{} and {} are sound",
                text::counted(answer.records, "record"),
                text::counted(answer.blobs, "file")
            ));
            for damage in &answer.damage {
                page.line(format!("damaged: {damage}"));
            }
        })?;
    if damaged == 0 {
        return Ok(());
    }
    Err(Failure::failed(
        "damaged",
        format!("{} damaged", text::counted(damaged as u64, "thing")),
    )
    .hint("restore the data folder, or the damaged parts of it, from a backup"))
}

fn gc(context: &Context, args: &Gc) -> Result<()> {
    let request = SweepRequest {
        grace_seconds: args.grace_minutes.saturating_mul(60),
    };
    let request = Request::post(&["store", "sweep"]).json(&json!(request));
    let answer = context.client()?.send(request)?;
    context.output.answer(answer, |answer: &SweepAnswer, page| {
        page.line(format!(
            "removed {} ({}), kept {}",
            text::counted(answer.removed, "file"),
            text::bytes(answer.bytes),
            text::count(answer.kept)
        ));
    })
}

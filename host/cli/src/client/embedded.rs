//! The way without a server: the data folder is opened here and the server's own router is asked.

use axum::Router;
use axum::body::Body;
use axum::http;
use tenon_api::{Access, App, Options};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use super::request::{Request, Response};
use super::stream::{body_from, reader_of};
use super::{data_folder, platform_options};
use crate::args::Global;
use crate::failure::{Failure, Result};

/// An open data folder.
pub struct Embedded {
    app: App,
    router: Router,
    runtime: Option<Runtime>,
}

impl Embedded {
    /// Opens the data folder.
    pub fn open(global: &Global) -> Result<Self> {
        let app = App::open_idle(&data_folder(global)?, platform_options(global)?)
            .map_err(|error| cannot_open(&error))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| {
                Failure::failed("io", format!("no threads can be started: {error}"))
            })?;
        let router = tenon_api::router(
            app.clone(),
            Options {
                access: Access::InProcess,
                ..Options::default()
            },
        );
        Ok(Self {
            app,
            router,
            runtime: Some(runtime),
        })
    }

    /// Asks the router and returns the answer as it begins to arrive.
    pub fn call(&self, request: Request) -> Result<Response> {
        let Some(runtime) = &self.runtime else {
            return Err(Failure::failed("closed", "the data folder is closed"));
        };
        let mut builder = http::Request::builder()
            .method(request.method.name())
            .uri(&request.target);
        let body = match request.body {
            None => Body::empty(),
            Some(body) => {
                builder = builder.header("content-type", &body.content_type);
                if let Some(length) = body.length {
                    builder = builder.header("content-length", length);
                }
                body_from(body.reader, runtime.handle())
            }
        };
        if let Some(local) = request.local {
            builder = builder.extension(local);
        }
        let request = builder
            .body(body)
            .map_err(|error| Failure::usage(format!("{}: {error}", request.target)))?;
        let router = self.router.clone();
        let answer = match runtime.block_on(router.oneshot(request)) {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        let content_type = answer
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        Ok(Response {
            status: answer.status().as_u16(),
            content_type,
            reader: reader_of(answer.into_body(), runtime.handle()),
        })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // Whatever still runs belongs to nobody: it ends as it would with a server.
        if let Err(error) = self.app.close() {
            tracing::warn!(%error, "the data folder was not closed cleanly");
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Why the data folder cannot be opened.
pub fn cannot_open(error: &tenon_api::ApiError) -> Failure {
    let failure = Failure::answered(error.status.as_u16(), (*error.info).clone());
    match &error.info.hint {
        Some(_) => failure,
        None => failure.hint("name another folder with --data DIR, or a server with --server URL"),
    }
}

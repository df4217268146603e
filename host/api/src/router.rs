//! All routes, and what every request passes through.
//!
//! From the outside in: counting, panics, who may ask, the handler.

use std::any::Any;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::error::ApiError;
use crate::options::{Access, BodyLimits, Options};
use crate::{auth, facade, native, openai, openapi};

/// What handlers have.
#[derive(Clone)]
pub(crate) struct Context {
    pub app: App,
    pub limits: BodyLimits,
}

impl std::ops::Deref for Context {
    type Target = App;

    fn deref(&self) -> &App {
        &self.app
    }
}

/// The whole API over a data folder.
pub fn router(app: App, options: Options) -> Router {
    let context = Context {
        app,
        limits: options.limits,
    };
    let (routes, document) = routes().split_for_parts();
    let routes = routes.merge(openapi::route(openapi::finish(document)));
    layered(routes, context, options.access)
}

/// What every request passes through, whichever route it is for.
fn layered(routes: Router<Context>, context: Context, access: Access) -> Router {
    routes
        .method_not_allowed_fallback(facade::unknown_method)
        .fallback(facade::unknown_route)
        // Every handler has a limit of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(access, auth::guard))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(context.clone(), count))
        .with_state(context)
}

/// The routes with their description.
pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::with_openapi(openapi::frame())
        .merge(native::routes())
        .merge(openai::routes())
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message");
    tracing::error!(panic = text, "a handler panicked");
    ApiError::internal("the request failed inside the server; its log says more").into_response()
}

/// Counts requests and measures how long they take until their answer begins.
async fn count(State(context): State<Context>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "(none)".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let elapsed = start.elapsed();
    tracing::debug!(%method, route, status, ms = elapsed.as_secs_f64() * 1e3, "request");
    context
        .app
        .metrics
        .request(&method, &route, status, elapsed);
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::body::Body;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tenon_model::PlatformOptions;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer_and_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let app = App::open(folder.path(), PlatformOptions::default()).unwrap();
        let context = Context {
            app: app.clone(),
            limits: BodyLimits::default(),
        };
        let panics: Router<Context> = Router::new()
            .route("/here", get(async || -> String { panic!("on purpose") }))
            .route(
                "/there",
                get(async || -> crate::Result<String> {
                    crate::app::blocking(|| panic!("on purpose")).await
                }),
            );
        let router = layered(panics, context, Access::InProcess);
        for path in ["/here", "/there"] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 500);
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            let body: crate::types::ErrorBody = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(body.error.kind, "internal");
            assert!(!body.error.message.contains("on purpose"));
        }
        let metrics = crate::metrics::render(&app).unwrap();
        let line = "tenon_http_requests_total{method=\"GET\",route=\"/here\",status=\"500\"} 1";
        assert!(metrics.contains(line), "{metrics}");
    }
}

//! One type for every failure, with its status and its JSON form.

mod convert;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::types::{ErrorBody, ErrorInfo};

/// The result of a handler.
pub type Result<T, E = ApiError> = std::result::Result<T, E>;

/// A failure as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", info.message)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// What went wrong.
    pub info: Box<ErrorInfo>,
}

macro_rules! constructors {
    ($($fun:ident => $status:ident, $kind:literal, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            pub fn $fun(message: impl Into<String>) -> Self {
                Self::new(StatusCode::$status, $kind, message)
            }
        )*
    };
}

impl ApiError {
    /// A failure of this status and kind.
    pub fn new(status: StatusCode, kind: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            info: Box::new(ErrorInfo {
                kind: kind.to_owned(),
                message: message.into(),
                ..ErrorInfo::default()
            }),
        }
    }

    constructors! {
        invalid => BAD_REQUEST, "invalid", "A request that cannot be meant.";
        unauthorized => UNAUTHORIZED, "unauthorized", "A request without the right token.";
        forbidden => FORBIDDEN, "forbidden", "A request from a place that may not ask.";
        misdirected => MISDIRECTED_REQUEST, "misdirected", "A request for a host that this is not.";
        not_found => NOT_FOUND, "not-found", "Something that does not exist.";
        method_not_allowed => METHOD_NOT_ALLOWED, "method-not-allowed", "A route that has no such method.";
        conflict => CONFLICT, "conflict", "Something that stands in the way of the request.";
        too_large => PAYLOAD_TOO_LARGE, "too-large", "A body over its limit.";
        unsupported_media => UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "A body of another form.";
        unprocessable => UNPROCESSABLE_ENTITY, "unprocessable", "A body that can be read but does not fit.";
        busy => TOO_MANY_REQUESTS, "busy", "More requests than can wait.";
        unavailable => SERVICE_UNAVAILABLE, "unavailable", "Something that is not ready, or no longer.";
        disk_full => INSUFFICIENT_STORAGE, "disk-full", "A write that the disk has no room for.";
        internal => INTERNAL_SERVER_ERROR, "internal", "A failure of the server itself.";
    }

    /// The same failure with a remedy.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.info.hint = Some(hint.into());
        self
    }

    /// The same failure under another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Whether the server is to blame.
    #[must_use]
    pub fn is_servers_fault(&self) -> bool {
        self.status.is_server_error()
    }

    /// The headers that a status needs to be useful.
    pub(crate) fn decorate(&self, response: &mut Response) {
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                let scheme = HeaderValue::from_static("Bearer realm=\"tenon\"");
                headers.insert(header::WWW_AUTHENTICATE, scheme);
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.is_servers_fault() {
            tracing::error!(status = self.status.as_u16(), kind = self.info.kind, message = %self.info.message, "request failed");
        }
        let body = ErrorBody {
            error: (*self.info).clone(),
        };
        let mut response = (self.status, Json(body)).into_response();
        self.decorate(&mut response);
        response
    }
}

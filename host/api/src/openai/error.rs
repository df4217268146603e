//! Failures as OpenAI's clients read them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::types::{ErrorAnswer, ErrorDetail};
use crate::error::ApiError;

/// A failure of this façade.
#[derive(Debug)]
pub(crate) struct OpenAiError {
    error: ApiError,
    param: Option<&'static str>,
}

impl OpenAiError {
    /// A parameter that is wrong.
    pub(super) fn param(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            error: ApiError::invalid(message),
            param: Some(param),
        }
    }

    /// No deployment of that name.
    pub(super) fn of_model(error: ApiError) -> Self {
        let missing = error.status == StatusCode::NOT_FOUND;
        let mut error = error;
        if missing {
            "model-not-found".clone_into(&mut error.info.kind);
        }
        Self {
            error,
            param: missing.then_some("model"),
        }
    }

    /// The body.
    pub(super) fn body(&self) -> ErrorAnswer {
        let info = &self.error.info;
        let message = match &info.hint {
            Some(hint) => format!("{} ({hint})", info.message),
            None => info.message.clone(),
        };
        ErrorAnswer {
            error: ErrorDetail {
                message,
                kind: match self.error.status {
                    StatusCode::UNAUTHORIZED => "authentication_error",
                    StatusCode::FORBIDDEN => "permission_error",
                    StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
                    status if status.is_server_error() => "server_error",
                    _ => "invalid_request_error",
                },
                param: self.param.map(str::to_owned),
                code: Some(info.kind.replace('-', "_")),
            },
        }
    }
}

impl<E: Into<ApiError>> From<E> for OpenAiError {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            param: None,
        }
    }
}

impl IntoResponse for OpenAiError {
    fn into_response(self) -> Response {
        if self.error.is_servers_fault() {
            tracing::error!(kind = self.error.info.kind, message = %self.error.info.message, "completion failed");
        }
        let mut response = (self.error.status, Json(self.body())).into_response();
        self.error.decorate(&mut response);
        response
    }
}

//! The errors of the lower crates as failures of a request.

use axum::http::StatusCode;
use tenon_data::DataError;
use tenon_hub::HubError;
use tenon_model::ModelError;
use tenon_plugin::{Failure, PluginError};
use tenon_registry::RegistryError;
use tenon_serve::ServeError;
use tenon_store::StoreError;
use tenon_tensor::TensorError;
use tenon_track::TrackError;
use tenon_train::TrainError;

use super::ApiError;

/// Splits off what errors of the lower crates append as `hint: …`.
fn with_own_hint(status: StatusCode, kind: &str, text: &str) -> ApiError {
    match text.split_once("\nhint: ") {
        Some((message, hint)) => ApiError::new(status, kind, message).with_hint(hint),
        None => ApiError::new(status, kind, text),
    }
}

macro_rules! owned {
    ($($error:ty),* $(,)?) => {
        $(
            impl From<$error> for ApiError {
                fn from(error: $error) -> Self {
                    Self::from(&error)
                }
            }
        )*
    };
}

owned!(
    PluginError,
    StoreError,
    TrackError,
    RegistryError,
    DataError,
    TensorError,
    ModelError,
    TrainError,
    ServeError,
);

impl From<&PluginError> for ApiError {
    fn from(error: &PluginError) -> Self {
        let status = match error {
            PluginError::Corrupt(_) | PluginError::WrongWorld(_) | PluginError::Config(_) => {
                StatusCode::BAD_REQUEST
            }
            PluginError::NotGranted(_) => StatusCode::FORBIDDEN,
            PluginError::Guest { failure, .. } => match failure {
                Failure::OutOfMemory(_) => StatusCode::SERVICE_UNAVAILABLE,
                Failure::NotGranted(_) => StatusCode::FORBIDDEN,
                // The plugin has looked at the request and refuses it.
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            },
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let report = error.report();
        let mut failure = Self::new(status, error.kind(), &report.message);
        failure.info.plugin = Some(report.plugin.clone());
        failure.info.phase = Some(report.phase.clone());
        failure.info.hint.clone_from(&report.hint);
        failure.info.backtrace.clone_from(&report.backtrace);
        failure
    }
}

impl From<&StoreError> for ApiError {
    fn from(error: &StoreError) -> Self {
        let text = error.to_string();
        if error.is_disk_full() {
            return Self::disk_full(text);
        }
        if error.is_conflict() {
            return Self::conflict(text);
        }
        match error {
            StoreError::ReadOnly { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "read-only", text)
            }
            StoreError::BlobNotFound { .. } => Self::not_found(text),
            StoreError::InvalidArgument(_) => Self::invalid(text),
            StoreError::CorruptRecord { .. } | StoreError::CorruptBlob { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "damaged", text)
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store", text),
        }
    }
}

impl From<&TrackError> for ApiError {
    fn from(error: &TrackError) -> Self {
        match error {
            TrackError::Store(error) => error.into(),
            TrackError::NotFound {
                what,
                name,
                hint_text,
            } => {
                let failure = Self::not_found(format!("there is no {what} `{name}`"));
                if hint_text.is_empty() {
                    failure
                } else {
                    failure.with_hint(hint_text)
                }
            }
            TrackError::AlreadyExists { .. } => Self::conflict(error.to_string()),
            TrackError::Invalid(message) => Self::invalid(message),
            TrackError::DamagedMetric { .. } => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "damaged",
                error.to_string(),
            ),
            _ => Self::internal(error.to_string()),
        }
    }
}

impl From<&RegistryError> for ApiError {
    fn from(error: &RegistryError) -> Self {
        match error {
            RegistryError::Plugin(error) => error.into(),
            RegistryError::Store(error) => error.into(),
            RegistryError::NotFound { spec, hint } => {
                Self::not_found(format!("no plugin `{spec}` is installed")).with_hint(hint)
            }
            RegistryError::Ambiguous { .. }
            | RegistryError::Conflict { .. }
            | RegistryError::InUse { .. } => Self::conflict(error.to_string()),
            RegistryError::InvalidSpec { .. } => Self::invalid(error.to_string()),
            _ => Self::internal(error.to_string()),
        }
    }
}

impl From<&DataError> for ApiError {
    fn from(error: &DataError) -> Self {
        match error {
            DataError::Plugin { context, source } => {
                let mut failure = Self::from(&**source);
                failure.info.message = format!("{context}: {}", failure.info.message);
                failure
            }
            DataError::Store(error) => error.into(),
            DataError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Self::disk_full(error.to_string())
            }
            DataError::BadRows(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-rows",
                error.to_string(),
            ),
            DataError::Values(_) | DataError::Tokenizer(_) => {
                Self::unprocessable(error.to_string())
            }
            DataError::Contract(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "contract",
                error.to_string(),
            ),
            DataError::Cancelled => Self::conflict("the work was cancelled"),
            error if error.is_not_found() => Self::not_found(error.to_string()),
            error if error.is_callers_fault() => Self::invalid(error.to_string()),
            error => Self::internal(error.to_string()),
        }
    }
}

impl From<&TensorError> for ApiError {
    fn from(error: &TensorError) -> Self {
        let text = error.to_string();
        match error {
            TensorError::InvalidArgument(_) => Self::invalid(text),
            TensorError::OutOfMemory(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "out-of-memory", text)
            }
            TensorError::OutOfQuota(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "out-of-quota", text)
            }
            TensorError::Unsupported(_) => Self::unprocessable(text),
            TensorError::ShapeMismatch(_) | TensorError::Failed(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "device", text)
            }
        }
    }
}

impl From<&ModelError> for ApiError {
    fn from(error: &ModelError) -> Self {
        match error {
            ModelError::Plugin(error) => error.into(),
            ModelError::Tensor(error) => error.into(),
            ModelError::Data(error) => error.into(),
            ModelError::Store(error) => error.into(),
            ModelError::Track(error) => error.into(),
            ModelError::Registry(error) => error.into(),
            ModelError::Hub(error) => (&**error).into(),
            ModelError::Contract { plugin, message } => {
                let mut failure = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "contract", message);
                failure.info.plugin = Some(plugin.clone());
                failure
            }
            ModelError::Constraint(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "contract",
                error.to_string(),
            ),
            ModelError::Invalid(message) => Self::invalid(message),
        }
    }
}

impl From<&HubError> for ApiError {
    fn from(error: &HubError) -> Self {
        let (status, kind) = match error {
            HubError::File { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "bad-file"),
            HubError::NotAModel { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "no-model"),
            HubError::Fit { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "does-not-fit"),
            HubError::Invalid { .. } => (StatusCode::BAD_REQUEST, "invalid"),
            HubError::NotFound { .. } => (StatusCode::NOT_FOUND, "not-found"),
            HubError::Denied { .. } => (StatusCode::FORBIDDEN, "hub-denied"),
            HubError::Hub { .. } | HubError::Checksum { .. } => (StatusCode::BAD_GATEWAY, "hub"),
            HubError::Cancelled => (StatusCode::CONFLICT, "conflict"),
            HubError::Sink(_) if error.is_disk_full() => {
                return Self::disk_full(error.to_string());
            }
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        with_own_hint(status, kind, &error.to_string())
    }
}

impl From<&TrainError> for ApiError {
    fn from(error: &TrainError) -> Self {
        match error {
            TrainError::Plugin(error) => error.into(),
            TrainError::Tensor(error) => error.into(),
            TrainError::Data(error) => error.into(),
            TrainError::Store(error) => error.into(),
            TrainError::Track(error) => error.into(),
            TrainError::Registry(error) => error.into(),
            TrainError::Model(error) => error.into(),
            TrainError::Step { step, source } => {
                let mut failure = Self::from(&**source);
                failure.info.message = format!("step {step}: {}", failure.info.message);
                failure
            }
            TrainError::Conflict(message) => Self::conflict(message),
            TrainError::ShuttingDown => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "shutting-down",
                error.to_string(),
            ),
            error if error.is_callers_fault() => {
                with_own_hint(StatusCode::BAD_REQUEST, "invalid", &error.to_string())
            }
            error => with_own_hint(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                &error.to_string(),
            ),
        }
    }
}

impl From<&ServeError> for ApiError {
    fn from(error: &ServeError) -> Self {
        let text = error.to_string();
        match error {
            ServeError::Plugin(error) => error.into(),
            ServeError::Model(error) => (&**error).into(),
            ServeError::Data(error) => (&**error).into(),
            ServeError::Registry(error) => (&**error).into(),
            ServeError::Track(error) => error.into(),
            ServeError::Store(error) => error.into(),
            ServeError::NotFound { name, hint } => {
                Self::not_found(format!("there is no deployment `{name}`")).with_hint(hint)
            }
            ServeError::Invalid(_) => Self::invalid(text),
            ServeError::Busy { .. } => Self::busy(text),
            ServeError::NotLoaded { reason, .. } => {
                let mut failure = Self::new(StatusCode::SERVICE_UNAVAILABLE, error.kind(), text);
                let cause = Self::from(&**reason).info;
                failure.info.plugin = cause.plugin;
                failure.info.phase = cause.phase;
                failure.info.hint = cause.hint;
                failure.info.backtrace = cause.backtrace;
                failure
            }
            ServeError::Closed { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting-down", text)
            }
            _ => Self::internal(text),
        }
    }
}

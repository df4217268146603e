//! What every kind of plugin shares: its description and its start.

use std::sync::Once;

use schemars::{JsonSchema, generate::SchemaSettings};

pub use crate::bindings::types::Description;
use crate::{bindings::types::Kind, host};

/// The description, with the schema of the configuration `C`.
#[doc(hidden)]
pub fn describe<C: JsonSchema>(
    name: &str,
    version: &str,
    kind: Kind,
    summary: &str,
    capabilities: Vec<String>,
) -> Description {
    Description {
        name: name.to_owned(),
        version: version.to_owned(),
        kind,
        summary: summary.to_owned(),
        config_schema: schema::<C>(),
        capabilities,
    }
}

/// JSON Schema (draft 2020-12) of a configuration. Properties that the type does not know are
/// refused, so that a misspelt option is an error and not silence.
fn schema<C: JsonSchema>() -> String {
    let schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<C>();
    let mut value = schema.to_value();
    if let Some(object) = value.as_object_mut()
        && object.get("type").is_some_and(|kind| kind == "object")
        && !object.contains_key("additionalProperties")
        && !object.contains_key("anyOf")
        && !object.contains_key("oneOf")
        && !object.contains_key("allOf")
    {
        object.insert("additionalProperties".into(), false.into());
    }
    value.to_string()
}

/// What has to be done once in an instance, before the plugin's own code runs.
#[doc(hidden)]
pub fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        if cfg!(target_arch = "wasm32") {
            // A panic ends the instance and its text would be lost: send it to the host's log first.
            std::panic::set_hook(Box::new(|panic| {
                let message = panic.payload_as_str().unwrap_or("panicked");
                match panic.location() {
                    Some(at) => host::error(&format!("{message} ({}:{})", at.file(), at.line())),
                    None => host::error(message),
                }
            }));
        }
    });
}

/// The configuration as its type. The host has checked it against the schema, so a failure here means
/// that the schema promises less than the type asks for.
pub(crate) fn config<C: serde::de::DeserializeOwned>(
    config: &str,
) -> Result<C, crate::bindings::types::Error> {
    serde_json::from_str(config).map_err(|error| {
        crate::bindings::types::Error::InvalidArgument(format!(
            "the configuration does not fit: {error}"
        ))
    })
}

/// Exports `describe`, and makes the same description available natively.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_description {
    ($type:ty, $trait:path, $kind:ident) => {
        const _: () = {
            struct Described;
            impl $crate::bindings::plugin::face::Guest for Described {
                fn describe() -> $crate::Description {
                    $crate::__private::start();
                    $crate::__private::describe::<<$type as $trait>::Config>(
                        <$type as $trait>::NAME,
                        ::core::env!("CARGO_PKG_VERSION"),
                        $crate::bindings::types::Kind::$kind,
                        <$type as $trait>::SUMMARY,
                        <$type as $trait>::CAPABILITIES.iter().map(|&name| name.to_owned()).collect(),
                    )
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::bindings::plugin::__export_plugin!(Described with_types_in $crate::bindings::plugin);
            // Natively nothing is exported: this alone keeps the plugin from being dead code.
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn() = || {
                let _ = <$type as $trait>::open;
            };
        };
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(serde::Deserialize, JsonSchema)]
    #[allow(dead_code)]
    struct Config {
        /// How many.
        #[serde(default)]
        #[schemars(range(min = 1))]
        count: u32,
    }

    #[test]
    fn the_schema_documents_and_closes_the_configuration() {
        let schema: serde_json::Value = serde_json::from_str(&schema::<Config>()).unwrap();
        assert_eq!(schema["properties"]["count"]["description"], "How many.");
        assert_eq!(schema["properties"]["count"]["minimum"], 1);
        assert_eq!(schema["properties"]["count"]["default"], 0);
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(
            schema["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
    }
}

//! What a component carries about itself: its description and README, in custom sections of the
//! file. They are read without compiling or running anything.

use std::ops::Range;

use wasm_encoder::{Encode, Section};
use wasmparser::{Encoding, Parser, Payload};

use crate::{Description, PluginError, component::short};

/// Holds the [`Description`] as JSON.
const DESCRIPTION: &str = "tenon:description";
/// Holds the README as Markdown.
const README: &str = "tenon:readme";
/// Bytes of one of these sections that are read.
const MOST_BYTES: usize = 1 << 20;

/// What a component carries about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Carried {
    /// Its description; nothing if it was built without [`pack`].
    pub description: Option<Description>,
    /// Its README (Markdown).
    pub readme: Option<String>,
}

/// The component with this description and README inside, in place of those that it carried before.
///
/// # Errors
/// [`PluginError::Corrupt`] if the bytes are no component.
pub fn pack(
    bytes: &[u8],
    description: &Description,
    readme: Option<&str>,
) -> Result<Vec<u8>, PluginError> {
    let name = &description.name;
    let corrupt = |message: String| PluginError::corrupt(name, "pack", message);
    if let Some(readme) = readme.filter(|readme| readme.len() > MOST_BYTES) {
        return Err(corrupt(format!(
            "its README is {} bytes long; at most {MOST_BYTES} are kept",
            readme.len()
        )));
    }
    let json = serde_json::to_vec(description)
        .map_err(|e| corrupt(format!("its description is no JSON: {e}")))?;
    let mut packed = Vec::with_capacity(bytes.len() + json.len() + readme.map_or(0, str::len) + 64);
    let mut from = 0;
    for section in sections(bytes).map_err(corrupt)? {
        packed.extend_from_slice(&bytes[from..section.whole.start]);
        from = section.whole.end;
    }
    packed.extend_from_slice(&bytes[from..]);
    append(&mut packed, DESCRIPTION, &json);
    if let Some(readme) = readme {
        append(&mut packed, README, readme.as_bytes());
    }
    Ok(packed)
}

/// What the component carries about itself, without compiling it. It has not been compared with what
/// the component answers when it is asked: [`Engine::load`](crate::Engine::load) does that.
///
/// # Errors
/// [`PluginError::Corrupt`] if the bytes are no component or a section is damaged.
pub fn unpack(bytes: &[u8]) -> Result<Carried, PluginError> {
    let corrupt = |message: String| {
        PluginError::corrupt(&short(&crate::component::digest(bytes)), "unpack", message)
    };
    read(bytes).map_err(corrupt)
}

pub(crate) fn read(bytes: &[u8]) -> Result<Carried, String> {
    let mut carried = Carried::default();
    for section in sections(bytes)? {
        let data = &bytes[section.data];
        if data.len() > MOST_BYTES {
            return Err(format!(
                "its section {} is {} bytes long; at most {MOST_BYTES} are read",
                section.name,
                data.len()
            ));
        }
        let twice = if section.name == DESCRIPTION {
            let description: Description = serde_json::from_slice(data)
                .map_err(|e| format!("its section {DESCRIPTION} is damaged: {e}"))?;
            description.check()?;
            carried.description.replace(description).is_some()
        } else {
            let readme = std::str::from_utf8(data)
                .map_err(|e| format!("its section {README} is damaged: {e}"))?;
            carried.readme.replace(readme.to_owned()).is_some()
        };
        if twice {
            return Err(format!("it carries the section {} twice", section.name));
        }
    }
    Ok(carried)
}

/// One of our sections in the file.
struct Found {
    name: &'static str,
    /// With its header.
    whole: Range<usize>,
    data: Range<usize>,
}

/// Our sections at the top level of a component; those of modules and components inside it are not
/// ours to read.
fn sections(bytes: &[u8]) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    let mut depth = 0u32;
    let mut end = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|e| format!("it is no valid component: {e}"))?;
        match &payload {
            Payload::Version { encoding, .. } if depth == 0 && *encoding == Encoding::Module => {
                return Err("this is a core WebAssembly module, not a component".into());
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) if depth > 0 => depth -= 1,
            Payload::CustomSection(section) if depth == 0 => {
                let name = [DESCRIPTION, README]
                    .into_iter()
                    .find(|name| *name == section.name());
                if let Some(name) = name {
                    let data = to_usize(section.data_offset())..to_usize(section.range().end);
                    found.push(Found {
                        name,
                        whole: end..data.end,
                        data,
                    });
                }
            }
            _ => {}
        }
        // Where the next section begins. The sections inside a nested module end before it does.
        if let Some((_, range)) = payload.as_section() {
            end = end.max(to_usize(range.end));
        }
        if let Payload::Version { range, .. } = &payload {
            end = end.max(to_usize(range.end));
        }
    }
    // The parser has seen these bytes: the ranges lie within them.
    if found.iter().any(|f| {
        f.whole.start > f.data.start || f.data.start > f.data.end || f.data.end > bytes.len()
    }) {
        return Err("its sections overlap".into());
    }
    Ok(found)
}

/// Offsets into bytes that lie in memory.
fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn append(bytes: &mut Vec<u8>, name: &str, data: &[u8]) {
    let section = wasm_encoder::CustomSection {
        name: name.into(),
        data: data.into(),
    };
    bytes.push(section.id());
    section.encode(bytes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::{Kind, check::tests::component};

    fn description() -> Description {
        Description {
            name: "tenon/normalize".into(),
            version: "0.1.0".into(),
            kind: Kind::Transform,
            summary: "Unicode text in one normal form.".into(),
            config_schema: json!({ "type": "object" }),
            capabilities: vec!["tokenizer".into()],
        }
    }

    #[test]
    fn what_goes_in_comes_out_and_replaces_itself() {
        let bare = component("transform-plugin");
        assert_eq!(unpack(&bare).unwrap(), Carried::default());
        let packed = pack(&bare, &description(), Some("# Normalise\n")).unwrap();
        let carried = unpack(&packed).unwrap();
        assert_eq!(carried.description, Some(description()));
        assert_eq!(carried.readme.as_deref(), Some("# Normalise\n"));
        assert_eq!(
            pack(&packed, &description(), Some("# Normalise\n")).unwrap(),
            packed,
            "twice is once"
        );
        wasmparser::Validator::new().validate_all(&packed).unwrap();

        let newer = Description {
            version: "0.2.0".into(),
            ..description()
        };
        let repacked = pack(&packed, &newer, None).unwrap();
        let carried = unpack(&repacked).unwrap();
        assert_eq!((carried.description, carried.readme), (Some(newer), None));
        wasmparser::Validator::new()
            .validate_all(&repacked)
            .unwrap();
        assert!(repacked.starts_with(&bare));
    }

    #[test]
    fn damage_is_told() {
        let packed = pack(
            &component("transform-plugin"),
            &description(),
            Some("# Normalise\n"),
        )
        .unwrap();
        for length in (0..packed.len()).rev().step_by(7) {
            // Cut at the boundary of a section it is a shorter component; nowhere may it panic.
            if let Err(error) = unpack(&packed[..length]) {
                assert_eq!(error.kind(), "corrupt");
            }
        }
        let mut broken = packed.clone();
        let at = broken.windows(6).rposition(|w| w == b"\"name\"").unwrap();
        broken[at] = b'!';
        assert!(unpack(&broken).unwrap_err().to_string().contains("damaged"));
        let mut twice = packed;
        append(&mut twice, README, b"again");
        assert!(unpack(&twice).unwrap_err().to_string().contains("twice"));
        assert!(
            unpack(b"\0asm\x01\0\0\0")
                .unwrap_err()
                .to_string()
                .contains("core WebAssembly module")
        );
        assert!(unpack(b"MZ").is_err());
    }
}

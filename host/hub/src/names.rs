//! Which files make a model, and which names files may have.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{HubError, Result};

/// The configuration, as the hub has it.
pub const CONFIG: &str = "config.json";
/// The configuration in ModelScope's layout.
pub const MODELSCOPE: &str = "configuration.json";
/// The tokenizer as a whole.
pub const TOKENIZER: &str = "tokenizer.json";

/// Small files that belong to a model, besides its weights. All but the first two are kept as they
/// are and exported again.
pub const SMALL: &[&str] = &[
    CONFIG,
    MODELSCOPE,
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
    "preprocessor_config.json",
    "chat_template.jinja",
];

/// Tokenizers of SentencePiece's own format.
const SENTENCEPIECE: &[&str] = &["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"];

/// Weights by how much they are preferred: a single file, then an index of several.
const WEIGHTS: &[(&str, &str)] = &[
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
];
const ENDINGS: &[&str] = &[".safetensors", ".bin", ".pt", ".pth", ".ckpt"];
/// Files of these names are no weights, whatever their ending.
const NO_WEIGHTS: &[&str] = &[
    "training_args.bin",
    "optimizer.pt",
    "optimizer.bin",
    "scheduler.pt",
    "rng_state.pth",
];

/// Where the weights of a model are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightFiles {
    /// In one file.
    Single(String),
    /// In several, which an index lists.
    Sharded {
        /// The index.
        index: String,
    },
}

/// The files of a model among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Small files, in the order of [`SMALL`].
    pub small: Vec<String>,
    /// The weights.
    pub weights: WeightFiles,
    /// A tokenizer of SentencePiece's own format, where there is no other: it is not read.
    pub unread_tokenizer: Option<String>,
}

impl Selection {
    /// Refuses a model whose tokenizer is in a form that is not read.
    ///
    /// # Errors
    /// [`HubError::File`] with how to convert it.
    pub fn require_tokenizer(&self) -> Result<()> {
        match &self.unread_tokenizer {
            None => Ok(()),
            Some(name) => Err(HubError::file(
                name,
                "the tokenizer is a SentencePiece model, which is not read here",
            )
            .or(
                "write tokenizer.json beside it: AutoTokenizer.from_pretrained(FOLDER)\
                 .save_pretrained(FOLDER) of the transformers library does; or name a stored tokenizer \
                 with --tokenizer",
            )),
        }
    }
}

/// Chooses the files that make a model from the names in a folder. `place` is for messages.
///
/// # Errors
/// [`HubError::NotAModel`] naming what is missing.
pub fn select<'a>(place: &str, names: impl IntoIterator<Item = &'a str>) -> Result<Selection> {
    let names: Vec<&str> = names.into_iter().collect();
    let has = |name: &str| names.contains(&name);
    let small: Vec<String> = SMALL
        .iter()
        .filter(|name| has(name))
        .map(|name| (*name).to_owned())
        .collect();
    if names.is_empty() || (small.is_empty() && !names.iter().any(|name| is_weights(name))) {
        return Err(not_a_model(place, "it has neither config.json nor weights"));
    }
    let read = [TOKENIZER, "vocab.txt", "merges.txt"];
    let unread_tokenizer = SENTENCEPIECE
        .iter()
        .find(|name| has(name) && !read.iter().any(|read| has(read)))
        .map(|name| (*name).to_owned());
    for (single, index) in WEIGHTS {
        let weights = if has(single) {
            WeightFiles::Single((*single).to_owned())
        } else if has(index) {
            WeightFiles::Sharded {
                index: (*index).to_owned(),
            }
        } else {
            continue;
        };
        return Ok(Selection {
            small,
            weights,
            unread_tokenizer,
        });
    }
    let others: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| is_weights(name))
        .collect();
    match others[..] {
        [] => Err(not_a_model(
            place,
            "it has no weights (model.safetensors, pytorch_model.bin, or an index of several)",
        )),
        [one] => Ok(Selection {
            small,
            weights: WeightFiles::Single(one.to_owned()),
            unread_tokenizer,
        }),
        _ => Err(HubError::NotAModel {
            reason: format!(
                "{place}: several files could be the weights: {}",
                others.join(", ")
            ),
            remedy:
                "keep one of them, call it model.safetensors or pytorch_model.bin, or write the \
                     index that goes with them"
                    .to_owned(),
        }),
    }
}

fn not_a_model(place: &str, what: &str) -> HubError {
    HubError::NotAModel {
        reason: format!("{place} is no model: {what}"),
        remedy:
            "name a folder as `save_pretrained` of the transformers library writes it, one file of \
                 weights, or hub:ORG/NAME"
                .to_owned(),
    }
}

/// Whether a file of this name holds weights.
#[must_use]
pub fn is_weights(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending)) && !NO_WEIGHTS.contains(&name)
}

/// Refuses names that lead out of a folder: a model's files lie side by side.
///
/// # Errors
/// [`HubError::File`] naming who says so.
pub fn check(said_by: &str, name: &str) -> Result<()> {
    let plain = !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && !name.contains(['/', '\\', '\0'])
        && !name.chars().any(char::is_control);
    if plain {
        return Ok(());
    }
    Err(HubError::file(
        said_by,
        format!("it names the file `{}`", name.escape_debug()),
    )
    .or("the files of a model lie beside its index; a name may not lead to another folder"))
}

/// An index of several files of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The index's own name.
    pub name: String,
    /// Tensor to file.
    pub tensors: BTreeMap<String, String>,
}

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    /// [`HubError::File`] for what is none, or names files elsewhere.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self> {
        let bad = |reason: String| {
            HubError::file(name, reason)
                .or("an index is JSON: {\"weight_map\": {\"TENSOR\": \"FILE\", …}}")
        };
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| bad(format!("it is no JSON: {error}")))?;
        let map = value
            .get("weight_map")
            .ok_or_else(|| bad("it has no `weight_map`".to_owned()))?;
        let tensors: BTreeMap<String, String> = serde_json::from_value(map.clone())
            .map_err(|error| bad(format!("its `weight_map`: {error}")))?;
        if tensors.is_empty() {
            return Err(bad("its `weight_map` is empty".to_owned()));
        }
        for file in tensors.values() {
            check(name, file)?;
            if !is_weights(file) {
                return Err(HubError::file(
                    name,
                    format!("it names `{file}`, which is no file of weights"),
                ));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            tensors,
        })
    }

    /// The files, each once, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = self.tensors.values().cloned().collect();
        files.sort();
        files.dedup();
        files
    }

    /// Refuses an index that names a file which is not there.
    ///
    /// # Errors
    /// [`HubError::File`] naming the file and a tensor in it.
    pub fn require<'a>(&self, there: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let there: Vec<&str> = there.into_iter().collect();
        let missing = self
            .tensors
            .iter()
            .find(|(_, file)| !there.contains(&file.as_str()));
        match missing {
            None => Ok(()),
            Some((tensor, file)) => Err(HubError::file(
                &self.name,
                format!("it says that the tensor `{tensor}` is in {file}, which is not there"),
            )
            .or(format!(
                "put {file} beside the index, or download the model again"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_is_read_as_the_hub_writes_it() {
        let found = select(
            "here",
            [
                "README.md",
                "config.json",
                "pytorch_model.bin",
                "model.safetensors",
                "vocab.txt",
            ],
        )
        .unwrap();
        assert_eq!(found.small, ["config.json", "vocab.txt"]);
        assert_eq!(
            found.weights,
            WeightFiles::Single("model.safetensors".into())
        );
        let found = select("here", ["config.json", "best.pt", "training_args.bin"]).unwrap();
        assert_eq!(found.weights, WeightFiles::Single("best.pt".into()));
        for names in [
            &["README.md"][..],
            &["config.json"],
            &["config.json", "a.pt", "b.pt"],
        ] {
            let error = select("here", names.iter().copied()).unwrap_err();
            assert!(error.to_string().contains("here"), "{error}");
            assert!(error.to_string().contains("\nhint: "), "{error}");
        }
    }

    #[test]
    fn an_index_stays_in_its_folder() {
        for name in [
            "../x.safetensors",
            "/etc/x.bin",
            "a/b.bin",
            "..",
            "",
            "a\\b.bin",
            ".x.bin",
        ] {
            let text = serde_json::json!({"weight_map": {"w": name}}).to_string();
            let error = Index::parse("model.safetensors.index.json", text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("index.json"), "{error}");
        }
        let text = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
        let index = Index::parse("i", text.as_bytes()).unwrap();
        assert_eq!(index.files(), ["1.safetensors", "2.safetensors"]);
        let error = index.require(["1.safetensors"]).unwrap_err().to_string();
        assert!(
            error.contains("`b`") && error.contains("2.safetensors"),
            "{error}"
        );
    }
}

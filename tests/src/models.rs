//! Pre-trained models for tests, made without any library: a GPT-2 of a few hundred numbers.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// Width of the model.
const WIDTH: usize = 8;
/// Tokens of its vocabulary.
pub const TOKENS: usize = 12;
/// Positions that it knows.
const PLACES: usize = 16;

/// A tensor as it is stored.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Tensor {
    /// Float32 values that depend on the name.
    pub fn f32(name: &str, shape: &[usize]) -> Self {
        let seed = name.bytes().fold(17_u32, |all, byte| {
            all.wrapping_mul(31).wrapping_add(u32::from(byte))
        });
        let count: usize = shape.iter().product();
        let values = (0..count as u32).map(|i| {
            let mixed = seed.wrapping_add(i).wrapping_mul(2_654_435_761) >> 16;
            (f64::from(mixed & 0xff) / 255.0 - 0.5) as f32
        });
        Self {
            name: name.to_owned(),
            dtype: "F32",
            shape: shape.to_vec(),
            bytes: values.flat_map(f32::to_le_bytes).collect(),
        }
    }

    /// The same in bfloat16.
    pub fn bf16(&self) -> Self {
        let bytes = self.bytes.chunks_exact(4).flat_map(|b| [b[2], b[3]]);
        Self {
            dtype: "BF16",
            bytes: bytes.collect(),
            ..self.clone()
        }
    }

    /// The same under another name.
    pub fn named(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self.clone()
        }
    }
}

/// A safetensors file.
pub fn safetensors(tensors: &[Tensor], metadata: Option<Value>) -> Vec<u8> {
    let mut header = Map::new();
    if let Some(metadata) = metadata {
        header.insert("__metadata__".into(), metadata);
    }
    let (mut data, mut start) = (Vec::new(), 0);
    for tensor in tensors {
        let end = start + tensor.bytes.len();
        header.insert(
            tensor.name.clone(),
            json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end]}),
        );
        data.extend_from_slice(&tensor.bytes);
        start = end;
    }
    let mut text = Value::Object(header).to_string();
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let mut file = (text.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(text.as_bytes());
    file.extend_from_slice(&data);
    file
}

/// The header of a safetensors file.
pub fn header(file: &[u8]) -> Value {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    serde_json::from_slice(&file[8..8 + length]).unwrap()
}

/// The bytes of a tensor in a safetensors file.
pub fn bytes_of(file: &[u8], name: &str) -> Vec<u8> {
    let data = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header = header(file);
    let offsets = &header[name]["data_offsets"];
    let at = |place: usize| data + offsets[place].as_u64().unwrap() as usize;
    file[at(0)..at(1)].to_vec()
}

/// The metadata that the hub's libraries ask for.
pub fn pytorch() -> Option<Value> {
    Some(json!({"format": "pt"}))
}

/// The parameters of a GPT-2 with one block, under their public names.
pub fn gpt2() -> Vec<Tensor> {
    let mut all = vec![
        Tensor::f32("wte.weight", &[TOKENS, WIDTH]),
        Tensor::f32("wpe.weight", &[PLACES, WIDTH]),
    ];
    let block = [
        ("ln_1", &[WIDTH][..]),
        ("attn.c_attn", &[WIDTH, 3 * WIDTH]),
        ("attn.c_proj", &[WIDTH, WIDTH]),
        ("ln_2", &[WIDTH]),
        ("mlp.c_fc", &[WIDTH, 4 * WIDTH]),
        ("mlp.c_proj", &[4 * WIDTH, WIDTH]),
    ];
    for (layer, shape) in block {
        let out = shape[shape.len() - 1];
        all.push(Tensor::f32(&format!("h.0.{layer}.weight"), shape));
        all.push(Tensor::f32(&format!("h.0.{layer}.bias"), &[out]));
    }
    all.push(Tensor::f32("ln_f.weight", &[WIDTH]));
    all.push(Tensor::f32("ln_f.bias", &[WIDTH]));
    all
}

/// The tensors with a prefix before their names.
pub fn prefixed(prefix: &str, tensors: &[Tensor]) -> Vec<Tensor> {
    tensors
        .iter()
        .map(|tensor| tensor.named(&format!("{prefix}{}", tensor.name)))
        .collect()
}

/// Its `config.json`, as the transformers library writes it.
pub fn config() -> Value {
    json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": TOKENS,
        "n_embd": WIDTH, "n_layer": 1, "n_head": 2, "n_positions": PLACES, "n_ctx": PLACES,
        "bos_token_id": 0, "eos_token_id": 0, "layer_norm_epsilon": 1e-5, "use_cache": true,
        "activation_function": "gelu_new", "torch_dtype": "float32", "transformers_version": "4.40.0",
    })
}

/// A folder of files, as `save_pretrained` writes it.
pub struct Folder {
    pub path: PathBuf,
}

impl Folder {
    pub fn new(path: impl AsRef<Path>) -> Self {
        fs::create_dir_all(&path).unwrap();
        Self {
            path: path.as_ref().to_owned(),
        }
    }

    /// With the configuration and a vocabulary of pairs, but without weights.
    pub fn gpt2(path: impl AsRef<Path>) -> Self {
        let folder = Self::new(path);
        folder.put("config.json", config().to_string());
        folder.put("generation_config.json", r#"{"eos_token_id": 0}"#);
        folder.vocabulary(TOKENS);
        folder
    }

    /// The end of a text, ten letters and one pair of them, as far as there is room; letters beyond.
    pub fn vocabulary(&self, tokens: usize) {
        let mut vocabulary = Map::new();
        vocabulary.insert("<|endoftext|>".into(), json!(0));
        for (id, letter) in ('a'..='z').take(tokens - 2).enumerate() {
            vocabulary.insert(letter.to_string(), json!(id + 1));
        }
        vocabulary.insert("ab".into(), json!(tokens - 1));
        self.put("vocab.json", Value::Object(vocabulary).to_string());
        self.put("merges.txt", "#version: 0.2\na b\n");
        self.put(
            "special_tokens_map.json",
            r#"{"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}"#,
        );
    }

    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path.join(name), content).unwrap();
        self
    }

    pub fn text(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

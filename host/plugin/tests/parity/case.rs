//! A checkpoint of `transformers` in a folder, and what it computes.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::Value as Json;
use tempfile::TempDir;
use tenon_plugin::{Grants, Recipe};
use tenon_tensor::{
    DType, Device, Tensor,
    nn::SequenceInfo,
    params::{OnMissing, Params, SafetensorsFile},
};

use crate::{python, recipes, shipped};

pub struct Case {
    name: String,
    folder: TempDir,
    /// `case.json`.
    pub described: Json,
    pub infos: Vec<SequenceInfo>,
    pub inputs: Vec<(String, Tensor)>,
}

impl Case {
    pub fn make(name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        python::ask("make", name, folder.path());
        let read = |file: &str| fs::read(folder.path().join(file)).unwrap();
        let described: Json = serde_json::from_slice(&read("case.json")).unwrap();
        let (mut infos, mut inputs) = (Vec::new(), Vec::new());
        for input in described["inputs"].as_array().unwrap() {
            let name = input["name"].as_str().unwrap();
            if input["rows"].is_null() {
                inputs.push(recipes::named(name, numbers(input)));
                continue;
            }
            let rows: Vec<Vec<i64>> = serde_json::from_value(input["rows"].clone()).unwrap();
            let rows: Vec<&[i64]> = rows.iter().map(Vec::as_slice).collect();
            if input["sequence"] == true {
                infos.push(recipes::info(name, &rows));
            }
            let fill = input["fill"].as_i64().unwrap();
            inputs.push(recipes::named(name, recipes::padded(&rows, fill)));
        }
        Self {
            name: name.to_owned(),
            folder,
            described,
            infos,
            inputs,
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// `config.json` as it is, and what transformers does not know.
    pub fn config(&self) -> Json {
        let mut config: Json =
            serde_json::from_slice(&fs::read(self.path("config.json")).unwrap()).unwrap();
        let own = self.described["own"].as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(own);
        config
    }

    pub fn recipe(&self) -> Recipe {
        let component = shipped::component(self.described["recipe"].as_str().unwrap());
        let vocabulary = self.described["vocabulary"].as_u64().unwrap() as u32;
        Recipe::open(&component, &self.config(), vocabulary, Grants::default()).unwrap()
    }

    /// The checkpoint's weights; what the recipe asks for and they lack is an error.
    pub fn params(&self) -> Params {
        let params = Params::new(&Device::cpu(), 7);
        let report = params.load_safetensors(&self.path("model.safetensors"));
        let unexpected = report.unwrap().unexpected;
        assert!(
            unexpected.iter().all(|name| self.is_unused(name)),
            "{unexpected:?}"
        );
        params.set_on_missing(OnMissing::Error);
        params
    }

    /// Whether the recipe has no use for a name of the checkpoint.
    pub fn is_unused(&self, name: &str) -> bool {
        let unused = self.described["unused"].as_array().unwrap();
        unused
            .iter()
            .any(|part| name.contains(part.as_str().unwrap()))
    }

    /// The tensors of a file, by name.
    pub fn expected(&self, file: &str) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
        let mut all = BTreeMap::new();
        let file = SafetensorsFile::open(&self.path(file)).unwrap();
        file.for_each_f32(|name, shape, values| {
            all.insert(name.to_owned(), (shape.to_vec(), values.unwrap()));
            Ok(())
        })
        .unwrap();
        all
    }

    /// Which of an output's numbers are of real tokens: all, where it has none for tokens.
    pub fn real(&self, shape: &[usize]) -> Vec<bool> {
        let sequence = self.described["generates"].as_str().unwrap_or("ids");
        let info = self.infos.iter().find(|info| info.name == sequence);
        let [batch, tokens, classes] = *shape else {
            return vec![true; shape.iter().product()];
        };
        let info = info.unwrap();
        assert_eq!([info.batch(), info.tokens], [batch, tokens]);
        let place = |at: usize| (at / classes / tokens, at / classes % tokens);
        (0..batch * tokens * classes)
            .map(|at| {
                let (row, token) = place(at);
                token < info.rows[row].iter().sum()
            })
            .collect()
    }

    /// Saves the weights for transformers to load, with the outputs that they give here; how far
    /// transformers' are from them.
    pub fn load_back(&self, params: &Params, outputs: &[(String, Tensor)]) -> f64 {
        let none = BTreeMap::new();
        params
            .save_safetensors(&self.path("model.safetensors"), &none)
            .unwrap();
        tenon_tensor::params::save_safetensors(&self.path("outputs.safetensors"), outputs, &none)
            .unwrap();
        let answer = python::ask("check", &self.name, self.folder.path());
        for names in ["missing", "unexpected"] {
            assert_eq!(
                answer[names],
                serde_json::json!([]),
                "{}: {names}",
                self.name
            );
        }
        answer["difference"].as_f64().unwrap()
    }
}

fn numbers(input: &Json) -> Tensor {
    let shape: Vec<usize> = serde_json::from_value(input["shape"].clone()).unwrap();
    let values: Vec<f64> = serde_json::from_value(input["values"].clone()).unwrap();
    let device = Device::cpu();
    let integers = || values.iter().map(|value| *value as i64).collect::<Vec<_>>();
    match input["dtype"].as_str().unwrap() {
        "int64" => Tensor::from_i64(&shape, &integers(), &device),
        "uint8" => {
            let bytes: Vec<u8> = values.iter().map(|value| *value as u8).collect();
            Tensor::from_bytes(&shape, DType::U8, &bytes, &device)
        }
        "float32" => {
            let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
            Tensor::from_f32(&shape, &values, &device)
        }
        other => panic!("{other}"),
    }
    .unwrap()
}

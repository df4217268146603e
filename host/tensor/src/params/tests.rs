#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use super::*;

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("tenon-params-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn params(seed: u64) -> Params {
    Params::new(&Device::cpu(), seed)
}

fn ask(params: &Params, name: &str, shape: &[usize]) -> Result<Tensor, TensorError> {
    params.obtain(name, ParamKind::Param, shape, Init::Normal(1.0), None)
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values = tensor.to_f32_vec().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn initial_values_do_not_depend_on_the_order() {
    let (one, two) = (params(7), params(7));
    ask(&one, "a.weight", &[3, 4]).unwrap();
    ask(&one, "b.weight", &[5]).unwrap();
    ask(&two, "b.weight", &[5]).unwrap();
    ask(&two, "a.weight", &[3, 4]).unwrap();
    for name in ["a.weight", "b.weight"] {
        let (a, b) = (one.get(name).unwrap(), two.get(name).unwrap());
        assert_eq!(bits(&a), bits(&b));
    }
    let other = params(8);
    let a = ask(&other, "a.weight", &[3, 4]).unwrap();
    assert_ne!(bits(&a), bits(&one.get("a.weight").unwrap()));
    assert_eq!(one.total_elements(), 17);
}

#[test]
fn a_conflict_names_the_parameter_and_both_shapes() {
    let params = params(0);
    ask(&params, "wte.weight", &[10, 4]).unwrap();
    let error = ask(&params, "wte.weight", &[4, 10]).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, TensorError::ShapeMismatch(_)));
    for part in ["wte.weight", "[10, 4]", "[4, 10]"] {
        assert!(text.contains(part), "{text}");
    }
    let kind = params.obtain("wte.weight", ParamKind::Buffer, &[10, 4], Init::Ones, None);
    assert!(kind.unwrap_err().to_string().contains("buffer"));
}

#[test]
fn files_come_back_bit_for_bit() {
    let folder = folder("round-trip");
    let path = folder.join("model.safetensors");
    let one = params(1);
    for (name, shape) in [("h.0.w", &[7, 5][..]), ("h.0.b", &[5]), ("scalar", &[])] {
        ask(&one, name, shape).unwrap();
    }
    let odd = [f32::MIN_POSITIVE / 2.0, -0.0, f32::INFINITY, 1.0 / 3.0];
    one.set("odd", Tensor::from_f32(&[4], &odd, &Device::cpu()).unwrap())
        .unwrap();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    one.save_safetensors(&path, &metadata).unwrap();
    // A second save replaces the first; nothing is left beside it.
    one.save_safetensors(&path, &metadata).unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    assert_eq!(
        std::fs::read(&path).unwrap(),
        one.to_bytes(&metadata).unwrap()
    );

    let two = params(2);
    let report = two.load_safetensors(&path).unwrap();
    assert!(report.is_exact());
    assert_eq!(report.loaded, one.names());
    for (name, value) in one.entries() {
        let loaded = two.get(&name).unwrap();
        assert_eq!(loaded.shape(), value.shape());
        assert_eq!(bits(&loaded), bits(&value));
    }
    let file = SafetensorsFile::open(&path).unwrap();
    assert_eq!(file.metadata(), &metadata);
    assert_eq!(file.floats()["h.0.w"], [7, 5]);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn half_precision_becomes_float32_and_integers_are_reported() {
    let folder = folder("half");
    let path = folder.join("half.safetensors");
    let device = Device::cpu();
    let values = [1.5_f32, -2.0, 0.099_975_586];
    let f16: Vec<u8> = values
        .iter()
        .flat_map(|v| half::f16::from_f32(*v).to_le_bytes())
        .collect();
    let bf16: Vec<u8> = [1.5_f32, -2.0, 0.25]
        .iter()
        .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
        .collect();
    // Odd sizes in front, so that the data of the others is not aligned.
    let tensors = vec![
        (
            "a".to_owned(),
            Tensor::from_bytes(&[1], DType::U8, &[1], &device).unwrap(),
        ),
        (
            "b".to_owned(),
            Tensor::from_bytes(&[3], DType::F16, &f16, &device).unwrap(),
        ),
        (
            "c".to_owned(),
            Tensor::from_bytes(&[3], DType::BF16, &bf16, &device).unwrap(),
        ),
        (
            "d".to_owned(),
            Tensor::from_f32(&[2], &[0.1, 0.2], &device).unwrap(),
        ),
    ];
    save_safetensors(&path, &tensors, &BTreeMap::new()).unwrap();
    let params = params(0);
    let report = params.load_safetensors(&path).unwrap();
    assert_eq!(report.unexpected, ["a"]);
    assert_eq!(params.get("b").unwrap().to_f32_vec().unwrap(), values);
    assert_eq!(
        params.get("c").unwrap().to_f32_vec().unwrap(),
        [1.5, -2.0, 0.25]
    );
    assert_eq!(params.get("d").unwrap().to_f32_vec().unwrap(), [0.1, 0.2]);
    let stored = SafetensorsFile::open(&path)
        .unwrap()
        .tensors(&device)
        .unwrap();
    assert_eq!(stored[0].1.dtype(), DType::U8);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_report_says_what_does_not_fit() {
    let folder = folder("report");
    let path = folder.join("w.safetensors");
    let saved = params(1);
    for (name, shape) in [("same", &[2][..]), ("grown", &[4, 2]), ("old", &[1])] {
        ask(&saved, name, shape).unwrap();
    }
    saved.save_safetensors(&path, &BTreeMap::new()).unwrap();
    let model = params(2);
    for (name, shape) in [("same", &[2][..]), ("grown", &[5, 2]), ("new", &[1])] {
        ask(&model, name, shape).unwrap();
    }
    let before = bits(&model.get("grown").unwrap());
    let report = model.load_safetensors(&path).unwrap();
    assert_eq!(report.loaded, ["same"]);
    assert_eq!(report.missing, ["new"]);
    assert_eq!(report.unexpected, ["old"]);
    let mismatch = Mismatch {
        name: "grown".into(),
        expected: vec![5, 2],
        found: vec![4, 2],
    };
    assert_eq!(report.mismatched, [mismatch]);
    assert_eq!(bits(&model.get("grown").unwrap()), before);
    let same = |p: &Params| bits(&p.get("same").unwrap());
    assert_eq!(same(&model), same(&saved));
    let text = report.require_exact().unwrap_err().to_string();
    for part in ["new", "old", "grown", "[5, 2]", "[4, 2]"] {
        assert!(text.contains(part), "{text}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn missing_weights_are_an_error_where_they_must_be() {
    let params = params(0);
    params.set_on_missing(OnMissing::Error);
    let value = Tensor::zeros(&[2], DType::F32, &Device::cpu()).unwrap();
    params.set("transformer.ln_f.bias", value).unwrap();
    let text = ask(&params, "ln_f.bias", &[2]).unwrap_err().to_string();
    assert!(
        text.contains("`ln_f.bias`") && text.contains("transformer.ln_f.bias"),
        "{text}"
    );
    assert!(ask(&params, "transformer.ln_f.bias", &[2]).is_ok());
    assert!(params.unclaimed().is_empty());
}

#[test]
fn broken_files_are_errors_that_name_the_file() {
    let folder = folder("broken");
    let path = folder.join("w.safetensors");
    let whole = {
        let params = params(1);
        ask(&params, "w", &[64]).unwrap();
        params.to_bytes(&BTreeMap::new()).unwrap()
    };
    for bytes in [
        &whole[..whole.len() - 8],
        &whole[..20],
        b"",
        b"not a weights file at all",
    ] {
        std::fs::write(&path, bytes).unwrap();
        let text = params(0).load_safetensors(&path).unwrap_err().to_string();
        assert!(text.contains("w.safetensors"), "{text}");
    }
    let missing = params(0)
        .load_safetensors(&folder.join("none"))
        .unwrap_err();
    assert!(missing.to_string().contains("none"));
    // A save that fails leaves the old file and nothing else.
    std::fs::write(&path, &whole).unwrap();
    let twice = vec![
        (
            "w".to_owned(),
            Tensor::zeros(&[1], DType::F32, &Device::cpu()).unwrap(),
        ),
        (
            "w".to_owned(),
            Tensor::zeros(&[1], DType::F32, &Device::cpu()).unwrap(),
        ),
    ];
    assert!(save_safetensors(&path, &twice, &BTreeMap::new()).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn freezing_follows_the_pattern() {
    let params = params(0);
    for name in ["h.0.w", "h.1.w", "ln_f.w"] {
        ask(&params, name, &[1]).unwrap();
    }
    params
        .obtain("h.1.mean", ParamKind::Buffer, &[1], Init::Zeros, None)
        .unwrap();
    params.freeze(r"^h\.0\.").unwrap();
    assert!(!params.trainable("h.0.w") && params.trainable("h.1.w"));
    assert!(!params.trainable("h.1.mean") && !params.trainable("nothing"));
    params.unfreeze();
    assert!(params.trainable("h.0.w"));
    assert!(params.freeze("(").is_err());
}

#[test]
fn only_float32_of_the_same_shape_can_be_set() {
    let params = params(0);
    ask(&params, "w", &[2]).unwrap();
    let device = Device::cpu();
    let wrong = Tensor::zeros(&[3], DType::F32, &device).unwrap();
    assert!(params.set("w", wrong).is_err());
    let wrong = Tensor::zeros(&[2], DType::I64, &device).unwrap();
    let text = params.set("w", wrong).unwrap_err().to_string();
    assert!(text.contains("int64"), "{text}");
}

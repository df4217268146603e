//! What a pass tells about its batch, and its random numbers.

use super::*;
use crate::Tape;

fn packed() -> Vec<SequenceInfo> {
    vec![sequence("ids", 5, &[&[2, 2], &[3]])]
}

#[test]
fn positions_and_masks_follow_the_documents() {
    let pass = pass(Stage::Train, packed());
    let positions = pass.positions("ids").unwrap();
    assert_eq!(positions.shape(), [2, 5]);
    assert_eq!(
        positions.to_i64_vec().unwrap(),
        [0, 1, 0, 1, 0, 0, 1, 2, 0, 0]
    );
    let mask = pass.mask("ids").unwrap();
    assert_eq!(mask.dtype(), crate::DType::Bool);
    assert_eq!(mask.read(0, 10).unwrap(), [1, 1, 1, 1, 0, 1, 1, 1, 0, 0]);
    fails(pass.positions("idz"), &["positions", "`idz`", "\"ids\""]);
    fails(pass.mask("idz"), &["mask"]);
    fails(pass.key_positions("idz"), &["key-positions"]);
}

#[test]
fn inputs_must_agree() {
    let make = |inputs| Pass::new(Stage::Train, inputs, 0, &Device::cpu()).map(|_| ());
    let two = vec![SequenceInfo::full("a", 2, 3), SequenceInfo::full("b", 1, 3)];
    assert!(
        make(two)
            .unwrap_err()
            .to_string()
            .contains("`b` has 1 rows")
    );
    let same = vec![SequenceInfo::full("a", 2, 3), SequenceInfo::full("a", 2, 3)];
    assert!(make(same).unwrap_err().to_string().contains("`a`"));
    assert!(make(vec![sequence("a", 3, &[&[2, 2]])]).is_err());
}

#[test]
fn wanted_is_the_last_real_token_in_serving() {
    let x = random(1, &[2, 5, 3]);
    let train = pass(Stage::Train, packed()).wanted(&x, "ids").unwrap();
    assert_eq!(train.to_f32_vec().unwrap(), x.to_f32_vec().unwrap());
    let rows = SequenceInfo {
        tokens: 5,
        ..SequenceInfo::padded("ids", &[4, 2])
    };
    let last = pass(Stage::Prefill, vec![rows]).wanted(&x, "ids").unwrap();
    assert_eq!(last.shape(), [2, 1, 3]);
    let all = x.to_f32_vec().unwrap();
    let expected = [&all[9..12], &all[18..21]].concat();
    assert_eq!(last.to_f32_vec().unwrap(), expected);
    let wrong = random(1, &[2, 4, 3]);
    fails(
        pass(Stage::Prefill, packed()).wanted(&wrong, "ids"),
        &["[2, 4, 3]", "[2, 5, ...]"],
    );
}

#[test]
fn random_numbers_follow_from_the_key_and_the_order() {
    let draw = |key| {
        let pass = Pass::new(Stage::Train, packed(), key, &Device::cpu()).unwrap();
        let a = pass.uniform(&[100]).unwrap().to_f32_vec().unwrap();
        let b = pass.uniform(&[100]).unwrap().to_f32_vec().unwrap();
        let c = pass.normal(&[100]).unwrap().to_f32_vec().unwrap();
        (a, b, c)
    };
    assert_eq!(draw(1), draw(1));
    let ((a, b, c), (other, _, _)) = (draw(1), draw(2));
    assert!(a != b && a != other);
    assert!(a.iter().all(|v| (0.0..1.0).contains(v)));
    assert!(c.iter().any(|v| *v < 0.0));
    let pass = pass(Stage::Train, packed());
    assert!(pass.uniform(&[usize::MAX, 4]).is_err());
}

#[test]
fn dropout_scales_what_it_keeps_and_its_gradient_is_the_same_mask() {
    let x = Tensor::ones(&[1000], crate::DType::F32, &Device::cpu()).unwrap();
    let tape = Tape::new();
    let leaf = tape.leaf(&x).unwrap();
    let train = pass(Stage::Train, packed());
    let y = train.dropout(&leaf, 0.25).unwrap();
    let values = y.to_f32_vec().unwrap();
    let kept = values.iter().filter(|v| **v != 0.0).count();
    assert!(
        values
            .iter()
            .all(|v| *v == 0.0 || (*v - 4.0 / 3.0).abs() < 1e-6)
    );
    assert!((700..800).contains(&kept), "{kept}");
    let mut gradients = tape.backward(&y.sum(&[], false).unwrap()).unwrap();
    assert_eq!(gradients.take(&leaf).unwrap().to_f32_vec().unwrap(), values);
    let scoring = pass(Stage::Evaluate, packed()).dropout(&x, 0.25).unwrap();
    assert_eq!(scoring.to_f32_vec().unwrap(), vec![1.0; 1000]);
    fails(train.dropout(&x, -0.1), &["-0.1"]);
}

//! Wrong arguments are errors that say what is wrong, before the backend sees them.

use tenon_tensor::{
    ConvOptions, DType, Device, PoolOptions, Reduction, RotaryStyle, Tensor, TensorError,
};

type Outcome = Result<Tensor, TensorError>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Shape,
    Argument,
}

use Kind::{Argument, Shape};

fn refuses(what: &str, outcome: Outcome, kind: Kind, parts: &[&str]) {
    let error = match outcome {
        Ok(tensor) => panic!("{what} gave {tensor:?}"),
        Err(error) => error,
    };
    let found = match error {
        TensorError::ShapeMismatch(_) => Shape,
        TensorError::InvalidArgument(_) => Argument,
        _ => panic!("{what}: {error:?}"),
    };
    let text = error.to_string();
    assert_eq!(found, kind, "{text}");
    for part in [what].iter().chain(parts) {
        assert!(
            text.contains(part),
            "{what}: `{text}` does not say `{part}`"
        );
    }
}

pub fn wrong_arguments(device: &Device) {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, device).unwrap();
    let ids = |values: &[i64]| Tensor::from_i64(&[values.len()], values, device).unwrap();
    let x = zeros(&[2, 3]);
    let int = ids(&[0, 1]);
    let mask = x.gt_scalar(0.0).unwrap();

    for (what, outcome) in [
        ("add", x.add(&zeros(&[2, 4]))),
        ("sub", x.sub(&zeros(&[2, 4]))),
        ("mul", x.mul(&zeros(&[2, 4]))),
        ("div", x.div(&zeros(&[2, 4]))),
        ("maximum", x.maximum(&zeros(&[2, 4]))),
        ("minimum", x.minimum(&zeros(&[2, 4]))),
        ("eq", x.eq(&zeros(&[2, 4]))),
        ("lt", x.lt(&zeros(&[2, 4]))),
        ("le", x.le(&zeros(&[2, 4]))),
        (
            "where",
            Tensor::where_(&mask, &zeros(&[2, 4]), &zeros(&[2, 4])),
        ),
        ("masked_fill", zeros(&[2, 4]).masked_fill(&mask, 0.0)),
        ("mse_loss", x.mse_loss(&zeros(&[2, 4]), Reduction::Mean)),
    ] {
        refuses(what, outcome, Shape, &["[2, 3]", "[2, 4]", "broadcast"]);
    }
    refuses(
        "logical_and",
        mask.logical_and(&zeros(&[4]).eq_scalar(0.0).unwrap()),
        Shape,
        &["[2, 3]", "[4]"],
    );
    for (what, outcome) in [
        ("exp", int.exp()),
        ("log", int.log()),
        ("sqrt", int.sqrt()),
        ("rsqrt", int.rsqrt()),
        ("sin", int.sin()),
        ("cos", int.cos()),
        ("tanh", int.tanh()),
        ("sigmoid", int.sigmoid()),
        ("erf", int.erf()),
        ("relu", int.relu()),
        ("gelu", int.gelu(true)),
        ("silu", int.silu()),
        ("div", int.div(&int)),
        ("pow_scalar", int.pow_scalar(2.0)),
        ("mean", int.mean(&[], false)),
        ("variance", int.variance(&[], 1, false)),
        ("logsumexp", int.logsumexp(0, false)),
        ("softmax", int.softmax(0)),
        ("log_softmax", int.log_softmax(0)),
        ("layer_norm", int.layer_norm(None, None, 1e-5)),
        ("rms_norm", int.rms_norm(None, 1e-5)),
        ("dropout", int.dropout(0.5, 1)),
    ] {
        refuses(
            what,
            outcome,
            Argument,
            &["floating-point", "int64", "cast"],
        );
    }
    for (what, outcome) in [
        ("neg", mask.neg()),
        ("abs", mask.abs()),
        ("sign", mask.sign()),
        ("floor", mask.floor()),
        ("clamp", mask.clamp(Some(0.0), None)),
        ("add", mask.add(&mask)),
        ("add_scalar", mask.add_scalar(1.0)),
        ("mul_scalar", mask.mul_scalar(1.0)),
        ("lt", mask.lt(&mask)),
        ("lt_scalar", mask.lt_scalar(1.0)),
        ("max", mask.max(0, false)),
        ("argmax", mask.argmax(0, false)),
    ] {
        refuses(what, outcome, Argument, &["numbers", "boolean"]);
    }
    refuses("add", x.add(&int), Argument, &["float32", "int64", "cast"]);
    refuses(
        "add_scalar",
        int.add_scalar(0.5),
        Argument,
        &["0.5", "int64"],
    );
    refuses("mul_scalar", int.mul_scalar(f64::NAN), Argument, &["NaN"]);
    refuses("clamp", int.clamp(None, Some(0.5)), Argument, &["0.5"]);
    refuses(
        "masked_fill",
        int.masked_fill(&int, 0.0),
        Argument,
        &["boolean", "mask"],
    );
    refuses(
        "logical_and",
        int.logical_and(&mask),
        Argument,
        &["boolean"],
    );
    refuses(
        "where",
        Tensor::where_(&int, &int, &int),
        Argument,
        &["boolean", "condition"],
    );
    refuses(
        "silu_mul",
        x.silu_mul(&zeros(&[3])),
        Shape,
        &["[3]", "[2, 3]"],
    );

    for (what, outcome) in [
        ("sum", x.sum(&[2], false)),
        ("mean", x.mean(&[-3], false)),
        ("max", x.max(2, false)),
        ("cumsum", x.cumsum(5)),
        ("softmax", x.softmax(2)),
        ("transpose", x.transpose(0, 2)),
        ("squeeze", x.squeeze(2)),
        ("narrow", x.narrow(2, 0, 1)),
        ("flip", x.flip(&[2])),
        ("gather", x.gather(2, &int)),
        ("cat", Tensor::cat(&[&x, &x], 2)),
    ] {
        refuses(what, outcome, Argument, &["dimension", "[2, 3]", "-2 to 1"]);
    }
    refuses("sum", zeros(&[]).sum(&[0], false), Argument, &["scalar"]);
    refuses("unsqueeze", x.unsqueeze(3), Argument, &["-3 to 2"]);
    refuses(
        "unsqueeze",
        zeros(&[1; 8]).unsqueeze(0),
        Argument,
        &["most dimensions"],
    );
    refuses("sum", x.sum(&[0, -2], false), Argument, &["twice"]);
    refuses("max", zeros(&[0]).max(0, false), Argument, &["empty"]);
    refuses(
        "topk",
        x.topk(4, 1).map(|(values, _)| values),
        Argument,
        &["4 of 3"],
    );

    refuses(
        "reshape",
        x.reshape(&[4]),
        Shape,
        &["[2, 3]", "[4]", "6 elements"],
    );
    refuses("reshape", x.reshape(&[-1, -1]), Shape, &["only one"]);
    refuses("reshape", x.reshape(&[4, -1]), Shape, &["multiple of 4"]);
    refuses("reshape", x.reshape(&[-6]), Shape, &["negative"]);
    refuses(
        "reshape",
        x.reshape(&[i64::MAX, i64::MAX]),
        Shape,
        &["large"],
    );
    refuses(
        "reshape",
        x.reshape(&[1, 1, 1, 1, 1, 1, 1, 2, 3]),
        Shape,
        &["at most 8"],
    );
    refuses("permute", x.permute(&[0, 0]), Argument, &["each of the 2"]);
    refuses("permute", x.permute(&[0]), Argument, &["each of the 2"]);
    refuses("expand", x.expand(&[4, 3]), Shape, &["[2, 3]", "[4, 3]"]);
    refuses("expand", x.expand(&[3]), Shape, &["[3]"]);
    refuses("expand", x.expand(&[-1, 2, 3]), Shape, &["[-1, 2, 3]"]);
    refuses(
        "narrow",
        x.narrow(1, 2, 2),
        Argument,
        &["2 elements from 2", "[2, 3]"],
    );
    refuses("narrow", x.narrow(1, usize::MAX, 2), Argument, &["[2, 3]"]);
    refuses(
        "pad",
        x.pad(&[(0, 1)], 0.0),
        Argument,
        &["1 pairs", "2 dimensions"],
    );
    refuses("pad", int.pad(&[(0, 1)], 0.5), Argument, &["0.5"]);
    refuses("tril", zeros(&[3]).tril(0), Shape, &["two dimensions"]);
    refuses("cat", Tensor::cat(&[], 0), Argument, &["no tensors"]);
    refuses(
        "cat",
        Tensor::cat(&[&x, &zeros(&[3, 3])], 1),
        Shape,
        &["[2, 3]", "[3, 3]"],
    );
    refuses(
        "cat",
        Tensor::cat(&[&x, &zeros(&[3])], 0),
        Shape,
        &["[2, 3]", "[3]"],
    );
    refuses(
        "stack",
        Tensor::stack(&[&x, &zeros(&[3, 3])], 0),
        Shape,
        &["[3, 3]"],
    );

    refuses(
        "matmul",
        x.matmul(&zeros(&[4, 5])),
        Shape,
        &["[2, 3] x [4, 5]", "3 and 4 differ"],
    );
    refuses("matmul", x.matmul(&zeros(&[3])), Shape, &["two dimensions"]);
    refuses(
        "matmul",
        zeros(&[2, 2, 3]).matmul(&zeros(&[3, 3, 1])),
        Shape,
        &["broadcast"],
    );
    refuses(
        "linear",
        x.linear(&zeros(&[5, 4]), None),
        Shape,
        &["3 features", "4"],
    );
    refuses(
        "linear",
        x.linear(&zeros(&[5, 3]), Some(&zeros(&[4]))),
        Shape,
        &["bias", "[4]", "[5]"],
    );
    refuses(
        "linear",
        zeros(&[]).linear(&zeros(&[5, 3]), None),
        Shape,
        &["[..., in]"],
    );
    refuses(
        "layer_norm",
        x.layer_norm(Some(&zeros(&[2])), None, 1e-5),
        Shape,
        &["weight", "[2]", "[3]"],
    );
    refuses(
        "layer_norm",
        zeros(&[]).layer_norm(None, None, 1e-5),
        Shape,
        &["scalar"],
    );
    refuses(
        "rms_norm",
        x.rms_norm(Some(&zeros(&[2])), 1e-5),
        Shape,
        &["weight"],
    );
    refuses(
        "group_norm",
        x.group_norm(2, None, None, 1e-5),
        Argument,
        &["2 groups", "3 channels"],
    );
    refuses(
        "group_norm",
        x.group_norm(0, None, None, 1e-5),
        Argument,
        &["0 groups"],
    );
    refuses(
        "group_norm",
        zeros(&[3]).group_norm(1, None, None, 1e-5),
        Shape,
        &["channels"],
    );
    refuses("dropout", x.dropout(1.0, 1), Argument, &["below 1"]);

    refuses(
        "index_select",
        x.index_select(0, &x),
        Shape,
        &["one dimension"],
    );
    refuses(
        "index_select",
        x.index_select(0, &zeros(&[2])),
        Argument,
        &["integer", "float32"],
    );
    refuses("gather", x.gather(0, &int), Shape, &["[2]", "[2, 3]"]);
    refuses(
        "scatter_add",
        x.scatter_add(0, &int.unsqueeze(0).unwrap(), &zeros(&[1, 1])),
        Shape,
        &["[1, 2]"],
    );
    refuses(
        "embedding",
        x.embedding(&zeros(&[2])),
        Argument,
        &["integer"],
    );
    refuses(
        "embedding",
        zeros(&[3]).embedding(&int),
        Shape,
        &["[count, dim]"],
    );
    let entropy = |targets: &Tensor, smoothing: f32| {
        x.cross_entropy(targets, -100, smoothing, Reduction::Mean)
    };
    refuses(
        "cross_entropy",
        entropy(&ids(&[0]), 0.0),
        Shape,
        &["[1]", "[2]"],
    );
    refuses(
        "cross_entropy",
        entropy(&zeros(&[2]), 0.0),
        Argument,
        &["integer", "targets"],
    );
    refuses("cross_entropy", entropy(&int, 1.5), Argument, &["1.5"]);
    refuses(
        "binary_cross_entropy_with_logits",
        x.binary_cross_entropy_with_logits(&zeros(&[3]), Reduction::Mean),
        Shape,
        &["[3]", "[2, 3]"],
    );
    refuses(
        "arange",
        Tensor::arange(0.0, 1.0, 0.0, DType::F32, device),
        Argument,
        &["step"],
    );
    refuses(
        "arange",
        Tensor::arange(0.0, f64::NAN, 1.0, DType::F32, device),
        Argument,
        &["finite"],
    );
    refuses(
        "arange",
        Tensor::arange(0.0, 300.0, 1.0, DType::U8, device),
        Argument,
        &["299", "uint8"],
    );
    refuses(
        "full",
        Tensor::full(&[1], 0.5, DType::I64, device),
        Argument,
        &["0.5", "int64"],
    );
    refuses(
        "from_f32",
        Tensor::from_f32(&[2, 2], &[1.0], device),
        Shape,
        &["4 values", "1"],
    );
    refuses(
        "from_bytes",
        Tensor::from_bytes(&[2], DType::F32, &[0; 7], device),
        Shape,
        &["8 bytes", "7"],
    );
    refuses(
        "full",
        Tensor::zeros(&[1; 9], DType::F32, device),
        Argument,
        &["at most 8"],
    );
    let huge = Tensor::zeros(&[usize::MAX, 2], DType::F32, device);
    assert!(matches!(huge, Err(TensorError::OutOfMemory(_))));
    refuses(
        "item",
        x.item().map(|_| x.clone()),
        Argument,
        &["[2, 3]", "6 elements"],
    );
    coarse(device);
}

fn coarse(device: &Device) {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, device).unwrap();
    let q = zeros(&[1, 3, 4, 2]);
    let attend = |k: &[usize], v: &[usize], bias: Option<&[usize]>| {
        let bias = bias.map(zeros);
        Tensor::scaled_dot_product_attention(&q, &zeros(k), &zeros(v), bias.as_ref(), None)
    };
    const NAME: &str = "scaled_dot_product_attention";
    refuses(
        NAME,
        attend(&[1, 5, 3, 2], &[1, 5, 3, 2], None),
        Shape,
        &["divide"],
    );
    refuses(
        NAME,
        attend(&[2, 5, 4, 2], &[2, 5, 4, 2], None),
        Shape,
        &["batch"],
    );
    refuses(
        NAME,
        attend(&[1, 5, 4, 2], &[1, 6, 4, 2], None),
        Shape,
        &["one shape"],
    );
    refuses(
        NAME,
        attend(&[1, 5, 4, 2], &[1, 5, 4, 2], Some(&[5, 3])),
        Shape,
        &["[5, 3]"],
    );
    refuses(
        NAME,
        attend(&[5, 4, 2], &[5, 4, 2], None),
        Shape,
        &["tokens, heads"],
    );

    let positions = Tensor::from_i64(&[1, 3], &[0, 1, 2], device).unwrap();
    let rotate = |positions: &Tensor, frequencies: &Tensor| {
        q.rotary(positions, frequencies, RotaryStyle::Half)
    };
    refuses(
        "rotary",
        rotate(&positions, &zeros(&[2])),
        Shape,
        &["4 elements", "2"],
    );
    refuses(
        "rotary",
        rotate(&positions, &zeros(&[1, 1])),
        Shape,
        &["one dimension"],
    );
    refuses(
        "rotary",
        rotate(&zeros(&[1, 3]), &zeros(&[1])),
        Argument,
        &["positions"],
    );
    let other = Tensor::from_i64(&[3, 1], &[0, 1, 2], device).unwrap();
    refuses("rotary", rotate(&other, &zeros(&[1])), Shape, &["[1, 3]"]);

    let x = zeros(&[1, 4, 5, 5]);
    let plain = ConvOptions::new(2);
    let conv = |weight: &[usize], options: &ConvOptions| x.conv2d(&zeros(weight), None, options);
    refuses(
        "conv2d",
        conv(&[2, 3, 1, 1], &plain),
        Shape,
        &["[2, 3, 1, 1]", "4 channels"],
    );
    refuses(
        "conv2d",
        conv(&[2, 4, 6, 1], &plain),
        Shape,
        &["kernel of 6", "5"],
    );
    refuses(
        "conv2d",
        conv(&[2, 4, 0, 1], &plain),
        Shape,
        &["kernel of 0"],
    );
    refuses("conv2d", conv(&[2, 4, 1], &plain), Shape, &["4 dimensions"]);
    let with = |change: fn(&mut ConvOptions)| {
        let mut options = ConvOptions::new(2);
        change(&mut options);
        conv(&[2, 4, 1, 1], &options)
    };
    refuses("conv2d", with(|o| o.groups = 3), Argument, &["3 groups"]);
    refuses("conv2d", with(|o| o.groups = 0), Argument, &["at least 1"]);
    refuses(
        "conv2d",
        with(|o| o.stride = vec![1, 0]),
        Argument,
        &["at least 1"],
    );
    refuses(
        "conv2d",
        with(|o| o.padding = vec![1]),
        Argument,
        &["2 spatial"],
    );
    refuses(
        "conv2d",
        x.conv2d(&zeros(&[2, 4, 1, 1]), Some(&zeros(&[3])), &plain),
        Shape,
        &["bias"],
    );
    refuses(
        "conv1d",
        x.conv1d(&zeros(&[2, 4, 1]), None, &ConvOptions::new(1)),
        Shape,
        &["3 dimensions"],
    );

    let pool = |kernel: &[usize], stride: &[usize], padding: &[usize]| PoolOptions {
        kernel: kernel.to_vec(),
        stride: stride.to_vec(),
        padding: padding.to_vec(),
    };
    for (what, run) in [
        (
            "max_pool2d",
            Tensor::max_pool2d as fn(&Tensor, &PoolOptions) -> Outcome,
        ),
        ("avg_pool2d", Tensor::avg_pool2d),
    ] {
        refuses(
            what,
            run(&x, &pool(&[6, 6], &[1, 1], &[0, 0])),
            Shape,
            &["[6, 6]"],
        );
        refuses(
            what,
            run(&x, &pool(&[2], &[1, 1], &[0, 0])),
            Argument,
            &["two entries"],
        );
        refuses(
            what,
            run(&x, &pool(&[2, 2], &[0, 1], &[0, 0])),
            Argument,
            &["at least 1"],
        );
        refuses(
            what,
            run(&x, &pool(&[2, 2], &[1, 1], &[2, 0])),
            Argument,
            &["half"],
        );
        refuses(
            what,
            run(&zeros(&[4, 5]), &pool(&[2, 2], &[1, 1], &[0, 0])),
            Shape,
            &["[4, 5]"],
        );
    }
}

/// Indices that are out of range: an error on the processor, the nearest one elsewhere.
pub fn wrong_indices(device: &Device) {
    let x = Tensor::from_f32(&[3, 1], &[10.0, 20.0, 30.0], device).unwrap();
    let ids = |values: &[i64]| Tensor::from_i64(&[values.len()], values, device).unwrap();
    for wrong in [-1, 3, 1 << 30] {
        let index = ids(&[0, wrong]);
        let column = index.unsqueeze(1).unwrap();
        let outcomes = [
            ("index_select", x.index_select(0, &index)),
            ("gather", x.gather(0, &column)),
            ("embedding", x.embedding(&index)),
            ("scatter_add", x.scatter_add(0, &column, &x)),
        ];
        for (what, outcome) in outcomes {
            if device.is_cpu() {
                refuses(
                    what,
                    outcome,
                    Argument,
                    &[&wrong.to_string(), "out of range", "3"],
                );
            } else if what != "scatter_add" {
                let nearest = if wrong < 0 { 10.0 } else { 30.0 };
                assert_eq!(
                    outcome.unwrap().to_f32_vec().unwrap(),
                    [10.0, nearest],
                    "{what} {wrong}"
                );
            } else {
                assert_eq!(outcome.unwrap().numel(), 3);
            }
        }
        let logits = Tensor::zeros(&[2, 3], DType::F32, device).unwrap();
        let loss = logits.cross_entropy(&index, -100, 0.0, Reduction::Mean);
        if device.is_cpu() {
            refuses(
                "cross_entropy",
                loss,
                Argument,
                &[&wrong.to_string(), "3 classes", "-100"],
            );
        } else {
            assert!((loss.unwrap().item().unwrap() - 3_f64.ln()).abs() < 1e-5);
        }
    }
}

use super::*;
use crate::cpu::{self, Conv2d, Pool2d};

fn out_size(input: usize, kernel: usize, stride: usize, padding: usize, dilation: usize) -> usize {
    (input + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1
}

/// Runs `each(x index, weight index, out index)` over all products of a convolution.
fn products(c: &Conv2d, mut each: impl FnMut(usize, usize, usize)) {
    let (inner, outer) = (c.channels / c.groups, c.outputs / c.groups);
    for b in 0..c.batch {
        for o in 0..c.outputs {
            for i in 0..inner {
                for (y, x) in (0..c.output[0]).flat_map(|y| (0..c.output[1]).map(move |x| (y, x))) {
                    for (ky, kx) in
                        (0..c.kernel[0]).flat_map(|y| (0..c.kernel[1]).map(move |x| (y, x)))
                    {
                        let place = |axis: usize, at: usize, tap: usize| {
                            (at * c.stride[axis] + tap * c.dilation[axis])
                                .checked_sub(c.padding[axis])
                                .filter(|place| *place < c.input[axis])
                        };
                        let (Some(iy), Some(ix)) = (place(0, y, ky), place(1, x, kx)) else {
                            continue;
                        };
                        let channel = o / outer * inner + i;
                        each(
                            ((b * c.channels + channel) * c.input[0] + iy) * c.input[1] + ix,
                            ((o * inner + i) * c.kernel[0] + ky) * c.kernel[1] + kx,
                            ((b * c.outputs + o) * c.output[0] + y) * c.output[1] + x,
                        );
                    }
                }
            }
        }
    }
}

fn convolutions() -> Vec<Conv2d> {
    let mut all = Vec::new();
    for (batch, input, kernel, stride, padding, dilation, groups) in [
        (7, [9, 11], [3, 3], [1, 1], [1, 1], [1, 1], 1),
        (7, [9, 11], [3, 2], [2, 3], [0, 2], [1, 2], 2),
        (7, [8, 7], [1, 1], [1, 1], [0, 0], [1, 1], 1),
        (7, [8, 7], [1, 1], [2, 2], [0, 0], [1, 1], 3),
        (7, [1, 30], [1, 5], [1, 2], [0, 4], [1, 3], 6),
        (7, [3, 3], [3, 3], [1, 1], [2, 2], [2, 2], 1),
        // Several samples in one product, on one thread and shared.
        (90, [8, 8], [3, 3], [1, 1], [1, 1], [1, 1], 1),
        (90, [8, 8], [3, 3], [2, 2], [1, 1], [1, 1], 1),
        (90, [4, 4], [3, 3], [1, 1], [1, 1], [1, 1], 1),
        (3, [2, 2], [3, 3], [1, 1], [1, 1], [1, 1], 1),
        (90, [1, 16], [1, 3], [1, 1], [0, 1], [1, 1], 1),
        // Samples whose positions are summed up in several parts.
        (2, [41, 40], [3, 3], [1, 1], [1, 1], [1, 1], 1),
        (2, [41, 40], [3, 3], [1, 1], [1, 1], [1, 1], 6),
        // More padding than the kernel reaches.
        (2, [5, 5], [2, 2], [1, 1], [3, 3], [1, 1], 1),
    ] {
        let output = [0, 1].map(|axis| {
            out_size(
                input[axis],
                kernel[axis],
                stride[axis],
                padding[axis],
                dilation[axis],
            )
        });
        all.push(Conv2d {
            batch,
            channels: 6,
            outputs: 12,
            groups,
            input,
            output,
            kernel,
            stride,
            padding,
            dilation,
        });
    }
    all
}

#[test]
fn convolution_and_its_gradients() {
    for c in convolutions() {
        let x = values(1, c.batch * c.channels * c.input[0] * c.input[1], 1.0);
        let window = c.channels / c.groups * c.kernel[0] * c.kernel[1];
        let weight = values(2, c.outputs * window, 1.0);
        let bias = values(3, c.outputs, 1.0);
        let places = c.output[0] * c.output[1];
        let len = c.batch * c.outputs * places;
        let dy = values(4, len, 1.0);
        let all = on_any_pool(|| {
            let (mut out, mut plain) = (output(len), output(len));
            cpu::conv2d(&c, &x, &weight, Some(&bias), &mut out);
            cpu::conv2d(&c, &x, &weight, None, &mut plain);
            let (mut dx, mut dweight) = (output(x.len()), output(weight.len()));
            cpu::conv2d_backward(&c, &x, &weight, &dy, Some(&mut dx), Some(&mut dweight));
            [out, plain, dx, dweight].concat()
        });
        let (mut plain, mut dx) = (vec![0.0; len], vec![0.0; x.len()]);
        let mut dweight = vec![0.0; weight.len()];
        products(&c, |i, w, o| {
            plain[o] += f64::from(x[i]) * f64::from(weight[w]);
            dx[i] += f64::from(dy[o]) * f64::from(weight[w]);
            dweight[w] += f64::from(dy[o]) * f64::from(x[i]);
        });
        let biased = |(i, y): (usize, &f64)| y + f64::from(bias[i / places % c.outputs]);
        let out: Vec<f64> = plain.iter().enumerate().map(biased).collect();
        close(&all, &[out, plain, dx, dweight].concat(), 1e-5, 1e-4);
    }
}

#[test]
fn pooling_and_its_gradients() {
    for (input, kernel, stride, padding) in [
        ([8, 8], [2, 2], [2, 2], [0, 0]),
        ([9, 7], [3, 2], [2, 1], [1, 1]),
        ([5, 5], [5, 5], [1, 1], [0, 0]),
    ] {
        let output_size = [0, 1].map(|a| out_size(input[a], kernel[a], stride[a], padding[a], 1));
        let pool = Pool2d {
            input,
            output: output_size,
            kernel,
            stride,
            padding,
        };
        let planes = 11;
        let (inputs, outputs) = (input[0] * input[1], output_size[0] * output_size[1]);
        let x = values(5, planes * inputs, 1.0);
        let dy = values(6, planes * outputs, 1.0);
        let all = on_any_pool(|| {
            let (mut largest, mut mean) = (output(dy.len()), output(dy.len()));
            let (mut dx_max, mut dx_mean) = (output(x.len()), output(x.len()));
            let mut places = vec![0; dy.len()];
            cpu::max_pool2d(&pool, &x, &mut largest, &mut places);
            cpu::max_pool2d_backward(&pool, &dy, &places, &mut dx_max);
            cpu::avg_pool2d(&pool, &x, &mut mean);
            cpu::avg_pool2d_backward(&pool, &dy, &mut dx_mean);
            [largest, mean, dx_max, dx_mean].concat()
        });
        let (mut largest, mut mean) = (Vec::new(), Vec::new());
        let (mut dx_max, mut dx_mean) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let share = 1.0 / (kernel[0] * kernel[1]) as f64;
        for plane in 0..planes {
            for at in 0..outputs {
                let (y, z) = (at / output_size[1], at % output_size[1]);
                let dy = f64::from(dy[plane * outputs + at]);
                let mut window = Vec::new();
                for iy in 0..input[0] {
                    for ix in 0..input[1] {
                        let inside = |axis: usize, i: usize, o: usize| {
                            let start = o * stride[axis];
                            (start..start + kernel[axis]).contains(&(i + padding[axis]))
                        };
                        if inside(0, iy, y) && inside(1, ix, z) {
                            window.push(plane * inputs + iy * input[1] + ix);
                        }
                    }
                }
                let best = *window
                    .iter()
                    .max_by(|a, b| x[**a].total_cmp(&x[**b]))
                    .unwrap();
                largest.push(f64::from(x[best]));
                dx_max[best] += dy;
                mean.push(window.iter().map(|i| f64::from(x[*i])).sum::<f64>() * share);
                window.iter().for_each(|i| dx_mean[*i] += dy * share);
            }
        }
        close(&all, &[largest, mean, dx_max, dx_mean].concat(), 1e-5, 1e-6);
    }
}

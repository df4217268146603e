//! Steps of optimisers: a parameter and its moments, in one walk over memory. The results are new tensors:
//! others may still read the old ones.

use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::{
    Kernel, exactly,
    row::{packed, position},
};

/// The numbers of an AdamW step. Takes the parameter, the gradient and both moments; gives the parameter and
/// the moments.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second.
    pub beta2: f32,
    /// 1 − beta1.
    pub rest1: f32,
    /// 1 − beta2.
    pub rest2: f32,
    /// Added to the root.
    pub eps: f32,
    /// What is left of the parameter after decay.
    pub keep: f32,
    /// The corrected learning rate.
    pub size: f32,
    /// What the root of the second moment is multiplied by.
    pub unroot: f32,
    /// What the gradient is multiplied by.
    pub gradient_scale: f32,
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn adamw(
    p: &Array<f32>,
    g: &Array<f32>,
    m: &Array<f32>,
    v: &Array<f32>,
    new_p: &mut Array<f32>,
    new_m: &mut Array<f32>,
    new_v: &mut Array<f32>,
    count: usize,
    beta1: f32,
    beta2: f32,
    rest1: f32,
    rest2: f32,
    eps: f32,
    keep: f32,
    size: f32,
    unroot: f32,
    gradient_scale: f32,
) {
    let index = position();
    if index >= count {
        terminate!();
    }
    let gradient = g[index] * gradient_scale;
    let first = beta1 * m[index] + rest1 * gradient;
    let second = beta2 * v[index] + rest2 * gradient * gradient;
    new_m[index] = first;
    new_v[index] = second;
    new_p[index] = keep * p[index] - size * first / (f32::sqrt(second) * unroot + eps);
}

fn packed_like<R: CubeRuntime>(tensor: &CubeTensor<R>) -> CubeTensor<R> {
    packed(tensor, tensor.meta.shape().clone())
}

struct Launch<R: CubeRuntime> {
    client: ComputeClient<R>,
    cubes: CubeCount,
    dim: CubeDim,
    address: AddressType,
    count: usize,
}

impl<R: CubeRuntime> Launch<R> {
    fn over(tensor: &CubeTensor<R>) -> Self {
        let count = tensor.meta.num_elements();
        let dim = CubeDim::new_1d(256);
        Self {
            cubes: calculate_cube_count_elemwise(&tensor.client, count, dim),
            client: tensor.client.clone(),
            dim,
            address: tensor.required_address_type(),
            count,
        }
    }
}

impl Kernel for AdamW {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let [p, g, m, v] = exactly(inputs);
        let [p, g, m, v] = [p, g, m, v].map(into_contiguous);
        let [new_p, new_m, new_v] = [(); 3].map(|()| packed_like(&p));
        let at = Launch::over(&p);
        // SAFETY: the kernel stays below `count`, and all have so many elements.
        unsafe {
            adamw::launch_unchecked::<R>(
                &at.client,
                at.cubes,
                at.dim,
                at.address,
                p.into_array_arg(),
                g.into_array_arg(),
                m.into_array_arg(),
                v.into_array_arg(),
                new_p.clone().into_array_arg(),
                new_m.clone().into_array_arg(),
                new_v.clone().into_array_arg(),
                at.count,
                self.beta1,
                self.beta2,
                self.rest1,
                self.rest2,
                self.eps,
                self.keep,
                self.size,
                self.unroot,
                self.gradient_scale,
            );
        }
        vec![new_p, new_m, new_v]
    }
}

/// The numbers of an SGD step. Takes the parameter, the gradient, and the velocity where there is one; gives
/// the parameter and the velocity.
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f32,
    /// Added to the gradient: decay · p.
    pub weight_decay: f32,
    /// Decay of the velocity.
    pub momentum: f32,
    /// The gradient's share in the velocity.
    pub rest: f32,
    /// Nesterov: the velocity's share in the step besides the gradient.
    pub ahead: Option<f32>,
    /// What the gradient is multiplied by.
    pub gradient_scale: f32,
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn sgd(
    p: &Array<f32>,
    g: &Array<f32>,
    v: &Array<f32>,
    new_p: &mut Array<f32>,
    new_v: &mut Array<f32>,
    count: usize,
    lr: f32,
    weight_decay: f32,
    momentum: f32,
    rest: f32,
    ahead: f32,
    gradient_scale: f32,
    #[comptime] has_velocity: bool,
    #[comptime] nesterov: bool,
) {
    let index = position();
    if index >= count {
        terminate!();
    }
    let value = p[index];
    let mut direction = g[index] * gradient_scale + weight_decay * value;
    if has_velocity {
        let velocity = momentum * v[index] + rest * direction;
        new_v[index] = velocity;
        if nesterov {
            direction += ahead * velocity;
        } else {
            direction = velocity;
        }
    }
    new_p[index] = value - lr * direction;
}

impl Kernel for Sgd {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let mut inputs = inputs.into_iter();
        let mut next = || inputs.next();
        let (Some(p), Some(g), v) = (next(), next(), next()) else {
            panic!("sgd: an input is missing");
        };
        let (p, g, v) = (
            into_contiguous(p),
            into_contiguous(g),
            v.map(into_contiguous),
        );
        let new_p = packed_like(&p);
        let new_v = v.as_ref().map(packed_like);
        let at = Launch::over(&p);
        // SAFETY: the kernel stays below `count`, and all have so many elements.
        unsafe {
            sgd::launch_unchecked::<R>(
                &at.client,
                at.cubes,
                at.dim,
                at.address,
                p.clone().into_array_arg(),
                g.into_array_arg(),
                v.unwrap_or(p).into_array_arg(),
                new_p.clone().into_array_arg(),
                new_v.as_ref().unwrap_or(&new_p).clone().into_array_arg(),
                at.count,
                self.lr,
                self.weight_decay,
                self.momentum,
                self.rest,
                self.ahead.unwrap_or(0.0),
                self.gradient_scale,
                new_v.is_some(),
                self.ahead.is_some(),
            );
        }
        [Some(new_p), new_v].into_iter().flatten().collect()
    }
}

/// The numbers of a Lion step. Takes the parameter, the gradient and the mean; gives the parameter and the
/// mean.
#[derive(Clone, Copy, Debug)]
pub struct Lion {
    /// The mean's share in the direction.
    pub beta1: f32,
    /// 1 − beta1.
    pub rest1: f32,
    /// Decay of the mean.
    pub beta2: f32,
    /// 1 − beta2.
    pub rest2: f32,
    /// What is left of the parameter after decay.
    pub keep: f32,
    /// Learning rate.
    pub lr: f32,
    /// What the gradient is multiplied by.
    pub gradient_scale: f32,
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn lion(
    p: &Array<f32>,
    g: &Array<f32>,
    m: &Array<f32>,
    new_p: &mut Array<f32>,
    new_m: &mut Array<f32>,
    count: usize,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    keep: f32,
    lr: f32,
    gradient_scale: f32,
) {
    let index = position();
    if index >= count {
        terminate!();
    }
    let gradient = g[index] * gradient_scale;
    let mean = m[index];
    let direction = beta1 * mean + rest1 * gradient;
    let mut step = 0.0f32;
    if direction > 0.0 {
        step = lr;
    }
    if direction < 0.0 {
        step = -lr;
    }
    new_m[index] = beta2 * mean + rest2 * gradient;
    new_p[index] = keep * p[index] - step;
}

impl Kernel for Lion {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let [p, g, m] = exactly(inputs);
        let [p, g, m] = [p, g, m].map(into_contiguous);
        let [new_p, new_m] = [(); 2].map(|()| packed_like(&p));
        let at = Launch::over(&p);
        // SAFETY: the kernel stays below `count`, and all have so many elements.
        unsafe {
            lion::launch_unchecked::<R>(
                &at.client,
                at.cubes,
                at.dim,
                at.address,
                p.into_array_arg(),
                g.into_array_arg(),
                m.into_array_arg(),
                new_p.clone().into_array_arg(),
                new_m.clone().into_array_arg(),
                at.count,
                self.beta1,
                self.rest1,
                self.beta2,
                self.rest2,
                self.keep,
                self.lr,
                self.gradient_scale,
            );
        }
        vec![new_p, new_m]
    }
}

//! Convolutions as matrix products: what a window covers is one column of a matrix that is never
//! laid out, since products read their operands through tables of offsets.

mod backward;
mod forward;
mod windows;

pub use backward::conv2d_backward;
pub use forward::conv2d;

/// The sizes of a convolution: x [batch, channels, height, width], weight
/// [outputs, channels/groups, kernel height, kernel width]. One dimension: height 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Samples.
    pub batch: usize,
    /// Channels of the input.
    pub channels: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Groups of channels that do not mix.
    pub groups: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Steps between applications.
    pub stride: [usize; 2],
    /// Zeros on both sides.
    pub padding: [usize; 2],
    /// Steps between the kernel's elements.
    pub dilation: [usize; 2],
}

impl Conv2d {
    /// Whether a sample with its padding, in and out, has few enough elements for offsets of 32 bits.
    pub fn is_addressable(&self) -> bool {
        let padded = |axis: usize| self.input[axis] + 2 * self.padding[axis];
        let within = |sizes: [usize; 3]| {
            let product = sizes.into_iter().try_fold(1, usize::checked_mul);
            product.is_some_and(|len| len < 1 << 31)
        };
        within([self.channels, padded(0), padded(1)])
            && within([self.outputs, self.output[0], self.output[1]])
            && within([self.outputs, self.inner(), self.taps()])
    }

    /// At most `samples`: as many as offsets of 32 bits reach over.
    fn reachable(&self, samples: usize) -> usize {
        let padded = |axis: usize| self.input[axis] + 2 * self.padding[axis];
        let sample = (self.channels * padded(0) * padded(1)).max(self.outputs * self.places());
        samples.min((1 << 31) / sample.max(1)).max(1)
    }

    fn input_len(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Positions of the output.
    fn places(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Elements of the kernel.
    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Inputs of one group.
    fn inner(&self) -> usize {
        self.channels / self.groups
    }

    /// Outputs of one group.
    fn outer(&self) -> usize {
        self.outputs / self.groups
    }

    /// Elements of a window.
    fn window(&self) -> usize {
        self.inner() * self.taps()
    }

    fn check(&self, x: usize, weight: usize, out: usize) {
        assert_eq!(x, self.batch * self.channels * self.input_len());
        assert_eq!(weight, self.outputs * self.window());
        assert_eq!(out, self.batch * self.outputs * self.places());
    }
}

/// How samples are shared between threads.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// Samples whose product is computed at once.
    samples: usize,
    /// Whether threads share each product, rather than each computing products of its own.
    products: bool,
}

/// Columns of a product on one thread: enough that packing the other operand does not count.
const COLUMNS: usize = 256;
/// Elements of windows in a product on one thread: what the caches hold.
const WINDOWS: usize = 1 << 18;

impl Share {
    /// For products that have a column for each position and `window` terms or rows.
    fn new(conv: &Conv2d) -> Self {
        let (batch, places) = (conv.batch, conv.places());
        if conv.groups > 1 {
            // One task: one group of one sample.
            return Self {
                samples: 1,
                products: false,
            };
        }
        let threads = rayon::current_num_threads();
        let columns = (WINDOWS / conv.window().max(1)).max(COLUMNS);
        if batch < threads || batch * places < threads * COLUMNS {
            return Self {
                samples: conv.reachable((4 * columns).div_ceil(places.max(1)).min(batch)),
                products: true,
            };
        }
        // As many tasks as threads, or a multiple of that.
        let tasks = batch.div_ceil((columns / places.max(1)).max(1));
        Self {
            samples: conv.reachable(batch.div_ceil(tasks.next_multiple_of(threads))),
            products: false,
        }
    }
}

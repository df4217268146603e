//! Generated bindings of the WIT contract.
//!
//! The imports are generated once, in [`imports`], and shared by the four worlds, so that a batch or
//! an error is one Rust type wherever it appears.
#![allow(missing_docs, clippy::all)]

/// Everything that the host implements for plugins.
pub mod imports {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package tenon:everything;
            world imports {
              import tenon:plugin/types@0.1.0;
              import tenon:plugin/host@0.1.0;
              import tenon:data/batches@0.1.0;
              import tenon:data/datasets@0.1.0;
              import tenon:data/tokenizer@0.1.0;
              import tenon:evaluator/model@0.1.0;
              import tenon:tensor/tensors@0.1.0;
              import tenon:recipe/model-host@0.1.0;
            }
        ",
        world: "tenon:everything/imports",
        imports: { default: trappable },
        with: {
            "tenon:data/batches": crate::batch::wit,
            "tenon:data/datasets.reader": crate::state::ReaderHandle,
            "tenon:tensor/tensors.tensor": crate::state::TensorHandle,
            "tenon:recipe/model-host.scope": crate::state::ScopeHandle,
            "tenon:recipe/model-host.pass": crate::state::PassHandle,
        },
    });
}

pub use crate::batch::wit as batches;
pub use imports::tenon::data::{datasets, tokenizer};
pub use imports::tenon::evaluator::model;
pub use imports::tenon::plugin::{host, types};
pub use imports::tenon::recipe::model_host;
pub use imports::tenon::tensor::tensors;

/// The world `transform-plugin`.
pub mod transform {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "tenon:worlds/transform-plugin",
        imports: { default: trappable },
        with: {
            "tenon:plugin/types": crate::bindings::types,
            "tenon:plugin/host": crate::bindings::host,
            "tenon:data/batches": crate::bindings::batches,
            "tenon:data/datasets": crate::bindings::datasets,
            "tenon:data/tokenizer": crate::bindings::tokenizer,
        },
    });
    pub use exports::tenon::transform::transform as face;
}

/// The world `recipe-plugin`.
pub mod recipe {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "tenon:worlds/recipe-plugin",
        imports: { default: trappable },
        with: {
            "tenon:plugin/types": crate::bindings::types,
            "tenon:plugin/host": crate::bindings::host,
            "tenon:tensor/tensors": crate::bindings::tensors,
            "tenon:recipe/model-host": crate::bindings::model_host,
        },
    });
    pub use exports::tenon::recipe::recipe as face;
}

/// The world `evaluator-plugin`.
pub mod evaluator {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "tenon:worlds/evaluator-plugin",
        imports: { default: trappable },
        with: {
            "tenon:plugin/types": crate::bindings::types,
            "tenon:plugin/host": crate::bindings::host,
            "tenon:data/batches": crate::bindings::batches,
            "tenon:data/datasets": crate::bindings::datasets,
            "tenon:data/tokenizer": crate::bindings::tokenizer,
            "tenon:evaluator/model": crate::bindings::model,
        },
    });
    pub use exports::tenon::evaluator::evaluator as face;
}

/// The world `processor-plugin`.
pub mod processor {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "tenon:worlds/processor-plugin",
        imports: { default: trappable },
        with: {
            "tenon:plugin/types": crate::bindings::types,
            "tenon:plugin/host": crate::bindings::host,
            "tenon:data/batches": crate::bindings::batches,
            "tenon:data/datasets": crate::bindings::datasets,
            "tenon:data/tokenizer": crate::bindings::tokenizer,
        },
    });
    pub use exports::tenon::processor::processor as face;
}

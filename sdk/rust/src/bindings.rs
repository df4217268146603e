//! Generated bindings of the WIT contract.
//!
//! The imports are generated once, in [`imports`], and shared by everything that is exported, so that
//! a batch, a tensor or an error is one Rust type wherever it appears. The export of the description
//! and those of the four kinds are worlds of their own here; a plugin exports the first and one of
//! the others, which together are its world in `wit/worlds.wit`. Nothing of a world ends up in a
//! plugin unless the plugin exports it.
#![allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]

/// Everything that the host offers.
pub mod imports {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package tenon:sdk;
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
        world: "tenon:sdk/imports",
        generate_all,
        generate_unused_types: true,
    });
}

pub use imports::tenon::data::{batches, datasets, tokenizer};
pub use imports::tenon::evaluator::model;
pub use imports::tenon::plugin::{host, types};
pub use imports::tenon::recipe::model_host;
pub use imports::tenon::tensor::tensors;

/// What every plugin exports.
pub mod plugin {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package tenon:sdk;
            world plugin { export tenon:plugin/plugin@0.1.0; }
        ",
        world: "tenon:sdk/plugin",
        pub_export_macro: true,
        export_macro_name: "__export_plugin",
        with: { "tenon:plugin/types@0.1.0": crate::bindings::types },
    });
    pub use exports::tenon::plugin::plugin as face;
}

/// What a transform exports.
pub mod transform {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package tenon:sdk;
            world transform { export tenon:transform/transform@0.1.0; }
        ",
        world: "tenon:sdk/transform",
        pub_export_macro: true,
        export_macro_name: "__export_transform",
        with: {
            "tenon:plugin/types@0.1.0": crate::bindings::types,
            "tenon:data/batches@0.1.0": crate::bindings::batches,
        },
    });
    pub use exports::tenon::transform::transform as face;
}

/// What a recipe exports.
pub mod recipe {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package tenon:sdk;
            world recipe { export tenon:recipe/recipe@0.1.0; }
        ",
        world: "tenon:sdk/recipe",
        pub_export_macro: true,
        export_macro_name: "__export_recipe",
        with: {
            "tenon:plugin/types@0.1.0": crate::bindings::types,
            "tenon:tensor/tensors@0.1.0": crate::bindings::tensors,
            "tenon:recipe/model-host@0.1.0": crate::bindings::model_host,
        },
    });
    pub use exports::tenon::recipe::recipe as face;
}

/// What an evaluator exports.
pub mod evaluator {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package tenon:sdk;
            world evaluator { export tenon:evaluator/evaluator@0.1.0; }
        ",
        world: "tenon:sdk/evaluator",
        pub_export_macro: true,
        export_macro_name: "__export_evaluator",
        with: {
            "tenon:plugin/types@0.1.0": crate::bindings::types,
            "tenon:data/batches@0.1.0": crate::bindings::batches,
        },
    });
    pub use exports::tenon::evaluator::evaluator as face;
}

/// What a processor exports.
pub mod processor {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package tenon:sdk;
            world processor { export tenon:processor/processor@0.1.0; }
        ",
        world: "tenon:sdk/processor",
        pub_export_macro: true,
        export_macro_name: "__export_processor",
        with: { "tenon:plugin/types@0.1.0": crate::bindings::types },
    });
    pub use exports::tenon::processor::processor as face;
}

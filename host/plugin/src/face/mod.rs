//! The four kinds of plugin as the rest of the host sees them.
//!
//! Each face is a struct around an [`Instance`](crate::instance::Instance) of its world:
//! `Instance::<bindings::transform::TransformPlugin>::open(component, grants)`, then
//! `instance.call_result("process", |store, world| world.…().call_process(store, …))`.

pub mod evaluator;
pub mod processor;
pub mod recipe;
pub mod transform;

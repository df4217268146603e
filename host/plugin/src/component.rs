//! Loaded components.

use std::{
    any::Any,
    fmt::Write as _,
    sync::{Arc, OnceLock},
};

use sha2::{Digest as _, Sha256};

use crate::{
    Description, Engine, Kind, PluginError,
    bindings::{
        evaluator::EvaluatorPlugin, processor::ProcessorPlugin, recipe::RecipePlugin,
        transform::TransformPlugin,
    },
    instance::{self, World, world},
    pack,
};

world!(transform, TransformPlugin, TransformPluginPre, Transform);
world!(recipe, RecipePlugin, RecipePluginPre, Recipe);
world!(evaluator, EvaluatorPlugin, EvaluatorPluginPre, Evaluator);
world!(processor, ProcessorPlugin, ProcessorPluginPre, Processor);

/// A component that is compiled and ready to be opened. Cheap to clone.
#[derive(Clone)]
pub struct Component {
    engine: Engine,
    loaded: Arc<Loaded>,
}

/// What is kept of a component.
pub(crate) struct Loaded {
    pub(crate) digest: String,
    pub(crate) code: wasmtime::component::Component,
    pub(crate) kind: Kind,
    /// The plugin's name for messages, before anything else is known of it.
    pub(crate) name: Arc<str>,
    description: Description,
    /// What the description asks for.
    pub(crate) capabilities: Arc<[String]>,
    readme: Option<String>,
    /// The linked component of its world: a `W::Pre`.
    linked: OnceLock<Box<dyn Any + Send + Sync>>,
    /// What the faces keep with a component: the compiled configuration schema.
    pub(crate) prepared: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// `sha256:` and the digest in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(7 + 64);
    text.push_str("sha256:");
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl Loaded {
    pub(crate) fn new(engine: &Engine, bytes: &[u8], digest: String) -> Result<Self, PluginError> {
        let short = short(&digest);
        let corrupt = |message: String| PluginError::corrupt(&short, "load", message);
        if bytes.get(..4) != Some(b"\0asm") {
            return Err(
                corrupt("this is no WebAssembly: it does not begin with \\0asm".into())
                    .with_hint("the file was cut, altered in transfer, or is something else"),
            );
        }
        if wasmparser::Parser::is_core_wasm(bytes) {
            return Err(PluginError::wrong_world(
                &short,
                "load",
                "this is a core WebAssembly module, not a component",
            )
            .with_hint(
                "build it as a component: `cargo xtask plugins`, or `wasm-tools component new`",
            ));
        }
        let pack::Carried {
            description: described,
            readme,
        } = pack::read(bytes).map_err(&corrupt)?;
        let code = engine.compile(bytes, &digest).map_err(|error| {
            corrupt(format!("it is no valid component: {error:#}"))
                .with_hint("build it again; proposals such as threads, memory64, GC and exceptions are not accepted")
        })?;
        let name: Arc<str> = described
            .as_ref()
            .map_or_else(|| short.as_str().into(), |d| d.name.as_str().into());
        let kind = kind(engine, &code, &name)?;
        let mut loaded = Self {
            digest,
            code,
            kind,
            name,
            description: Description::default(),
            capabilities: Arc::default(),
            readme,
            linked: OnceLock::new(),
            prepared: OnceLock::new(),
        };
        loaded.link_for_kind(engine)?;
        // What it carries is what others have read before they installed it: it must be what it says.
        let said = loaded.ask(engine)?;
        if let Some(differs) = described
            .as_ref()
            .and_then(|carried| carried.difference(&said))
        {
            return Err(PluginError::contract(
                &loaded.name,
                "load",
                format!("the description that it carries is not the one that it gives: {differs}"),
            )
            .with_hint("pack it again after building: `cargo xtask plugins`"));
        }
        loaded.capabilities = said.capabilities.as_slice().into();
        loaded.description = said;
        loaded.name = loaded.description.name.as_str().into();
        if loaded.description.kind != kind {
            return Err(PluginError::wrong_world(
                &loaded.name,
                "load",
                format!(
                    "it calls itself a {}, but what it exports is a {kind}",
                    loaded.description.kind
                ),
            ));
        }
        Ok(loaded)
    }

    /// The linked component of the world `W`.
    pub(crate) fn linked<W: World>(&self) -> Result<&W::Pre, PluginError> {
        self.linked
            .get()
            .and_then(|any| any.downcast_ref())
            .ok_or_else(|| {
                PluginError::wrong_world(
                    &self.name,
                    "open",
                    format!(
                        "this plugin is a {}; a {} is needed here",
                        self.kind,
                        W::KIND
                    ),
                )
            })
    }

    /// Links against the world of the component's kind.
    fn link_for_kind(&self, engine: &Engine) -> Result<(), PluginError> {
        match self.kind {
            Kind::Transform => self.link::<TransformPlugin>(engine),
            Kind::Recipe => self.link::<RecipePlugin>(engine),
            Kind::Evaluator => self.link::<EvaluatorPlugin>(engine),
            Kind::Processor => self.link::<ProcessorPlugin>(engine),
        }
    }

    /// Calls `describe` of a component that carries no description.
    fn ask(&self, engine: &Engine) -> Result<Description, PluginError> {
        match self.kind {
            Kind::Transform => self.ask_world::<TransformPlugin>(engine),
            Kind::Recipe => self.ask_world::<RecipePlugin>(engine),
            Kind::Evaluator => self.ask_world::<EvaluatorPlugin>(engine),
            Kind::Processor => self.ask_world::<ProcessorPlugin>(engine),
        }
    }

    fn link<W: World>(&self, engine: &Engine) -> Result<(), PluginError> {
        let linked = instance::link::<W>(engine, &self.code, &self.name)?;
        let _ = self.linked.set(Box::new(linked));
        Ok(())
    }
}

/// The start of a digest, for messages about a component without a name.
pub(crate) fn short(digest: &str) -> String {
    digest.chars().take(7 + 12).collect()
}

/// The kind of plugin by what the component exports.
fn kind(
    engine: &Engine,
    code: &wasmtime::component::Component,
    name: &str,
) -> Result<Kind, PluginError> {
    let exports: Vec<String> = code
        .component_type()
        .exports(&engine.inner().wasm)
        .map(|(name, _)| name.to_owned())
        .collect();
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| {
            exports
                .iter()
                .any(|export| export.starts_with(&format!("tenon:{kind}/{kind}@")))
        })
        .collect();
    match kinds[..] {
        [kind] => Ok(kind),
        [] => {
            let found = if exports.is_empty() {
                "nothing".to_owned()
            } else {
                exports.join(", ")
            };
            Err(PluginError::wrong_world(
                name,
                "load",
                format!(
                    "it is a component, but no plugin: it exports {found}, and none of tenon:transform/transform, \
                     tenon:recipe/recipe, tenon:evaluator/evaluator, tenon:processor/processor"
                ),
            )
            .with_hint("build it against one of the worlds in wit/worlds.wit; `tenon plugin check` says what is missing"))
        }
        _ => Err(PluginError::wrong_world(
            name,
            "load",
            format!("it exports several kinds of plugin at once: {kinds:?}"),
        )
        .with_hint("build one component for each kind")),
    }
}

impl Component {
    pub(crate) fn new(engine: Engine, loaded: Arc<Loaded>) -> Self {
        Self { engine, loaded }
    }

    /// `sha256:` and the digest of the component's bytes in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.loaded.digest
    }

    /// Transform, recipe, evaluator or processor.
    pub fn kind(&self) -> Kind {
        self.loaded.kind
    }

    /// What the plugin says about itself.
    pub fn description(&self) -> &Description {
        &self.loaded.description
    }

    /// Its README (Markdown), where it carries one.
    pub fn readme(&self) -> Option<&str> {
        self.loaded.readme.as_deref()
    }

    /// The engine that loaded it.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn loaded(&self) -> &Loaded {
        &self.loaded
    }
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component")
            .field("name", &self.loaded.name)
            .field("kind", &self.loaded.kind)
            .field("digest", &self.loaded.digest)
            .finish_non_exhaustive()
    }
}

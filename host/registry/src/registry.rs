//! Installing, finding and removing.

use std::collections::HashSet;
use std::path::Path;

use jiff::Timestamp;
use tenon_plugin::{Component, Engine};
use tenon_store::{Digest, JsonTable, Store, StoreError, Transaction};

use crate::error::RegistryError;
use crate::installed::{InstalledPlugin, PluginSpec};

/// Plugins by digest.
const PLUGINS: &str = "plugins";
/// `name@version` → digest.
const NAMES: &str = "plugin-names";

/// How to install.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InstallOptions {
    /// Take over a name and version that another component has. That one stays reachable by digest.
    pub replace: bool,
}

/// The installed plugins of a data folder. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    store: Store,
    engine: Engine,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("root", &self.store.root())
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// The plugins installed in a data folder.
    #[must_use]
    pub fn open(store: &Store, engine: &Engine) -> Self {
        Self {
            store: store.clone(),
            engine: engine.clone(),
        }
    }

    /// The engine that loads the components.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Verifies a component (it is compiled here, never on a request) and installs it. Installing the
    /// same bytes again changes nothing and returns what is there. Durable when it returns; a crash
    /// leaves the whole plugin or none.
    ///
    /// # Errors
    /// [`RegistryError::Plugin`] when it is not a plugin; [`RegistryError::Conflict`] when its name and
    /// version belong to other bytes; [`RegistryError::Store`].
    pub fn install(
        &self,
        bytes: &[u8],
        options: InstallOptions,
    ) -> Result<InstalledPlugin, RegistryError> {
        let component = self.engine.load(bytes)?;
        // Stored before it is named; leased, so that a sweep in between leaves it alone.
        let blob = Digest::of(bytes);
        let lease = self.store.blobs().lease(&blob);
        let put = self.store.blobs().put(bytes)?;
        debug_assert_eq!(put, blob);
        let plugin = describe(&component, bytes.len() as u64, blob);
        loop {
            match self.record(&plugin, options) {
                // Somebody installed or removed the same name meanwhile: look again.
                Err(RegistryError::Store(error)) if error.is_conflict() => {}
                other => {
                    drop(lease);
                    return other;
                }
            }
        }
    }

    /// Installs a component from a file.
    ///
    /// # Errors
    /// As [`Registry::install`]; what reading the file says.
    pub fn install_file(
        &self,
        path: &Path,
        options: InstallOptions,
    ) -> Result<InstalledPlugin, RegistryError> {
        let bytes = std::fs::read(path).map_err(|error| {
            StoreError::InvalidArgument(format!("cannot read {}: {error}", path.display()))
        })?;
        self.install(&bytes, options)
    }

    fn record(
        &self,
        plugin: &InstalledPlugin,
        options: InstallOptions,
    ) -> Result<InstalledPlugin, RegistryError> {
        let id = plugin.id();
        let holder = self.store.get(NAMES, &id)?;
        let mut transaction = match &holder {
            None => Transaction::new().expect_absent(NAMES, &id),
            Some(digest) => Transaction::new().expect_equals(NAMES, &id, digest),
        };
        if let Some(holder) = &holder {
            let installed = String::from_utf8_lossy(holder).into_owned();
            if installed == plugin.digest
                && let Some(found) = self.plugins().get(&installed)?
            {
                return Ok(found);
            }
            if installed != plugin.digest {
                if !options.replace {
                    return Err(RegistryError::Conflict {
                        name: plugin.name.clone(),
                        version: plugin.version.clone(),
                        installed,
                        offered: plugin.digest.clone(),
                    });
                }
                if let Some(old) = self.plugins().get(&installed)? {
                    let old = InstalledPlugin {
                        replaced: true,
                        ..old
                    };
                    self.plugins().add_put(&mut transaction, &installed, &old)?;
                }
            }
        }
        transaction.add_put(NAMES, &id, &plugin.digest);
        self.plugins()
            .add_put(&mut transaction, &plugin.digest, plugin)?;
        self.store.commit(transaction)?;
        tracing::info!(plugin = id, digest = plugin.digest, "installed");
        Ok(plugin.clone())
    }

    /// The installed plugin that a text means: `name`, `name@version` or `sha256:…`.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] naming what is installed, [`RegistryError::Ambiguous`],
    /// [`RegistryError::InvalidSpec`].
    pub fn find(&self, spec: &str) -> Result<InstalledPlugin, RegistryError> {
        let parsed: PluginSpec = spec.parse()?;
        let all = self.list_all()?;
        let mut fits: Vec<&InstalledPlugin> = all
            .iter()
            .filter(|plugin| match &parsed {
                PluginSpec::Name(name) => plugin.name == *name && !plugin.replaced,
                PluginSpec::Version { name, version } => {
                    plugin.name == *name && plugin.version == *version && !plugin.replaced
                }
                PluginSpec::Digest(digest) => plugin.digest.starts_with(digest.as_str()),
            })
            .collect();
        if matches!(parsed, PluginSpec::Digest(_)) && fits.len() > 1 {
            let plugins: Vec<_> = fits
                .iter()
                .map(|plugin| format!("{} {}", plugin.id(), plugin.digest))
                .collect();
            return Err(RegistryError::Ambiguous {
                spec: spec.to_owned(),
                plugins: plugins.join(", "),
            });
        }
        if fits.iter().any(|plugin| !plugin.is_prerelease()) {
            fits.retain(|plugin| !plugin.is_prerelease());
        }
        fits.sort_by(|a, b| a.version_order(b));
        match fits.last() {
            Some(plugin) => Ok((*plugin).clone()),
            None => Err(not_found(spec, &parsed, &all)),
        }
    }

    /// The component that a text means, loaded: compiled code comes from the engine's cache.
    ///
    /// # Errors
    /// As [`Registry::find`]; [`RegistryError::Store`] when its bytes are damaged or missing.
    pub fn resolve(&self, spec: &str) -> Result<Component, RegistryError> {
        let plugin = self.find(spec)?;
        Ok(self.engine.load(&self.bytes_of(&plugin)?)?)
    }

    /// The bytes of a plugin, verified.
    ///
    /// # Errors
    /// As [`Registry::resolve`].
    pub fn bytes(&self, spec: &str) -> Result<Vec<u8>, RegistryError> {
        self.bytes_of(&self.find(spec)?)
    }

    fn bytes_of(&self, plugin: &InstalledPlugin) -> Result<Vec<u8>, RegistryError> {
        Ok(self.store.blobs().read(&plugin.blob)?)
    }

    /// The README of a plugin, Markdown.
    ///
    /// # Errors
    /// As [`Registry::resolve`].
    pub fn readme(&self, spec: &str) -> Result<Option<String>, RegistryError> {
        Ok(self.resolve(spec)?.readme().map(str::to_owned))
    }

    /// The installed plugins by name, then version; replaced ones left out.
    ///
    /// # Errors
    /// When records cannot be read.
    pub fn list(&self) -> Result<Vec<InstalledPlugin>, RegistryError> {
        let mut all = self.list_all()?;
        all.retain(|plugin| !plugin.replaced);
        Ok(all)
    }

    /// All installed plugins, also those that were replaced.
    ///
    /// # Errors
    /// When records cannot be read.
    pub fn list_all(&self) -> Result<Vec<InstalledPlugin>, RegistryError> {
        let mut all: Vec<InstalledPlugin> = self
            .plugins()
            .list()?
            .into_iter()
            .map(|(_, plugin)| plugin)
            .collect();
        all.sort_by(|a, b| {
            a.name
                .cmp(&b.name)
                .then_with(|| a.version_order(b))
                .then_with(|| a.installed_at.cmp(&b.installed_at))
        });
        Ok(all)
    }

    /// Removes a plugin. `used_by` says what still needs it, if anything (a model, a deployment);
    /// pass `|_| None` to force. Its bytes are freed by the next blob sweep.
    ///
    /// # Errors
    /// [`RegistryError::InUse`]; as [`Registry::find`].
    pub fn remove(
        &self,
        spec: &str,
        used_by: impl FnOnce(&InstalledPlugin) -> Option<String>,
    ) -> Result<InstalledPlugin, RegistryError> {
        let plugin = self.find(spec)?;
        if let Some(by) = used_by(&plugin) {
            return Err(RegistryError::InUse {
                plugin: format!("{} ({})", plugin.id(), plugin.digest),
                by,
            });
        }
        let mut transaction = Transaction::new().delete(PLUGINS, &plugin.digest);
        if !plugin.replaced {
            let id = plugin.id();
            // Not if another component has taken the name over meanwhile.
            transaction = transaction
                .expect_equals(NAMES, &id, &plugin.digest)
                .delete(NAMES, &id);
        }
        self.store.commit(transaction)?;
        Ok(plugin)
    }

    /// The blobs of all installed plugins: what a sweep must keep.
    ///
    /// # Errors
    /// When records cannot be read.
    pub fn live_blobs(&self) -> Result<HashSet<Digest>, RegistryError> {
        let all = self.list_all()?;
        Ok(all.into_iter().map(|plugin| plugin.blob).collect())
    }

    fn plugins(&self) -> JsonTable<InstalledPlugin> {
        self.store.json(PLUGINS)
    }
}

fn describe(component: &Component, size: u64, blob: Digest) -> InstalledPlugin {
    let description = component.description();
    InstalledPlugin {
        name: description.name.clone(),
        version: description.version.clone(),
        kind: component.kind(),
        digest: component.digest().to_owned(),
        summary: description.summary.clone(),
        config_schema: description.config_schema.clone(),
        capabilities: description.capabilities.clone(),
        has_readme: component.readme().is_some(),
        size,
        blob,
        installed_at: Timestamp::now(),
        replaced: false,
    }
}

fn not_found(spec: &str, parsed: &PluginSpec, all: &[InstalledPlugin]) -> RegistryError {
    let current = || all.iter().filter(|plugin| !plugin.replaced);
    let versions: Vec<&str> = match parsed {
        PluginSpec::Version { name, .. } => current()
            .filter(|plugin| plugin.name == *name)
            .map(|plugin| plugin.version.as_str())
            .collect(),
        _ => Vec::new(),
    };
    let hint = if !versions.is_empty() {
        format!("installed versions: {}", versions.join(", "))
    } else if all.is_empty() {
        "nothing is installed yet: install a component first".to_owned()
    } else {
        let mut names: Vec<&str> = current().map(|plugin| plugin.name.as_str()).collect();
        names.dedup();
        format!("installed are: {}", names.join(", "))
    };
    RegistryError::NotFound {
        spec: spec.to_owned(),
        hint,
    }
}

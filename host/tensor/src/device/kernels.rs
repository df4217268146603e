//! Where the kernels of GPUs are kept. They are compiled and timed when a shape is first met, which
//! takes minutes for a model; kept in a folder of the user, the next process starts at once.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Once,
};

use cubecl_runtime::config::{
    CubeClRuntimeConfig, RuntimeConfig, autotune::AutotuneLevel, cache::CacheConfig,
};

use super::found;

/// The folder, if this is set: else `tenon/kernels` in the user's cache folder.
const VARIABLE: &str = "TENON_KERNEL_CACHE";

/// Before the first GPU starts. What a `cubecl.toml` or its environment variables say comes first.
pub(super) fn configure() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
        if let (CacheConfig::Target, Some(folder)) = (&config.autotune.cache, folder()) {
            config.autotune.cache = CacheConfig::File(folder.clone());
            config.compilation.cache = compiled(&folder).map(CacheConfig::File);
        }
        if env::var_os("CUBECL_AUTOTUNE_LEVEL").is_none()
            && matches!(config.autotune.level, AutotuneLevel::Balanced)
        {
            // Sizes fall into coarser classes: fewer kernels are timed, and each is still the best of
            // its class.
            config.autotune.level = AutotuneLevel::Minimal;
        }
        CubeClRuntimeConfig::set(config);
    });
}

/// Where compiled kernels are kept: they are for one state of the sources and one kind of GPU, of which
/// CubeCL's keys say nothing. Nowhere for different GPUs in one machine.
fn compiled(folder: &Path) -> Option<PathBuf> {
    let names = found::cuda_names();
    let kind = names.first().map_or("none", String::as_str);
    if names.iter().any(|name| name != kind) {
        return None;
    }
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '-'
        }
    };
    let kind: String = kind.chars().map(plain).collect();
    Some(folder.join(tenon_gpu::KERNELS).join(kind))
}

fn folder() -> Option<PathBuf> {
    let named = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    named(VARIABLE).or_else(|| {
        let cache = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")))?;
        Some(cache.join("tenon").join("kernels"))
    })
}

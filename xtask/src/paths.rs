//! Where things lie: the repository and the cache.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The repository this xtask was built from.
pub fn repository() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here
        .parent()
        .context("xtask lies in the repository's root")?
        .to_path_buf())
}

/// What is downloaded or built once and kept: `MEMMON_CACHE`, or `memmon-ebpf` in the user's cache.
pub fn cache() -> Result<PathBuf> {
    let chosen = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = match (
        chosen("MEMMON_CACHE"),
        chosen("XDG_CACHE_HOME"),
        chosen("HOME"),
    ) {
        (Some(cache), _, _) => cache,
        (None, Some(caches), _) => caches.join("memmon-ebpf"),
        (None, None, Some(home)) => home.join(".cache/memmon-ebpf"),
        (None, None, None) => anyhow::bail!(
            "neither HOME nor MEMMON_CACHE is set: set MEMMON_CACHE to a directory for downloads"
        ),
    };
    std::fs::create_dir_all(&cache).with_context(|| {
        format!(
            "cannot make the cache {}: set MEMMON_CACHE to another place",
            cache.display()
        )
    })?;
    Ok(cache)
}

/// Where cargo puts what it builds for the host.
pub fn target(repository: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) if !target.is_empty() => repository.join(target),
        _ => repository.join("target"),
    }
}

/// Where cargo keeps registries and installed programs.
pub fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME").filter(|home| !home.is_empty()) {
        return Ok(home.into());
    }
    let home = std::env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cargo"))
}

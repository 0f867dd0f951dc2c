//! Profiles: a runtime described in TOML, and what it compiles to.
//!
//! text → [`document`] → [`Profile`] → [`check`] → [`program`]: [`CompiledProbe`]s, which the BPF
//! interpreter runs (and [`evaluate`] in plain Rust, for tests).

mod check;
mod document;
mod error;
mod expression;
mod program;
pub mod report;
mod resolvers;
#[cfg(test)]
mod tests;

use std::{fs::File, io::Read as _, path::Path, sync::Arc};

pub use self::{
    check::check_set,
    document::{
        glob,
        schema::{At, Formula, Library, Pool, Probe, Profile, SCHEMA, SymbolPattern},
    },
    error::{Problem, ProfileError, Suggestion},
    program::{compile::CompiledProbe, evaluate, explain::disassemble},
};

/// No profile is anywhere near this long.
const MAX_BYTES: u64 = 1 << 20;

/// The name that errors mention, and the text, of files in the folders of runtimes.
macro_rules! built_in {
    ($($file:literal)+) => {
        &[$((concat!("built-in ", $file), include_str!(concat!("../", $file)))),+]
    };
}

/// The profiles that come with memmon-ebpf.
const BUILT_IN: &[(&str, &str)] = built_in! {
    "tt_metal/profile.toml"
    "cuda/driver.toml"
    "cuda/runtime.toml"
    "hip/hsa.toml"
    "hip/hip.toml"
    "level_zero/driver.toml"
    "level_zero/loader.toml"
    "opencl/profile.toml"
    "opencl/icd.toml"
    "opencl/usm.toml"
    "sycl/profile.toml"
    "vulkan/profile.toml"
    "vulkan/loader.toml"
    "vulkan/wgpu.toml"
    "neuron/profile.toml"
    "habana/profile.toml"
    "ascend/profile.toml"
    "libc/profile.toml"
};

/// Reads and checks the profile in a file.
pub fn load(path: &Path) -> Result<Profile, Vec<ProfileError>> {
    let file = path.display().to_string();
    let unreadable = |text: String| vec![ProfileError::of_file(&file, Problem::Unreadable(text))];
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| unreadable(error.to_string()))?;
    if u64::try_from(read).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(unreadable(format!("is longer than {MAX_BYTES} bytes")));
    }
    parse(&file, &text)
}

/// Reads and checks a profile; errors name `file`.
pub fn parse(file: &str, text: &str) -> Result<Profile, Vec<ProfileError>> {
    parse_source(error::Source {
        file: file.to_owned(),
        text: text.to_owned(),
        built_in: false,
    })
}

fn parse_source(source: error::Source) -> Result<Profile, Vec<ProfileError>> {
    let source = Arc::new(source);
    let profile = document::read::read(source)?;
    let errors = check::check(&profile);
    if errors.is_empty() {
        Ok(profile)
    } else {
        Err(errors)
    }
}

/// The built-in profiles. An error would be one in this program: its tests load them.
pub fn builtin() -> Result<Vec<Profile>, Vec<ProfileError>> {
    BUILT_IN
        .iter()
        .map(|(file, text)| {
            parse_source(error::Source {
                file: (*file).to_owned(),
                text: (*text).to_owned(),
                built_in: true,
            })
        })
        .collect()
}

/// The built-in profiles and the user's, where a profile of the same name replaces the built-in
/// one. Those that are looked for unless something else is asked for are checked against each other.
pub fn with_user(files: &[impl AsRef<Path>]) -> Result<Vec<Profile>, Vec<ProfileError>> {
    let mut profiles = builtin()?;
    let mut errors = Vec::new();
    let mut users: Vec<Profile> = Vec::new();
    for file in files {
        match load(file.as_ref()) {
            Ok(profile) => users.push(profile),
            Err(found) => errors.extend(found),
        }
    }
    profiles.retain(|built_in| users.iter().all(|user| user.name != built_in.name));
    profiles.extend(users);
    let usual: Vec<Profile> = profiles
        .iter()
        .filter(|one| one.is_usual())
        .cloned()
        .collect();
    errors.extend(check_set(&usual));
    if errors.is_empty() {
        Ok(profiles)
    } else {
        Err(errors)
    }
}

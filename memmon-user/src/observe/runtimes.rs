//! The runtimes that are looked for: profiles, each with its number (its *space*).

use std::path::Path;

use memmon_ebpf::spec::flag;

use crate::{
    elf,
    runtimes::{
        level_zero, opencl,
        profile::{self, CompiledProbe, Profile, ProfileError},
        resolver::{Resolve, Understood},
        tt_metal, vulkan,
    },
    tables::facts::{PoolFacts, RuntimeFacts},
};

/// In the kernel they are bits of a number.
const MOST: usize = 64;

#[derive(Debug, Default)]
pub struct Runtimes {
    profiles: Vec<Profile>,
}

/// How a layout is known where nothing was decoded: the profile's own numbers, for every library
/// that it names.
const TABLE: &str = "table";
/// The user's numbers, in place of what a resolver finds.
const OVERRIDE: &str = "override";

/// A runtime and one of its libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub space: u32,
    pub library: usize,
}

impl Runtimes {
    /// The built-in ones and the user's; one of the same name replaces a built-in. `only` keeps
    /// those names where it is not empty. Those that are opt-in are kept where `only` names them, or
    /// where the user gave their file.
    pub fn load(files: &[impl AsRef<Path>], only: &[String]) -> Result<Self, String> {
        let mut profiles = profile::with_user(files).map_err(|errors| lines(&errors))?;
        if let Some(unknown) = only
            .iter()
            .find(|name| !profiles.iter().any(|known| &known.name == *name))
        {
            let names: Vec<&str> = profiles.iter().map(|known| known.name.as_str()).collect();
            return Err(format!(
                "no runtime is called `{unknown}`; known are: {}",
                names.join(", ")
            ));
        }
        profiles.retain(|known| only.contains(&known.name) || only.is_empty() && known.is_usual());
        // One that has to be asked for may take what another one counts, too.
        let errors = profile::check_set(&profiles);
        if !errors.is_empty() {
            return Err(lines(&errors));
        }
        if profiles.len() > MOST {
            return Err(format!(
                "{} runtimes are too many to be looked for at one time: {MOST} at the most; choose some with --runtime",
                profiles.len()
            ));
        }
        Ok(Self { profiles })
    }

    pub fn count(&self) -> u32 {
        self.profiles.len() as u32
    }

    pub fn name(&self, space: u32) -> &str {
        self.profiles
            .get(space as usize)
            .map_or("", |profile| &profile.name)
    }

    /// Whether a file of this name may be a runtime's library, whatever its build.
    pub fn wants(&self, file_name: &str) -> bool {
        self.profiles.iter().any(|profile| {
            profile
                .libraries
                .iter()
                .flat_map(|library| &library.names)
                .any(|pattern| profile::glob::matches(pattern, file_name))
        })
    }

    /// Every runtime that this file is a library of.
    pub fn of(&self, file_name: &str, build_id: Option<&str>) -> Vec<Known> {
        self.profiles
            .iter()
            .enumerate()
            .filter_map(|(space, profile)| {
                Some(Known {
                    space: space as u32,
                    library: profile.library_of(file_name, build_id)?,
                })
            })
            .collect()
    }

    /// What the runtime's resolver makes of the file.
    pub fn understand(&self, known: Known, file: &elf::Library) -> Result<Understood, String> {
        let Some(profile) = self.profiles.get(known.space as usize) else {
            return Err("its runtime is not known".to_owned());
        };
        let resolve: Option<Resolve> = match profile.resolver.as_deref() {
            None => None,
            Some("level-zero") => Some(level_zero::understand),
            Some("tt-metal") => Some(tt_metal::understand),
            Some("vulkan") => Some(vulkan::understand),
            Some("opencl-icd") => Some(opencl::understand),
            Some("opencl-usm") => Some(opencl::understand_usm),
            Some(other) => {
                return Err(format!(
                    "its profile asks for the resolver `{other}`, which there is none of"
                ));
            }
        };
        let own = profile
            .libraries
            .get(known.library)
            .is_some_and(|library| !library.constants.is_empty());
        match resolve {
            Some(resolve) => match resolve(file) {
                // The user's numbers come before the resolver's.
                Ok(understood) if own => Ok(Understood {
                    basis: OVERRIDE,
                    ..understood
                }),
                Err(_) if own => Ok(Understood::without_model(OVERRIDE)),
                result => result,
            },
            None => Ok(Understood::without_model(TABLE)),
        }
    }

    pub fn compile(
        &self,
        known: Known,
        understood: &Understood,
    ) -> Result<Vec<CompiledProbe>, String> {
        let Some(profile) = self.profiles.get(known.space as usize) else {
            return Err("its runtime is not known".to_owned());
        };
        let mut probes = profile
            .compile(known.library, &understood.constants, known.space)
            .map_err(|errors| lines(&errors))?;
        let covered_by = self.covering(profile);
        let covers = |other: &Profile| other.is_above(profile);
        let layered = covered_by != 0 || self.profiles.iter().any(covers);
        for probe in &mut probes {
            probe.spec.covered_by = covered_by;
            if layered {
                probe.spec.flags |= flag::LAYERED;
            }
        }
        Ok(probes)
    }

    /// Runtimes that count what this one takes, one bit each.
    fn covering(&self, profile: &Profile) -> u64 {
        let below = (0..).zip(&self.profiles);
        below
            .filter(|(_, other)| profile.is_above(other))
            .fold(0, |mask, (space, _): (u32, _)| mask | 1 << space)
    }

    /// Whether a resolver finds out what is meant by a probe's `device`; else that is its number, from 1.
    pub fn places_devices(&self, space: u32) -> bool {
        let profile = self.profiles.get(space as usize);
        profile.is_some_and(Profile::places_devices)
    }

    pub fn facts(&self) -> Vec<RuntimeFacts> {
        self.profiles
            .iter()
            .map(|profile| RuntimeFacts {
                name: profile.name.clone(),
                pools: profile
                    .pools
                    .iter()
                    .map(|(number, pool)| {
                        let facts = PoolFacts {
                            name: pool.name.clone(),
                            charged: pool.charged,
                        };
                        (*number, facts)
                    })
                    .collect(),
            })
            .collect()
    }
}

fn lines(errors: &[ProfileError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::Runtimes;

    fn names(files: &[&std::path::Path], only: &[&str]) -> Vec<String> {
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        let loaded = Runtimes::load(files, &only).unwrap();
        loaded.facts().into_iter().map(|facts| facts.name).collect()
    }

    #[test]
    fn opt_in_runtimes_are_looked_for_only_where_they_are_asked_for() {
        let usual = names(&[], &[]);
        assert!(usual.contains(&"tt-metal".to_owned()), "{usual:?}");
        assert!(!usual.contains(&"libc".to_owned()), "{usual:?}");
        assert_eq!(names(&[], &["libc"]), ["libc"]);
        assert_eq!(names(&[], &["libc", "tt-metal"]).len(), 2);

        // A file that the user gives is asked for by that.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.toml");
        let text = include_str!("../runtimes/libc/profile.toml");
        std::fs::write(
            &file,
            text.replace("name = \"libc\"", "name = \"mine\"")
                .replace("family = \"libc\"", "family = \"mine\""),
        )
        .unwrap();
        let with_mine = names(&[&file], &[]);
        assert_eq!(with_mine.len(), usual.len() + 1);
        assert!(with_mine.contains(&"mine".to_owned()));
        assert_eq!(names(&[&file], &["tt-metal"]), ["tt-metal"]);
        // The two would count the same bytes.
        let both = ["mine".to_owned(), "libc".to_owned()];
        assert!(Runtimes::load(&[&file], &both).is_err());
        // So is one that takes the place of a built-in one.
        std::fs::write(&file, text).unwrap();
        assert!(names(&[&file], &[]).contains(&"libc".to_owned()));
    }
}

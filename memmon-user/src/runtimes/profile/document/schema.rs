//! What a profile holds (schema 1), as `docs/profiles.md` describes it for its authors.
//!
//! ```toml
//! schema = 1                  # of this format
//! name = "acme"               # unique; a profile of one's own replaces the built-in one of its name
//! family = "acme"             # profiles of one family see the same bytes …
//! layer = 0                   # … and only the lowest layer that is present counts them
//! passes = false              # each call arrives at once at a lower layer, or at one not watched
//! above = ["other"]           # optional: families that lie below this runtime
//! opt_in = true               # looked for only where it is asked for by name
//! resolver = "tt-metal"       # optional: built-in Rust code that supplies `$constants` and devices
//! status = "untested"         # free text, shown by `memmon-ebpf profiles`
//! tested = "…"                # free text: on what, when
//!
//! [pools]
//! 0 = "DEVICE"
//! 7 = { name = "CB", charged = false }
//!
//! [[library]]
//! names = ["libacme.so*"]     # globs of the file's base name
//! build_ids = []              # where not empty: only these files
//! throws = false              # no function here throws: return probes are allowed
//! constants = { size = 0x10 } # values of `$size`, before the resolver's
//!
//! [[library.probe]]
//! name = "allocate"
//! symbol = ["acme_alloc"]     # and/or `prefix`, `plt`, `location`; any one that is there is attached
//! repeat = 4                  # the probe stands four times, with `$index` 0 to 3
//! optional = false            # a library without any of these symbols is still understood
//! at = "entry"                # or "return"
//! throws = false              # as in the library, for this probe alone
//! action = "begin"            # see `Action::ALL`
//! starts_process = false
//! require = "arg1 != 0"       # else the call is none of ours
//! succeed = "low32(ret) == 0" # else the allocation failed
//! error = "low32(ret)"        # and this is why
//! let = { base = "u64(arg0)" }
//! known_only = false          # an unknown key is of something else
//! key = "base"                # and owner, pool, requested, charged, device, address, aux
//! ```

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use memmon_ebpf::spec::Action;

use super::glob;
use crate::runtimes::profile::{error::Source, expression::Expression};

/// The version of the format that this program reads.
pub const SCHEMA: i64 = 1;

/// One runtime, as a file describes it.
#[derive(Clone, Debug)]
pub struct Profile {
    pub name: String,
    pub family: String,
    pub layer: u8,
    /// Families that lie below it, each a runtime of its own.
    pub above: Vec<String>,
    /// Each of its calls arrives at once at a lower layer, or at one that is not watched.
    pub passes: bool,
    /// Looked for only where it is asked for by name: `--runtime`, or a file of the user's.
    pub opt_in: bool,
    pub resolver: Option<String>,
    pub status: String,
    pub tested: String,
    pub pools: BTreeMap<u32, Pool>,
    pub libraries: Vec<Library>,
    pub(in crate::runtimes::profile) source: Arc<Source>,
    /// Where the name stands in the file.
    pub(in crate::runtimes::profile) name_span: Range<usize>,
    pub(in crate::runtimes::profile) layer_span: Range<usize>,
    pub(in crate::runtimes::profile) pools_span: Range<usize>,
}

/// A pool of memory of the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub name: String,
    /// Whether its bytes are taken from the device; false where they overlap (circular buffers).
    pub charged: bool,
}

/// A library file and what to probe in it.
#[derive(Clone, Debug)]
pub struct Library {
    pub names: Vec<String>,
    /// Hexadecimal, lower case; empty where every build fits.
    pub build_ids: Vec<String>,
    pub throws: bool,
    pub constants: BTreeMap<String, i64>,
    pub probes: Vec<Probe>,
    pub(in crate::runtimes::profile) span: Range<usize>,
    pub(in crate::runtimes::profile) name_spans: Vec<Range<usize>>,
}

/// One place in the library and what passes there.
#[derive(Clone, Debug)]
pub struct Probe {
    pub name: String,
    pub action: Action,
    pub at: At,
    pub symbols: Vec<SymbolPattern>,
    pub optional: bool,
    pub throws: bool,
    pub starts_process: bool,
    /// A key that is not known is of something else.
    pub known_only: bool,
    /// The value of `$index`, where the probe stands several times.
    pub index: Option<i64>,
    pub require: Option<Formula>,
    pub succeed: Option<Formula>,
    /// The error code of the call, where it failed.
    pub error: Option<Formula>,
    pub lets: BTreeMap<String, Formula>,
    /// By output register.
    pub outputs: [Option<Formula>; 8],
    pub(in crate::runtimes::profile) span: Range<usize>,
    pub(in crate::runtimes::profile) at_span: Range<usize>,
    pub(in crate::runtimes::profile) symbol_spans: Vec<Range<usize>>,
}

/// Where in the function the probe stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum At {
    #[default]
    Entry,
    Return,
}

impl At {
    pub const ALL: [(Self, &'static str); 2] = [(Self::Entry, "entry"), (Self::Return, "return")];

    pub fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Return => "return",
        }
    }
}

/// How the probed address is found. Two patterns, or two symbols, that lead to one address are
/// one probe (the complete and the base constructor of a class usually are one function).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SymbolPattern {
    /// A defined symbol of this name, in `.dynsym` or `.symtab`.
    Exact(String),
    /// All defined symbols that begin so.
    Prefix(String),
    /// The library's own stub of the function it imports under this name.
    Plt(String),
    /// Where the resolver's constant of this name says.
    Constant(String),
    /// This virtual address.
    Address(u64),
}

impl SymbolPattern {
    /// Whether a defined symbol is meant. Fragments that compilers split off (`….cold`) are not:
    /// a fragment is entered by a jump, with no arguments in place.
    pub fn matches(&self, symbol: &str) -> bool {
        match self {
            Self::Exact(name) => name == symbol,
            Self::Prefix(prefix) => symbol
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| !rest.contains('.')),
            Self::Plt(_) | Self::Constant(_) | Self::Address(_) => false,
        }
    }
}

/// An expression as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formula {
    pub text: String,
    pub expression: Expression,
    /// Where the value stands in the file.
    pub(in crate::runtimes::profile) span: Range<usize>,
    /// Where the expression's first byte stands in the file, where the file holds it literally.
    pub(in crate::runtimes::profile) base: Option<usize>,
}

impl Formula {
    /// Where a part of the expression stands in the file.
    pub(in crate::runtimes::profile) fn locate(&self, part: &Range<usize>) -> Range<usize> {
        match self.base {
            Some(base) => base + part.start..base + part.end,
            None => self.span.clone(),
        }
    }
}

impl Library {
    /// Whether a file of this base name and build id is this library.
    pub fn matches(&self, base_name: &str, build_id: Option<&str>) -> bool {
        self.names.iter().any(|name| glob::matches(name, base_name))
            && (self.build_ids.is_empty()
                || build_id.is_some_and(|id| {
                    self.build_ids
                        .iter()
                        .any(|known| known.eq_ignore_ascii_case(id))
                }))
    }
}

impl Profile {
    /// The index of the library that a file is, for [`Profile::compile`].
    pub fn library_of(&self, base_name: &str, build_id: Option<&str>) -> Option<usize> {
        self.libraries
            .iter()
            .position(|library| library.matches(base_name, build_id))
    }

    /// Whether it gives way to the other one: what it takes, it takes from there.
    pub fn is_above(&self, other: &Self) -> bool {
        (self.family == other.family && self.layer > other.layer)
            || self.above.contains(&other.family)
    }

    /// The name of the pool, or its number where the profile does not name it.
    pub fn pool_name(&self, number: u32) -> String {
        self.pools
            .get(&number)
            .map_or_else(|| format!("POOL_{number}"), |pool| pool.name.clone())
    }

    /// Whether the bytes of the pool are taken from the device.
    pub fn pool_is_charged(&self, number: u32) -> bool {
        self.pools.get(&number).is_none_or(|pool| pool.charged)
    }

    /// Whether it came with this program.
    pub fn is_built_in(&self) -> bool {
        self.source.built_in
    }

    /// Whether it is looked for where no runtime is named: whoever gives the file of one asks for it by that.
    pub fn is_usual(&self) -> bool {
        !self.opt_in || !self.is_built_in()
    }

    /// The file it was read from, as errors mention it.
    pub fn file(&self) -> &str {
        &self.source.file
    }
}

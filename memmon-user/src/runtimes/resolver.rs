//! What a profile cannot say, as Rust: one resolver a runtime, in that runtime's folder.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    elf,
    tables::facts::Placement,
    target::{maps::Region, memory::Memory},
};

/// What a resolver learned from a library file.
#[derive(Clone)]
pub struct Understood {
    /// How it knows: `decoded`, `table`, `override`.
    pub basis: &'static str,
    /// The `$constants` that the profile's expressions use.
    pub constants: BTreeMap<String, i64>,
    /// Reads what the runtime keeps in a process; none where nothing is to be read.
    pub model: Option<Arc<dyn Model>>,
}

impl Understood {
    /// Events can be counted; nothing can be read from a process.
    pub fn without_model(basis: &'static str) -> Self {
        Self {
            basis,
            constants: BTreeMap::new(),
            model: None,
        }
    }
}

impl fmt::Debug for Understood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            basis,
            constants,
            model: _,
        } = self;
        f.debug_struct("Understood")
            .field("basis", basis)
            .field("constants", constants)
            .finish_non_exhaustive()
    }
}

/// A process and where in it the library lies.
#[expect(missing_debug_implementations, reason = "a view of a process")]
pub struct Target<'a> {
    pub memory: &'a dyn Memory,
    /// Runtime address = base + virtual address.
    pub base: u64,
    pub regions: &'a [Region],
}

/// What an event said about an owner.
#[derive(Clone, Copy, Debug)]
pub struct OwnerHint {
    pub owner: u64,
    pub device: u64,
    pub aux: u64,
}

/// Where owners keep their state together: an allocator, and what it allocates on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Root {
    pub aux: u64,
    pub device: u64,
}

/// An owner and where its memory lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundOwner {
    pub owner: u64,
    pub pool: u32,
    pub device: u64,
    pub aux: u64,
    pub placement: Placement,
    /// What is taken from the pool, as the pool itself says.
    pub charged: u64,
}

impl FoundOwner {
    pub fn root(&self) -> Root {
        Root {
            aux: self.aux,
            device: self.device,
        }
    }
}

/// An allocation that is live in the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundAllocation {
    pub key: u64,
    pub owner: u64,
    pub pool: u32,
    pub requested: u64,
    pub charged: u64,
    pub address: u64,
}

/// A part of a pool that is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FoundBlock {
    pub owner: u64,
    pub address: u64,
}

/// All that a process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    pub owners: Vec<FoundOwner>,
    pub allocations: Vec<FoundAllocation>,
    /// Whether everything that was found agrees with itself. Where it does not (the process
    /// allocates all the while), what was live throughout is among the allocations, and so may be
    /// what came and went.
    pub consistent: bool,
    /// What is taken from the pools, for allocations or not.
    pub blocks: Vec<FoundBlock>,
    /// As `consistent`, but for memory that is taken from a pool for no allocation: for one that is
    /// about to be, or by a thread that has died.
    pub whole: bool,
}

/// Reads a runtime's own structures in a process. The memory is hostile: every read may fail, and
/// every loop is bounded.
pub trait Model: Send + Sync {
    /// Where the owner of an event, and the owners beside it, have their memory.
    fn owners(&self, target: &Target<'_>, hint: &OwnerHint) -> Result<Vec<FoundOwner>, String>;

    /// What it does not know of this library, and why.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// One look at what lies there, as it is at this moment.
    fn read(&self, target: &Target<'_>, root: Root) -> Result<Recovered, String>;

    /// Those of these allocations that are live at this moment.
    fn holds(&self, target: &Target<'_>, root: Root, keys: &[u64]) -> Result<Vec<u64>, String>;

    /// Everything that is allocated, wherever it is.
    fn recover(&self, target: &Target<'_>) -> Result<Recovered, String>;
}

/// Understands library files.
pub type Resolve = fn(&elf::Library) -> Result<Understood, String>;

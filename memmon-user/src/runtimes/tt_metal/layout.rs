//! Where tt-metal's objects keep their fields, learned from the library itself.
//!
//! The objects move between releases, and a release can be built from any commit, so nothing goes
//! by version. What the exported accessors and constructors do with memory (see [`super::trace`])
//! says where the fields are; each field is learned from as many functions as tell of it, and two
//! that disagree are an error. Where a function is missing (inlined, not exported), and all the
//! rest looks as in every release known, the known value is taken and the layout says so
//! ([`Basis::Table`]).
//!
//! `buffer` learns [`BufferLayout`], `banks` [`BankManagerLayout`] and [`FreeListLayout`],
//! `devices` the way from a device to its allocator and chips.

mod banks;
mod buffer;
mod devices;
mod evidence;
#[cfg(any(test, fuzzing))]
pub mod example;

use std::collections::BTreeMap;

use thiserror::Error;

use crate::elf::Library;

/// How a layout is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Read from the code of this very library.
    Decoded,
    /// In part taken over from other releases.
    Table,
}

impl Basis {
    /// As a snapshot says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decoded => "decoded",
            Self::Table => "table",
        }
    }
}

/// Why a library's layout is not known.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LayoutError {
    #[error("{what} is not known: none of {looked_for} says where it is")]
    Unknown {
        what: &'static str,
        looked_for: String,
    },
    #[error(
        "{what} is at {value:#x} by {by}, but at {other_value:#x} by {other}: \
         a release this version of memmon-ebpf does not understand"
    )]
    Contradiction {
        what: &'static str,
        value: i64,
        by: String,
        other_value: i64,
        other: String,
    },
    #[error("{what} at {value:#x} makes no sense")]
    Absurd { what: &'static str, value: i64 },
}

/// The fields of a `Buffer`, from its *base*: `buffer + base` where it holds them itself, or
/// `*(buffer + base)` where it points to them (`indirect`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferLayout {
    pub indirect: bool,
    pub base: u32,
    pub device: u32,
    pub size: u32,
    pub buffer_type: u32,
    pub buffer_layout: u32,
    pub owns_data: Option<u32>,
    pub allocator: u32,
    pub status: u32,
    pub hooked: u32,
    pub address: u32,
    pub page_size: u32,
}

/// A `BankManager`: one pool of one allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankManagerLayout {
    /// `BufferType`, 32 bits
    pub kind: u32,
    /// 32 bits
    pub num_banks: u32,
    /// An array of pointers to free lists; the first is the pool's own.
    pub free_lists: u32,
}

/// A `FreeListOpt`: what is free and what is taken in one bank (all banks are alike).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeListLayout {
    pub max: u32,
    pub offset: u32,
    pub align: u32,
    /// The block table: vectors of `u64`, `u64`, `u8` and `u8`. A block exists where `in_use`,
    /// and is taken where `allocated` too.
    pub block_address: u32,
    pub block_size: u32,
    pub allocated: u32,
    pub in_use: u32,
}

/// An `AllocatorImpl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocatorLayout {
    /// Pointers to the bank managers.
    pub bank_managers: Vec<u32>,
    /// How many live buffers there are, in an `unordered_set<Buffer*>`.
    pub buffer_count: u32,
    /// The list of that set's nodes: (next, `Buffer*`).
    pub buffer_list: u32,
}

/// The ways from a `MeshDevice` or a `Device`. A way is offsets to load from, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceLayout {
    /// From a `MeshDevice` to its chips: a vector of elements of `chip_stride` bytes that begin
    /// with a `Device*`.
    pub mesh_chips: Vec<u32>,
    pub chip_stride: u32,
    /// From a `MeshDevice` to its `AllocatorImpl`.
    pub mesh_allocator: Vec<u32>,
    /// From a `MeshDevice` to the array of the allocators of its active sub-devices.
    pub mesh_active: Option<Vec<u32>>,
    /// From a `Device` to its `AllocatorImpl`.
    pub device_allocator: Option<Vec<u32>>,
    /// The chip's id in a `Device`, 32 bits.
    pub device_id: u32,
}

/// Virtual addresses (before any load bias) that the first word of an object points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualTables {
    pub device: u64,
    pub mesh_device: u64,
    pub free_list: u64,
    /// Classes of allocators, where allocators have virtual functions.
    pub allocators: Vec<u64>,
}

/// Everything that is known of one library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub basis: Basis,
    pub buffer: BufferLayout,
    pub bank_manager: BankManagerLayout,
    pub free_list: FreeListLayout,
    /// What the walk through a process's memory needs; the live numbers do without.
    pub allocator: Option<AllocatorLayout>,
    pub devices: Option<DeviceLayout>,
    pub tables: Option<VirtualTables>,
    /// What is not known, and why.
    pub notes: Vec<String>,
}

/// Learns the layout of `library`.
pub fn resolve(library: &Library) -> Result<Layout, LayoutError> {
    let code = evidence::Functions::new(library);
    let mut basis = Basis::Decoded;
    let buffer = buffer::resolve(&code, &mut basis)?;
    let (bank_manager, free_list) = banks::resolve(&code, &mut basis)?;
    let mut notes = Vec::new();
    let mut noted = |error: LayoutError| notes.push(error.to_string());
    let allocator = banks::allocator(&code).map_err(&mut noted).ok();
    let tables = devices::tables(&code).map_err(&mut noted).ok();
    let devices = tables
        .as_ref()
        .and_then(|tables| devices::resolve(&code, tables).map_err(&mut noted).ok());
    Ok(Layout {
        basis,
        buffer,
        bank_manager,
        free_list,
        allocator,
        devices,
        tables,
        notes,
    })
}

impl Layout {
    /// What a profile can refer to by name.
    pub fn constants(&self) -> BTreeMap<String, i64> {
        let buffer = &self.buffer;
        let bank = &self.bank_manager;
        let list = &self.free_list;
        [
            ("buffer_indirect", u32::from(buffer.indirect)),
            ("buffer_base", buffer.base),
            ("buffer_device", buffer.device),
            ("buffer_size", buffer.size),
            ("buffer_type", buffer.buffer_type),
            ("buffer_allocator", buffer.allocator),
            ("buffer_address", buffer.address),
            ("buffer_page_size", buffer.page_size),
            ("buffer_hooked", buffer.hooked),
            ("buffer_status", buffer.status),
            ("bank_manager_kind", bank.kind),
            ("bank_manager_num_banks", bank.num_banks),
            ("bank_manager_free_lists", bank.free_lists),
            ("free_list_align", list.align),
            ("free_list_max", list.max),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), i64::from(value)))
        .collect()
    }
}

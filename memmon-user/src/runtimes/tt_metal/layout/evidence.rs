//! Functions of a library, what they do, and what follows when they agree.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use super::{
    super::trace::{self, Event, Kind, Place, Value},
    Basis, LayoutError,
};
use crate::elf::{Library, Pattern, Symbol};

/// Offsets beyond this are no fields of the objects here.
const MAX_OFFSET: i64 = 1 << 16;

/// The functions and objects of tt-metal that layouts are learned from. Mangled names; a prefix
/// ends in `*`. Where releases differ, the later name comes first.
const SYMBOLS: &[(&str, &[&str])] = &[
    (
        "Buffer::page_size",
        &["_ZNK2tt8tt_metal6Buffer9page_sizeEv"],
    ),
    (
        "Buffer::is_allocated",
        &["_ZNK2tt8tt_metal6Buffer12is_allocatedEv"],
    ),
    ("Buffer::address", &["_ZNK2tt8tt_metal6Buffer7addressEv"]),
    ("Buffer::is_dram", &["_ZNK2tt8tt_metal6Buffer7is_dramEv"]),
    ("Buffer::is_l1", &["_ZNK2tt8tt_metal6Buffer5is_l1Ev"]),
    (
        "Buffer::num_pages",
        &["_ZNK2tt8tt_metal6Buffer9num_pagesEv"],
    ),
    (
        "Buffer::alignment",
        &["_ZNK2tt8tt_metal6Buffer9alignmentEv"],
    ),
    ("Buffer::size", &["_ZNK2tt8tt_metal6Buffer4sizeEv"]),
    ("Buffer::device", &["_ZNK2tt8tt_metal6Buffer6deviceEv"]),
    (
        "Buffer::buffer_type",
        &["_ZNK2tt8tt_metal6Buffer11buffer_typeEv"],
    ),
    (
        "Buffer::buffer_layout",
        &["_ZNK2tt8tt_metal6Buffer13buffer_layoutEv"],
    ),
    (
        "Buffer::Buffer",
        &[
            "_ZN2tt8tt_metal10BufferImplC1EPNS0_7IDeviceE*",
            "_ZN2tt8tt_metal6BufferC1EPNS0_7IDeviceE*",
        ],
    ),
    (
        "Buffer::allocate_impl",
        &[
            "_ZN2tt8tt_metal10BufferImpl13allocate_implE*",
            "_ZN2tt8tt_metal6Buffer13allocate_implE*",
        ],
    ),
    (
        "Buffer::deallocate",
        &[
            "_ZN2tt8tt_metal10BufferImpl10deallocateE*",
            "_ZN2tt8tt_metal6Buffer10deallocateE*",
        ],
    ),
    (
        "BankManager::num_banks",
        &["_ZNK2tt8tt_metal11BankManager9num_banksEv"],
    ),
    (
        "BankManager::bank_size",
        &["_ZNK2tt8tt_metal11BankManager9bank_sizeEv"],
    ),
    (
        "BankManager::get_statistics",
        &["_ZNK2tt8tt_metal11BankManager14get_statisticsE*"],
    ),
    (
        "BankManager::BankManager",
        &["_ZN2tt8tt_metal11BankManagerC1ERKNS0_10BufferTypeE*"],
    ),
    (
        "FreeListOpt::FreeListOpt",
        &["_ZN2tt8tt_metal9allocator11FreeListOptC1Emmmm*"],
    ),
    (
        "FreeListOpt::get_statistics",
        &["_ZNK2tt8tt_metal9allocator11FreeListOpt14get_statisticsEv"],
    ),
    (
        "AllocatorImpl::deallocate_buffers",
        &[
            "_ZN2tt8tt_metal13AllocatorImpl18deallocate_buffersEv",
            "_ZN2tt8tt_metal9Allocator18deallocate_buffersEv",
        ],
    ),
    (
        "AllocatorImpl::get_num_allocated_buffers",
        &[
            "_ZNK2tt8tt_metal13AllocatorImpl25get_num_allocated_buffersEv",
            "_ZNK2tt8tt_metal9Allocator25get_num_allocated_buffersEv",
        ],
    ),
    (
        "MeshDevice::get_view",
        &["_ZNK2tt8tt_metal11distributed10MeshDevice8get_viewEv"],
    ),
    (
        "MeshDeviceView::get_devices",
        &["_ZNK2tt8tt_metal11distributed14MeshDeviceView11get_devicesEv"],
    ),
    (
        "MeshDevice::id",
        &["_ZNK2tt8tt_metal11distributed10MeshDevice2idEv"],
    ),
    (
        "MeshDevice::allocator_impl",
        &[
            "_ZNK2tt8tt_metal11distributed10MeshDevice14allocator_implEv",
            "_ZNK2tt8tt_metal11distributed10MeshDevice9allocatorEv",
        ],
    ),
    (
        "MeshDeviceImpl::allocator_impl",
        &["_ZNK2tt8tt_metal11distributed14MeshDeviceImpl14allocator_implEv"],
    ),
    (
        "SubDeviceManagerTracker::get_default_sub_device_manager",
        &["_ZNK2tt8tt_metal23SubDeviceManagerTracker30get_default_sub_device_managerEv"],
    ),
    (
        "SubDeviceManagerTracker::get_active_sub_device_manager",
        &["_ZNK2tt8tt_metal23SubDeviceManagerTracker29get_active_sub_device_managerEv"],
    ),
    (
        "SubDeviceManager::allocator",
        &["_ZNK2tt8tt_metal16SubDeviceManager9allocatorE*"],
    ),
    (
        "the virtual table of Device",
        &["_ZTVN2tt8tt_metal6DeviceE"],
    ),
    (
        "the virtual table of MeshDevice",
        &["_ZTVN2tt8tt_metal11distributed10MeshDeviceE"],
    ),
    (
        "the virtual table of FreeListOpt",
        &["_ZTVN2tt8tt_metal9allocator11FreeListOptE"],
    ),
    (
        "the virtual table of AllocatorImpl",
        &["_ZTVN2tt8tt_metal13AllocatorImplE"],
    ),
    (
        "the virtual table of L1BankingAllocator",
        &["_ZTVN2tt8tt_metal18L1BankingAllocatorE"],
    ),
    (
        "the virtual table of MockAllocator",
        &["_ZTVN2tt8tt_metal12experimental13MockAllocatorE"],
    ),
];

/// The functions of [`SYMBOLS`] that a library has, and what they do.
pub(super) struct Functions<'a> {
    library: &'a Library,
    symbols: BTreeMap<&'static str, Symbol>,
    traces: RefCell<HashMap<u64, Rc<Vec<Event>>>>,
}

impl<'a> Functions<'a> {
    pub(super) fn new(library: &'a Library) -> Self {
        let names: Vec<(&'static str, &'static str)> = SYMBOLS
            .iter()
            .flat_map(|(name, mangled)| mangled.iter().map(move |mangled| (*name, *mangled)))
            .collect();
        let patterns: Vec<Pattern<'_>> = names
            .iter()
            .map(|(_, mangled)| match mangled.strip_suffix('*') {
                Some(prefix) => Pattern::Prefix(prefix),
                None => Pattern::Exact(mangled),
            })
            .collect();
        let mut symbols = BTreeMap::new();
        for ((name, _), found) in names.iter().zip(library.symbols(&patterns)) {
            if let Some(symbol) = found.into_iter().next() {
                symbols.entry(*name).or_insert(symbol);
            }
        }
        Self {
            library,
            symbols,
            traces: RefCell::default(),
        }
    }

    pub(super) fn library(&self) -> &Library {
        self.library
    }

    pub(super) fn symbol(&self, name: &str) -> Option<&Symbol> {
        self.symbols.get(name)
    }

    /// What the function does; nothing where the library does not have it.
    pub(super) fn events(&self, name: &str) -> Rc<Vec<Event>> {
        match self.symbol(name) {
            Some(symbol) => self.events_of(symbol),
            None => Rc::default(),
        }
    }

    pub(super) fn events_of(&self, symbol: &Symbol) -> Rc<Vec<Event>> {
        let mut traces = self.traces.borrow_mut();
        let trace = traces
            .entry(symbol.address)
            .or_insert_with(|| Rc::new(trace::trace(self.library, symbol)));
        Rc::clone(trace)
    }
}

/// The path from argument 0 of what the function returns.
pub(super) fn returned(events: &[Event]) -> Option<Vec<i64>> {
    events.iter().find_map(|event| match event {
        Event::Return(value) => path(&value.loaded()?, 0),
        _ => None,
    })
}

/// Paths from `argument` that are accessed without an index and for which `wanted` holds.
pub(super) fn accessed(
    events: &[Event],
    argument: usize,
    wanted: impl Fn(usize, &Kind) -> bool,
) -> Vec<Vec<i64>> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Access {
                place,
                scale: None,
                width,
                kind,
            } if wanted(*width, kind) => path(place, argument),
            _ => None,
        })
        .collect()
}

/// The path of the first place that is compared with, or masked by, one of `constants`.
pub(super) fn tested(events: &[Event], width: usize, constants: &[u64]) -> Option<Vec<i64>> {
    accessed(events, 0, |of, kind| {
        of == width && matches!(kind, Kind::Test(Some(constant)) if constants.contains(constant))
    })
    .into_iter()
    .next()
}

/// The first place, from argument 0, into which `value` is written as it is.
pub(super) fn stored(events: &[Event], value: impl Fn(&Value) -> bool) -> Option<Vec<i64>> {
    accessed(
        events,
        0,
        |_, kind| matches!(kind, Kind::Write(written) if value(written)),
    )
    .into_iter()
    .next()
}

fn path(place: &Place, argument: usize) -> Option<Vec<i64>> {
    place.from(argument).map(<[i64]>::to_vec)
}

/// What one function says of where something is; `None` where it says nothing.
pub(super) type Witness = (&'static str, Option<i64>);

/// What the witnesses agree on. They must not disagree, and one at least must say something.
pub(super) fn agree(what: &'static str, witnesses: &[Witness]) -> Result<u32, LayoutError> {
    let mut said: Option<(&str, i64)> = None;
    for (by, value) in witnesses {
        match (said, value) {
            (Some((first, known)), Some(value)) if known != *value => {
                return Err(LayoutError::Contradiction {
                    what,
                    value: known,
                    by: first.to_owned(),
                    other_value: *value,
                    other: (*by).to_owned(),
                });
            }
            (None, Some(value)) => said = Some((by, *value)),
            _ => {}
        }
    }
    match said {
        Some((_, value)) if (0..MAX_OFFSET).contains(&value) => {
            u32::try_from(value).map_err(|_| LayoutError::Absurd { what, value })
        }
        Some((_, value)) => Err(LayoutError::Absurd { what, value }),
        None => Err(LayoutError::Unknown {
            what,
            looked_for: witnesses
                .iter()
                .map(|(by, _)| *by)
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

/// Fields that are known to have been at the same place in every release: those that no function
/// of this library tells of are taken over, provided that all others are where they always were.
pub(super) struct Fields {
    found: Vec<(Result<u32, LayoutError>, u32)>,
}

impl Fields {
    pub(super) fn new() -> Self {
        Self { found: Vec::new() }
    }

    /// Adds a field by what is said of it and where it always was; returns its number.
    pub(super) fn add(&mut self, known: u32, what: &'static str, witnesses: &[Witness]) -> usize {
        self.found.push((agree(what, witnesses), known));
        self.found.len() - 1
    }

    /// What is said of field `number`.
    pub(super) fn value(&self, number: usize) -> Option<i64> {
        let (found, _) = self.found.get(number)?;
        found.as_ref().ok().map(|value| i64::from(*value))
    }

    /// Every field, or the first error.
    pub(super) fn settle(self, basis: &mut Basis) -> Result<Vec<u32>, LayoutError> {
        let familiar = self.found.iter().all(|(found, known)| match found {
            Ok(value) => value == known,
            Err(LayoutError::Unknown { .. }) => true,
            Err(_) => false,
        });
        let decoded = self.found.iter().filter(|(found, _)| found.is_ok()).count();
        let enough = familiar && decoded * 2 > self.found.len();
        self.found
            .into_iter()
            .map(|(found, known)| match found {
                Err(LayoutError::Unknown { .. }) if enough => {
                    *basis = Basis::Table;
                    Ok(known)
                }
                found => found,
            })
            .collect()
    }
}

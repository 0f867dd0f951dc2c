//! Where a driver's functions are.
//!
//! The loader asks a driver once for tables of its functions (`zeGetMemProcAddrTable` and its like, which are
//! exported) and calls what stands in them. These are not the functions that the driver exports under those names:
//! an export is a jump to the function in the table (22.43), or a second copy of it (24.35, 26.27), which then serves
//! whoever links to the driver, and the driver's own OpenCL. So both are probed, each where it is a function of
//! its own: a call must never come by two probes.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{
    follow::{Limits, Stores, follow},
    state::Value,
};
use crate::elf::Library;

/// A function of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// As `$constants` call it.
    pub name: &'static str,
    pub symbol: &'static str,
    /// Its place in the table.
    slot: i64,
    /// Without it nothing can be counted.
    needed: bool,
}

/// One of the tables, by what fills it.
struct Table {
    fills: &'static str,
    functions: &'static [Function],
}

const fn needed(name: &'static str, symbol: &'static str, slot: i64) -> Function {
    Function {
        name,
        symbol,
        slot,
        needed: true,
    }
}

const fn other(name: &'static str, symbol: &'static str, slot: i64) -> Function {
    Function {
        name,
        symbol,
        slot,
        needed: false,
    }
}

/// The tables only grow at their end: the places are the API's promise (`ze_ddi.h`).
const TABLES: [Table; 3] = [
    Table {
        fills: "zeGetMemProcAddrTable",
        functions: &[
            needed("mem_alloc_shared", "zeMemAllocShared", 0),
            needed("mem_alloc_device", "zeMemAllocDevice", 1),
            needed("mem_alloc_host", "zeMemAllocHost", 2),
            needed("mem_free", "zeMemFree", 3),
            other("mem_free_ext", "zeMemFreeExt", 9),
        ],
    },
    Table {
        fills: "zeGetPhysicalMemProcAddrTable",
        functions: &[
            other("physical_create", "zePhysicalMemCreate", 0),
            other("physical_destroy", "zePhysicalMemDestroy", 1),
        ],
    },
    Table {
        fills: "zeGetDeviceProcAddrTable",
        functions: &[
            other("device_get", "zeDeviceGet", 0),
            other("device_get_sub_devices", "zeDeviceGetSubDevices", 1),
        ],
    },
];

/// Those of which one may be written with the other: a call of the one is then a call of the other.
const KIN: [[&str; 2]; 1] = [["mem_free_ext", "mem_free"]];

/// What fills a table has a few hundred instructions.
const FILLING: Limits = Limits {
    steps: 100_000,
    visits: 64,
    depth: 1,
    all_calls: false,
    end: None,
};
/// What runs as a library is loaded may be everything that it ever initializes, as one function.
const LOADING: Limits = Limits {
    steps: 1_000_000,
    visits: 1,
    depth: 4,
    all_calls: true,
    end: None,
};
/// Only where one function leads is asked.
const LEADING: Limits = Limits {
    steps: 2_000,
    visits: 1,
    depth: 0,
    all_calls: false,
    end: None,
};

#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum TableError {
    #[error("it exports no {0}, which would hand out its functions")]
    NoTable(&'static str),
    #[error("{table} was not followed to its end")]
    TooLong { table: &'static str },
    #[error("{table} stores nothing where {function} belongs")]
    Nothing {
        table: &'static str,
        function: &'static str,
    },
    #[error("{table} stores for {function} what is not known")]
    Unknown {
        table: &'static str,
        function: &'static str,
    },
    #[error("{table} stores more than one {function}: {addresses:x?}")]
    Several {
        table: &'static str,
        function: &'static str,
        addresses: Vec<u64>,
    },
    #[error("{table} stores {address:#x} for {function}, where there is no code")]
    NoCode {
        table: &'static str,
        function: &'static str,
        address: u64,
    },
    #[error("{one} and {other} would be one function, at {address:#x}")]
    Same {
        one: &'static str,
        other: &'static str,
        address: u64,
    },
}

/// What is to be probed of one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub function: Function,
    /// Through which the loader calls.
    pub table: u64,
    /// The export, where it is another function.
    pub export: Option<u64>,
}

/// All that the library's tables hold.
pub(super) fn find(library: &Library) -> Result<Vec<Found>, TableError> {
    let mut filled = Vec::new();
    for table in &TABLES {
        let needed = table.functions.iter().any(|function| function.needed);
        match library.symbol(table.fills) {
            Some(symbol) => {
                let limits = Limits {
                    end: (symbol.size != 0).then(|| symbol.address.saturating_add(symbol.size)),
                    ..FILLING
                };
                let stores = follow(library, &[symbol.address], &BTreeSet::new(), limits);
                if stores.cut_short && needed {
                    return Err(TableError::TooLong { table: table.fills });
                }
                filled.push((table, stores));
            }
            None if needed => return Err(TableError::NoTable(table.fills)),
            None => {}
        }
    }
    let contents = contents(library, &filled);
    let mut found: Vec<Found> = Vec::new();
    for (table, stores) in &filled {
        for function in table.functions {
            let address = match one(library, table.fills, *function, stores, &contents) {
                Ok(address) => address,
                Err(error) if function.needed => return Err(error),
                Err(_) => continue,
            };
            let same = |other: &&Found| other.table == address;
            if let Some(other) = found.iter().find(same) {
                return Err(TableError::Same {
                    one: other.function.symbol,
                    other: function.symbol,
                    address,
                });
            }
            found.push(Found {
                function: *function,
                table: address,
                export: None,
            });
        }
    }
    with_exports(library, &mut found);
    Ok(found)
}

/// What lies at the addresses that a table is filled from.
fn contents(library: &Library, filled: &[(&Table, Stores)]) -> BTreeMap<u64, BTreeSet<Value>> {
    let stored = filled
        .iter()
        .flat_map(|(_, stores)| stores.table.values())
        .flatten();
    let wanted: BTreeSet<u64> = stored
        .filter_map(|value| match value {
            Value::At(address) => Some(*address),
            _ => None,
        })
        .collect();
    let mut contents: BTreeMap<u64, BTreeSet<Value>> = pointers(library, &wanted);
    let open: BTreeSet<u64> = wanted
        .into_iter()
        .filter(|address| !contents.contains_key(address))
        .collect();
    if open.is_empty() {
        return contents;
    }
    // Nothing in the file: it is stored there as the library is loaded.
    let mut stores = follow(library, &library.initializers(), &open, LOADING);
    let second: BTreeSet<u64> = stores
        .image
        .values()
        .flatten()
        .filter_map(|value| match value {
            Value::At(address) => Some(*address),
            _ => None,
        })
        .collect();
    let second = pointers(library, &second);
    for values in stores.image.values_mut() {
        *values = values
            .iter()
            .flat_map(|value| match value {
                Value::At(address) => second
                    .get(address)
                    .cloned()
                    .unwrap_or_else(|| [Value::Unknown].into()),
                value => [*value].into(),
            })
            .collect();
    }
    contents.extend(stores.image);
    contents
}

/// What relocations put there. Where they are packed, only the places are listed and the file holds the addresses.
fn pointers(library: &Library, wanted: &BTreeSet<u64>) -> BTreeMap<u64, BTreeSet<Value>> {
    let known = library.pointers_at(wanted);
    let found = |address: &u64| {
        known.get(address).copied().or_else(|| {
            let bytes = library.data(*address, 8)?;
            let value = u64::from_le_bytes(bytes.try_into().ok()?);
            library.is_code(value).then_some(value)
        })
    };
    wanted
        .iter()
        .filter_map(|address| Some((*address, [Value::Known(found(address)?)].into())))
        .collect()
}

/// The one address that is ever stored for a function.
fn one(
    library: &Library,
    table: &'static str,
    function: Function,
    stores: &Stores,
    contents: &BTreeMap<u64, BTreeSet<Value>>,
) -> Result<u64, TableError> {
    let Function { symbol, slot, .. } = function;
    let mut values: BTreeSet<Value> = BTreeSet::new();
    for value in stores.table.get(&(slot * 8)).into_iter().flatten() {
        match value {
            Value::At(address) => match contents.get(address) {
                Some(found) => values.extend(found),
                None => {
                    values.insert(Value::Unknown);
                }
            },
            value => {
                values.insert(*value);
            }
        }
    }
    // Cleared before it is filled, or left out in an old version.
    values.remove(&Value::Known(0));
    // Who asks for tracing gets a function around the one that it then calls.
    if let Some(tracing) = library.symbol(&format!("{symbol}Tracing")) {
        values.remove(&Value::Known(tracing.address));
    }
    let addresses: Vec<u64> = values
        .iter()
        .map_while(|value| match value {
            Value::Known(address) => Some(*address),
            _ => None,
        })
        .collect();
    match addresses[..] {
        _ if addresses.len() < values.len() => Err(TableError::Unknown {
            table,
            function: symbol,
        }),
        [] => Err(TableError::Nothing {
            table,
            function: symbol,
        }),
        [address] if library.is_code(address) => Ok(address),
        [address] => Err(TableError::NoCode {
            table,
            function: symbol,
            address,
        }),
        _ => Err(TableError::Several {
            table,
            function: symbol,
            addresses,
        }),
    }
}

/// Adds the exports that are functions of their own.
fn with_exports(library: &Library, found: &mut Vec<Found>) {
    let leads = |from: u64| follow(library, &[from], &BTreeSet::new(), LEADING).branches;
    for found in found.iter_mut() {
        let Some(export) = library.symbol(found.function.symbol) else {
            continue;
        };
        let export = export.address;
        if export == found.table || leads(export).contains(&found.table) {
            continue;
        }
        if leads(found.table).contains(&export) {
            // The inner one sees both.
            found.table = export;
        } else {
            found.export = Some(export);
        }
    }
    // A function that is written with another is counted there.
    for [outer, inner] in KIN {
        let of = |name: &str| found.iter().find(|found| found.function.name == name);
        let (Some(from), Some(to)) = (of(outer), of(inner)) else {
            continue;
        };
        let places = |found: &Found| [Some(found.table), found.export].into_iter().flatten();
        let to: Vec<u64> = places(to).collect();
        let nested = |place: u64| {
            let branches = leads(place);
            to.iter().any(|inner| branches.contains(inner))
        };
        let from = places(from).any(nested);
        if from {
            found.retain(|found| found.function.name != outer);
        }
    }
}

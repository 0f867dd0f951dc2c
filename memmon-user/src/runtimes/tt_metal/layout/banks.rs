//! Bank managers, their free lists, and the allocator that has them.

use std::collections::BTreeMap;

use super::{
    super::trace::{Event, Kind, Root},
    AllocatorLayout, BankManagerLayout, Basis, FreeListLayout, LayoutError,
    evidence::{Fields, Functions, Witness, accessed, agree, returned, stored},
};

pub(super) fn resolve(
    code: &Functions<'_>,
    basis: &mut Basis,
) -> Result<(BankManagerLayout, FreeListLayout), LayoutError> {
    let constructor = code.events("FreeListOpt::FreeListOpt");
    let argument = |number: usize| -> Witness {
        let path = stored(&constructor, |value| value.is_argument(number));
        ("FreeListOpt::FreeListOpt", single(path))
    };
    // `bank_size` returns the maximum of the first free list.
    let bank_size = returned(&code.events("BankManager::bank_size"));
    let (list_by_size, max_by_size) = match bank_size.as_deref() {
        Some([lists, 0, max]) => (Some(*lists), Some(*max)),
        _ => (None, None),
    };
    let (list_by_statistics, _) = array(&code.events("BankManager::get_statistics"), 1, 8);
    let kind_copied = stored(&code.events("BankManager::BankManager"), |value| {
        value
            .loaded()
            .is_some_and(|place| place.root == Root::Argument(1) && place.path == [0])
    });
    let num_banks = returned(&code.events("BankManager::num_banks"));

    let mut banks = Fields::new();
    banks.add(
        0,
        "BankManager's type",
        &[("BankManager::BankManager", single(kind_copied))],
    );
    banks.add(
        0x20,
        "BankManager's number of banks",
        &[("BankManager::num_banks", single(num_banks))],
    );
    banks.add(
        0x3b0,
        "BankManager's free lists",
        &[
            ("BankManager::bank_size", list_by_size),
            ("BankManager::get_statistics", list_by_statistics),
        ],
    );
    let banks = banks.settle(basis)?;

    let statistics = code.events("FreeListOpt::get_statistics");
    let mut lists = Fields::new();
    lists.add(
        0x08,
        "FreeListOpt's size",
        &[argument(1), ("BankManager::bank_size", max_by_size)],
    );
    lists.add(0x10, "FreeListOpt's offset", &[argument(2)]);
    lists.add(0x20, "FreeListOpt's alignment", &[argument(4)]);
    let by = "FreeListOpt::get_statistics";
    let [begin, size, allocated, in_use] = blocks(&statistics);
    lists.add(0x40, "FreeListOpt's block addresses", &[(by, begin)]);
    lists.add(0x58, "FreeListOpt's block sizes", &[(by, size)]);
    lists.add(0xa0, "FreeListOpt's allocated blocks", &[(by, allocated)]);
    lists.add(0xb8, "FreeListOpt's used blocks", &[(by, in_use)]);
    let lists = lists.settle(basis)?;
    let bank = |number: usize| banks.get(number).copied().unwrap_or_default();
    let list = |number: usize| lists.get(number).copied().unwrap_or_default();
    Ok((
        BankManagerLayout {
            kind: bank(0),
            num_banks: bank(1),
            free_lists: bank(2),
        },
        FreeListLayout {
            max: list(0),
            offset: list(1),
            align: list(2),
            block_address: list(3),
            block_size: list(4),
            allocated: list(5),
            in_use: list(6),
        },
    ))
}

fn single(path: Option<Vec<i64>>) -> Option<i64> {
    match path?.as_slice() {
        [offset] => Some(*offset),
        _ => None,
    }
}

/// The first two arrays, held by the object that is `argument`, whose elements of `scale` bytes
/// are accessed.
fn array(events: &[Event], argument: usize, scale: u32) -> (Option<i64>, Option<i64>) {
    let mut found = Vec::new();
    for event in events {
        if let Event::Access {
            place,
            scale: Some(of),
            ..
        } = event
            && *of == scale
            && let Some([array, 0]) = place.from(argument)
            && !found.contains(array)
        {
            found.push(*array);
        }
    }
    let mut found = found.into_iter();
    (found.next(), found.next())
}

/// `get_statistics` goes through the block table: from the first block address to the last; a
/// block counts where it is in use; its size counts as taken where it is allocated.
fn blocks(events: &[Event]) -> [Option<i64>; 4] {
    let vectors: Vec<i64> = accessed(events, 1, |width, kind| width == 8 && *kind == Kind::Read)
        .into_iter()
        .filter_map(|path| single(Some(path)))
        .collect();
    // The vector whose end is read as well is the one that is counted.
    let begin = vectors
        .iter()
        .copied()
        .filter(|begin| vectors.contains(&(begin + 8)))
        .min();
    let (in_use, allocated) = array(events, 1, 1);
    let sizes = array(events, 1, 8);
    // The addresses are an array of the same kind.
    let size = [sizes.0, sizes.1]
        .into_iter()
        .flatten()
        .find(|size| Some(*size) != begin);
    [begin, size, allocated, in_use]
}

/// Where an allocator keeps its bank managers and its live buffers.
pub(super) fn allocator(code: &Functions<'_>) -> Result<AllocatorLayout, LayoutError> {
    let name = "AllocatorImpl::deallocate_buffers";
    // It calls the same function for every bank manager.
    let mut calls: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for event in code.events(name).iter() {
        if let Event::Call {
            target: Some(target),
            arguments: [object, ..],
            ..
        } = event
            && let Some(place) = object.loaded()
            && let Some([offset]) = place.from(0)
        {
            calls.entry(*target).or_default().push(*offset);
        }
    }
    let what = "AllocatorImpl's bank managers";
    let managers = calls
        .into_values()
        .max_by_key(Vec::len)
        .filter(|managers| managers.len() >= 3)
        .ok_or_else(|| LayoutError::Unknown {
            what,
            looked_for: name.to_owned(),
        })?;
    let bank_managers = managers
        .into_iter()
        .map(|offset| agree(what, &[(name, Some(offset))]))
        .collect::<Result<_, _>>()?;
    let counter = "AllocatorImpl::get_num_allocated_buffers";
    let buffer_count = agree(
        "AllocatorImpl's live buffers",
        &[(counter, single(returned(&code.events(counter))))],
    )?;
    // libstdc++ keeps the first node just before the count.
    let buffer_list = buffer_count.checked_sub(8).ok_or(LayoutError::Absurd {
        what: "AllocatorImpl's live buffers",
        value: i64::from(buffer_count),
    })?;
    Ok(AllocatorLayout {
        bank_managers,
        buffer_count,
        buffer_list,
    })
}

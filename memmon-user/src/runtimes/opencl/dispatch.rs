//! The table of functions of an implementation.
//!
//! `clIcdGetPlatformIDsKHR` hands out the platform, an object that begins with a pointer to the table. Where the
//! platform is an object of the library's, its code names its address; where it is made at run time, it does not, and
//! the table is not found.

use std::collections::BTreeSet;

use iced_x86::{FlowControl, OpKind};

use super::{by_name, code};
use crate::elf::Library;

/// As long as OpenCL 3.0 has made it.
const SLOTS: usize = 152;
/// Those of OpenCL 1.0 without the one that is deprecated most: all of them have these.
const FIRST: std::ops::Range<usize> = 14..65;
/// How far the platform is followed through calls.
const DEPTH: usize = 3;
const MOST_FUNCTIONS: usize = 32;
const MOST_INSTRUCTIONS: usize = 512;

const HANDS_OUT: &str = "clIcdGetPlatformIDsKHR";

pub(super) fn table(library: &Library) -> Option<Vec<Option<u64>>> {
    let start = by_name::functions(library, &[HANDS_OUT])
        .into_iter()
        .next()??;
    let mut seen = BTreeSet::new();
    let mut open = vec![(start, 0)];
    while let Some((function, depth)) = open.pop() {
        if seen.len() >= MOST_FUNCTIONS || !seen.insert(function) {
            continue;
        }
        for instruction in code::instructions(library, function, MOST_INSTRUCTIONS) {
            if let Some(platform) = code::address_taken(library, &instruction)
                && let Some(table) = of_platform(library, platform)
            {
                return Some(table);
            }
            let leaves = matches!(
                instruction.flow_control(),
                FlowControl::Call | FlowControl::UnconditionalBranch
            );
            if leaves && instruction.op0_kind() == OpKind::NearBranch64 && depth < DEPTH {
                open.push((instruction.near_branch_target(), depth + 1));
            }
            // What comes after it is another function's, or reached by a jump that stands before.
            if instruction.flow_control() == FlowControl::UnconditionalBranch
                && depth == 0
                && instruction.ip() == function
            {
                break;
            }
        }
    }
    None
}

/// What an object at `address` begins with, if that is such a table.
fn of_platform(library: &Library, address: u64) -> Option<Vec<Option<u64>>> {
    if library.is_code(address) {
        return None;
    }
    let table = code::pointer(library, address)?;
    if library.is_code(table) || library.file_offset(table).is_none() {
        return None;
    }
    let mut slots = code::pointers(library, table, SLOTS);
    let is_code = |slot: &Option<u64>| slot.is_some_and(|function| library.is_code(function));
    // It may be shorter; what comes after it is something else.
    let end = slots
        .iter()
        .position(|slot| slot.is_some() && !is_code(slot))
        .unwrap_or(slots.len());
    slots.truncate(end);
    let first = slots.get(FIRST)?;
    first.iter().all(is_code).then_some(slots)
}

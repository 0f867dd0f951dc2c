//! Functions that a library hands out by name.
//!
//! Those that it exports are easy. For the others there is `clGetExtensionFunctionAddress`, which compares a name with
//! each that it knows and returns the address that goes with it: a ladder of comparisons, each with the name's address
//! before it, and the function's behind the jump that is taken when they are the same.

use std::collections::BTreeMap;

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind};

use super::code;
use crate::elf::{Library, Pattern};

const LADDERS: [&str; 2] = [
    "clGetExtensionFunctionAddressForPlatform",
    "clGetExtensionFunctionAddress",
];
const MOST_INSTRUCTIONS: usize = 2_048;
/// Between a name and the jump that it decides.
const TO_JUMP: usize = 12;
/// Between that and the function.
const TO_FUNCTION: usize = 4;

/// Where each of these functions is, where that can be told.
pub(super) fn functions(library: &Library, names: &[&str]) -> Vec<Option<u64>> {
    let patterns: Vec<Pattern<'_>> = names.iter().map(|name| Pattern::Exact(name)).collect();
    let mut found: Vec<Option<u64>> = library
        .symbols(&patterns)
        .iter()
        .map(|symbols| symbols.first().map(|symbol| symbol.address))
        .collect();
    if found.iter().all(Option::is_some) {
        return found;
    }
    for ladder in LADDERS {
        let Some(symbol) = library.symbol(ladder) else {
            continue;
        };
        let steps = code::instructions(library, symbol.address, MOST_INSTRUCTIONS);
        let handed_out = climb(library, &steps);
        for (name, found) in names.iter().zip(&mut found) {
            *found = found.or_else(|| handed_out.get(*name).copied());
        }
    }
    found
}

/// What goes with each name.
fn climb(library: &Library, steps: &[Instruction]) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        if step.mnemonic() != Mnemonic::Lea {
            continue;
        }
        let Some(name) =
            code::address_taken(library, step).and_then(|address| name(library, address))
        else {
            continue;
        };
        let after = steps.get(at + 1..).unwrap_or_default();
        let Some(address) = same(library, after) else {
            continue;
        };
        found.entry(name).or_insert(address);
    }
    found
}

/// The function, from behind the name on.
fn same(library: &Library, steps: &[Instruction]) -> Option<u64> {
    let at = steps
        .iter()
        .take(TO_JUMP)
        .position(|step| step.flow_control() == FlowControl::ConditionalBranch)?;
    let jump = steps.get(at)?;
    // Not over the next name.
    let between = steps.get(..at)?;
    if between.iter().any(|step| {
        step.mnemonic() == Mnemonic::Lea
            && code::address_taken(library, step)
                .is_some_and(|address| name(library, address).is_some())
    }) {
        return None;
    }
    if jump.op0_kind() != OpKind::NearBranch64 {
        return None;
    }
    let there;
    let branch: &[Instruction] = match jump.mnemonic() {
        Mnemonic::Je => {
            there = code::instructions(library, jump.near_branch_target(), TO_FUNCTION);
            &there
        }
        Mnemonic::Jne => steps.get(at + 1..)?,
        _ => return None,
    };
    branch
        .iter()
        .take(TO_FUNCTION)
        .filter_map(|step| code::address_taken(library, step))
        .find(|address| library.is_code(*address))
}

/// The name of an OpenCL function at this address.
fn name(library: &Library, address: u64) -> Option<String> {
    if library.is_code(address) {
        return None;
    }
    let bytes = library.data(address, 64)?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    text.strip_prefix("cl")?
        .chars()
        .all(char::is_alphanumeric)
        .then(|| text.to_owned())
}

//! OpenCL's implementations (ICDs): where they keep the functions that nobody exports.
//!
//! A loader calls an implementation through a table of pointers, with which every object of it begins; a program gets
//! functions of extensions by name. Neither needs a symbol, and a stripped library has none. So the table is found
//! where the library keeps it ([`dispatch`]), and functions by name in the code that is asked for them ([`by_name`]).

mod by_name;
mod code;
mod dispatch;
#[cfg(test)]
mod tests;
pub mod vendors;

use std::collections::BTreeMap;

use crate::{
    elf::{Library, Pattern},
    runtimes::resolver::Understood,
};

/// Functions that the loader calls: the constant, the name, and which pointer of the table it is.
const CALLED: [(&str, &str, usize); 9] = [
    ("create_buffer", "clCreateBuffer", 14),
    ("retain_mem_object", "clRetainMemObject", 17),
    ("release_mem_object", "clReleaseMemObject", 18),
    ("create_sub_buffer", "clCreateSubBuffer", 82),
    ("create_image", "clCreateImage", 96),
    ("svm_alloc", "clSVMAlloc", 126),
    ("svm_free", "clSVMFree", 127),
    ("enqueue_svm_free", "clEnqueueSVMFree", 128),
    (
        "create_buffer_with_properties",
        "clCreateBufferWithProperties",
        146,
    ),
];

/// Functions that a program asks for.
const ASKED_FOR: [(&str, &str); 5] = [
    ("device_mem_alloc", "clDeviceMemAllocINTEL"),
    ("shared_mem_alloc", "clSharedMemAllocINTEL"),
    ("host_mem_alloc", "clHostMemAllocINTEL"),
    ("mem_free", "clMemFreeINTEL"),
    ("mem_blocking_free", "clMemBlockingFreeINTEL"),
];

/// Where the library ends: a caller below it is the library itself.
const END: &str = "end";

/// Finds the functions that loaders call. Of those that came with later versions, what there is.
pub fn understand(library: &Library) -> Result<Understood, String> {
    let table = dispatch::table(library);
    let names: Vec<Pattern<'_>> = CALLED
        .iter()
        .map(|(_, symbol, _)| Pattern::Exact(symbol))
        .collect();
    let exported = library.symbols(&names);
    let found = CALLED
        .iter()
        .zip(&exported)
        .filter_map(|((name, _, slot), symbols)| {
            // The table first: it is what loaders call, and what is exported may only lead there.
            let pointer = table.as_ref().and_then(|table| *table.get(*slot)?);
            let symbol = || symbols.first().map(|symbol| symbol.address);
            Some((*name, pointer.or_else(symbol)?))
        });
    let mut found: BTreeMap<&str, u64> = found.collect();
    if found.is_empty() {
        return Err(
            "it exports no functions of OpenCL, and where it keeps the table of them for loaders is not known"
                .to_owned(),
        );
    }
    let segments = library.segments().iter();
    let end = segments.map(|segment| segment.address.saturating_add(segment.memory_size));
    found.insert(END, end.max().unwrap_or_default());
    Ok(as_constants(found))
}

/// Finds the functions that programs ask for, as far as there are any.
pub fn understand_usm(library: &Library) -> Result<Understood, String> {
    let names: Vec<&str> = ASKED_FOR.iter().map(|(_, symbol)| *symbol).collect();
    let found = by_name::functions(library, &names);
    let names = ASKED_FOR.iter().map(|(name, _)| *name);
    Ok(as_constants(
        names
            .zip(found)
            .filter_map(|(name, found)| Some((name, found?))),
    ))
}

fn as_constants(found: impl IntoIterator<Item = (&'static str, u64)>) -> Understood {
    let constants = found.into_iter().filter_map(|(name, address)| {
        let address = i64::try_from(address).ok()?;
        Some((name.to_owned(), address))
    });
    Understood {
        basis: "decoded",
        constants: constants.collect(),
        model: None,
    }
}

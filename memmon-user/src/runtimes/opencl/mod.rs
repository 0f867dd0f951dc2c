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

use std::collections::BTreeMap;

use crate::{
    elf::{Library, Pattern},
    runtimes::resolver::Understood,
};

/// Functions that the loader calls: the constant, the name, and which pointer of the table it is.
const CALLED: [(&str, &str, usize); 10] = [
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
    (
        "create_image_with_properties",
        "clCreateImageWithProperties",
        147,
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

/// Finds the functions of an implementation. What it does not have is left out.
pub fn understand(library: &Library) -> Result<Understood, String> {
    let mut constants = BTreeMap::new();
    let mut put = |name: &str, address: u64| {
        if let Ok(address) = i64::try_from(address) {
            constants.insert(name.to_owned(), address);
        }
    };
    let table = dispatch::table(library);
    let names: Vec<Pattern<'_>> = CALLED
        .iter()
        .map(|(_, symbol, _)| Pattern::Exact(symbol))
        .collect();
    let exported = library.symbols(&names);
    for ((name, _, slot), symbols) in CALLED.iter().zip(&exported) {
        // The table first: it is what loaders call, and what is exported may only lead there.
        let pointer = table.as_ref().and_then(|table| *table.get(*slot)?);
        let symbol = || symbols.first().map(|symbol| symbol.address);
        if let Some(address) = pointer.or_else(symbol) {
            put(name, address);
        }
    }
    let names: Vec<&str> = ASKED_FOR.iter().map(|(_, symbol)| *symbol).collect();
    for ((name, _), address) in ASKED_FOR.iter().zip(by_name::functions(library, &names)) {
        if let Some(address) = address {
            put(name, address);
        }
    }
    let segments = library.segments().iter();
    let end = segments.map(|segment| segment.address.saturating_add(segment.memory_size));
    put(END, end.max().unwrap_or_default());
    Ok(Understood {
        basis: "decoded",
        constants,
        model: None,
    })
}

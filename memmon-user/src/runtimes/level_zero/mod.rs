//! Intel's Level Zero: the driver's functions, which no symbol table names as they are called.

mod follow;
mod state;
mod tables;
#[cfg(test)]
mod tests;

use crate::{elf::Library, runtimes::resolver::Understood};

/// Finds the functions that the driver hands to its callers.
pub fn understand(library: &Library) -> Result<Understood, String> {
    let found = tables::find(library).map_err(|error| error.to_string())?;
    let mut understood = Understood::without_model("decoded");
    let code = library
        .segments()
        .iter()
        .filter(|segment| segment.executable);
    let end = code
        .map(|segment| segment.address.saturating_add(segment.file_size))
        .max();
    // Whether a caller is the library itself is asked by that.
    let end = end.unwrap_or_default().cast_signed();
    understood.constants.insert("end".to_owned(), end);
    for found in found {
        let name = found.function.name;
        let mut put = |name: String, address: u64| {
            understood.constants.insert(name, address.cast_signed());
        };
        put(name.to_owned(), found.table);
        if let Some(export) = found.export {
            put(format!("{name}_export"), export);
        }
    }
    Ok(understood)
}

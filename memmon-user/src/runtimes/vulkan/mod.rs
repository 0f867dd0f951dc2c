//! Vulkan: its loader (`libvulkan.so.1`), and the drivers behind it.
//!
//! A program that asks `vkGetDeviceProcAddr` gets the driver's own functions, past the loader. No
//! symbol says where they are, so [`entries`] finds them in the tables of Mesa's drivers.

pub mod drivers;
mod entries;

use crate::{elf::Library, runtimes::resolver::Understood};

/// What every driver exports, and the loader does not.
const DRIVERS_EXPORT: &str = "vk_icdGetInstanceProcAddr";
/// What the loader exports.
const LOADERS_EXPORT: &str = "vkGetInstanceProcAddr";

/// Finds a driver's functions. Of the loader nothing needs to be found: it exports its own.
pub fn understand(library: &Library) -> Result<Understood, String> {
    let Some(export) = library.symbol(DRIVERS_EXPORT) else {
        return match library.symbol(LOADERS_EXPORT) {
            Some(_) => Ok(Understood::without_model("table")),
            None => Err(
                "it is neither a driver nor the loader: it exports neither's functions".to_owned(),
            ),
        };
    };
    let found = entries::find(library, export.address).map_err(|error| error.to_string())?;
    let mut understood = Understood::without_model("decoded");
    for (name, address) in [
        ("allocate_memory", found.allocate_memory),
        ("free_memory", found.free_memory),
    ] {
        let address =
            i64::try_from(address).map_err(|_| "its addresses make no sense".to_owned())?;
        understood.constants.insert(name.to_owned(), address);
    }
    Ok(understood)
}

//! Tenstorrent tt-metal (`libtt_metal.so`).

pub mod layout;
mod model;
mod trace;
pub mod walk;

use std::sync::Arc;

use crate::{elf::Library, runtimes::resolver::Understood};

/// Learns the layout of a library file.
pub fn understand(library: &Library) -> Result<Understood, String> {
    let layout = layout::resolve(library).map_err(|error| error.to_string())?;
    Ok(Understood {
        basis: layout.basis.name(),
        constants: layout.constants(),
        model: Some(Arc::new(model::TtMetal::new(layout))),
    })
}

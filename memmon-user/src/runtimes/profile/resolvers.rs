//! Which built-in resolvers a profile may name, and which `$constants` each supplies.

use std::collections::BTreeMap;

/// What profiles may expect of a resolver.
#[derive(Debug)]
pub struct Resolver {
    pub name: &'static str,
    /// The constants that it supplies for every library it understands.
    pub constants: &'static [&'static str],
    /// Whether it finds out what a probe's `device` means.
    pub places_devices: bool,
    /// Releases of the library, with values in the order of `constants`: profiles are compiled
    /// for them when they are checked.
    releases: &'static [(&'static str, &'static [i64])],
}

impl Resolver {
    /// The constants of the releases known here, newest last.
    pub fn samples(&self) -> Vec<(&'static str, BTreeMap<String, i64>)> {
        self.releases
            .iter()
            .map(|(release, values)| {
                let names = self.constants.iter().map(|name| (*name).to_owned());
                (*release, names.zip(values.iter().copied()).collect())
            })
            .collect()
    }
}

static ALL: [Resolver; 1] = [Resolver {
    name: "tt-metal",
    // As `tt_metal::layout::Layout::constants` names them.
    constants: &[
        "bank_manager_kind",
        "bank_manager_num_banks",
        "bank_manager_free_lists",
        "free_list_align",
        "free_list_max",
        "buffer_indirect",
        "buffer_base",
        "buffer_device",
        "buffer_size",
        "buffer_type",
        "buffer_allocator",
        "buffer_status",
        "buffer_hooked",
        "buffer_address",
        "buffer_page_size",
    ],
    places_devices: true,
    releases: &[
        (
            "0.78.0",
            &[
                0, 0x20, 0x3b0, 0x20, 8, 0, 0x10, 0, 8, 0x10, 0x30, 0x38, 0x39, 0x40, 0x48,
            ],
        ),
        (
            "0.81.1",
            &[
                0, 0x20, 0x3b0, 0x20, 8, 1, 0x10, 0, 8, 0x10, 0x30, 0x38, 0x39, 0x40, 0x48,
            ],
        ),
    ],
}];

/// The resolver of this name.
pub fn find(name: &str) -> Option<&'static Resolver> {
    ALL.iter().find(|resolver| resolver.name == name)
}

/// The names of all resolvers.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|resolver| resolver.name)
}

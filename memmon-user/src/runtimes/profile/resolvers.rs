//! Which built-in resolvers a profile may name, and which `$constants` each supplies.

use std::collections::BTreeMap;

/// What profiles may expect of a resolver.
#[derive(Debug)]
pub struct Resolver {
    pub name: &'static str,
    /// The constants that it supplies for every library it understands; where they are places, it may leave out what
    /// a library does not have.
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

static ALL: &[Resolver] = &[TT_METAL, LEVEL_ZERO, VULKAN, OPENCL_ICD, OPENCL_USM];

const TT_METAL: Resolver = Resolver {
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
};

const VULKAN: Resolver = Resolver {
    name: "vulkan",
    // Of drivers; the loader needs none.
    constants: &["allocate_memory", "free_memory"],
    places_devices: false,
    releases: &[("lavapipe of Mesa 22.3.6", &[0x1f_0fb0, 0x1f_1320])],
};

const LEVEL_ZERO: Resolver = Resolver {
    name: "level-zero",
    // As `level_zero::tables` names them: addresses of functions.
    constants: &[
        "end",
        "mem_alloc_shared",
        "mem_alloc_device",
        "mem_alloc_host",
        "mem_free",
        "mem_free_ext",
        "physical_create",
        "physical_destroy",
        "device_get",
        "device_get_sub_devices",
        "mem_alloc_shared_export",
        "mem_alloc_device_export",
        "mem_alloc_host_export",
        "mem_free_export",
        "mem_free_ext_export",
        "physical_create_export",
        "physical_destroy_export",
        "device_get_export",
        "device_get_sub_devices_export",
    ],
    places_devices: false,
    releases: &[
        (
            "22.43",
            &[
                0x5a_7bd1, 0x24_77c0, 0x24_77e0, 0x24_7800, 0x24_7810, 0x24_7820, 0x24_73b0,
                0x24_73c0, 0x24_7500, 0x24_7510,
            ],
        ),
        (
            "26.27",
            &[
                0xa9_6ba9, 0x2e_8730, 0x2e_8760, 0x2e_8790, 0x2e_87b0, 0x2e_e920, 0x2d_a3e0,
                0x2d_a400, 0x2d_f9e0, 0x2d_96e0, 0x2e_cb20, 0x2e_cb50, 0x2e_cb80, 0x2e_cba0,
                0x2e_eab0,
            ],
        ),
    ],
};

const OPENCL_ICD: Resolver = Resolver {
    name: "opencl-icd",
    // As `opencl::CALLED` has them; those that a library does not have are left out.
    constants: &[
        "create_buffer",
        "create_buffer_with_properties",
        "create_sub_buffer",
        "create_image",
        "retain_mem_object",
        "release_mem_object",
        "svm_alloc",
        "svm_free",
        "enqueue_svm_free",
        "end",
    ],
    places_devices: false,
    releases: &[(
        "libintelocl.so 2026.2",
        &[
            0x2c5_55f0, 0x2c5_6260, 0x2c5_6fe0, 0x2c5_8610, 0x2c5_be70, 0x2c5_c710, 0x2c9_2a60,
            0x2c9_3460, 0x2c9_3cd0, 0x5fe_0000,
        ],
    )],
};

const OPENCL_USM: Resolver = Resolver {
    name: "opencl-usm",
    // As `opencl::ASKED_FOR` has them; likewise.
    constants: &[
        "device_mem_alloc",
        "shared_mem_alloc",
        "host_mem_alloc",
        "mem_free",
        "mem_blocking_free",
    ],
    places_devices: false,
    releases: &[(
        "libintelocl.so 2026.2",
        &[0x2ca_3370, 0x2ca_3990, 0x2ca_2d80, 0x2ca_3fe0, 0x2ca_4520],
    )],
};

/// The resolver of this name.
pub fn find(name: &str) -> Option<&'static Resolver> {
    ALL.iter().find(|resolver| resolver.name == name)
}

/// The names of all resolvers.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|resolver| resolver.name)
}

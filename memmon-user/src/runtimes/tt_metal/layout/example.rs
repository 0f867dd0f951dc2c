//! A layout to test and fuzz the walk with.

use super::{
    AllocatorLayout, BankManagerLayout, Basis, BufferLayout, DeviceLayout, FreeListLayout, Layout,
    VirtualTables,
};

/// That of 0.81.1, with two pools, and virtual tables at addresses of its own.
pub fn layout() -> Layout {
    Layout {
        basis: Basis::Decoded,
        buffer: BufferLayout {
            indirect: true,
            base: 0x10,
            device: 0,
            size: 8,
            buffer_type: 0x10,
            buffer_layout: 0x14,
            owns_data: Some(0x1b),
            allocator: 0x30,
            status: 0x38,
            hooked: 0x39,
            address: 0x40,
            page_size: 0x48,
        },
        bank_manager: BankManagerLayout {
            kind: 0,
            num_banks: 0x20,
            free_lists: 0x3b0,
        },
        free_list: FreeListLayout {
            max: 8,
            offset: 0x10,
            align: 0x20,
            block_address: 0x40,
            block_size: 0x58,
            allocated: 0xa0,
            in_use: 0xb8,
        },
        allocator: Some(AllocatorLayout {
            bank_managers: vec![0x30, 0x38],
            buffer_count: 0x148,
            buffer_list: 0x140,
        }),
        devices: Some(DeviceLayout {
            mesh_chips: vec![0x18, 0x70, 0, 0x178],
            chip_stride: 16,
            mesh_allocator: vec![0x18, 0x1f8, 0x48, 0x70, 0],
            mesh_active: Some(vec![0x18, 0x1f8, 0x40, 0x70]),
            device_allocator: Some(vec![0x48]),
            device_id: 0x18,
        }),
        tables: Some(VirtualTables {
            device: 0x100,
            mesh_device: 0x200,
            free_list: 0x300,
            allocators: vec![0x400],
        }),
        notes: Vec::new(),
    }
}

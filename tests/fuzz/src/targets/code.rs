//! Machine code of the functions that a layout is learned from.
use crate::code;
use memmon::{elf::Library, runtimes::tt_metal::layout};

/// Beyond this there are no fields.
const FARTHEST: u32 = 1 << 16;

pub fn run(data: &[u8]) {
    let library = Library::from_bytes(code::library(data)).expect("it is made to be read");
    let Ok(layout) = layout::resolve(&library) else {
        return;
    };
    assert_eq!(
        layout::resolve(&library).as_ref(),
        Ok(&layout),
        "it changes its mind"
    );
    for (name, value) in layout.constants() {
        assert!(
            (0..=i64::from(FARTHEST)).contains(&value),
            "{name} is {value:#x}"
        );
    }
    let allocator = layout.allocator.iter();
    let fields = allocator.flat_map(|it| {
        it.bank_managers
            .iter()
            .chain([&it.buffer_count, &it.buffer_list])
    });
    let devices = layout.devices.iter();
    let ways = devices.flat_map(|it| {
        let optional = it.mesh_active.iter().chain(&it.device_allocator).flatten();
        it.mesh_chips
            .iter()
            .chain(&it.mesh_allocator)
            .chain(optional)
    });
    for offset in fields.chain(ways) {
        assert!(*offset <= FARTHEST, "{layout:?}");
    }
}

//! A library file: headers, symbols, notes, stubs, and whatever is learned from its code and tables.
use memmon::{
    elf::{Library, Pattern},
    runtimes::tt_metal,
};

use crate::decoders;

pub fn run(data: &[u8]) {
    let Ok(library) = Library::from_bytes(data.to_vec()) else {
        return;
    };
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(library.build_id().is_none_or(|id| hex(&id)));
    library.soname();
    library.needs();
    library.plt_stub("imported");
    library.plt_stub("__cxa_throw");
    let patterns = [
        Pattern::Exact("table"),
        Pattern::Prefix("first_of_"),
        Pattern::Prefix(""),
    ];
    let found = library.symbols(&patterns);
    assert_eq!(found.len(), patterns.len());
    assert_eq!(library.symbol("table").as_ref(), found[0].first());
    assert!(found[0].iter().all(|symbol| symbol.name == "table"));
    assert!(
        found[1]
            .iter()
            .all(|symbol| symbol.name.starts_with("first_of_"))
    );
    for symbol in found[2].iter().take(64) {
        library.pointers(symbol.address, 16);
        let code = library.code(symbol.address, 64);
        assert!(code.as_ref().is_none_or(|code| code.len() <= 64));
        assert!(code.is_none() || library.is_code(symbol.address));
    }
    for segment in library.segments() {
        for address in [
            segment.address,
            segment.address.wrapping_add(segment.file_size / 2),
        ] {
            // Segments may overlap: then the first one counts, both ways.
            if let Some(offset) = library.file_offset(address) {
                let back = library.vaddr_of_offset(offset);
                assert!(
                    back.is_some(),
                    "{address:#x} is at {offset:#x}, which is nowhere"
                );
            }
            library.data(address, 64);
        }
    }
    let _ = tt_metal::understand(&library);
    decoders::vulkan(&library);
    decoders::opencl(&library);
    decoders::level_zero(&library);
    for (symbol, looks_at) in found[2].iter().zip(0..16) {
        decoders::landing(&library, symbol, looks_at);
    }
}

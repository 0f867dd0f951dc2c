//! What is read out of a library's code and tables, and what must be true of it whatever the library is.

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use memmon::{
    attach::landing::{self, Needs},
    elf::{Library, Symbol},
    runtimes::{level_zero, opencl, resolver::Understood, vulkan},
};
use memmon_ebpf::spec::{Instr, MAX_INSTRS, ProbeSpec, op};

type Result = std::result::Result<Understood, String>;

/// Asked twice, it says the same; a reason where it says nothing.
fn understood(understand: fn(&Library) -> Result, library: &Library) -> Option<Vec<(String, u64)>> {
    let [first, second] = [(), ()].map(|()| understand(library).map(|found| found.constants));
    assert_eq!(first, second, "it changes its mind");
    match first {
        Ok(constants) => Some(
            constants
                .into_iter()
                .map(|(name, value)| (name, value.cast_unsigned()))
                .collect(),
        ),
        Err(reason) => {
            assert!(!reason.is_empty());
            None
        }
    }
}

pub fn vulkan(library: &Library) {
    let Some(found) = understood(vulkan::understand, library) else {
        return;
    };
    match &found[..] {
        // The loader.
        [] => assert!(library.symbol("vkGetInstanceProcAddr").is_some()),
        [(_, allocate), (_, free)] => {
            assert_ne!(allocate, free);
            assert!(library.is_code(*allocate) && library.is_code(*free));
        }
        found => panic!("{found:x?}"),
    }
}

pub fn opencl(library: &Library) {
    let called = understood(opencl::understand, library).unwrap_or_default();
    let asked_for = understood(opencl::understand_usm, library).unwrap_or_default();
    let exported: Vec<u64> = library
        .symbols_with_prefix("cl")
        .iter()
        .map(|symbol| symbol.address)
        .collect();
    for (name, address) in called.iter().chain(&asked_for) {
        assert!(
            name == "end" || library.is_code(*address) || exported.contains(address),
            "{name} is at {address:#x}"
        );
    }
}

pub fn level_zero(library: &Library) {
    let Some(found) = understood(level_zero::understand, library) else {
        return;
    };
    let named = |wanted: &str| found.iter().find(|(name, _)| name == wanted);
    for wanted in [
        "mem_alloc_shared",
        "mem_alloc_device",
        "mem_alloc_host",
        "mem_free",
    ] {
        assert!(named(wanted).is_some(), "{wanted} is lacking: {found:x?}");
    }
    for (name, address) in &found {
        let of_export = name.strip_suffix("_export");
        match of_export.and_then(named) {
            // A call must not come by two probes.
            Some((_, table)) => assert_ne!(table, address, "{name}"),
            None if name == "end" => {}
            None => {
                let exported = library.symbols_with_prefix("ze");
                assert!(
                    library.is_code(*address)
                        || exported.iter().any(|symbol| symbol.address == *address),
                    "{name} is at {address:#x}"
                );
            }
        }
    }
}

/// Where a probe of the function is placed that looks at this: a bit for each argument, then the stack, then whether
/// the function's end is not known.
pub fn landing(library: &Library, function: &Symbol, looks_at: u8) {
    let size = if looks_at & 0x80 == 0 {
        function.size
    } else {
        0
    };
    let of = |looks_at| landing::of(library, function.address, size, needs(looks_at));
    let landing = of(looks_at);
    let known = usize::try_from(function.size).unwrap_or(usize::MAX);
    let code = library
        .code(function.address, known.clamp(15, 1 << 16))
        .unwrap_or_default();
    let past = usize::try_from(landing.address - function.address).expect("it is no further");
    let there = code.get(past..).unwrap_or_default();
    assert_eq!(landing.single_stepped, !is_emulated(there), "{there:x?}");
    if past == 0 {
        return;
    }
    assert!(!landing.single_stepped && past < known && size != 0);
    assert!(!library.has_symbol_in(function.address + 1..=landing.address));
    // It went past instructions, each after the other.
    let mut passed = Decoder::with_ip(64, &code, function.address, DecoderOptions::NONE);
    while passed.ip() < landing.address {
        let instruction = passed.decode();
        assert!(
            instruction.flow_control() == FlowControl::Next && !instruction.is_invalid(),
            "past {instruction:?}"
        );
    }
    assert_eq!(passed.ip(), landing.address, "in the midst of another");
    // Who looks at less sees as much there.
    assert_eq!(of(0), landing);
}

fn is_emulated(code: &[u8]) -> bool {
    matches!(
        code,
        [0x50..=0x57 | 0x70..=0x7f | 0x90 | 0xe8 | 0xe9 | 0xeb, ..]
            | [0x41, 0x50..=0x57, ..]
            | [0x0f, 0x80..=0x8f, ..]
    )
}

fn needs(looks_at: u8) -> Needs {
    let arguments = (0..6).filter(|index| looks_at & (1 << index) != 0);
    let argument = |imm| Instr {
        op: op::ARG,
        imm,
        ..Instr::default()
    };
    let stack = (looks_at & 0x40 != 0).then(|| Instr {
        op: op::STACK,
        ..Instr::default()
    });
    let mut spec = ProbeSpec {
        version: 0,
        action: 0,
        outputs: 0,
        len: 0,
        flags: 0,
        space: 0,
        label: 0,
        covered_by: 0,
        code: [Instr::default(); MAX_INSTRS],
    };
    for (to, instr) in spec
        .code
        .iter_mut()
        .zip(arguments.map(argument).chain(stack))
    {
        *to = instr;
        spec.len += 1;
    }
    Needs::of(&spec, false)
}

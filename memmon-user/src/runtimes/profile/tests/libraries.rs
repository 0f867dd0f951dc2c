//! The tt-metal profile against real libraries: `MEMMON_LIBTT_DIR=<dir>`, which holds
//! `<version>/libtt_metal.so` for any number of versions.

use std::{collections::BTreeSet, env, fs::File, path::Path};

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, OpKind, Register};

use super::{
    super::{Probe, SymbolPattern, report, resolvers},
    tt_metal,
};
use crate::{
    elf::{self, Pattern},
    runtimes::tt_metal::layout,
};

/// Where the probe goes, and the symbols that led there.
fn places(library: &elf::Library, probe: &Probe) -> (BTreeSet<u64>, BTreeSet<String>) {
    let (mut addresses, mut names) = (BTreeSet::new(), BTreeSet::new());
    for pattern in &probe.symbols {
        let found = match pattern {
            SymbolPattern::Exact(name) => library.symbols(&[Pattern::Exact(name)]),
            SymbolPattern::Prefix(prefix) => library.symbols(&[Pattern::Prefix(prefix)]),
            SymbolPattern::Plt(import) => {
                addresses.extend(library.plt_stub(import));
                continue;
            }
            SymbolPattern::Constant(_) | SymbolPattern::Address(_) => continue,
        };
        for symbol in found.into_iter().flatten() {
            if pattern.matches(&symbol.name) {
                addresses.insert(symbol.address);
                names.insert(symbol.name);
            }
        }
    }
    (addresses, names)
}

/// Registers that hold what `argument` held at the entry, followed through plain moves, together
/// with each instruction they are met in.
fn uses(
    code: &[u8],
    address: u64,
    argument: Register,
    mut each: impl FnMut(&Instruction, &[Register]),
) {
    let mut holders = vec![argument];
    for instruction in Decoder::with_ip(64, code, address, DecoderOptions::NONE)
        .iter()
        .take(60)
    {
        each(&instruction, &holders);
        let target = instruction.op0_register().full_register();
        if instruction.op0_kind() != OpKind::Register || target == Register::None {
            continue;
        }
        let copies =
            instruction.code() == Code::Mov_r64_rm64 || instruction.code() == Code::Mov_rm64_r64;
        if copies && holders.contains(&instruction.op1_register()) {
            holders.push(target);
        } else if matches!(
            instruction.mnemonic(),
            iced_x86::Mnemonic::Mov | iced_x86::Mnemonic::Lea | iced_x86::Mnemonic::Xor
        ) {
            holders.retain(|holder| *holder != target);
        }
    }
}

/// `BankManager(BufferType const&, …)` stores what argument 1 points to, 32 bits, at 0 of argument 0.
fn constructor_reads_the_pool(code: &[u8], address: u64) -> bool {
    let mut read = false;
    uses(code, address, Register::RSI, |instruction, holders| {
        read |= instruction.code() == Code::Mov_r32_rm32
            && holders.contains(&instruction.memory_base())
            && instruction.memory_displacement64() == 0;
    });
    read
}

/// `allocate_buffer` tests bit 32 of argument 5: whether `optional<u32>` holds something.
fn attempt_tests_the_optional(code: &[u8], address: u64) -> bool {
    let mut tests = false;
    uses(code, address, Register::R9, |instruction, holders| {
        tests |= instruction.code() == Code::Bt_rm64_imm8
            && instruction.immediate8() == 32
            && holders.contains(&instruction.op0_register());
    });
    tests
}

#[test]
fn every_release_has_the_symbols_and_registers_that_the_profile_names() {
    let Ok(directory) = env::var("MEMMON_LIBTT_DIR") else {
        let installed = env::var_os("MEMMON_LAB");
        assert!(
            installed.is_none(),
            "MEMMON_LIBTT_DIR: `cargo xtask test` sets it"
        );
        return;
    };
    let profile = tt_metal();
    let mut checked = 0;
    for entry in Path::new(&directory).read_dir().unwrap() {
        let path = entry.unwrap().path().join("libtt_metal.so");
        let Ok(file) = File::open(&path) else {
            continue;
        };
        checked += 1;
        let library = elf::Library::open(&file).unwrap();
        for probe in &profile.libraries[0].probes {
            let (addresses, names) = places(&library, probe);
            let begin = |start: &str| names.iter().all(|name| name.starts_with(start));
            let (wanted, sound) = match probe.name.as_str() {
                "open" => (
                    2,
                    names.len() == 4
                        && names.iter().all(|name| {
                            name.contains("11BankManagerC1ERKNS0_10BufferTypeE")
                                || name.contains("11BankManagerC2ERKNS0_10BufferTypeE")
                        }),
                ),
                // size, page size, bottom up, CoreRangeSet const&, optional<u32>.
                "attempt" => (
                    1,
                    begin(
                        "_ZN2tt8tt_metal11BankManager15allocate_bufferEmmbRKNS0_12CoreRangeSetESt8optionalIjE",
                    ),
                ),
                "free all" => (2, names.len() == 2),
                "fail" => (1, names.is_empty()),
                _ => (1, names.len() == 1),
            };
            assert_eq!(
                addresses.len(),
                wanted,
                "{}: {}: {names:?}",
                path.display(),
                probe.name
            );
            assert!(sound, "{}: {}: {names:?}", path.display(), probe.name);
            for address in addresses {
                assert!(
                    library.is_code(address),
                    "{}: {}",
                    path.display(),
                    probe.name
                );
                let code = library.code(address, 512).unwrap();
                let register = match probe.name.as_str() {
                    "open" => constructor_reads_the_pool(&code, address),
                    "attempt" => attempt_tests_the_optional(&code, address),
                    _ => true,
                };
                assert!(
                    register,
                    "{}: {} uses other registers",
                    path.display(),
                    probe.name
                );
            }
        }
        // What the resolver finds in this very file is what the profile asks for.
        let constants = layout::resolve(&library).unwrap().constants();
        let compiled = profile.compile(0, &constants, 0);
        compiled.unwrap_or_else(|errors| panic!("{}", report::errors(&errors)));
        let release = path.parent().and_then(Path::file_name).unwrap();
        for (sample, expected) in resolvers::find("tt-metal").unwrap().samples() {
            assert!(expected.keys().eq(constants.keys()), "{constants:?}");
            assert!(release != sample || constants == expected, "{constants:?}");
        }
        println!("{}: as the profile says", path.display());
    }
    assert!(checked > 0, "no libtt_metal.so under {directory}");
}

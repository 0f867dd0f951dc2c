//! What must be true of every profile that is accepted.

use std::{collections::BTreeMap, io};

use memmon::{
    runtimes::profile::{
        Profile, disassemble,
        evaluate::{Hit, Outcome, evaluate},
        report,
    },
    target::memory::Memory,
};
use memmon_ebpf::spec::{BLOCK_WORDS, MAX_INSTRS, ProbeSpec, REGISTERS, op, width};

/// Memory that holds something nearly everywhere.
pub struct Patchy;

impl Memory for Patchy {
    fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        for (index, byte) in buffer.iter_mut().enumerate() {
            let address = address.wrapping_add(index as u64);
            if (address >> 4) & 63 == 0 {
                return Err(io::ErrorKind::NotFound.into());
            }
            *byte = (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        }
        Ok(())
    }
}

pub fn hits() -> [Hit; 3] {
    let hit = |seed: u64, pending| Hit {
        carried: pending,
        current: (seed % 3 != 0).then_some(seed),
        noted: (seed % 5 != 0).then_some(seed ^ 1),
        position: seed,
        whole: seed % 2 == 0,
        arguments: std::array::from_fn(|index| seed.rotate_left(8 * index as u32)),
        stack_pointer: seed ^ 0x7ffc_0000_1230,
        returned: seed >> 3,
        pending,
    };
    [
        hit(0, None),
        hit(0x5555_1234_5678, Some([7; 8])),
        hit(u64::MAX, None),
    ]
}

/// The numbers that a resolver has for a release.
pub fn constants() -> BTreeMap<String, i64> {
    let names = [
        ("bank_manager_kind", 0),
        ("bank_manager_num_banks", 0x20),
        ("bank_manager_free_lists", 0x3b0),
        ("free_list_align", 0x20),
        ("free_list_max", 8),
        ("buffer_indirect", 1),
        ("buffer_base", 0x10),
        ("buffer_device", 0),
        ("buffer_size", 8),
        ("buffer_type", 0x10),
        ("buffer_allocator", 0x30),
        ("buffer_status", 0x38),
        ("buffer_hooked", 0x39),
        ("buffer_address", 0x40),
        ("buffer_page_size", 0x48),
    ];
    names.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The BPF interpreter, and so the kernel, gets nothing that it does not know how to run.
pub fn is_sound(spec: &ProbeSpec) {
    let len = usize::from(spec.len);
    assert!(len <= MAX_INSTRS, "{len} instructions");
    let mut written = [false; REGISTERS];
    // Bytes of the block that fields are taken from.
    let mut block = 0;
    for instr in &spec.code[..len] {
        assert!(
            usize::from(instr.dst) < REGISTERS
                && usize::from(instr.a) < REGISTERS
                && (op::ARG..=op::FIELD).contains(&instr.op),
            "{instr:?}"
        );
        match instr.op {
            op::BLOCK => {
                block = usize::from(instr.b);
                assert!((1..=8 * BLOCK_WORDS).contains(&block), "{instr:?}");
                continue;
            }
            op::LOAD | op::STACK => block = 0,
            op::FIELD => {
                let (shift, bytes) = (instr.imm as usize, instr.b & !width::SIGNED);
                let end = 8 * usize::from(instr.a) + shift / 8 + usize::from(bytes);
                assert!(shift < 64 && end <= block, "{instr:?} of {block} bytes");
            }
            _ => {}
        }
        written[usize::from(instr.dst)] = true;
    }
    for (register, written) in written.iter().take(8).enumerate() {
        assert!(
            spec.outputs & (1 << register) == 0 || *written,
            "output {register} is promised and never set:\n{}",
            disassemble(spec)
        );
    }
}

pub fn outcomes(spec: &ProbeSpec) -> Vec<Outcome> {
    hits()
        .iter()
        .map(|hit| evaluate(spec, hit, &Patchy))
        .collect()
}

/// Everything that is done with an accepted profile; the programs of its probes.
pub fn use_profile(profile: &Profile) -> Vec<ProbeSpec> {
    report::check(profile, true);
    report::list(std::slice::from_ref(profile));
    let mut specs = Vec::new();
    for library in 0..profile.libraries.len() {
        match profile.compile(library, &constants(), 0) {
            Ok(probes) => specs.extend(probes.iter().map(|probe| probe.spec)),
            Err(errors) => assert!(!report::errors(&errors).is_empty()),
        }
    }
    for spec in &specs {
        is_sound(spec);
        disassemble(spec);
        assert!(
            !outcomes(spec).contains(&Outcome::Bad),
            "{}",
            disassemble(spec)
        );
    }
    specs
}

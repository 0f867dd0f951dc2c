//! Profiles as a whole: what they compile to, and what is said of those that make no sense.

mod agreement;
mod errors;
mod libraries;

use std::{cell::RefCell, collections::BTreeMap, io, path::Path};

use memmon_ebpf::spec::{Action, MAX_INSTRS, flag};

use super::{
    CompiledProbe, Profile, builtin, check_set,
    evaluate::{Hit, Outcome, evaluate},
    load,
    program::explain,
    report, resolvers,
};
use crate::target::memory::Memory;

/// Some bytes at some addresses.
#[derive(Default)]
struct Bytes {
    at: BTreeMap<u64, u8>,
    reads: RefCell<usize>,
}

impl Bytes {
    fn put(&mut self, address: u64, value: u64, bytes: usize) -> &mut Self {
        for (place, byte) in (address..).zip(value.to_le_bytes()).take(bytes) {
            self.at.insert(place, byte);
        }
        self
    }

    /// Mapped, whatever it holds.
    fn object(&mut self, address: u64, bytes: u64) -> &mut Self {
        self.at
            .extend((address..address + bytes).map(|place| (place, 0)));
        self
    }
}

impl Memory for Bytes {
    fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        *self.reads.borrow_mut() += 1;
        for (place, byte) in (address..).zip(buffer) {
            *byte = *self
                .at
                .get(&place)
                .ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        }
        Ok(())
    }
}

fn tt_metal() -> Profile {
    let mut profiles = builtin().unwrap();
    let index = profiles
        .iter()
        .position(|profile| profile.name == "tt-metal");
    profiles.swap_remove(index.unwrap())
}

fn compiled(profile: &Profile, constants: &BTreeMap<String, i64>) -> Vec<CompiledProbe> {
    profile.compile(0, constants, 7).unwrap()
}

fn probe<'a>(probes: &'a [CompiledProbe], name: &str) -> &'a CompiledProbe {
    probes.iter().find(|probe| probe.name == name).unwrap()
}

fn sample(release: &str) -> BTreeMap<String, i64> {
    let samples = resolvers::find("tt-metal").unwrap().samples();
    let found = samples.into_iter().find(|(name, _)| *name == release);
    found.unwrap().1
}

#[test]
fn built_in_profiles_are_sound_and_agree() {
    let profiles = builtin().unwrap_or_else(|errors| panic!("{}", report::errors(&errors)));
    assert_eq!(check_set(&profiles), []);
    println!("{}", report::list(&profiles));
    for profile in &profiles {
        println!("{}", report::check(profile, true));
    }
}

#[test]
fn an_attempt_charges_what_the_allocator_takes() {
    let probes = compiled(&tt_metal(), &sample("0.81.1"));
    let attempt = &probe(&probes, "attempt").spec;
    assert_eq!(attempt.action, Action::Begin as u8);
    assert_eq!(attempt.space, 7);
    let manager = 0x1000;
    let mut memory = Bytes::default();
    memory
        .object(manager, 0x3b8)
        .put(manager, 1, 4)
        .put(manager + 0x20, 64, 4)
        .put(manager + 0x3b0, 0x2000, 8)
        .put(0x2000, 0x3000, 8)
        .put(0x3020, 32, 8);
    // `facts/tt-metal.md`, section 3: per bank up(ceil((size / page) / n) * page, F).
    for (size, page, shards, per_bank) in [
        (2_097_152_u64, 2048_u64, None, 16 * 2048),
        (2_113_536, 2048, None, 17 * 2048),
        (40, 40, None, 64),
        (32_768, 2048, Some(8), 2 * 2048),
        (32_768, 2048, Some(0xffff_ffff), 2048),
    ] {
        // The high half above bit 32 of an optional is padding: anything.
        let optional = shards.map_or(0xdead_bee0_0000_0003, |n: u64| 0xdead_bee1_0000_0000 | n);
        let hit = Hit {
            arguments: [manager, size, page, 1, 0x4000, optional],
            ..Hit::default()
        };
        let Outcome::Event { outputs, mask } = evaluate(attempt, &hit, &memory) else {
            panic!("no event");
        };
        assert_eq!(mask, 0b11110);
        assert_eq!(outputs[1..5], [manager, 1, size, per_bank * 64]);
    }
    // Every read costs: kind and banks in one, and three for the alignment.
    assert_eq!(explain::reads(attempt), 4);
    assert!(usize::from(attempt.len) <= MAX_INSTRS);
    // An unreadable allocator is no allocation of 0 bytes.
    memory.at.remove(&(manager + 0x20));
    let hit = Hit {
        arguments: [manager, 1, 1, 0, 0, 0],
        ..Hit::default()
    };
    assert_eq!(evaluate(attempt, &hit, &memory), Outcome::Fault);
}

#[test]
fn a_commit_reads_the_buffer_of_either_layout() {
    let fields = |memory: &mut Bytes, base: u64| {
        memory.object(base, 0x48);
        for (offset, value) in [(0, 0xd0), (8, 4096), (0x30, 0xa110c), (0x40, 0xadd)] {
            memory.put(base + offset, value, 8);
        }
    };
    let hit = Hit {
        arguments: [1, 0x5000, 2, 3, 4, 5],
        ..Hit::default()
    };
    for (release, base, reads) in [("0.78.0", 0x5010, 1), ("0.81.1", 0x6000, 2)] {
        let probes = compiled(&tt_metal(), &sample(release));
        let commit = &probe(&probes, "commit").spec;
        let mut memory = Bytes::default();
        memory.put(0x5010, 0x6000, 8);
        fields(&mut memory, base);
        let Outcome::Event { outputs, mask } = evaluate(commit, &hit, &memory) else {
            panic!("no event");
        };
        assert_eq!(mask, 0b1110_1001, "{release}");
        assert_eq!(outputs, [0x5000, 0, 0, 4096, 0, 0xd0, 0xadd, 0xa110c]);
        assert_eq!(*memory.reads.borrow(), reads, "{release}");
    }
}

#[test]
fn the_other_tt_metal_probes_say_what_they_should() {
    let probes = compiled(&tt_metal(), &sample("0.81.1"));
    let hit = Hit {
        arguments: [0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5],
        ..Hit::default()
    };
    let mut memory = Bytes::default();
    memory.put(0xa1, 4, 4);
    let run = |name: &str| {
        let spec = &probe(&probes, name).spec;
        match evaluate(spec, &hit, &memory) {
            Outcome::Event { outputs, mask } => (spec.action, outputs, mask, spec.flags),
            other => panic!("{name}: {other:?}"),
        }
    };
    let starts = flag::STARTS_PROCESS;
    let expected = [0, 0xa0, 4, 0, 0, 0, 0, 0];
    assert_eq!(
        run("open"),
        (Action::OwnerOpen as u8, expected, 0b110, starts)
    );
    assert_eq!(run("fail"), (Action::Fail as u8, [0; 8], 0, 0));
    let expected = [0xa1, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(run("free"), (Action::Free as u8, expected, 1, 0));
    let expected = [0, 0xa0, 0, 0, 0, 0, 0, 0];
    assert_eq!(run("free all"), (Action::FreeAll as u8, expected, 2, 0));
    let expected = [0, 0xa5, 100, 0xa3, 0, 0xa5, 0xa2, 0];
    let circular = (Action::Register as u8, expected, 0b111_1110, 0);
    assert_eq!(run("circular buffer"), circular);
    let expected = [0, 0xa1, 0, 0, 0, 0, 0, 0];
    let end = (Action::FreeAll as u8, expected, 2, 0);
    assert_eq!(run("circular buffers end"), end);
    assert!(!tt_metal().pool_is_charged(100));
}

#[test]
fn a_constant_the_resolver_lacks_is_an_error_at_compile_time() {
    let mut constants = sample("0.81.1");
    constants.remove("free_list_align");
    let errors = tt_metal().compile(0, &constants, 0).unwrap_err();
    assert_eq!(errors.len(), 1);
    let text = errors[0].to_string();
    assert!(
        text.contains("probe \"attempt\": let: alignment: unknown constant '$free_list_align'"),
        "{text}"
    );
}

fn c_api() -> Profile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/profiles/c-api.toml");
    load(&path).unwrap_or_else(|errors| panic!("{}", report::errors(&errors)))
}

/// Runs the entry probe, then the return probe with what is then pending.
fn call(probes: &[CompiledProbe], names: [&str; 2], hit: Hit, memory: &Bytes) -> Outcome {
    let [begin, commit] = names.map(|name| &probe(probes, name).spec);
    let Outcome::Event { outputs, .. } = evaluate(begin, &hit, memory) else {
        panic!("no begin");
    };
    let hit = Hit {
        arguments: [0xbad; 6],
        returned: hit.returned,
        pending: Some(outputs),
        ..Hit::default()
    };
    evaluate(commit, &hit, memory)
}

#[test]
fn a_c_api_reaches_its_arguments_from_the_return() {
    let probes = compiled(&c_api(), &BTreeMap::new());
    let mut memory = Bytes::default();
    memory.put(0x100, 0xfeed_0000, 8).put(0x200, 512, 8);
    let hit = Hit {
        arguments: [0x100, 4096, 0, 0, 0, 0],
        // An `int`: the upper half of the register is whatever it was.
        returned: 0xffff_ffff_0000_0000,
        ..Hit::default()
    };
    let names = ["alloc", "allocated"];
    let Outcome::Event { outputs, mask } = call(&probes, names, hit, &memory) else {
        panic!("no commit");
    };
    assert_eq!((outputs[0], outputs[6]), (0xfeed_0000, 0xfeed_0000));
    // Requested and charged come from `begin`, where the one is the other's default.
    assert_eq!(mask, 0b100_0001);
    let Outcome::Event { outputs, mask } = evaluate(&probe(&probes, "alloc").spec, &hit, &memory)
    else {
        panic!("no begin");
    };
    assert_eq!((outputs[3], outputs[4], mask), (4096, 4096, 0b1_1001));

    // It began before anybody observed it: there is no pointer to read.
    let nothing_pending = Hit {
        pending: None,
        ..hit
    };
    let commit = &probe(&probes, "allocated").spec;
    assert_eq!(evaluate(commit, &nothing_pending, &memory), Outcome::None);

    // A failed call left the pointer unset: it is not read.
    let failed = Hit {
        returned: 2,
        arguments: [0x666, 4096, 0, 0, 0, 0],
        ..hit
    };
    let outcome = call(&probes, names, failed, &memory);
    let outputs = [0; 8];
    assert_eq!(outcome, Outcome::Failed { outputs, mask: 0 });

    let hit = Hit {
        arguments: [0x100, 0x200, 500, 10, 0, 0],
        ..hit
    };
    let names = ["alloc pitch", "allocated pitch"];
    let Outcome::Event { outputs, mask } = call(&probes, names, hit, &memory) else {
        panic!("no commit");
    };
    assert_eq!(outputs, [0xfeed_0000, 0, 0, 5120, 5120, 0, 0xfeed_0000, 0]);
    assert_eq!(mask, 0b1101_1001);

    let free = &probe(&probes, "free").spec;
    let hit = Hit::default();
    assert_eq!(evaluate(free, &hit, &memory), Outcome::None, "free(NULL)");
}

use std::{cell::RefCell, io};

use proptest::prelude::*;

use super::*;
use crate::runtimes::tt_metal::layout::example::layout;

const BASE: u64 = 0x7f00_0000_0000;
const HEAP: u64 = 0x5000_0000;
const SIZE: usize = 1 << 16;

const MESH: u64 = HEAP + 0x100;
const CHIPS: [u64; 2] = [HEAP + 0x1000, HEAP + 0x1100];
const ALLOCATOR: u64 = HEAP + 0x2000;
const BUFFERS: u64 = HEAP + 0x8000;
const NODES: u64 = HEAP + 0xc000;

/// A heap of 64 KiB, and what happens to it while it is read.
struct Heap {
    bytes: RefCell<Vec<u8>>,
    reads: Cell<u64>,
}

impl Heap {
    fn put(&self, address: u64, bytes: &[u8]) {
        let at = usize::try_from(address - HEAP).unwrap();
        self.bytes.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&self, address: u64, value: u64) {
        self.put(address, &value.to_le_bytes());
    }

    fn vector(&self, address: u64, at: u64, bytes: &[u8]) {
        self.put(at, bytes);
        let length = bytes.len() as u64;
        for (index, value) in [at, at + length, at + length].into_iter().enumerate() {
            self.word(address + 8 * index as u64, value);
        }
    }
}

impl Memory for Heap {
    fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.reads.set(self.reads.get() + 1);
        let unmapped = || io::Error::from_raw_os_error(5);
        let at = usize::try_from(address.checked_sub(HEAP).ok_or_else(unmapped)?).unwrap();
        let bytes = self.bytes.borrow();
        let found = at
            .checked_add(buffer.len())
            .and_then(|end| bytes.get(at..end))
            .ok_or_else(unmapped)?;
        buffer.copy_from_slice(found);
        Ok(())
    }
}

fn bank(
    heap: &Heap,
    manager: u64,
    list: u64,
    kind: u32,
    banks: u32,
    blocks: &[(u64, u64, u8, u8)],
) {
    heap.put(manager, &kind.to_le_bytes());
    heap.put(manager + 0x20, &banks.to_le_bytes());
    heap.word(manager + 0x3b0, manager + 0x3c0);
    heap.word(manager + 0x3c0, list);
    heap.word(list, BASE + 0x300);
    heap.word(list + 8, 0x10000);
    heap.word(list + 0x10, 0x1000);
    let addresses: Vec<u8> = blocks
        .iter()
        .flat_map(|block| block.0.to_le_bytes())
        .collect();
    let sizes: Vec<u8> = blocks
        .iter()
        .flat_map(|block| block.1.to_le_bytes())
        .collect();
    let allocated: Vec<u8> = blocks.iter().map(|block| block.2).collect();
    let in_use: Vec<u8> = blocks.iter().map(|block| block.3).collect();
    heap.vector(list + 0x40, list + 0x200, &addresses);
    heap.vector(list + 0x58, list + 0x300, &sizes);
    heap.vector(list + 0xa0, list + 0x400, &allocated);
    heap.vector(list + 0xb8, list + 0x480, &in_use);
}

/// A mesh of chips 4 and 7 with three live buffers, two of them in DRAM.
fn process() -> Heap {
    let heap = Heap {
        bytes: RefCell::new(vec![0; SIZE]),
        reads: Cell::new(0),
    };
    let [implementation, view, tracker, manager] = [0x200, 0x500, 0x800, 0xa00].map(|at| HEAP + at);
    heap.word(MESH, BASE + 0x200);
    heap.word(MESH + 0x18, implementation);
    heap.word(implementation + 0x70, view);
    heap.word(view, view + 0x10);
    let chips: Vec<u8> = [CHIPS[0], 0, CHIPS[1], 0]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    heap.vector(view + 0x10 + 0x178, HEAP + 0x1200, &chips);
    heap.word(implementation + 0x1f8, tracker);
    heap.word(tracker + 0x40, manager);
    heap.word(tracker + 0x48, manager);
    heap.vector(manager + 0x70, HEAP + 0x1300, &ALLOCATOR.to_le_bytes());
    for (chip, id) in CHIPS.into_iter().zip([4u32, 7]) {
        heap.word(chip, BASE + 0x100);
        heap.put(chip + 0x18, &id.to_le_bytes());
    }
    let banks = [HEAP + 0x3000, HEAP + 0x4000];
    heap.word(ALLOCATOR, BASE + 0x400);
    heap.word(ALLOCATOR + 0x30, banks[0]);
    heap.word(ALLOCATOR + 0x38, banks[1]);
    bank(
        &heap,
        banks[0],
        HEAP + 0x5000,
        0,
        12,
        &[
            (0, 64, 1, 1),
            (64, 32, 1, 1),
            (96, 999, 1, 0),
            (96, 0xff00, 0, 1),
        ],
    );
    bank(
        &heap,
        banks[1],
        HEAP + 0x6000,
        1,
        64,
        &[(0, 128, 1, 1), (128, 0x100, 0, 1)],
    );
    heap.word(ALLOCATOR + 0x148, 3);
    heap.word(ALLOCATOR + 0x140, NODES);
    let buffers = [
        (0u32, 700u64, 0x1000u64),
        (0, 300, 0x1040),
        (1, 8000, 0x1000),
    ];
    for (index, (kind, size, address)) in (0u64..).zip(buffers) {
        let (buffer, node) = (BUFFERS + 0x100 * index, NODES + 0x20 * index);
        heap.word(node, if index == 2 { 0 } else { node + 0x20 });
        heap.word(node + 8, buffer);
        heap.word(buffer + 0x10, buffer + 0x20);
        heap.word(buffer + 0x20, MESH);
        heap.word(buffer + 0x28, size);
        heap.put(buffer + 0x30, &kind.to_le_bytes());
        heap.word(buffer + 0x50, ALLOCATOR);
        heap.put(buffer + 0x58, &[1, 0]);
        heap.word(buffer + 0x60, address);
    }
    heap
}

fn regions() -> Vec<Region> {
    let end = HEAP + SIZE as u64;
    // The second is not there, or not any more.
    crate::target::maps::parse(&format!(
        "{HEAP:x}-{end:x} rw-p 00000000 00:00 0 [heap]\n1000-200000 rw-p 00000000 00:00 0\n"
    ))
}

fn check(found: &Allocator) {
    assert!(found.consistent, "{found:?}");
    assert_eq!((found.address, found.device), (ALLOCATOR, MESH));
    assert_eq!(found.chips, [4, 7]);
    let pools: Vec<_> = found
        .banks
        .iter()
        .map(|bank| {
            (
                bank.pool,
                bank.num_banks,
                bank.allocated_per_bank,
                bank.largest_free_per_bank,
            )
        })
        .collect();
    assert_eq!(
        pools,
        [(0, 12, 96, Some(0xff00)), (1, 64, 128, Some(0x100))]
    );
    let buffers: Vec<_> = found
        .buffers
        .iter()
        .map(|buffer| {
            (
                buffer.pool,
                buffer.requested,
                buffer.charged,
                buffer.address,
            )
        })
        .collect();
    let expected = [
        (0, 700, 64 * 12, 0x1000),
        (0, 300, 32 * 12, 0x1040),
        (1, 8000, 128 * 64, 0x1000),
    ];
    assert_eq!(buffers, expected);
}

#[test]
fn a_scan_finds_each_allocator_once() {
    let (heap, layout) = (process(), layout());
    let scan = Walker::new(&heap, &layout, BASE).scan(&regions()).unwrap();
    assert!(scan.complete);
    assert_eq!(scan.allocators.len(), 1, "{scan:?}");
    check(&scan.allocators[0]);
}

#[test]
fn an_allocator_is_read_by_its_address_and_by_its_device() {
    let (heap, layout) = (process(), layout());
    let walker = Walker::new(&heap, &layout, BASE);
    check(&walker.allocator(ALLOCATOR, MESH).unwrap());
    check(&walker.allocator(ALLOCATOR, 0).unwrap());
    check(&walker.allocator_of_device(MESH).unwrap().unwrap());
    check(&walker.settle(ALLOCATOR, MESH, 3).unwrap());
    assert_eq!(walker.allocator_of_device(CHIPS[0]).unwrap(), None);
    assert_eq!(walker.chips(CHIPS[1]).unwrap(), [7]);
    assert!(walker.allocator_of_device(ALLOCATOR).is_err());
}

#[test]
fn what_does_not_add_up_is_not_consistent() {
    type Change = fn(&Heap);
    let changes: [(&str, Change); 10] = [
        ("a node that was freed", |heap| {
            heap.word(NODES + 0x20, 0x7f55_8d24_313e)
        }),
        ("a buffer more than blocks", |heap| {
            heap.word(ALLOCATOR + 0x148, 4)
        }),
        ("a buffer less", |heap| heap.word(ALLOCATOR + 0x148, 2)),
        ("not allocated yet", |heap| heap.put(BUFFERS + 0x58, &[0])),
        ("captured, not allocated", |heap| {
            heap.put(BUFFERS + 0x59, &[1])
        }),
        ("elsewhere", |heap| heap.word(BUFFERS + 0x60, 0x1001)),
        ("of another allocator", |heap| heap.word(BUFFERS + 0x50, 1)),
        ("in a circle", |heap| heap.word(NODES + 0x20, NODES)),
        ("two in one block, and one of that size of nobody", |heap| {
            heap.word(HEAP + 0x5308, 64);
            heap.word(BUFFERS + 0x160, 0x1000);
        }),
        ("one over the other", |heap| {
            heap.word(HEAP + 0x5208, 32);
            heap.word(BUFFERS + 0x160, 0x1020);
        }),
    ];
    let layout = layout();
    for (what, change) in changes {
        let heap = process();
        change(&heap);
        let walker = Walker::new(&heap, &layout, BASE);
        assert!(
            !walker.allocator(ALLOCATOR, MESH).unwrap().consistent,
            "{what}"
        );
        let settled = walker.settle(ALLOCATOR, MESH, 3).unwrap();
        assert!(!settled.consistent, "{what}");
        assert!(
            settled.buffers.len() <= 3 && settled.buffers.len() >= 2,
            "{what}"
        );
    }
}

#[test]
fn what_cannot_be_is_an_error() {
    type Change = fn(&Heap);
    let changes: [(&str, Change); 6] = [
        ("no free list", |heap| heap.word(HEAP + 0x5000, BASE)),
        ("a huge block table", |heap| {
            heap.word(HEAP + 0x5048, u64::MAX)
        }),
        ("a block table that ends before it begins", |heap| {
            heap.word(HEAP + 0x5048, HEAP)
        }),
        ("more buffers than memory", |heap| {
            heap.word(ALLOCATOR + 0x148, u64::MAX)
        }),
        ("a kind that is none", |heap| {
            heap.put(HEAP + 0x3000, &[0xff; 4])
        }),
        ("two pools of a kind", |heap| {
            heap.word(ALLOCATOR + 0x38, HEAP + 0x3000)
        }),
    ];
    let layout = layout();
    for (what, change) in changes {
        let heap = process();
        change(&heap);
        let walker = Walker::new(&heap, &layout, BASE);
        assert!(walker.allocator(ALLOCATOR, MESH).is_err(), "{what}");
        let scan = walker.scan(&regions()).unwrap();
        // It is there, by its virtual table: that nothing was found is not all that there is.
        assert!(scan.allocators.is_empty() && !scan.complete, "{what}");
        assert!(heap.reads.get() < 2_000, "{what}: {}", heap.reads.get());
    }
}

#[test]
fn a_walk_costs_no_more_than_it_may() {
    let (heap, layout) = (process(), layout());
    let limits = [
        Limits {
            bytes: 100,
            ..Limits::default()
        },
        Limits {
            reads: 5,
            ..Limits::default()
        },
    ];
    for limits in limits {
        let walker = Walker::with_limits(&heap, &layout, BASE, limits);
        assert!(matches!(
            walker.allocator(ALLOCATOR, MESH),
            Err(WalkError::TooMuch(_))
        ));
        assert!(!walker.scan(&regions()).unwrap().complete);
    }
    let now = Limits {
        time: Duration::ZERO,
        ..Limits::default()
    };
    let walker = Walker::with_limits(&heap, &layout, BASE, now);
    assert!(!walker.scan(&regions()).unwrap().complete);
}

/// A block that belongs to no buffer: an allocation that is not over, or never will be.
#[test]
fn blocks_of_nobody_leave_it_whole() {
    let (heap, layout) = (process(), layout());
    // The set has lost its last buffer; the pool still has its block.
    heap.word(ALLOCATOR + 0x148, 2);
    heap.word(NODES + 0x20, 0);
    let walker = Walker::new(&heap, &layout, BASE);
    let found = walker.allocator(ALLOCATOR, MESH).unwrap();
    assert_eq!((found.consistent, found.whole), (false, true), "{found:?}");
    assert_eq!(found.banks[1].allocated_per_bank, 128);
    assert_eq!(found.banks[1].taken, [0x1000]);
    // A buffer without a block is another matter.
    heap.word(ALLOCATOR + 0x148, 3);
    heap.word(NODES + 0x20, NODES + 0x40);
    heap.word(BUFFERS + 0x200 + 0x60, 0x1001);
    let found = walker.allocator(ALLOCATOR, MESH).unwrap();
    assert_eq!((found.consistent, found.whole), (false, false), "{found:?}");
}

#[test]
fn buffers_are_looked_at_one_by_one() {
    let (heap, layout) = (process(), layout());
    let walker = Walker::new(&heap, &layout, BASE);
    let keys = [0u64, 1, 2].map(|index| BUFFERS + 0x100 * index);
    assert_eq!(walker.live_among(ALLOCATOR, &keys).unwrap(), keys);
    heap.put(BUFFERS + 0x158, &[2]);
    let asked = [keys[0], keys[1], 0, NODES, u64::MAX];
    assert_eq!(walker.live_among(ALLOCATOR, &asked).unwrap(), [keys[0]]);
}

/// Memory that answers slowly: it is given up in time, however few reads that is.
struct Slow(Heap);

impl Memory for Slow {
    fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(2));
        self.0.read(address, buffer)
    }
}

#[test]
fn a_walk_lasts_no_longer_than_it_may() {
    let layout = layout();
    let heap = process();
    // A list that leads in a circle for as long as anybody follows it.
    heap.word(ALLOCATOR + 0x148, 1 << 19);
    let slow = Slow(heap);
    let limits = Limits {
        time: Duration::from_millis(30),
        ..Limits::default()
    };
    let begun = Instant::now();
    let walker = Walker::with_limits(&slow, &layout, BASE, limits);
    let found = walker.allocator(ALLOCATOR, MESH);
    assert!(
        matches!(found, Err(WalkError::TooMuch("too long"))),
        "{found:?}"
    );
    assert!(
        begun.elapsed() < Duration::from_millis(300),
        "{:?}",
        begun.elapsed()
    );
}

/// Of a gigantic range only the part is read that there is.
struct Sparse(Heap);

impl Memory for Sparse {
    fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read(address, buffer)
    }

    fn touched(&self, start: u64, end: u64) -> Option<Vec<(u64, u64)>> {
        let there = (HEAP, HEAP + SIZE as u64);
        let part = (start.max(there.0), end.min(there.1));
        Some(if part.0 < part.1 { vec![part] } else { vec![] })
    }
}

#[test]
fn what_was_never_touched_is_not_read() {
    let (heap, layout) = (Sparse(process()), layout());
    let maps = crate::target::maps::parse("10000000-500000000000 rw-p 00000000 00:00 0\n");
    let scan = Walker::new(&heap, &layout, BASE).scan(&maps).unwrap();
    assert!(scan.complete);
    check(&scan.allocators[0]);
    assert!(heap.0.reads.get() < 2_000, "{}", heap.0.reads.get());
}

#[test]
fn memory_too_large_to_scan_leaves_room_for_what_was_found() {
    let (heap, layout) = (process(), layout());
    let limits = Limits {
        bytes: 8 << 20,
        ..Limits::default()
    };
    let mut maps = regions();
    maps.extend(crate::target::maps::parse(
        "100000000-900000000 rw-p 00000000 00:00 0\n",
    ));
    let scan = Walker::with_limits(&heap, &layout, BASE, limits)
        .scan(&maps)
        .unwrap();
    assert!(!scan.complete);
    check(&scan.allocators[0]);
}

#[test]
fn a_library_without_the_walk_says_so() {
    let (heap, mut layout) = (process(), layout());
    layout.allocator = None;
    let error = Walker::new(&heap, &layout, BASE)
        .scan(&regions())
        .unwrap_err();
    assert!(matches!(error, WalkError::NotLaidOut(_)));
}

#[test]
fn chips_are_named_by_the_shared_memory() {
    let (heap, layout) = (process(), layout());
    heap.put(HEAP + 40, &4u32.to_le_bytes());
    let at = |name: &str| {
        format!(
            "{HEAP:x}-{:x} rw-s 00000000 00:01 9 {name}\n",
            HEAP + 0x1000
        )
    };
    let maps = crate::target::maps::parse(
        &[
            at("/dev/shm/tt_device_7205_memory"),
            at("/dev/shm/tt_device_..%2f_memory"),
            at("/dev/shm/other"),
            "1000-2000 rw-s 00000000 00:01 9 /dev/shm/tt_device_1_memory\n".to_owned(),
        ]
        .concat(),
    );
    let uids = Walker::new(&heap, &layout, BASE).chip_uids(&maps);
    assert_eq!(uids, BTreeMap::from([(4, "7205".to_owned())]));
}

/// It is closed between two readings, and another object is where it was.
struct Closing<'a>(&'a Heap);

impl Memory for Closing<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        let Self(heap) = self;
        if address == CHIPS[1] + 0x18 {
            heap.word(CHIPS[1], HEAP);
            heap.put(address, &9u32.to_le_bytes());
        }
        heap.read(address, buffer)
    }
}

#[test]
fn a_chip_that_is_closed_meanwhile_has_no_id() {
    let (heap, layout) = (process(), layout());
    let closing = Closing(&heap);
    let walker = Walker::new(&closing, &layout, BASE);
    assert!(walker.chips(CHIPS[1]).is_err());
    let heap = process();
    heap.put(CHIPS[1] + 0x18, &0x10_0001u32.to_le_bytes());
    assert!(
        Walker::new(&heap, &layout, BASE).chips(CHIPS[1]).is_err(),
        "no such id"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn corrupt_memory_neither_panics_nor_lasts(
        edits in prop::collection::vec(
            (0..SIZE / 8, prop_oneof![
                any::<u64>(),
                (0..SIZE as u64).prop_map(|at| HEAP + at),
                Just(0u64),
                Just(u64::MAX),
            ]),
            1..400,
        ),
    ) {
        let (heap, layout) = (process(), layout());
        for (at, value) in edits {
            heap.word(HEAP + 8 * at as u64, value);
        }
        let walker = Walker::new(&heap, &layout, BASE);
        let _ = walker.scan(&regions());
        let _ = walker.settle(ALLOCATOR, MESH, 4);
        let _ = walker.allocator_of_device(MESH);
        prop_assert!(heap.reads.get() < 200_000);
    }
}

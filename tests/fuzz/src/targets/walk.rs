//! The walk through a process's memory: a process that is in order, changed in any place, at any moment.
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use arbitrary::{Arbitrary, Unstructured};
use memmon::{
    runtimes::tt_metal::{
        layout::example::layout,
        walk::{Allocator, Limits, Walker},
    },
    target::{maps, memory::Memory},
};

const BASE: u64 = 0x7f00_0000_0000;
const HEAP: u64 = 0x5000_0000;
const SIZE: usize = 1 << 15;
const MESH: u64 = HEAP + 0x100;
const CHIPS: [u64; 2] = [HEAP + 0x1000, HEAP + 0x1100];
const ALLOCATOR: u64 = HEAP + 0x2000;
const BANKS: [u64; 2] = [HEAP + 0x2800, HEAP + 0x3000];
const LISTS: [u64; 2] = [HEAP + 0x3800, HEAP + 0x4800];
const NODES: u64 = HEAP + 0x5800;
const BUFFERS: u64 = HEAP + 0x6000;
const LIMITS: Limits = Limits {
    bytes: 4 << 20,
    reads: 20_000,
    time: Duration::from_secs(5),
};

#[derive(Debug, Arbitrary)]
struct Input {
    /// Up to 8 in each pool: (bytes asked for, size of its block).
    buffers: [Vec<(u16, u8)>; 2],
    changes: Vec<Change>,
}

/// Something is written into the process.
#[derive(Debug, Arbitrary)]
struct Change {
    /// Before the walk's read of that number.
    read: u8,
    place: u16,
    what: What,
}

#[derive(Debug, Arbitrary)]
enum What {
    Byte(u8),
    Word(u64),
    /// A pointer to something else in the heap.
    Pointer(u16),
    /// One of the virtual tables.
    Table(u8),
    /// The word of another place, or a little more than that.
    Copy(u16, u8),
}

struct Heap {
    bytes: RefCell<Vec<u8>>,
    reads: Cell<u64>,
    read_bytes: Cell<u64>,
    changes: Vec<Change>,
    touched: Cell<bool>,
}

impl Heap {
    fn put(&self, address: u64, bytes: &[u8]) {
        let at = usize::try_from(address - HEAP).expect("in the heap");
        if let Some(to) = self.bytes.borrow_mut().get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }

    fn word(&self, address: u64, value: u64) {
        self.put(address, &value.to_le_bytes());
    }

    fn vector(&self, address: u64, at: u64, bytes: &[u8]) {
        self.put(at, bytes);
        let end = at + bytes.len() as u64;
        for (index, value) in (0..).zip([at, end, end]) {
            self.word(address + 8 * index, value);
        }
    }

    fn words(&self, address: u64, at: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.vector(address, at, &bytes);
    }

    fn get(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(HEAP)?).ok()?;
        let bytes = self.bytes.borrow();
        Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
    }

    fn change(&self, moment: u64) {
        for change in self
            .changes
            .iter()
            .filter(|change| u64::from(change.read) == moment)
        {
            self.touched.set(true);
            let place = place(change.place);
            match change.what {
                What::Byte(byte) => self.put(place, &[byte]),
                What::Copy(from, more) => {
                    let word = self.get(self::place(from) & !7).unwrap_or_default();
                    self.word(place & !7, word.wrapping_add(u64::from(more)));
                }
                What::Word(word) => self.word(place & !7, word),
                What::Pointer(to) => self.word(place & !7, HEAP + u64::from(to) % SIZE as u64),
                What::Table(which) => {
                    self.word(place & !7, BASE + 0x100 * (1 + u64::from(which) % 4))
                }
            }
        }
    }
}

/// A place in something that the walk reads, or, one time in eight, anywhere.
fn place(number: u16) -> u64 {
    let inside = u64::from(number >> 3);
    match number & 7 {
        0 => HEAP + u64::from(number) % SIZE as u64,
        1 => ALLOCATOR + 0x130 + inside % 0x20,
        2 => BANKS[0] + inside % 0x3d0,
        3 => LISTS[usize::from(number >> 15)] + inside % 0xd0,
        4 => LISTS[usize::from(number >> 15)] + 0x200 + inside % 0x48,
        5 => LISTS[usize::from(number >> 15)] + 0x300 + inside % 0x48,
        6 => NODES + inside % 0x80,
        _ => BUFFERS + inside % 0x200,
    }
}

impl Memory for Heap {
    fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.reads.set(self.reads.get() + 1);
        self.read_bytes
            .set(self.read_bytes.get() + buffer.len() as u64);
        self.change(self.reads.get());
        let unmapped = || io::Error::from_raw_os_error(5);
        let at = address.checked_sub(HEAP).ok_or_else(unmapped)?;
        let at = usize::try_from(at).map_err(|_| unmapped())?;
        let bytes = self.bytes.borrow();
        let end = at.checked_add(buffer.len()).ok_or_else(unmapped)?;
        buffer.copy_from_slice(bytes.get(at..end).ok_or_else(unmapped)?);
        Ok(())
    }
}

/// A mesh of two chips and its buffers.
fn process(input: Input) -> Heap {
    let heap = Heap {
        bytes: RefCell::new(vec![0; SIZE]),
        reads: Cell::new(0),
        read_bytes: Cell::new(0),
        changes: input.changes,
        touched: Cell::new(false),
    };
    let [implementation, view, tracker, manager] = [0x200, 0x500, 0x800, 0xa00].map(|at| HEAP + at);
    heap.word(MESH, BASE + 0x200);
    heap.word(MESH + 0x18, implementation);
    heap.word(implementation + 0x70, view);
    heap.word(view, view + 0x10);
    heap.words(
        view + 0x10 + 0x178,
        HEAP + 0x1200,
        &[CHIPS[0], 0, CHIPS[1], 0],
    );
    heap.word(implementation + 0x1f8, tracker);
    heap.word(tracker + 0x40, manager);
    heap.word(tracker + 0x48, manager);
    heap.words(manager + 0x70, HEAP + 0x1300, &[ALLOCATOR]);
    for (chip, id) in CHIPS.into_iter().zip([4_u32, 7]) {
        heap.word(chip, BASE + 0x100);
        heap.put(chip + 0x18, &id.to_le_bytes());
    }
    heap.word(ALLOCATOR, BASE + 0x400);
    let mut count = 0_u64;
    for (pool, buffers) in (0_u64..).zip(&input.buffers) {
        let (bank, list) = (BANKS[pool as usize], LISTS[pool as usize]);
        heap.word(ALLOCATOR + 0x30 + 8 * pool, bank);
        heap.put(bank, &(pool as u32).to_le_bytes());
        heap.put(bank + 0x20, &(12 + pool as u32).to_le_bytes());
        heap.word(bank + 0x3b0, bank + 0x3c0);
        heap.word(bank + 0x3c0, list);
        heap.word(list, BASE + 0x300);
        heap.word(list + 8, 0x10000);
        heap.word(list + 0x10, 0x1000);
        let (mut addresses, mut sizes, mut at) = (Vec::new(), Vec::new(), 0_u64);
        for (requested, size) in buffers.iter().take(8) {
            let size = u64::from(*size) + 1;
            let (buffer, node) = (BUFFERS + 0x80 * count, NODES + 0x20 * count);
            if count > 0 {
                heap.word(node - 0x20, node);
            }
            heap.word(node + 8, buffer);
            heap.word(buffer + 0x10, buffer + 0x18);
            heap.word(buffer + 0x18, MESH);
            heap.word(buffer + 0x20, u64::from(*requested));
            heap.put(buffer + 0x28, &(pool as u32).to_le_bytes());
            heap.word(buffer + 0x48, ALLOCATOR);
            heap.put(buffer + 0x50, &[1, 0]);
            heap.word(buffer + 0x58, 0x1000 + at);
            addresses.push(at);
            sizes.push(size);
            at += size;
            count += 1;
        }
        addresses.push(at);
        sizes.push(0x10000 - at);
        let taken = addresses.len() - 1;
        let mut allocated = vec![1; taken];
        allocated.push(0);
        heap.words(list + 0x40, list + 0x200, &addresses);
        heap.words(list + 0x58, list + 0x300, &sizes);
        heap.vector(list + 0xa0, list + 0x400, &allocated);
        heap.vector(list + 0xb8, list + 0x480, &vec![1; taken + 1]);
    }
    heap.word(ALLOCATOR + 0x148, count);
    heap.word(ALLOCATOR + 0x140, if count == 0 { 0 } else { NODES });
    heap.change(0);
    heap
}

/// What an allocator that claims to add up must show, whatever the memory holds.
fn adds_up(found: &Allocator) {
    let keys: BTreeSet<u64> = found.buffers.iter().map(|buffer| buffer.key).collect();
    assert_eq!(keys.len(), found.buffers.len(), "a buffer twice: {found:?}");
    let pools: BTreeSet<u32> = found.banks.iter().map(|bank| bank.pool).collect();
    assert_eq!(pools.len(), found.banks.len(), "a pool twice: {found:?}");
    for bank in &found.banks {
        let mut blocks = BTreeMap::new();
        let mut sum = 0_u128;
        for buffer in found
            .buffers
            .iter()
            .filter(|buffer| buffer.bank == bank.address)
        {
            assert_eq!(buffer.pool, bank.pool);
            sum += u128::from(buffer.charged);
            let size = buffer
                .charged
                .checked_div(bank.num_banks)
                .unwrap_or_default();
            let twice = blocks.insert(buffer.address, size);
            assert!(twice.is_none(), "a block of two buffers: {found:?}");
        }
        let taken = u128::from(bank.allocated_per_bank) * u128::from(bank.num_banks);
        assert_eq!(sum, taken, "{found:?}");
        assert!(
            bank.allocated_per_bank <= bank.capacity_per_bank,
            "{found:?}"
        );
        let mut free_from = 0;
        for (address, size) in blocks {
            assert!(
                address >= free_from,
                "blocks lie over one another: {found:?}"
            );
            free_from = address.checked_add(size).expect("a block ends somewhere");
        }
    }
    let listed = found
        .banks
        .iter()
        .map(|bank| bank.address)
        .collect::<BTreeSet<_>>();
    assert!(
        found
            .buffers
            .iter()
            .all(|buffer| listed.contains(&buffer.bank)),
        "{found:?}"
    );
}

pub fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) else {
        return;
    };
    let made = input
        .buffers
        .iter()
        .map(|buffers| buffers.len().min(8))
        .sum::<usize>();
    let heap = process(input);
    let layout = layout();
    let end = HEAP + SIZE as u64;
    let regions = maps::parse(&format!(
        "{HEAP:x}-{end:x} rw-p 00000000 00:00 0 [heap]\n1000-9000 rw-p 00000000 00:00 0\n"
    ));
    let walker = Walker::with_limits(&heap, &layout, BASE, LIMITS);
    let scan = walker.scan(&regions);
    // One more may be under way when the limit is met.
    assert!(heap.reads.get() <= LIMITS.reads + 1 && heap.read_bytes.get() <= 2 * LIMITS.bytes);
    if let Ok(scan) = &scan {
        for found in scan.allocators.iter().filter(|found| found.consistent) {
            adds_up(found);
        }
    }
    let settle = || Walker::with_limits(&heap, &layout, BASE, LIMITS).settle(ALLOCATOR, MESH, 5);
    // A change may come behind the last look at its place: what is claimed was so, and adds up.
    if let Ok(found) = settle().as_ref()
        && found.consistent
    {
        adds_up(found);
    }
    // From here on none comes any more.
    heap.reads.set(u64::from(u8::MAX) + 1);
    let settled = settle();
    let untouched = !heap.touched.get();
    let Ok(settled) = settled else {
        assert!(
            !untouched,
            "a process in order cannot be read: {:?}",
            settled.err()
        );
        return;
    };
    if settled.consistent {
        adds_up(&settled);
        // What is claimed is what is there.
        assert_eq!(
            heap.get(ALLOCATOR + 0x148),
            Some(settled.buffers.len() as u64),
            "{settled:?}"
        );
        for buffer in &settled.buffers {
            let fields = heap.get(buffer.key.wrapping_add(0x10)).unwrap_or_default();
            assert_eq!(
                heap.get(fields.wrapping_add(0x30)),
                Some(ALLOCATOR),
                "{settled:?}"
            );
            assert_eq!(
                heap.get(fields.wrapping_add(8)),
                Some(buffer.requested),
                "{settled:?}"
            );
        }
    }
    if untouched {
        assert!(settled.consistent && settled.chips == [4, 7], "{settled:?}");
        assert_eq!(settled.buffers.len(), made);
        let scan = scan.expect("it can be read");
        assert!(scan.complete && scan.allocators == [settled]);
    }
}

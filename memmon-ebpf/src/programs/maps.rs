//! Every map. Userspace sets the sizes that users may choose before it loads them.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use memmon_ebpf::{
    ledger::{
        CallValue, Counter, CurrentValue, FreedValue, LiveKey, LiveValue, NoteKey, OwnerKey,
        OwnerValue, PendingKey, PendingValue, ProcValue, RowKey, RowValue,
    },
    spec::{MAX_SPECS, ProbeSpec},
};

/// Probe specs, by cookie.
#[map]
pub static SPECS: Array<ProbeSpec> = Array::with_max_entries(MAX_SPECS, 0);

/// Observed pids, where the observation is narrowed to some.
#[map]
pub static SCOPE: HashMap<u32, u32> = HashMap::with_max_entries(65536, 1);

/// pid → process.
#[map]
pub static PROCS: HashMap<u32, ProcValue> = HashMap::with_max_entries(16384, 1);

/// Pids (or thread ids: the kernel does not say which) forked by an observed process.
#[map]
pub static FORKED: LruHashMap<u32, u64> = LruHashMap::with_max_entries(16384, 0);

#[map]
pub static OWNERS: HashMap<OwnerKey, OwnerValue> = HashMap::with_max_entries(65536, 1);

#[map]
pub static PENDING: HashMap<PendingKey, PendingValue> = HashMap::with_max_entries(16384, 0);

/// What `Carry` leaves for the return of a function.
#[map]
pub static CARRIED: HashMap<PendingKey, PendingValue> = HashMap::with_max_entries(16384, 1);

#[map]
pub static FREED: HashMap<PendingKey, FreedValue> = HashMap::with_max_entries(16384, 1);

#[map]
pub static CURRENT: HashMap<PendingKey, CurrentValue> = HashMap::with_max_entries(16384, 1);

#[map]
pub static CALLS: HashMap<u32, CallValue> = HashMap::with_max_entries(16384, 1);

/// Thread → the spaces of which one of the maps above may have something of it, one bit each.
#[map]
pub static THREADS: HashMap<u32, u64> = HashMap::with_max_entries(32768, 1);

/// Where one is forgotten, a device is not known: no number depends on it.
#[map]
pub static NOTES: LruHashMap<NoteKey, u64> = LruHashMap::with_max_entries(65536, 0);

/// No LRU: silent eviction would be silent loss.
#[map]
pub static LIVE: HashMap<LiveKey, LiveValue> = HashMap::with_max_entries(1_048_576, 1);

#[map]
pub static ROWS: HashMap<RowKey, RowValue> = HashMap::with_max_entries(65536, 1);

#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::SLOTS, 0);

/// Always empty: see [`crate::stack`].
#[map]
pub static NO_PROGRAMS: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Slot 0: the last process number that was given out.
#[map]
pub static NUMBERS: Array<u64> = Array::with_max_entries(1, 0);

#[map]
pub static HISTORY: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

#[map]
pub static CONTROL: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

//! Every map. Userspace sets the sizes that users may choose before it loads them.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use memmon_ebpf::{
    ledger::{
        Counter, LiveKey, LiveValue, OwnerKey, OwnerValue, PendingKey, PendingValue, ProcValue,
        RowKey, RowValue,
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

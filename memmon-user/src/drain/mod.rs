//! Ring buffers → typed records. Version and length are checked before a record is looked into.

use aya::maps::{MapData, RingBuf};
use memmon_ebpf::{
    WIRE_VERSION,
    record::{Control, Header, History},
};

use crate::attach::wire::Record;

/// Takes all records there are, in order; returns how many could not be understood.
pub fn take<T: Record>(ring: &mut RingBuf<MapData>, mut each: impl FnMut(&T)) -> u64 {
    let mut strange = 0;
    while let Some(bytes) = ring.next() {
        match decode::<T>(&bytes) {
            Some(record) => each(&record),
            None => strange += 1,
        }
    }
    strange
}

/// A record from bytes, where they are one of this version.
pub fn decode<T: Record>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: long enough, any bytes are valid for a record, and unaligned reading is asked for.
    let record = unsafe { bytes.as_ptr().cast::<T>().read_unaligned() };
    let Header { version, len, .. } = *record.header();
    (version == WIRE_VERSION && usize::from(len) == size_of::<T>()).then_some(record)
}

const _: fn() = || {
    fn assert_records<T: Record>() {}
    assert_records::<History>();
    assert_records::<Control>();
};

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(record: &Control) -> Vec<u8> {
        // SAFETY: integers without padding.
        unsafe {
            std::slice::from_raw_parts(
                std::ptr::from_ref(record).cast::<u8>(),
                size_of::<Control>(),
            )
        }
        .to_vec()
    }

    #[test]
    fn only_this_version_and_length() {
        let mut record = Control::default();
        record.header.version = WIRE_VERSION;
        record.header.len = size_of::<Control>() as u16;
        record.owner = 7;
        assert_eq!(decode::<Control>(&bytes(&record)), Some(record));
        assert_eq!(decode::<Control>(&bytes(&record)[..40]), None);
        record.header.version += 1;
        assert_eq!(decode::<Control>(&bytes(&record)), None);
    }
}

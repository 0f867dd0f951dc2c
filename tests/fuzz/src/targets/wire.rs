//! Records of the ring buffers, as the kernel writes them, and the greeting of a Tracy profiler.
use memmon::{
    drain::decode,
    tables::{Batch, Fact, Replica, event::Event},
    views::tracy::handshake,
};
use memmon_ebpf::{
    WIRE_VERSION,
    record::{Control, History},
};

/// By the format's own words: version and length come first.
fn is_record(bytes: &[u8], size: usize) -> bool {
    let [v0, v1, l0, l1, ..] = *bytes else {
        return false;
    };
    bytes.len() >= size
        && u16::from_le_bytes([v0, v1]) == WIRE_VERSION
        && usize::from(u16::from_le_bytes([l0, l1])) == size
}

pub fn run(data: &[u8]) {
    if let Some(greeting) = data.first_chunk() {
        handshake::parse(greeting);
    }
    let mut replica = Replica::default();
    let mut facts = Vec::new();
    for bytes in data.chunks(size_of::<History>() + 1) {
        // The first byte misaligns the record.
        let bytes = bytes.get(1..).unwrap_or_default();
        let control = decode::<Control>(bytes);
        assert_eq!(control.is_some(), is_record(bytes, size_of::<Control>()));
        let history = decode::<History>(bytes);
        assert_eq!(history.is_some(), is_record(bytes, size_of::<History>()));
        let Some(record) = history else { continue };
        if let Some(event) = Event::of(&record) {
            assert_eq!(
                (event.key, event.charged, event.row.owner),
                (record.key, record.charged, record.owner)
            );
            facts.push(Fact::Event(event));
        }
    }
    replica.apply(&Batch {
        facts,
        ..Batch::default()
    });
    replica.snapshot(String::new());
}

//! Numbers that stand one below the other: each column by itself, where neighbours are alike.

use std::collections::HashMap;
use std::hash::Hash;

use memmon_ebpf::ledger::RowKey;

use super::varint::{Input, Malformed, put, put_bytes};
use crate::tables::facts::Proc;

/// A column that is being written.
#[derive(Debug, Default)]
pub struct Column {
    bytes: Vec<u8>,
    last: u64,
}

impl Column {
    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub fn plain(&mut self, number: u64) {
        put(number, &mut self.bytes);
    }

    pub fn signed(&mut self, number: i64) {
        put(number, &mut self.bytes);
    }

    /// As the difference to the one before.
    pub fn delta(&mut self, number: u64) {
        self.signed(number.wrapping_sub(self.last).cast_signed());
        self.last = number;
    }

    pub fn write(&self, to: &mut Vec<u8>) {
        put_bytes(&self.bytes, to);
    }
}

/// A column that is being read.
#[derive(Debug)]
pub struct ColumnInput<'a> {
    input: Input<'a>,
    last: u64,
}

impl<'a> ColumnInput<'a> {
    pub fn of(input: &mut Input<'a>) -> Result<Self, Malformed> {
        let bytes = input.bytes()?;
        Ok(Self {
            input: Input::new(bytes),
            last: 0,
        })
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.input.byte()
    }

    pub fn plain(&mut self) -> Result<u64, Malformed> {
        self.input.take()
    }

    pub fn signed(&mut self) -> Result<i64, Malformed> {
        self.input.take()
    }

    pub fn delta(&mut self) -> Result<u64, Malformed> {
        self.last = self.last.wrapping_add(self.signed()?.cast_unsigned());
        Ok(self.last)
    }
}

/// What occurs again and again, once each.
#[derive(Debug)]
pub struct Dictionary<T> {
    entries: Vec<T>,
    places: HashMap<T, usize>,
}

impl<T> Default for Dictionary<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<T: Copy + Eq + Hash> Dictionary<T> {
    pub fn place(&mut self, entry: T) -> usize {
        let Self { entries, places } = self;
        *places.entry(entry).or_insert_with(|| {
            entries.push(entry);
            entries.len() - 1
        })
    }

    pub fn write(&self, to: &mut Vec<u8>, one: impl Fn(&T, &mut Vec<u8>)) {
        put(self.entries.len() as u64, to);
        for entry in &self.entries {
            one(entry, to);
        }
    }
}

/// Reads what [`Dictionary::write`] wrote.
pub fn entries<T>(
    input: &mut Input<'_>,
    one: impl Fn(&mut Input<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = input.count()?;
    (0..count).map(|_| one(input)).collect()
}

/// The entry that a column names.
pub fn named<T: Copy>(entries: &[T], place: u64) -> Result<T, Malformed> {
    usize::try_from(place)
        .ok()
        .and_then(|place| entries.get(place))
        .copied()
        .ok_or(Malformed)
}

/// Whose an event or an allocation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Whose {
    pub proc: Proc,
    pub pid: u32,
    pub row: RowKey,
}

impl Whose {
    pub fn write(&self, to: &mut Vec<u8>) {
        let Self { proc, pid, row } = self;
        put(*proc, to);
        put(*pid, to);
        put(row.proc, to);
        put(row.owner, to);
        put(row.space, to);
        put(row.pool, to);
        put(row.ogen, to);
    }

    pub fn read(input: &mut Input<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            proc: input.take()?,
            pid: input.take()?,
            row: RowKey {
                proc: input.take()?,
                owner: input.take()?,
                space: input.take()?,
                pool: input.take()?,
                ogen: input.take()?,
                reserved: 0,
            },
        })
    }
}

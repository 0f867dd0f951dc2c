//! Numbers of as many bytes as they need (LEB128; signed ones in zigzag), read with care.

use integer_encoding::VarInt;

/// The bytes are not what a payload consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes of a frame make no sense")]
pub struct Malformed;

pub fn put<V: VarInt>(number: V, to: &mut Vec<u8>) {
    let mut bytes = [0; 10];
    let length = number.encode_var(&mut bytes);
    to.extend(bytes.iter().take(length));
}

/// Bytes that are taken from the front.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    left: &'a [u8],
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    pub fn take<V: VarInt>(&mut self) -> Result<V, Malformed> {
        let (number, length) = V::decode_var(self.left).ok_or(Malformed)?;
        self.left = self.left.get(length..).ok_or(Malformed)?;
        Ok(number)
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, left) = self.left.split_first().ok_or(Malformed)?;
        self.left = left;
        Ok(*first)
    }

    /// A length, and so many bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.take::<u64>()?).map_err(|_| Malformed)?;
        let (bytes, left) = self.left.split_at_checked(length).ok_or(Malformed)?;
        self.left = left;
        Ok(bytes)
    }

    /// A count of things that take a byte each at the least.
    pub fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.take::<u64>()?).map_err(|_| Malformed)?;
        (count <= self.left.len()).then_some(count).ok_or(Malformed)
    }
}

/// A length, and the bytes.
pub fn put_bytes(bytes: &[u8], to: &mut Vec<u8>) {
    put(bytes.len() as u64, to);
    to.extend_from_slice(bytes);
}

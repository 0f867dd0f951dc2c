//! Just enough ELF to spoil a library: 64-bit little-endian, as the tests build it themselves.

use anyhow::{Context, Result, ensure};

fn word(bytes: &[u8], at: usize, len: usize) -> Result<u64> {
    let field = bytes
        .get(at..at + len)
        .context("beyond the end of the file")?;
    Ok(field
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

fn offset(bytes: &[u8], at: usize) -> Result<usize> {
    usize::try_from(word(bytes, at, 8)?).context("an offset")
}

/// Where the entries of that name begin in `.dynsym` and `.symtab`.
fn entries(bytes: &[u8], prefix: &str) -> Result<Vec<usize>> {
    const DYNSYM: u64 = 11;
    const SYMTAB: u64 = 2;
    let headers = offset(bytes, 0x28)?;
    let count = usize::try_from(word(bytes, 0x3c, 2)?)?;
    let mut found = Vec::new();
    for section in (0..count).map(|index| headers + index * 64) {
        let kind = word(bytes, section + 4, 4)?;
        if kind != DYNSYM && kind != SYMTAB {
            continue;
        }
        let (start, size) = (
            offset(bytes, section + 0x18)?,
            offset(bytes, section + 0x20)?,
        );
        let strings = offset(
            bytes,
            headers + usize::try_from(word(bytes, section + 0x28, 4)?)? * 64 + 0x18,
        )?;
        for entry in (start..start + size).step_by(24) {
            let name = strings + usize::try_from(word(bytes, entry, 4)?)?;
            let defined = word(bytes, entry + 6, 2)? != 0;
            if defined
                && bytes
                    .get(name..)
                    .is_some_and(|text| text.starts_with(prefix.as_bytes()))
            {
                found.push(entry);
            }
        }
    }
    ensure!(!found.is_empty(), "no symbol begins with {prefix}");
    Ok(found)
}

/// The value of a symbol.
pub(crate) fn symbol(bytes: &[u8], prefix: &str) -> Result<u64> {
    let entry = entries(bytes, prefix)?;
    word(bytes, entry.first().context("no symbol")? + 8, 8)
}

/// Lets every symbol whose name begins so point to `to`.
pub(crate) fn move_symbols(bytes: &mut [u8], prefix: &str, to: u64) -> Result<()> {
    for entry in entries(bytes, prefix)? {
        bytes
            .get_mut(entry + 8..entry + 16)
            .context("a symbol's value")?
            .copy_from_slice(&to.to_le_bytes());
    }
    Ok(())
}

/// The same rubbish every time, behind the ELF header.
pub(crate) fn garble(bytes: &mut [u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for byte in bytes.iter_mut().skip(64) {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *byte = state.to_le_bytes()[7];
    }
}

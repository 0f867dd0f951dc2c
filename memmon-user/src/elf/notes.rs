//! What a library says about itself: build id and soname.

use std::fmt::Write as _;

use object::{LittleEndian as LE, elf};

use super::{Library, source, symbols};

/// Notes are small; a file that claims otherwise is not believed.
const MAX_NOTES: u64 = 1 << 16;
const MAX_PLACES: usize = 64;

impl Library {
    /// The build id in hexadecimal.
    pub fn build_id(&self) -> Option<String> {
        let sections = self
            .sections_of(elf::SHT_NOTE.0)
            .map(|section| (section.offset, section.size));
        self.notes
            .iter()
            .copied()
            .chain(sections)
            .take(MAX_PLACES)
            .find_map(|(offset, size)| {
                let notes = self
                    .source
                    .read(offset, size.min(MAX_NOTES), "the notes")
                    .ok()?;
                build_id_in(&notes)
            })
    }

    /// The name that it is linked by.
    pub fn soname(&self) -> Option<String> {
        let dynamic = self.sections_of(elf::SHT_DYNAMIC.0).next()?;
        let strings = self.sections.get(usize::try_from(dynamic.link).ok()?)?;
        let bytes = self.section_bytes(dynamic, "the dynamic section").ok()?;
        let offset = source::entries::<elf::Dyn64<LE>>(&bytes)?
            .iter()
            .find(|entry| entry.d_tag.get(LE) == elf::DT_SONAME)?
            .d_val
            .get(LE);
        let strings = self.section_bytes(strings, "the dynamic strings").ok()?;
        let name = symbols::string_at(&strings, u32::try_from(offset).ok()?, 4_096);
        let name = std::str::from_utf8(name).ok()?;
        (!name.is_empty()).then(|| name.to_owned())
    }
}

fn build_id_in(notes: &[u8]) -> Option<String> {
    let mut rest = notes;
    loop {
        let (header, body) = rest.split_at_checked(12)?;
        let word = |at: usize| {
            let bytes = header.get(at..at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let name_size = usize::try_from(word(0)?).ok()?;
        let value_size = usize::try_from(word(4)?).ok()?;
        let kind = word(8)?;
        let value_at = name_size.checked_next_multiple_of(4)?;
        let next = value_at.checked_add(value_size.checked_next_multiple_of(4)?)?;
        let name = body.get(..name_size)?;
        let value = body.get(value_at..value_at.checked_add(value_size)?)?;
        if kind == elf::NT_GNU_BUILD_ID.0 && name == b"GNU\0" && !value.is_empty() {
            let mut hex = String::with_capacity(value.len() * 2);
            for byte in value {
                write!(hex, "{byte:02x}").ok()?;
            }
            return Some(hex);
        }
        // A last note may lack its padding.
        rest = body.get(next..).unwrap_or_default();
    }
}

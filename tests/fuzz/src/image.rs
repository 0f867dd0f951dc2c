//! A library around an image of its memory, of a machine that it never runs on: so that bytes which are put in or taken
//! out leave a library, and what is behind its headers is reached.
//!
//! An input begins with five numbers of 16 bits: how many symbols and pointers there are, where code and constants end
//! in the image, and where pointers to initializers begin. Each symbol is the number of its name, where it is, and its
//! size; each pointer is where it is, and to where; all of 16 bits. The rest is the image.

use memmon::elf::Library;

/// Where the image is loaded, and where it lies in the file.
const BASE: u64 = 0x1000;
const SEGMENTS: usize = 3;
const SECTIONS: usize = 5;
/// More are not made of one input.
const MOST: u16 = 512;

struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    /// 0 where there is nothing left.
    fn next(&mut self) -> u16 {
        let Some((number, rest)) = self.0.split_first_chunk() else {
            self.0 = &[];
            return 0;
        };
        self.0 = rest;
        u16::from_le_bytes(*number)
    }

    fn address(&mut self) -> u64 {
        BASE + u64::from(self.next())
    }
}

/// The library whose symbols have some of these names.
pub fn library(data: &[u8], names: &[&str]) -> Library {
    let mut numbers = Numbers(data);
    let [symbols, pointers, code, constants, initializers] =
        std::array::from_fn(|_| numbers.next());
    let mut strings = vec![0];
    let starts: Vec<usize> = names
        .iter()
        .map(|name| {
            let start = strings.len();
            strings.extend(name.bytes().chain([0]));
            start
        })
        .collect();
    let mut table = vec![0; 24];
    for _ in 0..symbols.min(MOST) {
        let name = starts[usize::from(numbers.next()) % names.len()];
        table.extend((name as u32).to_le_bytes());
        // Global, a function, in some section.
        table.extend([0x12, 0, 1, 0]);
        table.extend(numbers.address().to_le_bytes());
        table.extend(u64::from(numbers.next()).to_le_bytes());
    }
    let mut relocations = Vec::new();
    for _ in 0..pointers.min(MOST) {
        relocations.extend(numbers.address().to_le_bytes());
        // R_X86_64_RELATIVE
        relocations.extend(8_u64.to_le_bytes());
        relocations.extend(numbers.address().to_le_bytes());
    }
    let image = numbers.0;
    let code = usize::from(code).min(image.len());
    let constants = usize::from(constants).clamp(code, image.len());

    let mut file = header();
    // PF_R and PF_X, PF_R, PF_R and PF_W.
    for (flags, from, to) in [
        (5_u32, 0, code),
        (4, code, constants),
        (6, constants, image.len()),
    ] {
        let (at, size) = (BASE + from as u64, (to - from) as u64);
        // PT_LOAD
        file.extend(1_u32.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for field in [at, at, at, size, size, 1] {
            file.extend(field.to_le_bytes());
        }
    }
    file.resize(BASE as usize, 0);
    file.extend(image);
    let mut sections = vec![0; 64];
    // SHT_DYNSYM and its SHT_STRTAB, SHT_RELA.
    for (kind, link, bytes) in [(11, 2, table), (3, 0, strings), (4, 1, relocations)] {
        let at = file.len() as u64;
        sections.extend(section(kind, link, at, bytes.len() as u64));
        file.extend(bytes);
    }
    let initializers = usize::from(initializers).min(image.len());
    let left = (image.len() - initializers) as u64;
    // SHT_INIT_ARRAY
    sections.extend(section(14, 0, BASE + initializers as u64, left));
    let at = file.len() as u64;
    file[0x28..0x30].copy_from_slice(&at.to_le_bytes());
    file.extend(sections);
    Library::from_bytes(file).expect("it is made to be read")
}

fn header() -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0".to_vec();
    header.resize(64, 0);
    header[0x20..0x28].copy_from_slice(&64_u64.to_le_bytes());
    header[0x36..0x3e].copy_from_slice(&[56, 0, SEGMENTS as u8, 0, 64, 0, SECTIONS as u8, 0]);
    header
}

/// Loaded where it lies in the file.
fn section(kind: u32, link: u32, at: u64, size: u64) -> Vec<u8> {
    let mut section = vec![0; 4];
    section.extend(kind.to_le_bytes());
    for field in [0, at, at, size] {
        section.extend(field.to_le_bytes());
    }
    section.extend(link.to_le_bytes());
    section.resize(0x38, 0);
    section.extend(24_u64.to_le_bytes());
    section
}

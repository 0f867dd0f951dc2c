//! Reading a library file: symbols, segments, stubs, code.
//!
//! The file belongs to whoever is observed, so it is hostile input, and it may change while it is
//! read. It is therefore never mapped (a file truncated under a mapping is a SIGBUS): headers and
//! the few sections that are needed are read with `pread`, each under a limit, and code only
//! where somebody asks for it. Everything that does not add up is an [`ElfError`].

pub mod abi;
mod needs;
mod notes;
mod plt;
mod pointers;
mod reads;
mod source;
mod symbols;

use std::{
    fs::File,
    sync::{Arc, OnceLock},
};

use object::{LittleEndian as LE, elf};
use thiserror::Error;

use self::source::Source;
use self::symbols::SymbolTable;
pub use self::{
    needs::Needs,
    reads::Reads,
    symbols::{Pattern, Symbol},
};

/// Sections that one file may have. Real libraries have some forty.
const MAX_SECTIONS: u64 = 65_536;
/// Segments that one file may have.
const MAX_SEGMENTS: u64 = 1_024;
/// The largest section that is read: a symbol or string table. The largest known (of a 2 GB
/// library with full symbols) are below this.
const MAX_SECTION: u64 = 256 << 20;

/// Why a library could not be read.
#[derive(Debug, Error)]
pub enum ElfError {
    #[error("reading the file: {0}")]
    Io(#[from] std::io::Error),
    #[error("not a 64-bit x86-64 ELF file: {0}")]
    NotX86_64(&'static str),
    #[error("the file ends inside {0}")]
    Truncated(&'static str),
    #[error("{what} would be {size}, more than the limit of {limit}")]
    TooLarge {
        what: &'static str,
        size: u64,
        limit: u64,
    },
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

/// A loadable part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub address: u64,
    pub offset: u64,
    pub file_size: u64,
    pub memory_size: u64,
    pub executable: bool,
    pub writable: bool,
}

#[derive(Clone, Debug)]
struct Section {
    name: String,
    kind: u32,
    address: u64,
    offset: u64,
    size: u64,
    link: u32,
    entry_size: u64,
}

/// An ELF64 x86-64 file.
#[derive(Debug)]
pub struct Library {
    source: Source,
    segments: Vec<Segment>,
    notes: Vec<(u64, u64)>,
    /// Where the dynamic section lies, and its size.
    dynamic: Option<(u64, u64)>,
    sections: Vec<Section>,
    dynsym: OnceLock<Arc<SymbolTable>>,
    symtab: OnceLock<Arc<SymbolTable>>,
}

impl Library {
    /// Reads the headers of `file`; the rest is read when it is asked for.
    pub fn open(file: &File) -> Result<Self, ElfError> {
        Self::parse(Source::file(file)?)
    }

    /// The same for a file that is in memory already.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, ElfError> {
        Self::parse(Source::bytes(bytes))
    }

    fn parse(source: Source) -> Result<Self, ElfError> {
        let header: elf::FileHeader64<LE> = source.one(0, "the ELF header")?;
        let ident = &header.e_ident;
        if ident.magic != elf::ELFMAG {
            return Err(ElfError::NotX86_64("no ELF magic"));
        }
        if ident.class != elf::ELFCLASS64 || ident.data != elf::ELFDATA2LSB {
            return Err(ElfError::NotX86_64("not 64-bit little-endian"));
        }
        if header.e_machine.get(LE) != elf::EM_X86_64 {
            return Err(ElfError::NotX86_64("another machine's"));
        }
        let Headers {
            segments,
            notes,
            dynamic,
        } = read_segments(&source, &header)?;
        let sections = read_sections(&source, &header)?;
        Ok(Self {
            source,
            segments,
            notes,
            dynamic,
            sections,
            dynsym: OnceLock::new(),
            symtab: OnceLock::new(),
        })
    }

    /// All that was read of the file so far: whatever was found out about it follows from that.
    pub fn reads(&self) -> Option<Reads> {
        self.source.reads()
    }

    /// The loadable segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Where in the file the byte lies that is loaded at `vaddr`.
    ///
    /// Not the difference of a base: patched libraries have segments whose address and offset
    /// differ by different amounts.
    pub fn file_offset(&self, vaddr: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let delta = vaddr.checked_sub(segment.address)?;
            (delta < segment.file_size).then(|| segment.offset.checked_add(delta))?
        })
    }

    /// Where the byte at `offset` of the file is loaded.
    pub fn vaddr_of_offset(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let delta = offset.checked_sub(segment.offset)?;
            (delta < segment.file_size).then(|| segment.address.checked_add(delta))?
        })
    }

    /// Up to `max` bytes of code at `vaddr`: what lies in its executable segment, maybe less.
    pub fn code(&self, vaddr: u64, max: usize) -> Option<Vec<u8>> {
        self.loaded(vaddr, max, true)
    }

    /// Up to `max` bytes of what the file holds for `vaddr`, whatever segment it is in.
    pub fn data(&self, vaddr: u64, max: usize) -> Option<Vec<u8>> {
        self.loaded(vaddr, max, false)
    }

    fn loaded(&self, vaddr: u64, max: usize, executable: bool) -> Option<Vec<u8>> {
        let (segment, delta) = self.segments.iter().find_map(|segment| {
            let delta = vaddr.checked_sub(segment.address)?;
            (delta < segment.file_size).then_some((segment, delta))
        })?;
        if executable && !segment.executable {
            return None;
        }
        let wanted = (segment.file_size - delta).min(u64::try_from(max).ok()?);
        let offset = segment.offset.checked_add(delta)?;
        self.source.read(offset, wanted, "code").ok()
    }

    /// Whether `vaddr` is loaded as code.
    pub fn is_code(&self, vaddr: u64) -> bool {
        self.segments.iter().any(|segment| {
            segment.executable
                && vaddr
                    .checked_sub(segment.address)
                    .is_some_and(|delta| delta < segment.file_size)
        })
    }

    fn section_bytes(&self, section: &Section, what: &'static str) -> Result<Vec<u8>, ElfError> {
        if section.kind == elf::SHT_NOBITS.0 {
            return Ok(Vec::new());
        }
        if section.size > MAX_SECTION {
            return Err(ElfError::TooLarge {
                what,
                size: section.size,
                limit: MAX_SECTION,
            });
        }
        self.source.read(section.offset, section.size, what)
    }

    fn sections_of(&self, kind: u32) -> impl Iterator<Item = &Section> {
        self.sections
            .iter()
            .filter(move |section| section.kind == kind)
    }
}

/// What the program headers say: offsets and sizes.
struct Headers {
    segments: Vec<Segment>,
    notes: Vec<(u64, u64)>,
    dynamic: Option<(u64, u64)>,
}

fn read_segments(source: &Source, header: &elf::FileHeader64<LE>) -> Result<Headers, ElfError> {
    let count = u64::from(header.e_phnum.get(LE));
    if count > MAX_SEGMENTS {
        return Err(ElfError::TooLarge {
            what: "the program header",
            size: count,
            limit: MAX_SEGMENTS,
        });
    }
    let headers: Vec<elf::ProgramHeader64<LE>> =
        source.array(header.e_phoff.get(LE), count, "the program headers")?;
    let segments = headers
        .iter()
        .filter(|header| header.p_type.get(LE) == elf::PT_LOAD)
        .map(|header| Segment {
            address: header.p_vaddr.get(LE),
            offset: header.p_offset.get(LE),
            file_size: header.p_filesz.get(LE),
            memory_size: header.p_memsz.get(LE),
            executable: header.p_flags.get(LE).0 & elf::PF_X.0 != 0,
            writable: header.p_flags.get(LE).0 & elf::PF_W.0 != 0,
        })
        .collect::<Vec<_>>();
    if segments.is_empty() {
        return Err(ElfError::Malformed("no loadable segment"));
    }
    let of_kind = |kind| {
        headers
            .iter()
            .filter(move |header| header.p_type.get(LE) == kind)
            .map(|header| (header.p_offset.get(LE), header.p_filesz.get(LE)))
    };
    Ok(Headers {
        segments,
        notes: of_kind(elf::PT_NOTE).collect(),
        dynamic: of_kind(elf::PT_DYNAMIC).next(),
    })
}

fn read_sections(
    source: &Source,
    header: &elf::FileHeader64<LE>,
) -> Result<Vec<Section>, ElfError> {
    let offset = header.e_shoff.get(LE);
    if offset == 0 {
        return Ok(Vec::new());
    }
    let first: elf::SectionHeader64<LE> = source.one(offset, "the first section header")?;
    // More sections, or a higher index, than 16 bits hold are in the first, unused header.
    let count = match header.e_shnum.get(LE) {
        0 => first.sh_size.get(LE),
        count => u64::from(count),
    };
    let names = match header.e_shstrndx.get(LE) {
        elf::SHN_XINDEX => first.sh_link.get(LE),
        index => u32::from(index.0),
    };
    if count > MAX_SECTIONS {
        return Err(ElfError::TooLarge {
            what: "the section header count",
            size: count,
            limit: MAX_SECTIONS,
        });
    }
    let headers: Vec<elf::SectionHeader64<LE>> =
        source.array(offset, count, "the section headers")?;
    // Without names only `.plt` cannot be told; the rest goes by kind.
    let names = usize::try_from(names)
        .ok()
        .and_then(|index| headers.get(index))
        .and_then(|header| {
            let size = header.sh_size.get(LE).min(MAX_SECTION >> 8);
            source
                .read(header.sh_offset.get(LE), size, "the section names")
                .ok()
        })
        .unwrap_or_default();
    Ok(headers
        .iter()
        .map(|header| Section {
            name: String::from_utf8_lossy(symbols::string_at(&names, header.sh_name.get(LE), 64))
                .into_owned(),
            kind: header.sh_type.get(LE).0,
            address: header.sh_addr.get(LE),
            offset: header.sh_offset.get(LE),
            size: header.sh_size.get(LE),
            link: header.sh_link.get(LE),
            entry_size: header.sh_entsize.get(LE),
        })
        .collect())
}

#[cfg(test)]
mod tests;

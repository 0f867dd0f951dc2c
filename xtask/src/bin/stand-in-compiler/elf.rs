//! The smallest ELF program that tt-metal's loader accepts.

const ENTRY: u32 = 0x1000;
/// `j .`
const CODE: [u8; 4] = 0x0000_006f_u32.to_le_bytes();

const EHDR: u32 = 52;
const PHDR: u32 = 32;
const SHDR: u32 = 40;
const SYMBOL: u32 = 16;

const PROGBITS: u32 = 1;
const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const RELA: u32 = 4;

const TEXT_INDEX: u32 = 1;
const SYMTAB_INDEX: u32 = 2;
const STRTAB_INDEX: u32 = 3;
const NAMES_INDEX: u16 = 5;

struct Section {
    name: &'static str,
    kind: u32,
    flags: u32,
    address: u32,
    data: Vec<u8>,
    link: u32,
    info: u32,
    align: u32,
    entry: u32,
}

/// One loadable segment of one instruction, a symbol table with nothing in it, and no relocations.
pub fn program() -> Vec<u8> {
    let plain = |name, kind| Section {
        name,
        kind,
        flags: 0,
        address: 0,
        data: Vec::new(),
        link: 0,
        info: 0,
        align: 1,
        entry: 0,
    };
    let mut sections = [
        plain("", 0),
        Section {
            // SHF_ALLOC | SHF_EXECINSTR
            flags: 6,
            address: ENTRY,
            data: CODE.to_vec(),
            align: 4,
            ..plain(".text", PROGBITS)
        },
        Section {
            data: vec![0; SYMBOL as usize],
            link: STRTAB_INDEX,
            info: 1,
            align: 4,
            entry: SYMBOL,
            ..plain(".symtab", SYMTAB)
        },
        Section {
            data: vec![0],
            ..plain(".strtab", STRTAB)
        },
        Section {
            link: SYMTAB_INDEX,
            info: TEXT_INDEX,
            align: 4,
            entry: 12,
            ..plain(".rela.text", RELA)
        },
        plain(".shstrtab", STRTAB),
    ];
    let mut names = Vec::new();
    let mut name_at = Vec::new();
    for section in &sections {
        name_at.push(names.len() as u32);
        names.extend(section.name.bytes().chain([0]));
    }
    sections[usize::from(NAMES_INDEX)].data = names;

    let mut body = Vec::new();
    let mut headers = Vec::new();
    for (section, name) in sections.iter().zip(name_at) {
        while !(EHDR as usize + PHDR as usize + body.len()).is_multiple_of(4) {
            body.push(0);
        }
        let offset = EHDR + PHDR + body.len() as u32;
        body.extend(&section.data);
        let size = section.data.len() as u32;
        let fields = if section.kind == 0 {
            [0; 10]
        } else {
            [
                name,
                section.kind,
                section.flags,
                section.address,
                offset,
                size,
                section.link,
                section.info,
                section.align,
                section.entry,
            ]
        };
        headers.extend(fields.into_iter().flat_map(u32::to_le_bytes));
    }
    while !body.len().is_multiple_of(4) {
        body.push(0);
    }

    let mut file = Vec::new();
    // 32 bits, little endian, version 1.
    file.extend([0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // ET_EXEC, EM_RISCV
    file.extend([2_u16, 243].into_iter().flat_map(u16::to_le_bytes));
    let section_headers = EHDR + PHDR + body.len() as u32;
    file.extend(
        [1, ENTRY, EHDR, section_headers, 0]
            .into_iter()
            .flat_map(u32::to_le_bytes),
    );
    let counts = [
        EHDR as u16,
        PHDR as u16,
        1,
        SHDR as u16,
        sections.len() as u16,
        NAMES_INDEX,
    ];
    file.extend(counts.into_iter().flat_map(u16::to_le_bytes));
    // PT_LOAD, readable and executable; `.text` is the first in the body.
    let code = CODE.len() as u32;
    file.extend(
        [1, EHDR + PHDR, ENTRY, ENTRY, code, code, 5, 4]
            .into_iter()
            .flat_map(u32::to_le_bytes),
    );
    file.extend(body);
    file.extend(headers);
    file
}

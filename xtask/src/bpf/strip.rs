//! Takes the DWARF sections out of a BPF object and leaves everything else, `.BTF` included.
//!
//! Here rather than with `llvm-objcopy`: not every machine has one that knows BPF, and each version lays out the
//! file in its own way.

use anyhow::{Context, Result, ensure};
use object::{
    build::elf::{Builder, SectionData},
    elf,
};

pub fn debug_sections(object: &[u8]) -> Result<Vec<u8>> {
    let mut object = Builder::read(object).context("not an ELF file")?;
    let mut names = Vec::new();
    for section in object.sections.iter_mut() {
        let name = section.name.to_string();
        if name.starts_with(".debug_") || name.starts_with(".rel.debug_") {
            section.delete = true;
        } else {
            names.push(name);
        }
    }
    for required in [".BTF", ".BTF.ext", "license"] {
        ensure!(
            names.iter().any(|name| name == required),
            "the object has no section {required}"
        );
    }
    // Their symbols, and relocations against those.
    object.delete_orphans();
    // LLVM keeps section names in `.strtab`; the builder wants a table for them alone.
    let table = object.sections.add();
    table.name = ".shstrtab".into();
    table.sh_type = elf::SHT_STRTAB;
    table.sh_addralign = 1;
    table.data = SectionData::SectionString;
    object.set_section_sizes();
    let mut stripped = Vec::new();
    object
        .write(&mut stripped)
        .context("cannot write the object")?;
    Ok(stripped)
}

//! Symbols by name, in one pass over a table for any number of names.

use std::{collections::HashMap, ffi::CStr, ops::RangeInclusive, sync::Arc};

use object::{LittleEndian as LE, elf};

use super::{ElfError, Library, MAX_SECTION, source};

/// The longest symbol name that is looked at. Templates make long ones.
const MAX_NAME: usize = 1 << 16;
/// Symbols that one pattern may match before the rest is dropped.
const MAX_MATCHES: usize = 4_096;

/// A defined function or object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    pub name: String,
    /// As in the file, before any load bias.
    pub address: u64,
    pub size: u64,
}

/// A name, or how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pattern<'a> {
    Exact(&'a str),
    Prefix(&'a str),
}

#[derive(Debug, Default)]
pub(super) struct SymbolTable {
    symbols: Vec<u8>,
    strings: Vec<u8>,
}

impl SymbolTable {
    fn entries(&self) -> &[elf::Sym64<LE>] {
        source::entries(&self.symbols).unwrap_or_default()
    }

    /// The name of symbol `index`.
    pub(super) fn name(&self, index: u32) -> Option<&[u8]> {
        let symbol = self.entries().get(usize::try_from(index).ok()?)?;
        Some(string_at(&self.strings, symbol.st_name.get(LE), MAX_NAME))
    }

    /// The address of symbol `index`, where it is defined here.
    pub(super) fn value(&self, index: u32) -> Option<u64> {
        let symbol = self.entries().get(usize::try_from(index).ok()?)?;
        is_definition(symbol).then(|| symbol.st_value.get(LE))
    }

    fn collect(&self, wanted: &Wanted<'_>, found: &mut [Vec<Symbol>]) {
        // Names may share their endings, but a table where every symbol has the same huge name
        // is there to waste time.
        let mut budget = (self.strings.len() + 4_096).saturating_mul(16);
        for symbol in self.entries() {
            if !is_definition(symbol) {
                continue;
            }
            let name = string_at(&self.strings, symbol.st_name.get(LE), MAX_NAME);
            // An empty one may be what was searched in vain.
            let cost = if name.is_empty() { 64 } else { name.len() };
            budget = match budget.checked_sub(cost) {
                Some(rest) => rest,
                None => return,
            };
            if name.is_empty() || is_linker_made(name) {
                continue;
            }
            wanted.matches(name, |index| {
                let Some(list) = found.get_mut(index) else {
                    return;
                };
                if list.len() < MAX_MATCHES
                    && let Ok(name) = std::str::from_utf8(name)
                {
                    list.push(Symbol {
                        name: name.to_owned(),
                        address: symbol.st_value.get(LE),
                        size: symbol.st_size.get(LE),
                    });
                }
            });
        }
    }
}

fn is_definition(symbol: &elf::Sym64<LE>) -> bool {
    let kind = symbol.st_info.0 & 0xf;
    let known = [
        elf::STT_NOTYPE.0,
        elf::STT_OBJECT.0,
        elf::STT_FUNC.0,
        elf::STT_GNU_IFUNC.0,
    ]
    .contains(&kind);
    known && symbol.st_shndx.get(LE) != elf::SHN_UNDEF && symbol.st_value.get(LE) != 0
}

/// mold names its stubs and table slots after the symbol they stand for.
fn is_linker_made(name: &[u8]) -> bool {
    [&b"$plt"[..], b"$got", b"$pltgot", b"$gottp"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

struct Wanted<'a> {
    exact: HashMap<&'a [u8], Vec<usize>>,
    prefixes: Vec<(&'a [u8], usize)>,
}

impl<'a> Wanted<'a> {
    fn new(patterns: impl Iterator<Item = (usize, Pattern<'a>)>) -> Self {
        let mut wanted = Self {
            exact: HashMap::new(),
            prefixes: Vec::new(),
        };
        for (index, pattern) in patterns {
            match pattern {
                Pattern::Exact(name) => {
                    wanted.exact.entry(name.as_bytes()).or_default().push(index);
                }
                Pattern::Prefix(prefix) => wanted.prefixes.push((prefix.as_bytes(), index)),
            }
        }
        wanted
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    fn matches(&self, name: &[u8], mut found: impl FnMut(usize)) {
        for index in self.exact.get(name).into_iter().flatten() {
            found(*index);
        }
        for (prefix, index) in &self.prefixes {
            if name.starts_with(prefix) {
                found(*index);
            }
        }
    }
}

impl Library {
    /// The symbol of that very name.
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        self.symbols(&[Pattern::Exact(name)])
            .into_iter()
            .flatten()
            .next()
    }

    /// Every symbol whose name begins so.
    pub fn symbols_with_prefix(&self, prefix: &str) -> Vec<Symbol> {
        self.symbols(&[Pattern::Prefix(prefix)])
            .into_iter()
            .flatten()
            .collect()
    }

    /// For each pattern what it matches, by address.
    ///
    /// The dynamic table first; the full one only for patterns that found nothing in it. So a
    /// library answers the same before and after it is stripped, for what it exports.
    pub fn symbols(&self, wanted: &[Pattern<'_>]) -> Vec<Vec<Symbol>> {
        let mut found = vec![Vec::new(); wanted.len()];
        let all = Wanted::new(wanted.iter().copied().enumerate());
        self.dynsym().collect(&all, &mut found);
        let missing = Wanted::new(
            wanted
                .iter()
                .copied()
                .enumerate()
                .filter(|(index, _)| found.get(*index).is_some_and(Vec::is_empty)),
        );
        if !missing.is_empty() {
            self.symtab().collect(&missing, &mut found);
        }
        for list in &mut found {
            list.sort_by(|a, b| (a.address, &a.name).cmp(&(b.address, &b.name)));
            list.dedup();
        }
        found
    }

    /// Whether a name stands somewhere in that range of addresses.
    pub fn has_symbol_in(&self, range: RangeInclusive<u64>) -> bool {
        [self.dynsym(), self.symtab()].into_iter().any(|table| {
            table
                .entries()
                .iter()
                .any(|symbol| is_definition(symbol) && range.contains(&symbol.st_value.get(LE)))
        })
    }

    pub(super) fn dynsym(&self) -> &Arc<SymbolTable> {
        self.dynsym.get_or_init(|| self.table(elf::SHT_DYNSYM.0))
    }

    fn symtab(&self) -> &Arc<SymbolTable> {
        self.symtab.get_or_init(|| self.table(elf::SHT_SYMTAB.0))
    }

    /// A table that cannot be read is as one that is not there: its symbols are not found, and
    /// whoever needs them says so.
    fn table(&self, kind: u32) -> Arc<SymbolTable> {
        Arc::new(self.read_table(kind).unwrap_or_default())
    }

    fn read_table(&self, kind: u32) -> Result<SymbolTable, ElfError> {
        let Some(section) = self.sections_of(kind).next() else {
            return Ok(SymbolTable::default());
        };
        let strings = usize::try_from(section.link)
            .ok()
            .and_then(|link| self.sections.get(link))
            .ok_or(ElfError::Malformed("a symbol table without names"))?;
        let mut strings = self.section_bytes(strings, "the symbol names")?;
        // What follows the last terminator is no name.
        let end = strings.iter().rposition(|byte| *byte == 0);
        strings.truncate(end.map_or(0, |end| end + 1));
        let symbols = self.section_bytes(section, "the symbol table")?;
        debug_assert!(symbols.len() as u64 <= MAX_SECTION);
        Ok(SymbolTable { symbols, strings })
    }
}

/// The zero-terminated string at `offset`; empty where there is none within `max` bytes.
pub(super) fn string_at(table: &[u8], offset: u32, max: usize) -> &[u8] {
    let rest = usize::try_from(offset)
        .ok()
        .and_then(|offset| table.get(offset..))
        .unwrap_or_default();
    let window = rest.get(..max).unwrap_or(rest);
    // It may end nowhere: a truncated table, or one that is no table of strings.
    CStr::from_bytes_until_nul(window).map_or(&[], CStr::to_bytes)
}

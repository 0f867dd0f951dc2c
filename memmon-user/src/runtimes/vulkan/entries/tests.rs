use std::{fmt::Write as _, fs::File, path::Path, process::Command};

use super::*;

/// The source of a driver as Mesa generates it, with few names and no content.
fn source(names: &Names, table: &str, count: usize) -> String {
    let mut all: Vec<String> = names.filled.iter().map(|name| (*name).to_owned()).collect();
    all.extend((all.len()..count).map(|number| format!("vkDouble{}{number}", &table[..1])));
    all.sort();
    let (mut strings, mut entries, mut slots, mut functions, mut offset) = (
        String::new(),
        String::new(),
        String::new(),
        String::new(),
        0,
    );
    for (index, name) in all.iter().enumerate() {
        let index = (index * 7) % count;
        let _ = writeln!(strings, "\"{name}\\0\"");
        let _ = writeln!(
            entries,
            "{{{offset}, {:#x}, {index}}},",
            hash(name.as_bytes())
        );
        // Not everything is there.
        if names.filled.contains(&name.as_str()) || index.is_multiple_of(3) {
            let _ = writeln!(
                functions,
                "static int own_{name}(void) {{ return {index}; }}"
            );
            let _ = writeln!(slots, "[{index}] = own_{name},");
        }
        offset += name.len() + 1;
    }
    format!(
        "{functions}\n\
         static const char {table}_names[] = {strings};\n\
         static const struct entry {{ unsigned name, hash, index; }} {table}_map[] = {{{entries}}};\n\
         struct {table}_table {{ function slots[{count}]; }};\n\
         const void *{table}_look_up(void) {{ return opaque({table}_map, {table}_names); }}\n\
         // TABLE {table}\n\
         const struct {table}_table own_{table} = {{{{{slots}}}}};\n"
    )
    .replace("struct entry", &format!("struct {table}_entry"))
}

/// That source; tables are put into this order.
fn driver(order: [&str; 3]) -> String {
    let parts: Vec<(&str, String, String)> = [
        ("instance", &INSTANCE, 17),
        ("physical", &PHYSICAL, 31),
        ("device", &DEVICE, 131),
    ]
    .into_iter()
    .map(|(table, names, count)| {
        let text = source(names, table, count);
        let (before, after) = text.split_once(&format!("// TABLE {table}\n")).unwrap();
        (table, before.to_owned(), after.to_owned())
    })
    .collect();
    let before: String = parts.iter().map(|(_, before, _)| before.as_str()).collect();
    let tables: String = order
        .iter()
        .map(|wanted| {
            let part = parts.iter().find(|(table, ..)| table == wanted).unwrap();
            part.2.as_str()
        })
        .collect();
    format!(
        "typedef int (*function)(void);\n\
         __attribute__((noinline)) const void *opaque(const void *a, const void *b) {{\n\
         __asm__ volatile(\"\" : : \"r\"(a), \"r\"(b)); return a; }}\n\
         {before}\n\
         // Before the tables, and of the same shape.\n\
         {tables}\n\
         __attribute__((visibility(\"default\"))) const void *vk_icdGetInstanceProcAddr(void *instance, const char *name) {{\n\
         (void)instance; return opaque(name, &own_instance); }}\n\
         __attribute__((visibility(\"default\"))) const void *start(void) {{ return opaque(&own_device, &own_physical); }}\n"
    )
}

/// A stripped library and where `own_vkAllocateMemory` and `own_vkFreeMemory` were before.
fn built(text: &str, flags: &[&str]) -> (Library, Entries) {
    let folder = tempfile::tempdir().unwrap();
    let [source, whole, stripped] =
        ["a.c", "whole.so", "stripped.so"].map(|name| folder.path().join(name));
    std::fs::write(&source, text).unwrap();
    let built = Command::new("gcc")
        .args([
            "-O2",
            "-shared",
            "-fPIC",
            "-fvisibility=hidden",
            "-fno-toplevel-reorder",
            "-w",
        ])
        .args(flags)
        .arg("-o")
        .args([&whole, &source])
        .status()
        .expect("gcc is needed for this test");
    assert!(built.success(), "{flags:?}");
    let status = Command::new("strip")
        .arg("-o")
        .args([&stripped, &whole])
        .status()
        .expect("strip is needed for this test");
    assert!(status.success());
    let open = |path: &Path| Library::open(&File::open(path).unwrap()).unwrap();
    let symbols = open(&whole);
    let truth = Entries {
        allocate_memory: symbols.symbol("own_vkAllocateMemory").unwrap().address,
        free_memory: symbols.symbol("own_vkFreeMemory").unwrap().address,
    };
    let library = open(&stripped);
    assert_eq!(library.symbol("own_vkAllocateMemory"), None);
    (library, truth)
}

fn found(library: &Library) -> Result<Entries, EntriesError> {
    let export = library.symbol("vk_icdGetInstanceProcAddr").unwrap();
    find(library, export.address)
}

const FORWARD: [&str; 3] = ["instance", "physical", "device"];

#[test]
fn functions_of_a_stripped_driver() {
    for order in [FORWARD, ["device", "physical", "instance"]] {
        for flags in [
            &[][..],
            &["-fcf-protection=full"],
            &["-Wl,-z,noseparate-code"],
            &["-Wl,-z,pack-relative-relocs"],
        ] {
            let (library, truth) = built(&driver(order), flags);
            assert_eq!(found(&library), Ok(truth), "{order:?} {flags:?}");
        }
    }
}

/// Each of them would lead elsewhere, or does not prove what it leads to.
#[test]
fn what_does_not_fit_is_an_error() {
    let good = driver(FORWARD);
    let hash_of = |name: &str| format!("{:#x}", hash(name.as_bytes()));
    let zeroed = |name: &str| {
        let entry = good
            .lines()
            .find(|line| line.contains(&format!("= own_{name},")))
            .unwrap();
        let index = entry.split(']').next().unwrap();
        good.replace(entry, &format!("{index}] = 0,"))
    };
    let cases = [
        (
            "another hash",
            good.replace(&hash_of("vkAllocateMemory"), "0x1234567"),
            EntriesError::NoMap(DEVICE.kind),
        ),
        (
            "the map breaks off",
            good.replace(&hash_of("vkDestroyDevice"), "1")
                .replace(&hash_of("vkCreateImage"), "1"),
            EntriesError::NoMap(DEVICE.kind),
        ),
        (
            "no allocations",
            zeroed("vkAllocateMemory"),
            EntriesError::NoNeighbour,
        ),
        (
            "no images",
            zeroed("vkCreateImage"),
            EntriesError::NoNeighbour,
        ),
        (
            "no devices",
            zeroed("vkCreateDevice"),
            EntriesError::NoNeighbour,
        ),
        (
            "something between the tables",
            good.replace(
                "const struct device_table",
                "const function between[8] = {own_vkFreeMemory};\nconst struct device_table",
            ),
            EntriesError::NoNeighbour,
        ),
        (
            "a table that nothing refers to",
            good.replace("opaque(&own_device, ", "opaque(&own_instance, "),
            EntriesError::NoNeighbour,
        ),
        (
            "data among the functions",
            good.replacen("= own_vkDoubled", "= (function)device_names, //", 1),
            EntriesError::NoNeighbour,
        ),
        (
            "another table is handed on",
            good.replace("opaque(name, &own_instance)", "opaque(name, &own_physical)"),
            EntriesError::NoTable,
        ),
        (
            "no table is handed on",
            good.replace("opaque(name, &own_instance)", "opaque(name, instance)"),
            EntriesError::NoTable,
        ),
    ];
    for (what, text, expected) in cases {
        assert_ne!(text, good, "{what}");
        let (library, _) = built(&text, &[]);
        assert_eq!(found(&library), Err(expected), "{what}");
    }
}

/// Addresses go up to the very last one.
#[test]
fn nothing_lies_beyond_the_end_of_addresses() {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0".to_vec();
    file.resize(64, 0);
    file[0x20..0x28].copy_from_slice(&64_u64.to_le_bytes());
    file[0x36..0x3a].copy_from_slice(&[56, 0, 1, 0]);
    // PT_LOAD, readable and executable.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for field in [0, u64::MAX - 40, u64::MAX - 40, 120, 120, 1] {
        file.extend(field.to_le_bytes());
    }
    let library = Library::from_bytes(file).unwrap();
    assert_eq!(library.segments().len(), 1);
    assert_eq!(find(&library, 0), Err(EntriesError::NoMap(DEVICE.kind)));
}

//! Compares what a view printed with a committed file. `MEMMON_BLESS=1 cargo test` writes the files anew.

use std::path::Path;

pub fn check(folder: &str, name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/views")
        .join(folder)
        .join(name);
    if std::env::var_os("MEMMON_BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; MEMMON_BLESS=1 writes it", path.display()));
    assert!(
        expected == actual,
        "{} differs (MEMMON_BLESS=1 accepts)\n--- expected\n{expected}\n--- actual\n{actual}",
        path.display()
    );
}

//! The dynamic loader's cache of libraries.
use std::ffi::OsStr;

use memmon::discover::ahead::cache::Cache;

/// The longest path that the kernel takes.
const LONGEST: usize = 4_096;

pub fn run(data: &[u8]) {
    let cache = Cache::parse(data);
    for (name, file) in cache.iter() {
        let text = file.as_os_str();
        for text in [name, text] {
            let bytes = text.as_encoded_bytes();
            assert!((1..LONGEST).contains(&bytes.len()) && !bytes.contains(&0));
            assert!(data.windows(bytes.len()).any(|part| part == bytes));
        }
        assert!(cache.files(name).iter().any(|found| found == file));
    }
    // An entry takes more than that.
    assert!(cache.iter().count() <= data.len() / 24);
    assert!(cache.files(OsStr::new("")).is_empty());
    assert_eq!(Cache::parse(data), cache);
}

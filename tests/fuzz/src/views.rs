//! A snapshot, seen through everything that shows one.

use memmon::{
    tables::snapshot::Snapshot,
    views::snapshot::{Format, Options, render},
};

/// Whether a terminal would obey the character instead of showing it, or read the line in another order.
fn is_obeyed(c: char) -> bool {
    (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

pub fn show(snapshot: &Snapshot) {
    for format in Format::ALL {
        for width in [None, Some(20), Some(80)] {
            let options = Options {
                width,
                ..Options::default()
            };
            let text = render(snapshot, format, &options)
                .unwrap_or_else(|error| panic!("{format} cannot be written: {error}"));
            assert!(
                text.is_empty() || text.ends_with('\n'),
                "{format}: {text:?}"
            );
            if format == Format::Table {
                assert!(!text.contains(is_obeyed), "hostile to a terminal: {text:?}");
            }
            if format == Format::Json {
                let again: Snapshot = serde_json::from_str(&text)
                    .unwrap_or_else(|error| panic!("not our own JSON: {error}\n{text}"));
                assert!(again == *snapshot, "{again:?}\n{snapshot:?}");
            }
        }
    }
}

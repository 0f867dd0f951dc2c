//! The snapshot as JSON, table, CSV and OpenMetrics text.

pub(super) mod columns;
mod csv;
mod table;

use std::fmt;
use std::str::FromStr;

use crate::{tables::snapshot::Snapshot, views::metrics};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    #[default]
    Table,
    Json,
    Csv,
    Openmetrics,
}

impl Format {
    pub const ALL: [Self; 4] = [Self::Table, Self::Json, Self::Csv, Self::Openmetrics];

    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Openmetrics => "openmetrics",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("there is no format `{0}`: choose table, json, csv or openmetrics")]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|f| f.name() == text)
            .ok_or_else(|| UnknownFormat(text.into()))
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    /// JSON on one line.
    pub compact: bool,
    /// CSV begins with the names of its columns.
    pub header: bool,
    /// Sizes in a table as plain numbers of bytes.
    pub exact_bytes: bool,
    /// A table takes no more cells than this in a line.
    pub width: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            compact: false,
            header: true,
            exact_bytes: false,
            width: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("the snapshot could not be written as JSON")]
    Json(#[from] serde_json::Error),
    #[error("the snapshot could not be written as CSV")]
    Csv(#[from] ::csv::Error),
}

/// One snapshot as text that ends with a line break.
pub fn render(
    snapshot: &Snapshot,
    format: Format,
    options: &Options,
) -> Result<String, RenderError> {
    match format {
        Format::Table => Ok(table::render(snapshot, options)),
        Format::Json => json(snapshot, options.compact),
        Format::Csv => Ok(csv::render(snapshot, options.header)?),
        Format::Openmetrics => Ok(metrics::render_whole(snapshot)),
    }
}

fn json(snapshot: &Snapshot, compact: bool) -> Result<String, RenderError> {
    let mut text = if compact {
        serde_json::to_string(snapshot)?
    } else {
        serde_json::to_string_pretty(snapshot)?
    };
    // JSON need not escape DEL and the C1 controls, but a terminal obeys them. They can only stand in strings.
    if text.contains(is_late_control) {
        let escaped = |c: char| format!("\\u{:04x}", u32::from(c));
        text = text
            .chars()
            .map(|c| {
                if is_late_control(c) {
                    escaped(c)
                } else {
                    c.into()
                }
            })
            .collect();
    }
    text.push('\n');
    Ok(text)
}

fn is_late_control(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}')
}

/// Snapshot after snapshot in one format: JSON one object a line, CSV with one header, tables set apart by an empty line.
#[derive(Clone, Debug)]
pub struct Stream {
    format: Format,
    options: Options,
    begun: bool,
}

impl Stream {
    /// `continues`: what is written goes behind earlier output (a file that is appended to).
    pub fn new(format: Format, options: Options, continues: bool) -> Self {
        Self {
            format,
            options,
            begun: continues,
        }
    }

    pub fn render(&mut self, snapshot: &Snapshot) -> Result<String, RenderError> {
        let first = !std::mem::replace(&mut self.begun, true);
        let options = Options {
            compact: true,
            header: self.options.header && first,
            ..self.options.clone()
        };
        let text = render(snapshot, self.format, &options)?;
        Ok(if self.format == Format::Table && !first {
            format!("\n{text}")
        } else {
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::{golden, sample};

    fn rendered(snapshot: &Snapshot, format: Format) -> String {
        render(snapshot, format, &Options::default()).unwrap()
    }

    #[test]
    fn json_is_the_schema_and_reads_back() {
        let snapshot = sample::troubled();
        let compact = render(
            &snapshot,
            Format::Json,
            &Options {
                compact: true,
                ..Options::default()
            },
        )
        .unwrap();
        assert_eq!(compact.matches('\n').count(), 1);
        assert_eq!(
            serde_json::from_str::<Snapshot>(&compact).unwrap(),
            snapshot
        );
        assert_eq!(
            serde_json::from_str::<Snapshot>(&rendered(&snapshot, Format::Json)).unwrap(),
            snapshot
        );
    }

    #[test]
    fn committed_output() {
        for format in Format::ALL {
            golden::check(
                "snapshot/golden",
                &format!("busy.{format}"),
                &rendered(&sample::busy(), format),
            );
        }
        for format in [Format::Table, Format::Csv, Format::Openmetrics] {
            golden::check(
                "snapshot/golden",
                &format!("troubled.{format}"),
                &rendered(&sample::troubled(), format),
            );
        }
        golden::check(
            "snapshot/golden",
            "empty.table",
            &rendered(&sample::empty(), Format::Table),
        );
        let narrow = Options {
            width: Some(80),
            ..Options::default()
        };
        golden::check(
            "snapshot/golden",
            "narrow.table",
            &render(&sample::troubled(), Format::Table, &narrow).unwrap(),
        );
        let exact = Options {
            exact_bytes: true,
            ..Options::default()
        };
        golden::check(
            "snapshot/golden",
            "exact.table",
            &render(&sample::busy(), Format::Table, &exact).unwrap(),
        );
    }

    #[test]
    fn a_stream_says_its_header_once() {
        let mut csv = Stream::new(Format::Csv, Options::default(), false);
        let (first, second) = (
            csv.render(&sample::busy()).unwrap(),
            csv.render(&sample::busy()).unwrap(),
        );
        assert!(first.starts_with("pid,start_time,"));
        assert!(!second.contains("pid,start_time,"));
        let mut continued = Stream::new(Format::Csv, Options::default(), true);
        assert_eq!(continued.render(&sample::busy()).unwrap(), second);
        let mut json = Stream::new(Format::Json, Options::default(), false);
        assert_eq!(json.render(&sample::busy()).unwrap().lines().count(), 1);
    }

    #[test]
    fn nothing_a_process_wrote_reaches_the_terminal_as_control() {
        for format in [Format::Table, Format::Openmetrics, Format::Json] {
            let text = rendered(&sample::troubled(), format);
            let bad = text.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(bad, None, "{format}");
        }
        let table = rendered(&sample::troubled(), Format::Table);
        assert!(!table.contains('\u{202e}') && table.contains("\\u{202e}"));
    }

    #[test]
    fn names_of_formats() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
        }
        assert!(
            "yaml"
                .parse::<Format>()
                .unwrap_err()
                .to_string()
                .contains("openmetrics")
        );
    }
}

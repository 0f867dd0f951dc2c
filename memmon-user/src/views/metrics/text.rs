//! The two text formats that scrapers read: OpenMetrics 1.0, and Prometheus's own, which is older.

use std::fmt::{self, Write as _};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    #[default]
    OpenMetrics,
    /// Text format 0.0.4: no units, no end mark, and a counter's family is called as its sample.
    Prometheus,
}

impl Dialect {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
    /// Samples that are 1 and say something by their labels.
    Info,
    /// A count and a sum.
    Summary,
}

/// Samples that belong together. Its name is without what the kind adds (`_total`, `_info`).
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

impl Family {
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Gauge,
            help,
        }
    }

    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Counter,
            help,
        }
    }

    fn suffix(&self) -> &'static str {
        match self.kind {
            Kind::Gauge | Kind::Summary => "",
            Kind::Counter => "_total",
            Kind::Info => "_info",
        }
    }

    fn unit(&self) -> Option<&'static str> {
        ["bytes", "seconds"].into_iter().find(|unit| {
            self.name
                .strip_suffix(unit)
                .is_some_and(|rest| rest.ends_with('_'))
        })
    }
}

/// Writes families, one after the other.
#[derive(Debug)]
pub struct Writer {
    dialect: Dialect,
    text: String,
}

// Writing to a String cannot fail.
impl Writer {
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            text: String::new(),
        }
    }

    /// Makes room for that much text at once.
    pub fn reserve(&mut self, bytes: usize) {
        self.text.reserve(bytes);
    }

    /// What stands above a family's samples.
    pub fn head(&mut self, family: &Family) {
        let Family { name, kind, help } = family;
        let (suffix, kind) = match (self.dialect, kind) {
            (_, Kind::Gauge) => ("", "gauge"),
            (_, Kind::Summary) => ("", "summary"),
            (Dialect::OpenMetrics, Kind::Counter) => ("", "counter"),
            (Dialect::OpenMetrics, Kind::Info) => ("", "info"),
            (Dialect::Prometheus, Kind::Counter) => (family.suffix(), "counter"),
            (Dialect::Prometheus, Kind::Info) => (family.suffix(), "gauge"),
        };
        let _ = writeln!(self.text, "# HELP {name}{suffix} {help}");
        let _ = writeln!(self.text, "# TYPE {name}{suffix} {kind}");
        if let (Dialect::OpenMetrics, Some(unit)) = (self.dialect, family.unit()) {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
    }

    pub fn sample(&mut self, family: &Family, labels: &str, value: impl fmt::Display) {
        let suffix = family.suffix();
        let _ = if labels.is_empty() {
            writeln!(self.text, "{}{suffix} {value}", family.name)
        } else {
            writeln!(self.text, "{}{suffix}{{{labels}}} {value}", family.name)
        };
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, family: &Family, value: impl fmt::Display) {
        self.head(family);
        self.sample(family, "", value);
    }

    pub fn summary(&mut self, family: &Family, count: u64, sum: f64) {
        self.head(family);
        let _ = writeln!(self.text, "{}_count {count}", family.name);
        let _ = writeln!(self.text, "{}_sum {sum}", family.name);
    }

    pub fn finish(mut self) -> String {
        if self.dialect == Dialect::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// Appends `name="value"`, behind a comma where something stands there already.
pub fn label(labels: &mut String, name: &str, value: impl fmt::Display) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(name);
    labels.push_str("=\"");
    let _ = write!(Escaped(labels), "{value}");
    labels.push('"');
}

/// Backslash, quote and line break as both formats say. Other control characters, which they allow,
/// are written out: people look at this text in a terminal.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '\\' => self.0.push_str(r"\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str(r"\n"),
                c if c.is_control() => write!(self.0, r"\\x{:02x}", c as u32)?,
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaping_follows_the_formats() {
        let mut labels = String::new();
        label(&mut labels, "a", "q\"b\\c\nd\x1be");
        label(&mut labels, "b", 7);
        assert_eq!(labels, "a=\"q\\\"b\\\\c\\nd\\\\x1be\",b=\"7\"");
    }

    #[test]
    fn counters_are_named_as_each_format_wants() {
        let family = Family::counter("x_seconds", "Help.");
        let text = |dialect| {
            let mut writer = Writer::new(dialect);
            writer.single(&family, 1.5);
            writer.finish()
        };
        assert_eq!(
            text(Dialect::OpenMetrics),
            "# HELP x_seconds Help.\n# TYPE x_seconds counter\n# UNIT x_seconds seconds\nx_seconds_total 1.5\n# EOF\n"
        );
        assert_eq!(
            text(Dialect::Prometheus),
            "# HELP x_seconds_total Help.\n# TYPE x_seconds_total counter\nx_seconds_total 1.5\n"
        );
    }
}

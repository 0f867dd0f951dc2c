//! The report as people see it.

use std::fmt::Write as _;

use super::{Area, Check, Report, State, Verdict};
use crate::text;

/// How it is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    pub color: bool,
    pub ascii: bool,
}

/// The report, an area a paragraph, with advice under what needs it.
pub fn render(report: &Report, style: Style) -> String {
    let mut out = format!("memmon {}, as {}\n", report.version, report.user);
    let width = report
        .checks
        .iter()
        .map(|check| text::width(check.name))
        .max()
        .unwrap_or_default();
    for area in Area::ALL {
        let mut checks = report
            .checks
            .iter()
            .filter(|check| check.area == area)
            .peekable();
        if checks.peek().is_some() {
            let _ = writeln!(out, "\n{}", area.name());
        }
        for check in checks {
            line(&mut out, check, width, style);
        }
    }
    let (state, words) = summary(report.verdict);
    let _ = writeln!(out, "\n{} {words}", sign(state, style));
    out
}

fn line(out: &mut String, check: &Check, width: usize, style: Style) {
    let Check { name, finding, .. } = check;
    let indent = " ".repeat(width + 6);
    let finding = finding.trim_end().replace('\n', &format!("\n{indent}"));
    let _ = writeln!(
        out,
        "  {} {name:width$}  {finding}",
        sign(check.state, style)
    );
    if let Some(advice) = &check.advice {
        let arrow = if style.ascii { "->" } else { "→" };
        let _ = writeln!(out, "{indent}{arrow} {advice}");
    }
}

fn sign(state: State, style: Style) -> String {
    let (plain, ascii, color) = match state {
        State::Ok => ("✓", "+", 32),
        State::Limited => ("!", "!", 33),
        State::Unchecked => ("?", "?", 33),
        State::NotPermitted | State::Failed => ("✗", "x", 31),
    };
    let sign = if style.ascii { ascii } else { plain };
    if style.color {
        format!("\x1b[{color}m{sign}\x1b[0m")
    } else {
        sign.to_owned()
    }
}

fn summary(verdict: Verdict) -> (State, &'static str) {
    match verdict {
        Verdict::Able => (State::Ok, "memmon can do its job here"),
        Verdict::ThroughDaemon => (
            State::Ok,
            "memmon can do its job here by asking the daemon; this user cannot observe alone",
        ),
        Verdict::NotPermitted => (
            State::NotPermitted,
            "memmon cannot do its job: rights are missing",
        ),
        Verdict::Unable => (State::Failed, "memmon cannot do its job on this machine"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            schema: super::super::SCHEMA,
            version: "1",
            user: "ada".to_owned(),
            verdict: Verdict::NotPermitted,
            checks: vec![
                Area::Kernel.ok("release", "6.18"),
                Area::Rights.finds(
                    "capabilities",
                    State::NotPermitted,
                    "none\nat all",
                    "be root",
                ),
            ],
        }
    }

    #[test]
    fn an_area_a_paragraph_and_advice_beneath() {
        let text = render(&report(), Style::default());
        assert_eq!(
            text,
            "memmon 1, as ada\n\n\
             kernel\n  ✓ release       6.18\n\n\
             rights\n  ✗ capabilities  none\n                  at all\n                  → be root\n\n\
             ✗ memmon cannot do its job: rights are missing\n"
        );
    }

    #[test]
    fn ascii_and_colours() {
        let ascii = Style {
            ascii: true,
            ..Style::default()
        };
        assert!(render(&report(), ascii).is_ascii());
        let color = Style {
            color: true,
            ..Style::default()
        };
        assert!(render(&report(), color).contains("\x1b[31m✗\x1b[0m"));
    }
}

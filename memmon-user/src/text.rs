//! Text that came from an observed process is hostile: it may hold escape sequences, line breaks
//! or characters that turn the reading direction around. Everything a person looks at goes through
//! [`visible`] or [`fit`], which show such characters instead of obeying them.

use unicode_width::UnicodeWidthChar as _;
use unicode_width::UnicodeWidthStr as _;

/// How many combining marks may follow one letter before they are written out.
const MARKS: usize = 3;

/// How many terminal cells a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The whole text, with every character that is not plain to see written as an escape (`\n`, `\x1b`, `\u{202e}`).
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut marks = MARKS;
    for c in text.chars() {
        push_visible(&mut out, c, &mut marks);
    }
    out
}

/// [`visible`], cut to at most `cells` terminal cells; what was cut is marked with `ellipsis`.
/// Looks at no more of the text than it needs.
pub fn fit(text: &str, cells: usize, ellipsis: &str) -> String {
    let mut out = String::new();
    let mut marks = MARKS;
    for c in text.chars() {
        push_visible(&mut out, c, &mut marks);
        // Escapes are at most ten cells: beyond that, no more text can change the result.
        if out.len() > cells && width(&out) > cells {
            return cut(&out, cells, ellipsis);
        }
    }
    out
}

/// A command line as one would type it in a shell; arguments that need it are quoted.
pub fn shell_words(words: &[String]) -> String {
    let mut out = String::new();
    for word in words {
        if !out.is_empty() {
            out.push(' ');
        }
        let plain = |c: char| c.is_alphanumeric() || "_@%+=:,./-".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            out.push_str(word);
        } else {
            out.push('\'');
            out.push_str(&word.replace('\'', r"'\''"));
            out.push('\'');
        }
    }
    out
}

/// Already visible text, cut to `cells`.
fn cut(text: &str, cells: usize, ellipsis: &str) -> String {
    let room = cells.saturating_sub(width(ellipsis));
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w > room {
            break;
        }
        used += w;
        out.push(c);
    }
    if width(ellipsis) <= cells {
        out.push_str(ellipsis);
    }
    out
}

fn push_visible(out: &mut String, c: char, marks: &mut usize) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c.is_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
        c if is_format(c) => out.extend(c.escape_unicode()),
        c => match c.width() {
            Some(0) | None if *marks == MARKS && out.is_empty() => out.extend(c.escape_unicode()),
            Some(0) | None if *marks == 0 => out.extend(c.escape_unicode()),
            Some(0) | None => {
                *marks -= 1;
                out.push(c);
                return;
            }
            Some(_) => out.push(c),
        },
    }
    *marks = MARKS;
}

/// Characters that change how their neighbours are shown without being seen themselves.
fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
        | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_shown_not_obeyed() {
        assert_eq!(
            visible("a\x1b[31mb\nc\u{9b}2J\u{7f}"),
            r"a\x1b[31mb\nc\x9b2J\x7f"
        );
        assert_eq!(visible("abc\u{202e}fed\u{200b}"), r"abc\u{202e}fed\u{200b}");
        assert_eq!(visible("Ünï 模型 🚀"), "Ünï 模型 🚀");
    }

    #[test]
    fn marks_stay_with_their_letter_and_do_not_pile_up() {
        assert_eq!(visible("e\u{301}"), "e\u{301}");
        assert_eq!(visible("\u{301}e"), r"\u{301}e");
        assert_eq!(
            width(&visible(&format!("z{}", "\u{35c}".repeat(4)))),
            1 + r"\u{35c}".len()
        );
    }

    #[test]
    fn fit_never_takes_more_cells_than_it_may() {
        for cells in 0..20 {
            for text in [
                "plain ascii text",
                "模型模型模型",
                "a\x1b[2J\u{202e}b",
                "e\u{301}e\u{301}",
            ] {
                assert!(
                    width(&fit(text, cells, "…")) <= cells,
                    "{text:?} in {cells}"
                );
            }
        }
        assert_eq!(fit("python", 6, "…"), "python");
        assert_eq!(fit("python3", 6, "…"), "pytho…");
        assert_eq!(fit("模型", 3, "…"), "模…");
    }

    #[test]
    fn shell_words_can_be_split_again() {
        let words = ["python", "-c", "print('a b')\n", "", "--x=1"].map(String::from);
        assert_eq!(
            shell_words(&words),
            "python -c 'print('\\''a b'\\'')\n' '' --x=1"
        );
    }
}

//! A line of text while it is typed.

use crate::views::tui::keys::Key;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typing {
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    More,
    Done,
    Dropped,
}

/// Longer than anybody types.
const LONGEST: usize = 1024;

impl Typing {
    pub fn new(text: &str) -> Self {
        Self { text: text.into() }
    }

    pub fn key(&mut self, key: Key) -> Typed {
        match key {
            Key::Enter => return Typed::Done,
            Key::Esc => return Typed::Dropped,
            Key::Char(letter) if self.text.len() < LONGEST => self.text.push(letter),
            Key::Backspace => drop(self.text.pop()),
            Key::Ctrl('u') => self.text.clear(),
            Key::Ctrl('w') => {
                let kept = self.text.trim_end();
                let end = kept.rfind(' ').map_or(0, |at| at + 1);
                self.text.truncate(end);
            }
            _ => {}
        }
        Typed::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing() {
        let mut typing = Typing::new("user:ada");
        for key in [
            Key::Char(' '),
            Key::Char('é'),
            Key::Char('x'),
            Key::Backspace,
        ] {
            assert_eq!(typing.key(key), Typed::More);
        }
        assert_eq!(typing.text, "user:ada é");
        typing.key(Key::Ctrl('w'));
        assert_eq!(typing.text, "user:ada ");
        typing.key(Key::Ctrl('u'));
        typing.key(Key::Backspace);
        assert_eq!(typing.text, "");
        assert_eq!(typing.key(Key::Enter), Typed::Done);
        assert_eq!(typing.key(Key::Esc), Typed::Dropped);
    }
}

//! Bytes from a terminal → keys, and what the mouse did.

use super::mouse::{self, MouseEvent};

/// What the terminal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Key(Key),
    Mouse(MouseEvent),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Char(char),
    /// Ctrl and a letter.
    Ctrl(char),
    Enter,
    Tab,
    BackTab,
    Backspace,
    Esc,
    Up,
    Down,
    Left,
    Right,
    Home,
    End,
    PageUp,
    PageDown,
}

/// Longer than any sequence a terminal sends for a key.
const LONGEST: usize = 64;
const PASTE_BEGIN: &[u8] = b"\x1b[200~";
const PASTE_END: &[u8] = b"\x1b[201~";

/// Keeps what is not a whole key yet.
#[derive(Debug, Default)]
pub struct Parser {
    pending: Vec<u8>,
    /// What is pasted is text, not a series of commands.
    pasting: bool,
}

impl Parser {
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Told> {
        self.pending.extend_from_slice(bytes);
        let mut told = Vec::new();
        while let Some(length) = self.first() {
            let taken: Vec<u8> = self.pending.drain(..length).collect();
            if taken == PASTE_BEGIN {
                self.pasting = true;
            } else if taken == PASTE_END {
                self.pasting = false;
            } else if !self.pasting {
                told.extend(tell(&taken));
            }
        }
        told
    }

    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Nothing more came: an escape byte was the key of that name, anything else was cut short.
    pub fn give_up(&mut self) -> Option<Told> {
        let escape = self.pending == b"\x1b" && !self.pasting;
        self.pending.clear();
        escape.then_some(Told::Key(Key::Esc))
    }

    /// The length of the first whole key, if there is one.
    fn first(&self) -> Option<usize> {
        let bytes = &self.pending;
        let whole = |length: usize| (bytes.len() >= length).then_some(length);
        match bytes.first()? {
            0x1b => match bytes.get(1)? {
                0x1b => Some(1),
                b'[' => match bytes[2..].iter().position(|b| matches!(b, 0x40..=0x7e)) {
                    Some(at) => Some(at + 3),
                    None => (bytes.len() > LONGEST).then_some(bytes.len()),
                },
                b'O' => whole(3),
                _ => Some(2),
            },
            0xc2..=0xdf => whole(2),
            0xe0..=0xef => whole(3),
            0xf0..=0xf4 => whole(4),
            _ => Some(1),
        }
    }
}

fn tell(bytes: &[u8]) -> Option<Told> {
    match bytes {
        [0x1b, b'[', b'<', middle @ .., last] => mouse::event(middle, *last).map(Told::Mouse),
        _ => key(bytes).map(Told::Key),
    }
}

fn key(bytes: &[u8]) -> Option<Key> {
    Some(match bytes {
        [b'\r' | b'\n'] => Key::Enter,
        [b'\t'] => Key::Tab,
        [0x7f | 0x08] => Key::Backspace,
        [0x1b] => Key::Esc,
        [letter @ 1..=0x1a] => Key::Ctrl(char::from(letter + b'a' - 1)),
        [0x1b, b'[' | b'O', middle @ .., last] => return sequence(middle, *last),
        [0x1b, ..] => return None,
        text => Key::Char(
            std::str::from_utf8(text)
                .ok()?
                .chars()
                .next()
                .filter(|c| !c.is_control())?,
        ),
    })
}

fn sequence(middle: &[u8], last: u8) -> Option<Key> {
    let number = middle.split(|b| *b == b';').next().unwrap_or_default();
    Some(match (last, number) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', b"1" | b"7") => Key::Home,
        (b'F', _) | (b'~', b"4" | b"8") => Key::End,
        (b'~', b"5") => Key::PageUp,
        (b'~', b"6") => Key::PageDown,
        (b'Z', _) => Key::BackTab,
        (b'M', b"") => Key::Enter,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let told = Parser::default().feed(bytes).into_iter();
        let key = |told| match told {
            Told::Key(key) => Some(key),
            Told::Mouse(_) => None,
        };
        told.filter_map(key).collect()
    }

    #[test]
    fn the_mouse_between_keys() {
        let told = Parser::default().feed(b"a\x1b[<0;3;4Mb");
        assert_eq!(told.len(), 3);
        assert!(matches!(
            told[1],
            Told::Mouse(MouseEvent {
                column: 2,
                row: 3,
                ..
            })
        ));
    }

    #[test]
    fn keys_as_terminals_send_them() {
        let keys = keys(b"q\x03\x1b[A\x1bOB\x1b[5~\x1b[1;5H\x1b[F\x1b[Zp\x7f\r<\xe2\x88\x9e");
        use Key::*;
        let expected = [
            Char('q'),
            Ctrl('c'),
            Up,
            Down,
            PageUp,
            Home,
            End,
            BackTab,
            Char('p'),
            Backspace,
            Enter,
            Char('<'),
            Char('∞'),
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn a_key_may_arrive_in_pieces() {
        let mut parser = Parser::default();
        assert_eq!(parser.feed(b"\x1b"), []);
        assert_eq!(parser.feed(b"["), []);
        assert!(parser.is_waiting());
        let rest = [Key::PageDown, Key::Char('x')].map(Told::Key);
        assert_eq!(parser.feed(b"6~x"), rest);
        assert_eq!(parser.feed(b"\x1b"), []);
        assert_eq!(parser.give_up(), Some(Told::Key(Key::Esc)));
        assert!(!parser.is_waiting());
        assert_eq!(parser.feed(b"\x1b\x1b"), [Told::Key(Key::Esc)]);
    }

    #[test]
    fn what_is_pasted_is_not_obeyed() {
        assert_eq!(keys(b"\x1b[200~quit q\n\x1b[201~p"), [Key::Char('p')]);
    }

    #[test]
    fn garbage_ends() {
        let mut parser = Parser::default();
        for round in 0..1000_u32 {
            let bytes: Vec<u8> = (0..97)
                .map(|n| (round.wrapping_mul(31).wrapping_add(n * 7) % 256) as u8)
                .collect();
            parser.feed(&bytes);
            parser.feed(b"\x1b[0000000");
            assert!(parser.pending.len() <= LONGEST + 97 + 8);
        }
    }
}

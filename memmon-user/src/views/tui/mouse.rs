//! What the mouse did, as terminals report it (SGR, 1006).

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MouseEvent {
    pub kind: MouseKind,
    /// The cell, from 0.
    pub column: u16,
    pub row: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MouseKind {
    /// The left button went down.
    Press,
    /// It moved while the left button was down.
    Drag,
    Release,
    WheelUp,
    WheelDown,
}

const MOTION: u16 = 32;
const WHEEL: u16 = 64;
/// Shift, Alt and Ctrl.
const MODIFIERS: u16 = 4 | 8 | 16;

/// The part between `ESC [ <` and the last letter.
pub fn event(middle: &[u8], last: u8) -> Option<MouseEvent> {
    let text = std::str::from_utf8(middle).ok()?;
    let mut numbers = text.split(';').map(|number| number.parse::<u16>().ok());
    let (button, column, row) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let kind = match (button & !MODIFIERS, last) {
        (0, b'M') => MouseKind::Press,
        (0, b'm') => MouseKind::Release,
        (MOTION, b'M') => MouseKind::Drag,
        (WHEEL, b'M') => MouseKind::WheelUp,
        (button, b'M') if button == WHEEL + 1 => MouseKind::WheelDown,
        _ => return None,
    };
    Some(MouseEvent {
        kind,
        column: column.checked_sub(1)?,
        row: row.checked_sub(1)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_as_terminals_send_them() {
        let kind = |middle: &str, last| event(middle.as_bytes(), last).map(|event| event.kind);
        assert_eq!(
            event(b"0;12;7", b'M'),
            Some(MouseEvent {
                kind: MouseKind::Press,
                column: 11,
                row: 6
            })
        );
        assert_eq!(kind("0;1;1", b'm'), Some(MouseKind::Release));
        assert_eq!(kind("32;1;1", b'M'), Some(MouseKind::Drag));
        assert_eq!(kind("64;1;1", b'M'), Some(MouseKind::WheelUp));
        assert_eq!(
            kind("81;1;1", b'M'),
            Some(MouseKind::WheelDown),
            "with Ctrl"
        );
        for odd in ["", "0;0;1", "0;1", "2;1;1", "x;1;1", "0;99999999;1"] {
            assert_eq!(kind(odd, b'M'), None, "{odd}");
        }
    }
}

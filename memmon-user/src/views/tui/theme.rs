//! Colours and signs. On a dark background only the sixteen colours of the terminal's own palette; without colours,
//! weight and signs do.

use ratatui::style::{Color, Modifier, Style};

/// From here on a pool is filling up, in percent.
const WARM: u64 = 75;
/// From here on the next allocation may fail.
const HOT: u64 = 90;

#[derive(Clone, Copy, Debug)]
pub struct Theme {
    palette: Palette,
    pub signs: Signs,
}

#[derive(Clone, Copy, Debug)]
pub struct Signs {
    /// From empty to full, by eighths where there are nine.
    pub bar: &'static [&'static str],
    /// A line of history: from nothing to full.
    pub spark: &'static [&'static str],
    pub bar_peak: &'static str,
    pub bar_rest: &'static str,
    pub descending: &'static str,
    pub ascending: &'static str,
    pub ellipsis: &'static str,
    pub good: &'static str,
    pub rule: &'static str,
    pub dot: &'static str,
    /// Where nothing lies, and where the most could.
    pub free: &'static str,
    pub free_largest: &'static str,
    /// A group that can be opened, and one that is open.
    pub closed: &'static str,
    pub opened: &'static str,
    pub at_most: &'static str,
    pub cursor: &'static str,
    pub play: &'static str,
    pub pause: &'static str,
}

const UNICODE: Signs = Signs {
    bar: &[" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"],
    spark: &["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    bar_peak: "─",
    bar_rest: "╌",
    descending: "▼",
    ascending: "▲",
    ellipsis: "…",
    good: "✓",
    rule: "─",
    dot: "·",
    free: "·",
    free_largest: "─",
    closed: "▸",
    opened: "▾",
    at_most: "≤",
    cursor: "▏",
    play: "▶",
    pause: "⏸",
};

const ASCII: Signs = Signs {
    bar: &[" ", "#"],
    spark: &["_", ".", ":", "-", "=", "+", "*", "#"],
    bar_peak: "-",
    bar_rest: ".",
    descending: "v",
    ascending: "^",
    ellipsis: ">",
    good: "ok",
    rule: "-",
    dot: "-",
    free: ".",
    free_largest: "-",
    closed: "+",
    opened: "-",
    at_most: "<=",
    cursor: "_",
    play: ">",
    pause: "=",
};

/// Which colours go with the terminal's background.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Palette {
    #[default]
    Dark,
    Light,
    /// No colours: weight and signs alone.
    None,
}

impl Palette {
    pub fn next(self) -> Self {
        match self {
            Self::Dark => Self::Light,
            Self::Light => Self::None,
            Self::None => Self::Dark,
        }
    }

    /// As terminals say it in `COLORFGBG`: foreground, semicolon, background.
    pub fn of_background(colors: &str) -> Self {
        match colors.rsplit(';').next() {
            Some("7" | "15") => Self::Light,
            _ => Self::Dark,
        }
    }
}

impl Theme {
    #[cfg(test)]
    pub fn new(color: bool, ascii: bool) -> Self {
        let palette = if color { Palette::Dark } else { Palette::None };
        Self::of(palette, ascii)
    }

    pub fn of(palette: Palette, ascii: bool) -> Self {
        Self {
            palette,
            signs: if ascii { ASCII } else { UNICODE },
        }
    }

    pub fn palette(self) -> Palette {
        self.palette
    }

    pub fn with(self, palette: Palette) -> Self {
        Self { palette, ..self }
    }

    pub fn has_color(self) -> bool {
        self.palette != Palette::None
    }

    /// The palette's own yellow, green and grey are hard to see on white: darker ones of the 256 stand in.
    fn colored(self, dark: Color, light: u8) -> Style {
        match self.palette {
            Palette::Dark => Style::new().fg(dark),
            Palette::Light => Style::new().fg(Color::Indexed(light)),
            Palette::None => Style::new(),
        }
    }

    pub fn plain(self) -> Style {
        Style::new()
    }

    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// There when one looks for it.
    pub fn quiet(self) -> Style {
        if self.has_color() {
            self.colored(Color::DarkGray, 243)
        } else {
            Style::new().add_modifier(Modifier::DIM)
        }
    }

    pub fn title(self) -> Style {
        self.colored(Color::Cyan, 25).add_modifier(Modifier::BOLD)
    }

    pub fn good(self) -> Style {
        self.colored(Color::Green, 28)
    }

    pub fn warning(self) -> Style {
        self.colored(Color::Yellow, 130)
            .add_modifier(Modifier::BOLD)
    }

    pub fn bad(self) -> Style {
        self.colored(Color::Red, 124).add_modifier(Modifier::BOLD)
    }

    pub fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// One process of several, by its place among them; its neighbouring blocks are told apart by `second`.
    pub fn process(self, place: usize, second: bool) -> Style {
        const COLORS: [[(Color, u8); 2]; 6] = [
            [(Color::Blue, 25), (Color::LightBlue, 32)],
            [(Color::Magenta, 90), (Color::LightMagenta, 133)],
            [(Color::Green, 28), (Color::LightGreen, 64)],
            [(Color::Cyan, 30), (Color::LightCyan, 37)],
            [(Color::Yellow, 130), (Color::LightYellow, 172)],
            [(Color::Red, 124), (Color::LightRed, 160)],
        ];
        let (dark, light) = COLORS[place % COLORS.len()][usize::from(second)];
        self.colored(dark, light)
    }

    /// How full a pool is.
    pub fn level(self, percent: u64) -> Style {
        match percent {
            HOT.. => self.bad(),
            WARM.. => self.colored(Color::Yellow, 130),
            _ => self.good(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backgrounds() {
        assert_eq!(Palette::of_background("15;0"), Palette::Dark);
        assert_eq!(Palette::of_background("0;15"), Palette::Light);
        assert_eq!(Palette::of_background("0;default;7"), Palette::Light);
        assert_eq!(Palette::of_background(""), Palette::Dark);
    }
}

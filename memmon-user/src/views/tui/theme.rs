//! Colours and signs. Only the sixteen colours of the terminal's own palette; without colours, weight and signs do.

use ratatui::style::{Color, Modifier, Style};

/// From here on a pool is filling up, in percent.
const WARM: u64 = 75;
/// From here on the next allocation may fail.
const HOT: u64 = 90;

#[derive(Clone, Copy, Debug)]
pub struct Theme {
    color: bool,
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
    pub up_down: &'static str,
    pub dot: &'static str,
    /// Where nothing lies, and where the most could.
    pub free: &'static str,
    pub free_largest: &'static str,
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
    up_down: "↑↓",
    dot: "·",
    free: "·",
    free_largest: "─",
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
    up_down: "Up/Down",
    dot: "-",
    free: ".",
    free_largest: "-",
};

impl Theme {
    pub fn new(color: bool, ascii: bool) -> Self {
        Self {
            color,
            signs: if ascii { ASCII } else { UNICODE },
        }
    }

    fn colored(self, color: Color) -> Style {
        if self.color {
            Style::new().fg(color)
        } else {
            Style::new()
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
        if self.color {
            Style::new().fg(Color::DarkGray)
        } else {
            Style::new().add_modifier(Modifier::DIM)
        }
    }

    pub fn title(self) -> Style {
        self.colored(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    pub fn good(self) -> Style {
        self.colored(Color::Green)
    }

    pub fn warning(self) -> Style {
        self.colored(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    pub fn bad(self) -> Style {
        self.colored(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub fn is_colored(self) -> bool {
        self.color
    }

    /// One process of several, by its place among them; its neighbouring blocks are told apart by `second`.
    pub fn process(self, place: usize, second: bool) -> Style {
        const COLORS: [(Color, Color); 6] = [
            (Color::Blue, Color::LightBlue),
            (Color::Magenta, Color::LightMagenta),
            (Color::Green, Color::LightGreen),
            (Color::Cyan, Color::LightCyan),
            (Color::Yellow, Color::LightYellow),
            (Color::Red, Color::LightRed),
        ];
        let (one, other) = COLORS[place % COLORS.len()];
        self.colored(if second { other } else { one })
    }

    /// How full a pool is.
    pub fn level(self, percent: u64) -> Style {
        match percent {
            HOT.. => self.bad(),
            WARM.. => self.colored(Color::Yellow),
            _ => self.good(),
        }
    }
}

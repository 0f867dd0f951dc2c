use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};

use super::super::app::App;
use super::super::keys::Key;
use super::super::source::TimeState;
use super::super::theme::{Palette, Theme};
use super::frame;
use crate::server::Link;
use crate::tables::snapshot::Snapshot;
use crate::views::{golden, sample};

fn app(snapshot: Snapshot) -> App {
    let mut app = App::new(Theme::new(true, false), String::new());
    app.show(Arc::new(snapshot));
    app
}

fn drawn(app: &mut App, width: u16, height: u16) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    frame(app, &mut buffer);
    buffer
}

fn text(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        let mut covered = 0;
        for x in 0..buffer.area.width {
            let symbol = buffer[(x, y)].symbol();
            if covered == 0 {
                line.push_str(symbol);
                covered = crate::text::width(symbol).max(1);
            }
            covered -= 1;
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn check(name: &str, buffer: &Buffer) {
    golden::check("tui/golden", &format!("{name}.txt"), &text(buffer));
}

#[test]
fn committed_frames() {
    check("busy_140x30", &drawn(&mut app(sample::busy()), 140, 30));
    check("busy_200x30", &drawn(&mut app(sample::busy()), 200, 30));
    check("busy_100x24", &drawn(&mut app(sample::busy()), 100, 24));
    check("busy_60x20", &drawn(&mut app(sample::busy()), 60, 20));
    check("busy_40x10", &drawn(&mut app(sample::busy()), 40, 10));
    check(
        "troubled_140x30",
        &drawn(&mut app(sample::troubled()), 140, 30),
    );
    check(
        "two_runtimes_140x36",
        &drawn(&mut app(sample::two_runtimes()), 140, 36),
    );
    check("empty_100x24", &drawn(&mut app(sample::empty()), 100, 24));
    check("too_small", &drawn(&mut app(sample::busy()), 20, 5));
    let mut before_the_first = App::new(Theme::new(true, false), "pid 7".into());
    check("nothing_yet_80x20", &drawn(&mut before_the_first, 80, 20));
}

#[test]
fn committed_frames_after_keys() {
    let mut app = app(sample::troubled());
    drawn(&mut app, 140, 36);
    for key in [Key::Down, Key::Down, Key::Char('>'), Key::Char('p')] {
        app.key(key);
    }
    check("selected_140x36", &drawn(&mut app, 140, 36));
    app.key(Key::Char('?'));
    check("help_140x36", &drawn(&mut app, 140, 36));
    check("help_60x24", &drawn(&mut app, 60, 24));
    app.key(Key::Esc);
    for key in [Key::Char('g'), Key::Char('g'), Key::Char('e')] {
        app.key(key);
    }
    check("grouped_140x36", &drawn(&mut app, 140, 36));
    for letter in "/user:ada >1G".chars() {
        app.key(Key::Char(letter));
    }
    check("filtered_140x36", &drawn(&mut app, 140, 36));
}

#[test]
fn ascii_is_ascii() {
    let mut app = App::new(Theme::new(false, true), String::new());
    app.show(Arc::new(sample::troubled()));
    app.key(Key::Down);
    let frame = drawn(&mut app, 140, 30);
    // What a process calls itself is its own affair.
    let ours: String = text(&frame)
        .lines()
        .filter(|line| !line.contains("gnp"))
        .collect();
    assert!(ours.is_ascii(), "{ours}");
    check("ascii_140x30", &frame);
}

#[test]
fn without_colors_there_are_none() {
    let mut app = App::new(Theme::new(false, false), String::new());
    app.show(Arc::new(sample::troubled()));
    let frame = drawn(&mut app, 140, 30);
    assert!(
        frame
            .content
            .iter()
            .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
    );
}

/// The style of the first cell of some words.
fn style_of(buffer: &Buffer, words: &str) -> (Color, Modifier) {
    let text = text(buffer);
    let (y, line) = text
        .lines()
        .enumerate()
        .find(|(_, line)| line.contains(words))
        .unwrap();
    let x = crate::text::width(&line[..line.find(words).unwrap()]);
    let cell = &buffer[(u16::try_from(x).unwrap(), u16::try_from(y).unwrap())];
    (cell.fg, cell.modifier)
}

#[test]
fn bars_warn_at_75_and_90_percent() {
    for (used, color) in [
        (74, Color::Green),
        (75, Color::Yellow),
        (89, Color::Yellow),
        (90, Color::Red),
    ] {
        let mut snapshot = sample::busy();
        let pool = sample::pool(
            "DRAM",
            100 * sample::MIB,
            Some(used * sample::MIB),
            used * sample::MIB,
        );
        snapshot.devices = vec![sample::device(0, vec![pool])];
        let frame = drawn(&mut app(snapshot), 120, 24);
        assert_eq!(style_of(&frame, &format!("{used}%")).0, color, "{used}%");
        assert_eq!(style_of(&frame, "█").0, color, "{used}%");
    }
}

#[test]
fn what_ended_is_dimmed_and_what_is_unknown_is_not_zero() {
    let frame = drawn(&mut app(sample::busy()), 140, 30);
    assert_eq!(style_of(&frame, "python3 leaky.py").0, Color::DarkGray);
    let text = text(&frame);
    let unknown = text
        .lines()
        .find(|line| line.contains("old-server"))
        .unwrap();
    assert!(
        unknown.contains('?') && !unknown.contains(" 0 "),
        "{unknown}"
    );
}

#[test]
fn hostile_strings_stay_in_their_cells() {
    for (width, height) in [(40, 12), (80, 24), (140, 36), (250, 50)] {
        let mut app = app(sample::troubled());
        drawn(&mut app, width, height);
        // Also in the detail of the selected row.
        for _ in 0..8 {
            app.key(Key::Down);
            let frame = drawn(&mut app, width, height);
            for cell in &frame.content {
                let bad = cell
                    .symbol()
                    .chars()
                    .find(|c| c.is_control() || matches!(c, '\u{202e}' | '\u{200b}'));
                assert_eq!(bad, None, "{:?}", cell.symbol());
            }
        }
    }
}

#[test]
fn any_size_is_drawn() {
    for width in (0..=200).step_by(13) {
        for height in (0..=40).step_by(3) {
            for snapshot in [sample::empty(), sample::troubled(), sample::crowd(50)] {
                let mut app = app(snapshot);
                drawn(&mut app, width, height);
                app.key(Key::End);
                app.key(Key::Char('?'));
                drawn(&mut app, width, height);
            }
        }
    }
}

#[test]
fn a_daemon_that_is_gone_is_said_on_every_page() {
    let mut app = app(sample::busy());
    let lost = Link::Lost {
        since_ns: 86_400_000_000_000 + 3_600_000_000_000,
    };
    app.set_link(lost);
    for key in ['1', '2', '3', '4'] {
        app.key(Key::Char(key));
        for (width, height) in [(140, 30), (40, 12)] {
            let frame = drawn(&mut app, width, height);
            assert!(text(&frame).contains("The daemon is gone since 01:00:00"));
            assert_eq!(style_of(&frame, "The daemon").0, Color::Red);
        }
    }
    app.key(Key::Char('1'));
    check("daemon_lost_140x30", &drawn(&mut app, 140, 30));
    app.set_link(Link::Connected);
    assert!(text(&drawn(&mut app, 140, 30)).contains("The daemon is back."));
    while !app.tick() {}
    assert!(!text(&drawn(&mut app, 140, 30)).contains("daemon"));
}

#[test]
fn a_recording_shows_which_moment_it_is() {
    let mut app = app(sample::busy());
    let noon = 86_400_000_000_000 + 43_200_000_000_000;
    app.set_time(TimeState {
        start_ns: noon - 600_000_000_000,
        end_ns: noon + 600_000_000_000,
        now_ns: noon,
        playing: true,
        speed: 4.0,
        event: Some("4011 python allocates 2,097,152 B of DRAM on device 0".into()),
        notes: vec!["its end is cut off".into()],
        ..TimeState::default()
    });
    let frame = drawn(&mut app, 140, 30);
    check("recording_140x30", &frame);
    let narrow = text(&drawn(&mut app, 40, 12));
    assert!(
        narrow.contains("12:00:00") && narrow.contains("x4"),
        "{narrow}"
    );
    app.key(Key::Char('?'));
    assert!(text(&drawn(&mut app, 140, 60)).contains("the event before, the next one"));
}

#[test]
fn colours_for_a_light_background() {
    let mut app = App::new(Theme::of(Palette::Light, false), String::new());
    app.show(Arc::new(sample::troubled()));
    let frame = drawn(&mut app, 140, 30);
    let light = |color| matches!(color, Color::Reset | Color::Indexed(_));
    assert!(frame.content.iter().all(|cell| light(cell.fg)));
    assert_eq!(style_of(&frame, "95%").0, Color::Indexed(124));
}

#[test]
fn units_are_the_readers_choice() {
    let mut app = app(sample::busy());
    let mut shown = Vec::new();
    for _ in 0..4 {
        let frame = text(&drawn(&mut app, 200, 30));
        let row = frame.lines().find(|line| line.contains("serve.py"));
        shown.push(row.unwrap().to_owned());
        app.key(Key::Char('u'));
    }
    // 7 GiB + 1 MiB, and 10 MiB of 112.
    for (line, words) in shown.iter().zip([
        ["7.00 GiB", "10.0 MiB"],
        ["7,517,241,344", "10,485,760"],
        ["7169.0M", "10.0M"],
        ["58.3%", "8.9%"],
    ]) {
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
}

#[test]
fn a_narrow_terminal_still_says_who_holds_what() {
    let mut app = app(sample::busy());
    let frame = drawn(&mut app, 40, 12);
    let text = text(&frame);
    for words in ["4011", "python", "7.00G", "95%"] {
        assert!(text.contains(words), "no {words} in\n{text}");
    }
    check("busy_40x12", &frame);
}

#[test]
fn many_devices_show_the_fullest() {
    let mut snapshot = sample::busy();
    snapshot.devices = (0..32)
        .map(|n: i64| {
            let used = if n == 29 { 95 } else { n.unsigned_abs() };
            sample::device(
                n,
                vec![sample::pool(
                    "DRAM",
                    100 * sample::MIB,
                    Some(used * sample::MIB),
                    96 * sample::MIB,
                )],
            )
        })
        .collect();
    let frame = drawn(&mut app(snapshot), 100, 24);
    let shown = text(&frame);
    assert!(
        shown.contains("95%") && shown.contains("more devices, none above"),
        "{shown}"
    );
    check("many_devices_100x24", &frame);
}

use super::*;
use crate::views::sample;
use crate::views::tui::mouse::MouseKind;

fn app(snapshot: Snapshot) -> App {
    let mut app = App::new(Theme::new(true, false), String::new());
    app.show(Arc::new(snapshot));
    app
}

#[test]
fn a_pause_holds_what_is_seen_and_ends_with_the_newest() {
    let mut app = app(sample::busy());
    app.key(Key::Char('p'));
    app.show(Arc::new(sample::empty()));
    app.show(Arc::new(sample::troubled()));
    assert_eq!(*app.snapshot(), sample::busy());
    app.key(Key::Char(' '));
    assert_eq!(*app.snapshot(), sample::troubled());
}

#[test]
fn keys_that_leave() {
    let mut app = app(sample::busy());
    for key in [Key::Char('q'), Key::Esc, Key::Ctrl('c')] {
        assert_eq!(app.key(key), Wish::Quit);
    }
    app.key(Key::Char('?'));
    assert_eq!(app.key(Key::Esc), Wish::Draw, "closes the help first");
    assert_eq!(app.key(Key::Esc), Wish::Quit);
    assert_eq!(app.key(Key::Char('x')), Wish::Nothing);
    app.key(Key::Char('4'));
    assert_eq!(app.key(Key::Esc), Wish::Draw, "back to the overview first");
    assert_eq!(app.open_page(), PageKind::Overview);
    app.key(Key::Char('/'));
    for key in [Key::Char('q'), Key::Char('1'), Key::Char('?'), Key::Esc] {
        assert_eq!(app.key(key), Wish::Draw, "it is text");
    }
    assert_eq!(app.key(Key::Char('q')), Wish::Quit);
}

#[test]
fn every_page_can_be_reached() {
    let mut app = app(sample::busy());
    for (key, page) in [
        (Key::Char('4'), PageKind::Events),
        (Key::Tab, PageKind::Overview),
        (Key::Tab, PageKind::Process),
        (Key::Char('3'), PageKind::Device),
        (Key::BackTab, PageKind::Process),
        (Key::Char('1'), PageKind::Overview),
    ] {
        app.key(key);
        assert_eq!(app.open_page(), page, "{key:?}");
    }
    app.key(Key::Down);
    app.key(Key::Enter);
    assert_eq!(app.open_page(), PageKind::Process);
    assert_eq!(
        app.pages.process.subject().map(|process| process.pid),
        Some(4011)
    );
    app.key(Key::Esc);
    app.key(Key::Char('d'));
    assert_eq!(app.open_page(), PageKind::Device);
    assert_eq!(
        app.pages.device.subject().and_then(|device| device.device),
        Some(0)
    );
}

#[test]
fn refresh_units_colours_and_the_mouse() {
    let mut app = app(sample::busy());
    assert_eq!(
        app.key(Key::Char('+')),
        Wish::Refresh(Duration::from_millis(500))
    );
    assert_eq!(
        app.key(Key::Char('-')),
        Wish::Refresh(Duration::from_secs(1))
    );
    app.key(Key::Char('u'));
    assert_eq!(app.units(), Units::Bytes);
    app.key(Key::Char('t'));
    app.key(Key::Char('t'));
    assert!(!app.theme.has_color());
    assert_eq!(app.key(Key::Char('m')), Wish::Mouse(false));
    assert_eq!(app.key(Key::Char('m')), Wish::Mouse(true));
}

#[test]
fn a_recording_has_keys_of_its_own() {
    let mut app = app(sample::busy());
    app.set_time(TimeState::default());
    for (key, wish) in [
        (' ', TimeWish::PlayOrPause),
        ('[', TimeWish::StepEvents(-1)),
        ('}', TimeWish::Incident(true)),
        ('+', TimeWish::Faster),
        (')', TimeWish::End),
    ] {
        assert_eq!(app.key(Key::Char(key)), Wish::Time(wish));
    }
    app.key(Key::Char('p'));
    assert!(app.is_paused());
}

#[test]
fn a_click_behind_the_help_does_nothing() {
    let mut app = app(sample::busy());
    let click = MouseEvent {
        kind: MouseKind::Press,
        column: 3,
        row: 3,
    };
    app.key(Key::Char('?'));
    assert_eq!(app.told(Told::Mouse(click)), Wish::Nothing);
}

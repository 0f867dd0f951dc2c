//! The state of the view, and what keys, the mouse and snapshots do to it. No I/O, no clock, no terminal.

use std::{sync::Arc, time::Duration};

use super::{
    history::History,
    keys::{Key, Told},
    mouse::MouseEvent,
    pace::Pace,
    pages::{
        Context, Open, Page, PageKind, Reaction, device::DevicePage, events::EventsPage,
        overview::Overview, process::ProcessPage,
    },
    source::{TimeState, TimeWish},
    theme::Theme,
    units::Units,
};
use crate::server::Link;
use crate::tables::{
    live::{LiveAsk, LiveList},
    snapshot::Snapshot,
};
use crate::views::pools;

/// What a key asks of whoever runs the view.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wish {
    Nothing,
    Draw,
    /// Draw everything anew: the screen was disturbed.
    Redraw,
    /// Take the mouse, or leave it to the terminal.
    Mouse(bool),
    /// Look this often.
    Refresh(Duration),
    /// Of a recording: another moment.
    Time(TimeWish),
    Suspend,
    Quit,
}

const SAY_BACK: u8 = 6;

#[derive(Debug)]
pub struct App {
    pub theme: Theme,
    pub scope: String,
    pub pace: Pace,
    asked_for: Pace,
    units: Units,
    snapshot: Arc<Snapshot>,
    many_runtimes: bool,
    history: History,
    /// While paused: the newest one, not shown.
    waiting: Option<Arc<Snapshot>>,
    paused: bool,
    help: bool,
    mouse: bool,
    source_ended: bool,
    inspectable: bool,
    /// Seconds since the last snapshot, once that is longer than usual.
    quiet: Option<u64>,
    link: Link,
    /// Seconds for which it is still said that the daemon is back.
    back: u8,
    /// Of a recording.
    time: Option<TimeState>,
    open: PageKind,
    pages: Pages,
}

#[derive(Debug, Default)]
struct Pages {
    overview: Overview,
    process: ProcessPage,
    device: DevicePage,
    events: EventsPage,
}

impl Pages {
    fn get(&self, kind: PageKind) -> &dyn Page {
        match kind {
            PageKind::Overview => &self.overview,
            PageKind::Process => &self.process,
            PageKind::Device => &self.device,
            PageKind::Events => &self.events,
        }
    }

    fn get_mut(&mut self, kind: PageKind) -> &mut dyn Page {
        match kind {
            PageKind::Overview => &mut self.overview,
            PageKind::Process => &mut self.process,
            PageKind::Device => &mut self.device,
            PageKind::Events => &mut self.events,
        }
    }
}

impl App {
    pub fn new(theme: Theme, scope: String) -> Self {
        Self {
            theme,
            scope,
            pace: Pace::default(),
            asked_for: Pace::default(),
            units: Units::default(),
            snapshot: Arc::default(),
            many_runtimes: false,
            history: History::default(),
            waiting: None,
            paused: false,
            help: false,
            mouse: true,
            source_ended: false,
            inspectable: false,
            quiet: None,
            link: Link::Connected,
            back: 0,
            time: None,
            open: PageKind::Overview,
            pages: Pages::default(),
        }
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// How often to look, unless keys say otherwise.
    pub fn set_pace(&mut self, pace: Pace) {
        (self.pace, self.asked_for) = (pace, pace);
    }

    pub fn pace_asked_for(&self) -> Pace {
        self.asked_for
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    pub fn shows_help(&self) -> bool {
        self.help
    }

    pub fn source_ended(&self) -> bool {
        self.source_ended
    }

    pub fn quiet(&self) -> Option<u64> {
        self.quiet
    }

    pub fn link(&self) -> Link {
        self.link
    }

    pub fn time(&self) -> Option<&TimeState> {
        self.time.as_ref()
    }

    pub fn units(&self) -> Units {
        self.units
    }

    pub fn open_page(&self) -> PageKind {
        self.open
    }

    pub fn page(&self) -> &dyn Page {
        self.pages.get(self.open)
    }

    pub fn page_title(&self, kind: PageKind) -> String {
        self.pages.get(kind).title(&self.context())
    }

    pub fn context(&self) -> Context<'_> {
        Context {
            snapshot: &self.snapshot,
            history: &self.history,
            theme: self.theme,
            units: self.units,
            inspectable: self.inspectable,
            many_runtimes: self.many_runtimes,
        }
    }

    /// A page, and what it may look at.
    pub fn with_page<T>(
        &mut self,
        kind: PageKind,
        what: impl FnOnce(&mut dyn Page, &Context<'_>) -> T,
    ) -> T {
        let context = Context {
            snapshot: &self.snapshot,
            history: &self.history,
            theme: self.theme,
            units: self.units,
            inspectable: self.inspectable,
            many_runtimes: self.many_runtimes,
        };
        what(self.pages.get_mut(kind), &context)
    }

    pub fn show(&mut self, snapshot: Arc<Snapshot>) {
        self.quiet = None;
        self.history.take(&snapshot);
        if self.paused {
            self.waiting = Some(snapshot);
        } else {
            self.show_now(snapshot);
        }
    }

    fn show_now(&mut self, snapshot: Arc<Snapshot>) {
        self.many_runtimes = pools::has_many_runtimes(&snapshot);
        self.snapshot = snapshot;
        self.update();
    }

    /// Pages that are not open are brought up to date when they are opened.
    fn update(&mut self) {
        self.with_page(self.open, |page, ctx| page.update(ctx));
    }

    pub fn end_source(&mut self) {
        self.source_ended = true;
    }

    pub fn set_mouse(&mut self, mouse: bool) {
        self.mouse = mouse;
    }

    pub fn set_inspectable(&mut self, inspectable: bool) {
        self.inspectable = inspectable;
    }

    /// Whether that changed what is seen.
    pub fn set_quiet(&mut self, seconds: Option<u64>) -> bool {
        std::mem::replace(&mut self.quiet, seconds) != seconds
    }

    pub fn set_link(&mut self, link: Link) {
        if self.link != Link::Connected && link == Link::Connected {
            self.back = SAY_BACK;
        }
        self.link = link;
    }

    /// Whether the daemon came back a moment ago.
    pub fn is_back(&self) -> bool {
        self.back > 0 && self.link == Link::Connected
    }

    /// A second is over. Whether that changed what is seen.
    pub fn tick(&mut self) -> bool {
        let before = self.is_back();
        self.back = self.back.saturating_sub(1);
        before != self.is_back()
    }

    pub fn set_time(&mut self, time: TimeState) {
        // Elsewhere: what was before that moment is remembered, too.
        if self.time.as_ref().map_or(0, |before| before.leaps) != time.leaps {
            for snapshot in time.past.iter() {
                self.history.take(snapshot);
            }
        }
        self.time = Some(time);
    }

    /// The live allocations that the open page wants to see.
    pub fn wants(&self) -> Option<LiveAsk> {
        self.pages.get(self.open).wants()
    }

    pub fn take(&mut self, list: LiveList) {
        self.with_page(self.open, |page, ctx| page.take(list, ctx));
    }

    pub fn told(&mut self, told: Told) -> Wish {
        match told {
            Told::Key(key) => self.key(key),
            Told::Mouse(event) => self.mouse_did(event),
        }
    }

    fn mouse_did(&mut self, event: MouseEvent) -> Wish {
        if self.help {
            return Wish::Nothing;
        }
        match self.with_page(self.open, |page, ctx| page.mouse(event, ctx)) {
            Reaction::Ignored => Wish::Nothing,
            reaction => self.react(reaction),
        }
    }

    pub fn key(&mut self, key: Key) -> Wish {
        match key {
            Key::Ctrl('c') => return Wish::Quit,
            Key::Ctrl('z') => return Wish::Suspend,
            Key::Ctrl('l') => return Wish::Redraw,
            Key::Esc | Key::Char('?' | 'h') if self.help => {
                self.help = false;
                return Wish::Draw;
            }
            _ if self.help => {}
            _ => match self.with_page(self.open, |page, ctx| page.key(key, ctx)) {
                Reaction::Ignored => {}
                reaction => return self.react(reaction),
            },
        }
        self.general_key(key)
    }

    fn react(&mut self, reaction: Reaction) -> Wish {
        match reaction {
            Reaction::Ignored | Reaction::Draw => {}
            Reaction::Open(Open::Process(process)) => {
                self.pages.process.show(process);
                self.go(PageKind::Process);
            }
            Reaction::Open(Open::Device(device)) => {
                self.pages.device.show(device);
                self.go(PageKind::Device);
            }
        }
        Wish::Draw
    }

    /// Keys that mean the same on every page.
    fn general_key(&mut self, key: Key) -> Wish {
        match key {
            Key::Char('q') => return Wish::Quit,
            Key::Esc if self.open == PageKind::Overview => return Wish::Quit,
            Key::Esc => self.go(PageKind::Overview),
            Key::Char('?' | 'h') => self.help = true,
            Key::Char('p') => self.pause(),
            Key::Char(' ') if self.time.is_none() => self.pause(),
            Key::Char('u') => self.units = self.units.next(),
            Key::Char('t') => self.theme = self.theme.with(self.theme.palette().next()),
            Key::Char('m') => {
                self.mouse = !self.mouse;
                return Wish::Mouse(self.mouse);
            }
            _ if self.time.is_some() && time_wish(key).is_some() => {
                return time_wish(key).map_or(Wish::Nothing, Wish::Time);
            }
            Key::Char('+' | '=') => return Wish::Refresh(self.pace.faster()),
            Key::Char('-') => return Wish::Refresh(self.pace.slower()),
            _ if self.help => return Wish::Nothing,
            Key::Char(digit @ '1'..='4') => {
                let nth = usize::from(digit as u8 - b'1');
                self.visit(PageKind::ALL[nth]);
            }
            Key::Tab => self.visit(self.open.neighbour(1)),
            Key::BackTab => self.visit(self.open.neighbour(PageKind::ALL.len() - 1)),
            _ => return Wish::Nothing,
        }
        Wish::Draw
    }

    /// Opens a page with what is selected in the overview, where it is about something.
    fn visit(&mut self, kind: PageKind) {
        if self.open == PageKind::Overview {
            let context = self.context();
            let process = self.pages.overview.selected_process(&context);
            let device = self.pages.overview.selected_device(&context);
            match (kind, process, device) {
                (PageKind::Process, Some(process), _) => self.pages.process.show(process),
                (PageKind::Device, _, Some(device)) => self.pages.device.show(device),
                _ => {}
            }
        }
        self.go(kind);
    }

    fn go(&mut self, kind: PageKind) {
        self.open = kind;
        self.update();
    }

    fn pause(&mut self) {
        self.paused = !self.paused;
        if let Some(newest) = self.waiting.take() {
            self.show_now(newest);
        }
    }
}

/// Keys that move through a recording.
fn time_wish(key: Key) -> Option<TimeWish> {
    const STEP: Duration = Duration::from_secs(1);
    Some(match key {
        Key::Char(' ') => TimeWish::PlayOrPause,
        Key::Char('[') => TimeWish::StepEvents(-1),
        Key::Char(']') => TimeWish::StepEvents(1),
        Key::Char('{') => TimeWish::Incident(false),
        Key::Char('}') => TimeWish::Incident(true),
        Key::Char(',') => TimeWish::Back(STEP),
        Key::Char('.') => TimeWish::Forward(STEP),
        Key::Char('(') => TimeWish::Start,
        Key::Char(')') => TimeWish::End,
        Key::Char('+' | '=') => TimeWish::Faster,
        Key::Char('-') => TimeWish::Slower,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;

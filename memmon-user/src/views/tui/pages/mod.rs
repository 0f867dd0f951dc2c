//! The pages of the view. Each is state, what keys and the mouse do to it, and how it is drawn; all of them show
//! the same snapshot.

pub mod device;
pub mod events;
pub mod overview;
pub mod process;
#[cfg(test)]
mod testing;

use ratatui::{buffer::Buffer, layout::Rect};

use super::{history::History, keys::Key, mouse::MouseEvent, theme::Theme, units::Units};
use crate::{
    tables::{
        live::{DeviceAsk, LiveAsk, LiveList},
        snapshot::{Device, Process, Snapshot},
    },
    text,
    views::pools,
};

/// In the order of the keys 1 to 4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageKind {
    #[default]
    Overview,
    Process,
    Device,
    Events,
}

impl PageKind {
    pub const ALL: [Self; 4] = [Self::Overview, Self::Process, Self::Device, Self::Events];

    /// So many further, round and round.
    pub fn neighbour(self, steps: usize) -> Self {
        let at = Self::ALL.iter().position(|kind| *kind == self).unwrap_or(0);
        Self::ALL[(at + steps) % Self::ALL.len()]
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Process => "process",
            Self::Device => "device",
            Self::Events => "events",
        }
    }
}

/// What every page can look at.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The moment is its `taken_at`.
    pub snapshot: &'a Snapshot,
    pub history: &'a History,
    pub theme: Theme,
    pub units: Units,
    /// Whether anybody answers questions about live allocations.
    pub inspectable: bool,
    /// See [`pools::has_many_runtimes`].
    pub many_runtimes: bool,
}

impl Context<'_> {
    /// The device as pages name it: with its runtime where there are several.
    pub fn device(&self, runtime: &str, device: Option<i64>, uid: Option<&str>) -> String {
        let name = if self.many_runtimes {
            pools::device_label
        } else {
            pools::device_id
        };
        name(&self.snapshot.devices, runtime, device, uid)
    }

    /// `0 wormhole_b0`: as [`Self::device`], with what kind of a device it is.
    pub fn device_and_kind(&self, device: &Device) -> String {
        let uid = device.device_uid.as_deref();
        let words = self.device(&device.runtime, device.device, uid);
        match &device.name {
            Some(name) => format!("{words} {}", text::visible(name)),
            None => words,
        }
    }
}

/// What came of a key or of the mouse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It means nothing here: the keys that mean the same on every page are looked at next.
    Ignored,
    /// Something changed: draw.
    Draw,
    /// Go to that page.
    Open(Open),
}

/// Where to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Open {
    Process(ProcessId),
    Device(DeviceAsk),
}

/// What makes a process the same in the next snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessId {
    pub pid: u32,
    pub start_time: Option<String>,
}

impl ProcessId {
    pub fn of(process: &Process) -> Self {
        Self {
            pid: process.pid,
            start_time: process.start_time.clone(),
        }
    }

    pub fn is(&self, process: &Process) -> bool {
        self.pid == process.pid && self.start_time == process.start_time
    }

    pub fn find<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Process> {
        snapshot.processes.iter().find(|process| self.is(process))
    }
}

/// What comes from an observed process goes through `crate::text` (or [`super::draw::pen::Pen::left`] and `right`,
/// which do that) before it is drawn.
pub trait Page {
    /// What stands in the first line, such as `process 4011 python`.
    fn title(&self, ctx: &Context<'_>) -> String;
    /// There is a new snapshot.
    fn update(&mut self, ctx: &Context<'_>);
    /// Gets every key first; what it takes to be text (a filter that is typed) must not be [`Reaction::Ignored`].
    /// A page that shows something above itself closes that on Esc; an ignored Esc goes back to the overview.
    fn key(&mut self, key: Key, ctx: &Context<'_>) -> Reaction;
    /// In cells of the screen; the page remembers where it drew what.
    fn mouse(&mut self, event: MouseEvent, ctx: &Context<'_>) -> Reaction;
    fn draw(&mut self, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>);
    /// Its own keys and signs, for the help: what to press (27 cells at most), and what it does (64).
    fn help(&self) -> &'static [(&'static str, &'static str)];
    /// The most important of its keys, for the last line: key and word.
    fn keys(&self) -> &'static [(&'static str, &'static str)];
    /// What stands at the right of the last line, such as which rows are in sight.
    fn status(&self) -> Option<String> {
        None
    }
    /// The live allocations that it wants to see, asked for anew at every refresh.
    fn wants(&self) -> Option<LiveAsk> {
        None
    }
    /// The answer to [`Page::wants`]; may be to what it wanted a moment ago.
    fn take(&mut self, _list: LiveList, _ctx: &Context<'_>) {}
}

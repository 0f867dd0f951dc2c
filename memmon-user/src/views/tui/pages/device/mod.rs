//! One device: where everything lies in the memory of one of its pools, and how the free space lies between.

mod cells;
mod cursor;
mod draw;
mod lanes;
mod palette;

use ratatui::{buffer::Buffer, layout::Rect};

use self::{
    cursor::Cursor,
    lanes::{Lane, lanes},
    palette::Palette,
};
use super::{Context, Open, Page, ProcessId, Reaction};
use crate::{
    tables::{
        live::{DeviceAsk, LiveAsk, LiveList},
        snapshot::{Device, Pool, Process},
    },
    views::{
        pools,
        tui::{
            keys::Key,
            mouse::{MouseEvent, MouseKind},
        },
    },
};

#[derive(Debug, Default)]
pub struct DevicePage {
    subject: Option<DeviceAsk>,
    pool: Option<String>,
    /// What is shown: of the devices and pools there are, the chosen ones, else the first.
    place: Option<(DeviceAsk, String)>,
    list: Option<LiveList>,
    lanes: Vec<Lane>,
    palette: Palette,
    cursor: Option<Cursor>,
    /// The first lane that is drawn.
    first: usize,
    /// Where things were drawn.
    drawn: Drawn,
}

/// Where things stand on the screen.
#[derive(Debug, Default)]
struct Drawn {
    /// Cells in a line, and lines in a lane.
    columns: usize,
    lines: usize,
    lanes: Vec<(usize, Rect)>,
    pools: Vec<(String, Rect)>,
}

impl Drawn {
    fn count(&self) -> usize {
        self.columns * self.lines
    }
}

impl DevicePage {
    /// What it is about.
    pub fn show(&mut self, subject: DeviceAsk) {
        if self.subject.as_ref() != Some(&subject) {
            *self = Self {
                subject: Some(subject),
                pool: self.pool.take(),
                ..Self::default()
            };
        }
    }

    #[cfg(test)]
    pub fn subject(&self) -> Option<&DeviceAsk> {
        self.subject.as_ref()
    }

    /// The device in this snapshot; the first where nobody chose.
    fn device<'a>(&self, ctx: &Context<'a>) -> Option<&'a Device> {
        let devices = &ctx.snapshot.devices;
        match &self.subject {
            Some(subject) => devices.iter().find(|device| ask(device).is_same(subject)),
            None => devices.first(),
        }
    }

    fn pool<'a>(&self, device: &'a Device) -> Option<&'a Pool> {
        let wanted = self.pool.as_ref();
        let mut found = pools_of(device);
        let first = found.first().copied();
        found.retain(|pool| Some(&pool.pool) == wanted);
        found.first().copied().or(first)
    }

    fn pool_by(&mut self, step: isize, ctx: &Context<'_>) {
        let Some(device) = self.device(ctx) else {
            return;
        };
        let found = pools_of(device);
        let now = self.pool(device).map(|pool| pool.pool.clone());
        let at = found
            .iter()
            .position(|pool| Some(&pool.pool) == now.as_ref());
        let next = cycle(at, step, found.len());
        if let Some(pool) = next.and_then(|at| found.get(at)) {
            self.choose(pool.pool.clone(), ctx);
        }
    }

    fn choose(&mut self, pool: String, ctx: &Context<'_>) {
        self.pool = Some(pool);
        (self.cursor, self.first) = (None, 0);
        self.list = None;
        self.lay_out(ctx);
    }

    fn next_device(&mut self, ctx: &Context<'_>) {
        let devices = &ctx.snapshot.devices;
        let now = self.device(ctx);
        let at = devices.iter().position(|device| Some(device) == now);
        if let Some(next) = cycle(at, 1, devices.len()).and_then(|at| devices.get(at)) {
            self.show(ask(next));
            self.lay_out(ctx);
        }
    }

    fn drawn_count(&self) -> usize {
        self.drawn.count()
    }

    fn lay_out(&mut self, ctx: &Context<'_>) {
        self.place = self
            .device(ctx)
            .and_then(|device| Some((ask(device), self.pool(device)?.pool.clone())));
        self.lanes = match (&self.list, &self.place) {
            (Some(list), Some((device, pool))) => lanes(list, device, pool),
            _ => Vec::new(),
        };
        let mut pids: Vec<u32> = self.lanes.iter().map(|lane| lane.pid).collect();
        pids.dedup();
        self.palette.meet(&pids);
    }

    /// The process that has what is under the cursor.
    fn open(&self, ctx: &Context<'_>) -> Reaction {
        let process = self
            .cursor
            .as_ref()
            .and_then(|cursor| process(ctx, cursor.pid));
        process.map_or(Reaction::Ignored, |process| {
            Reaction::Open(Open::Process(ProcessId::of(process)))
        })
    }

    fn click(&mut self, event: MouseEvent, ctx: &Context<'_>) -> Reaction {
        let at = (event.column, event.row).into();
        let pool = self.drawn.pools.iter().find(|(_, area)| area.contains(at));
        if let Some((pool, _)) = pool {
            self.choose(pool.clone(), ctx);
            return Reaction::Draw;
        }
        let lane = self.drawn.lanes.iter().find(|(_, area)| area.contains(at));
        let Some((nth, area)) = lane else {
            return Reaction::Ignored;
        };
        let line = usize::from(event.row - area.y);
        let cell = line * self.drawn.columns + usize::from(event.column - area.x);
        self.cursor = self
            .lanes
            .get(*nth)
            .map(|lane| Cursor::at_cell(lane, self.drawn.count(), cell));
        Reaction::Draw
    }
}

/// A running process; else the one that ended.
fn process<'a>(ctx: &Context<'a>, pid: u32) -> Option<&'a Process> {
    let own = || {
        ctx.snapshot
            .processes
            .iter()
            .filter(|process| process.pid == pid)
    };
    own()
        .find(|process| process.state == "running")
        .or_else(|| own().next())
}

fn ask(device: &Device) -> DeviceAsk {
    DeviceAsk {
        runtime: device.runtime.clone(),
        device: device.device,
        device_uid: device.device_uid.clone(),
    }
}

/// In their order.
fn pools_of(device: &Device) -> Vec<&Pool> {
    let mut found: Vec<&Pool> = device.pools.iter().collect();
    found.sort_by(|a, b| pools::order(&a.pool, &b.pool));
    found
}

/// One further, and round.
fn cycle(at: Option<usize>, step: isize, count: usize) -> Option<usize> {
    let count = isize::try_from(count).ok().filter(|count| *count > 0)?;
    let at = isize::try_from(at?).ok()?;
    usize::try_from((at + step).rem_euclid(count)).ok()
}

impl Page for DevicePage {
    fn title(&self, ctx: &Context<'_>) -> String {
        match self.device(ctx) {
            Some(device) => draw::name(device, ctx),
            None => "device".into(),
        }
    }

    fn update(&mut self, ctx: &Context<'_>) {
        self.lay_out(ctx);
    }

    fn key(&mut self, key: Key, ctx: &Context<'_>) -> Reaction {
        match key {
            Key::Char('<') => self.pool_by(-1, ctx),
            Key::Char('>') => self.pool_by(1, ctx),
            Key::Char('d') => self.next_device(ctx),
            Key::Esc | Key::Backspace if self.cursor.is_some() => self.cursor = None,
            Key::Enter => return self.open(ctx),
            key => return self.move_cursor(key),
        }
        Reaction::Draw
    }

    fn mouse(&mut self, event: MouseEvent, ctx: &Context<'_>) -> Reaction {
        match event.kind {
            MouseKind::Press | MouseKind::Drag => self.click(event, ctx),
            MouseKind::WheelUp => self.scroll(-1),
            MouseKind::WheelDown => self.scroll(1),
            MouseKind::Release => Reaction::Ignored,
        }
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, ctx: &Context<'_>) {
        draw::page(self, area, buffer, ctx);
    }

    fn help(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("< >", "the pool before, the pool after"),
            ("d", "the next device"),
            ("arrows, click", "what lies there"),
            ("[ ]", "the block before, the block after"),
            ("l", "the largest free block"),
            ("Enter", "the process that has the block"),
            ("Backspace", "no cursor"),
            (
                "a line of cells",
                "addresses of one bank, to scale; a block lies in every bank",
            ),
            ("colour, letter", "whose it is; small letter: half taken"),
            ("free, largest free", "dots; a line"),
            (
                "fragmented",
                "the part of what is free that is not in the largest block",
            ),
        ]
    }

    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("< >", "pool"),
            ("d", "device"),
            ("[ ]", "block"),
            ("l", "largest free"),
            ("Enter", "process"),
        ]
    }

    fn wants(&self) -> Option<LiveAsk> {
        let (device, pool) = self.place.clone()?;
        Some(LiveAsk {
            device: Some(device),
            pool: Some(pool),
            ..LiveAsk::default()
        })
    }

    fn take(&mut self, list: LiveList, ctx: &Context<'_>) {
        self.list = Some(list);
        self.lay_out(ctx);
    }
}

#[cfg(test)]
mod tests;

//! For the tests of the pages: something to look at, and what is drawn of it.

use ratatui::{buffer::Buffer, layout::Rect};

use super::{Context, Page};
use crate::{
    tables::{
        live::{DeviceAsk, LiveAllocation, LiveList, PoolRange},
        snapshot::{Ending, Failure, Holder, Notice, NoticeKind, Snapshot},
    },
    text,
    views::{
        golden, pools,
        sample::{self, GIB, MIB},
        tui::{history::History, theme::Theme, units::Units},
    },
};

/// A view of a snapshot, with a past.
#[derive(Debug)]
pub struct Stage {
    pub snapshot: Snapshot,
    pub history: History,
    pub theme: Theme,
    pub inspectable: bool,
}

impl Stage {
    pub fn new(snapshot: Snapshot) -> Self {
        Self {
            snapshot,
            history: History::default(),
            theme: Theme::new(true, false),
            inspectable: true,
        }
    }

    pub fn ascii(self) -> Self {
        Self {
            theme: Theme::new(false, true),
            ..self
        }
    }

    pub fn ctx(&self) -> Context<'_> {
        Context {
            snapshot: &self.snapshot,
            history: &self.history,
            theme: self.theme,
            units: Units::default(),
            inspectable: self.inspectable,
            many_runtimes: pools::has_many_runtimes(&self.snapshot),
        }
    }

    pub fn frame(&self, page: &mut impl Page, width: u16, height: u16) -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        let area = buffer.area;
        page.draw(area, &mut buffer, &self.ctx());
        buffer
    }

    /// Compares what the page draws with the committed file.
    pub fn check(&self, page: &mut impl Page, name: &str, width: u16, height: u16) {
        let frame = lines(&self.frame(page, width, height));
        golden::check(
            "tui/golden",
            &format!("{name}_{width}x{height}.txt"),
            &frame,
        );
    }

    pub fn words(&self, page: &mut impl Page, width: u16, height: u16) -> String {
        lines(&self.frame(page, width, height))
    }
}

fn lines(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        let mut covered = 0;
        for x in 0..buffer.area.width {
            let symbol = buffer[(x, y)].symbol();
            if covered == 0 {
                line.push_str(symbol);
                covered = text::width(symbol).max(1);
            }
            covered -= 1;
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

pub fn device(id: i64) -> DeviceAsk {
    DeviceAsk {
        runtime: "tt-metal".into(),
        device: Some(id),
        device_uid: Some(format!("7205926936983968{id}")),
    }
}

/// Of 12 banks; sizes are those of one bank.
pub fn block(pid: u32, address: u64, size: u64) -> LiveAllocation {
    LiveAllocation {
        pid,
        tid: Some(pid),
        runtime: "tt-metal".into(),
        devices: vec![device(0)],
        pool: "DRAM".into(),
        key: address,
        api: None,
        owner: u64::from(pid) << 12,
        address,
        requested_bytes: (size * 12).saturating_sub(100),
        charged_bytes: Some(size * 12),
        age_ns: Some((address / MIB + 1) * 1_000_000_000),
    }
}

pub fn range(pid: u32) -> PoolRange {
    PoolRange {
        pid,
        owner: u64::from(pid) << 12,
        devices: vec![device(0)],
        pool: "DRAM".into(),
        base: Some(MIB),
        banks: 12,
        bytes_per_bank: GIB,
    }
}

/// Two processes on one device: one has filled its memory well, the other is in pieces.
pub fn list() -> LiveList {
    let mut allocations = vec![
        block(4011, MIB, 300 * MIB),
        block(4011, 301 * MIB, 200 * MIB),
    ];
    allocations.push(block(4011, 501 * MIB, 99 * MIB));
    for nth in 0..20 {
        allocations.push(block(512, (1 + nth * 50) * MIB, (10 + nth) * MIB));
    }
    allocations.push(LiveAllocation {
        tid: None,
        age_ns: None,
        ..block(512, 1001 * MIB, 4096)
    });
    allocations.sort_by_key(|one| std::cmp::Reverse(one.charged_bytes));
    LiveList {
        taken_at: "2026-01-31T12:00:00.2Z".into(),
        allocations,
        ranges: vec![range(4011), range(512)],
        ..LiveList::default()
    }
}

/// As [`sample::busy`], and something happened.
pub fn eventful() -> Snapshot {
    let holder = |pid: u32, comm: &str, bytes: u64| Holder {
        pid,
        comm: comm.into(),
        uid: Some(1000),
        user: Some("ada".into()),
        charged_bytes: bytes,
        live_allocations: Some(bytes / (16 * MIB)),
    };
    let failure = Failure {
        at: "2026-01-31T11:59:30.25Z".into(),
        pid: 512,
        tid: 519,
        comm: "pytest".into(),
        runtime: "tt-metal".into(),
        error_code: None,
        api: None,
        devices: vec![Some(0)],
        pool: "DRAM".into(),
        requested_bytes: 1200 * MIB,
        needed_bytes: Some(1200 * MIB),
        number: 1,
        capacity_bytes: Some(12 * GIB),
        free_bytes: Some(300 * MIB),
        largest_free_bytes_per_bank: Some(25 * MIB),
        banks: Some(12),
        holders: vec![
            holder(4011, "python", 7 * GIB),
            holder(512, "pytest", 4 * GIB + 724 * MIB),
        ],
    };
    let mut snapshot = sample::busy();
    snapshot.failures = vec![
        failure.clone(),
        Failure {
            at: "2026-01-31T11:59:58Z".into(),
            number: 2,
            free_bytes: Some(2400 * MIB),
            largest_free_bytes_per_bank: Some(60 * MIB),
            ..failure
        },
    ];
    snapshot.endings = vec![Ending {
        at: "2026-01-31T11:59:40Z".into(),
        pid: 3999,
        comm: "python".into(),
        user: Some("ada".into()),
        held: vec![
            sample::usage(1, "DRAM", 800 * MIB, 900 * MIB, 7),
            sample::usage(1, "L1", MIB, MIB, 1),
        ],
    }];
    let notice = |at: &str, kind: NoticeKind, text: &str| Notice {
        at: at.into(),
        kind,
        text: text.into(),
    };
    snapshot.notices = vec![
        notice(
            "2026-01-31T11:58:00Z",
            NoticeKind::Library,
            "/srv/old/libtt_metal.so is not understood: no layout table\u{1b}[2J matches",
        ),
        notice(
            "2026-01-31T11:59:59Z",
            NoticeKind::Loss,
            "the history of 12 events was lost; totals are not affected",
        ),
    ];
    snapshot
}

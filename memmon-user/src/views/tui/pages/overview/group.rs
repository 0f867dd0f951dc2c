//! Rows that belong together, and what they come to.

use std::collections::HashMap;

use super::amount::{Amount, Cell, Sums};
use super::order::{self, Order};
use super::rows::{Row, Rows};
use crate::tables::live::DeviceAsk;
use crate::tables::snapshot::Snapshot;
use crate::views::tui::pages::ProcessId;

/// By what rows are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    #[default]
    None,
    Process,
    Device,
    User,
    Cgroup,
}

impl Grouping {
    pub fn next(self) -> Self {
        match self {
            Self::None => Self::Process,
            Self::Process => Self::Device,
            Self::Device => Self::User,
            Self::User => Self::Cgroup,
            Self::Cgroup => Self::None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Process => "process",
            Self::Device => "device",
            Self::User => "user",
            Self::Cgroup => "cgroup",
        }
    }

    fn key<'a>(self, row: &Row, snapshot: &'a Snapshot) -> Key<'a> {
        let process = row.process(snapshot);
        match self {
            Self::None | Self::Process => Key::Process(row.process),
            Self::Device => Key::Device(row.usage(snapshot).map(|usage| {
                let uid = usage.device_uid.as_deref();
                (usage.runtime.as_str(), usage.device, uid)
            })),
            Self::User => Key::User(process.user.as_deref(), process.uid),
            Self::Cgroup => Key::Cgroup(process.cgroup.as_deref()),
        }
    }
}

/// What rows of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key<'a> {
    Process(usize),
    Device(Option<(&'a str, Option<i64>, Option<&'a str>)>),
    User(Option<&'a str>, Option<u32>),
    Cgroup(Option<&'a str>),
}

/// What makes a group the same group in the next snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupId {
    Process(ProcessId),
    /// None: of no device.
    Device(Option<DeviceAsk>),
    User(Option<String>, Option<u32>),
    Cgroup(Option<String>),
}

#[derive(Debug)]
pub struct Group {
    /// In order; never empty.
    pub rows: Vec<usize>,
    pub cells: Vec<Cell>,
    pub sums: Sums,
}

impl Group {
    /// One of its rows.
    pub fn first<'a>(&self, rows: &'a Rows) -> &'a Row {
        &rows.rows[self.rows[0]]
    }

    pub fn id(&self, by: Grouping, rows: &Rows, snapshot: &Snapshot) -> GroupId {
        let row = self.first(rows);
        let process = row.process(snapshot);
        match by {
            Grouping::None | Grouping::Process => GroupId::Process(ProcessId::of(process)),
            Grouping::Device => GroupId::Device(row.usage(snapshot).map(|usage| DeviceAsk {
                runtime: usage.runtime.clone(),
                device: usage.device,
                device_uid: usage.device_uid.clone(),
            })),
            Grouping::User => GroupId::User(process.user.clone(), process.uid),
            Grouping::Cgroup => GroupId::Cgroup(process.cgroup.clone()),
        }
    }

    pub fn processes(&self, rows: &Rows) -> usize {
        let mut processes: Vec<usize> = self.rows.iter().map(|&at| rows.rows[at].process).collect();
        processes.sort_unstable();
        processes.dedup();
        processes.len()
    }
}

/// Puts rows together, which come in order; the groups are in the same order.
pub fn grouped(
    by: Grouping,
    sorted: &[usize],
    rows: &Rows,
    snapshot: &Snapshot,
    order: &Order,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut known = HashMap::new();
    for &at in sorted {
        let row = &rows.rows[at];
        let cells = rows.cells(row);
        let place = *known.entry(by.key(row, snapshot)).or_insert(groups.len());
        match groups.get_mut(place) {
            None => groups.push(Group {
                rows: vec![at],
                cells: cells.to_vec(),
                sums: row.sums,
            }),
            Some(group) => {
                group.rows.push(at);
                group.sums = group.sums.plus(row.sums);
                for (sum, cell) in group.cells.iter_mut().zip(cells) {
                    *sum = sum.plus(*cell);
                }
            }
        }
    }
    let pool = |group: &Group| {
        let at = rows
            .pools
            .iter()
            .position(|pool| pool == order.column.title());
        at.map_or(Amount::Absent, |at| group.cells[at].amount)
    };
    // Stable: where the column is text, the groups stay in the order of their first rows.
    groups.sort_by(|a, b| {
        let amount = |group: &Group| order::amount(&order.column, &group.sums, pool(group));
        (a.sums.exited.cmp(&b.sums.exited))
            .then_with(|| amount(a).order(amount(b), order.descending))
    });
    groups
}

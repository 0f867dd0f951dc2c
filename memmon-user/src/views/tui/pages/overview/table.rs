//! The process table: its lines in order, which of them are in sight, and which one is selected.

use super::column::Column;
use super::filter::Filter;
use super::group::{self, Group, GroupId, Grouping};
use super::order::{self, Order};
use super::rows::{self, Row, Rows};
use crate::tables::snapshot::Snapshot;
use crate::views::tui::history::History;

/// What stands in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Group(usize),
    Row(usize),
}

/// The selected line is remembered by what it is, for its place changes.
#[derive(Clone, Debug, PartialEq)]
enum Selected {
    Group(GroupId),
    Row(rows::Key),
}

#[derive(Debug)]
pub struct Table {
    pub rows: Rows,
    groups: Vec<Group>,
    lines: Vec<Line>,
    /// How many rows the filter lets through.
    taken: usize,
    /// None: whoever holds most of the devices' own memory.
    order: Option<Order>,
    grouping: Grouping,
    expanded: Vec<GroupId>,
    all_expanded: bool,
    filter: Filter,
    selected: Option<Selected>,
    /// Where the selected line is now.
    at: Option<usize>,
    offset: usize,
    page: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            rows: Rows::default(),
            groups: Vec::new(),
            lines: Vec::new(),
            taken: 0,
            order: None,
            grouping: Grouping::None,
            expanded: Vec::new(),
            all_expanded: false,
            filter: Filter::default(),
            selected: None,
            at: None,
            offset: 0,
            page: 1,
        }
    }
}

impl Table {
    pub fn pools(&self) -> &[String] {
        &self.rows.pools
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// How many rows are shown, of how many.
    pub fn count(&self) -> (usize, usize) {
        (self.taken, self.rows.rows.len())
    }

    pub fn grouping(&self) -> Grouping {
        self.grouping
    }

    pub fn group(&self, at: usize) -> &Group {
        &self.groups[at]
    }

    pub fn order(&self) -> Order {
        self.order.clone().unwrap_or_else(|| Order {
            column: match self.pools().first() {
                Some(pool) => Column::Pool(pool.clone()),
                None => Column::Pid,
            },
            descending: true,
        })
    }

    pub fn selected(&self) -> Option<Line> {
        self.lines.get(self.at?).copied()
    }

    /// The row that is selected; of a group, its first one.
    pub fn selected_row(&self) -> Option<&Row> {
        match self.selected()? {
            Line::Row(at) => Some(&self.rows.rows[at]),
            Line::Group(at) => Some(self.groups[at].first(&self.rows)),
        }
    }

    /// The lines in sight: where the first one stands, and whether each is the selected one.
    pub fn in_sight(&self) -> (usize, impl Iterator<Item = (Line, bool)>) {
        let lines = self.lines.iter().enumerate();
        let seen = lines.skip(self.offset).take(self.page);
        (
            self.offset,
            seen.map(|(at, line)| (*line, Some(at) == self.at)),
        )
    }

    /// How many lines can be seen at once.
    pub fn set_page(&mut self, page: usize) {
        self.page = page.max(1);
        self.scroll();
    }

    pub fn page_step(&self) -> isize {
        isize::try_from(self.page.saturating_sub(1).max(1)).unwrap_or(1)
    }

    pub fn update(&mut self, snapshot: &Snapshot, history: &History) {
        self.rows = Rows::of(snapshot, history);
        if let Some(Order {
            column: Column::Pool(pool),
            ..
        }) = &self.order
            && !self.rows.pools.contains(pool)
        {
            self.order = None;
        }
        self.arrange(snapshot);
    }

    pub fn set_filter(&mut self, filter: Filter, snapshot: &Snapshot) {
        self.filter = filter;
        self.arrange(snapshot);
    }

    pub fn group_by_next(&mut self, snapshot: &Snapshot) {
        self.grouping = self.grouping.next();
        self.expanded.clear();
        self.all_expanded = false;
        self.arrange(snapshot);
    }

    /// Opens or closes the group that is selected, or that the selected row belongs to.
    pub fn toggle_group(&mut self, snapshot: &Snapshot) {
        let at = match self.selected() {
            Some(Line::Group(at)) => Some(at),
            Some(Line::Row(row)) => self.groups.iter().position(|g| g.rows.contains(&row)),
            None => None,
        };
        let Some(group) = at.map(|at| &self.groups[at]) else {
            return;
        };
        let id = group.id(self.grouping, &self.rows, snapshot);
        self.selected = Some(Selected::Group(id.clone()));
        match self.expanded.iter().position(|known| *known == id) {
            Some(at) => drop(self.expanded.remove(at)),
            None => self.expanded.push(id),
        }
        self.arrange(snapshot);
    }

    pub fn toggle_all_groups(&mut self, snapshot: &Snapshot) {
        self.all_expanded = !self.all_expanded;
        self.expanded.clear();
        self.arrange(snapshot);
    }

    pub fn is_expanded(&self, group: &Group, snapshot: &Snapshot) -> bool {
        // The list names those that are not like all others.
        let is_other = !self.expanded.is_empty() && {
            let id = group.id(self.grouping, &self.rows, snapshot);
            self.expanded.contains(&id)
        };
        is_other != self.all_expanded
    }

    pub fn sort_by(&mut self, column: Column, snapshot: &Snapshot) {
        let now = self.order();
        let descending = if now.column == column {
            !now.descending
        } else {
            column.descends_by_default()
        };
        self.order = Some(Order { column, descending });
        self.arrange(snapshot);
    }

    pub fn sort_by_next(&mut self, snapshot: &Snapshot, right: bool) {
        let columns = Column::all(self.pools());
        let now = self.order().column;
        let at = columns
            .iter()
            .position(|column| *column == now)
            .unwrap_or(0);
        let step = if right { 1 } else { columns.len() - 1 };
        let column = columns[(at + step) % columns.len()].clone();
        self.sort_by(column, snapshot);
    }

    pub fn reverse(&mut self, snapshot: &Snapshot) {
        self.sort_by(self.order().column, snapshot);
    }

    pub fn select_by(&mut self, snapshot: &Snapshot, step: isize) {
        let last = self.lines.len().saturating_sub(1);
        let at = match self.at {
            Some(at) => at.saturating_add_signed(step),
            None if step == isize::MAX => last,
            None => self.offset,
        };
        self.select(snapshot, at.min(last));
    }

    /// That line, counted from the first of all.
    pub fn select(&mut self, snapshot: &Snapshot, at: usize) {
        let Some(line) = self.lines.get(at) else {
            return;
        };
        self.at = Some(at);
        self.selected = Some(match line {
            Line::Row(at) => Selected::Row(self.rows.rows[*at].key(snapshot)),
            Line::Group(at) => {
                Selected::Group(self.groups[*at].id(self.grouping, &self.rows, snapshot))
            }
        });
        self.scroll();
    }

    pub fn select_none(&mut self) {
        self.at = None;
        self.selected = None;
        self.offset = 0;
    }

    /// Moves what is in sight, and leaves the selection alone as far as that is possible.
    pub fn scroll_by(&mut self, snapshot: &Snapshot, step: isize) {
        let most = self.lines.len().saturating_sub(self.page);
        self.offset = self.offset.saturating_add_signed(step).min(most);
        if let Some(at) = self.at {
            let seen = at.clamp(self.offset, self.offset + self.page - 1);
            if seen != at {
                self.select(snapshot, seen);
            }
        }
    }

    /// Rows → lines: through the filter, in order, in groups.
    fn arrange(&mut self, snapshot: &Snapshot) {
        let order = self.order();
        let sorted = order::sorted(&self.rows, snapshot, &order, |row| {
            self.filter.is_empty() || self.filter.takes(row, &self.rows, snapshot)
        });
        self.taken = sorted.len();
        if self.grouping == Grouping::None {
            self.groups.clear();
            self.lines = sorted.into_iter().map(Line::Row).collect();
        } else {
            self.groups = group::grouped(self.grouping, &sorted, &self.rows, snapshot, &order);
            self.lines = Vec::new();
            for (at, group) in self.groups.iter().enumerate() {
                self.lines.push(Line::Group(at));
                if self.is_expanded(group, snapshot) {
                    self.lines.extend(group.rows.iter().copied().map(Line::Row));
                }
            }
        }
        self.find_selected(snapshot);
        self.scroll();
    }

    fn find_selected(&mut self, snapshot: &Snapshot) {
        let Some(selected) = &self.selected else {
            return;
        };
        let found = self.lines.iter().position(|line| match (line, selected) {
            (Line::Row(at), Selected::Row(key)) => self.rows.rows[*at].is(key, snapshot),
            (Line::Group(at), Selected::Group(id)) => {
                self.groups[*at].id(self.grouping, &self.rows, snapshot) == *id
            }
            _ => false,
        });
        match found {
            Some(at) => self.at = Some(at),
            // Gone: the selection stays where it was.
            None => match self.at {
                Some(at) if !self.lines.is_empty() => {
                    self.select(snapshot, at.min(self.lines.len() - 1));
                }
                _ => self.at = None,
            },
        }
    }

    /// Keeps the selected line, and as many lines as fit, in sight.
    fn scroll(&mut self) {
        if let Some(at) = self.at {
            self.offset = self.offset.clamp((at + 1).saturating_sub(self.page), at);
        }
        self.offset = self.offset.min(self.lines.len().saturating_sub(self.page));
    }
}

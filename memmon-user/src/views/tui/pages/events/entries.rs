//! Failures, ends and notices in one list.

use std::cmp::Reverse;

use crate::{
    tables::snapshot::{Ending, Failure, Notice, NoticeKind, Snapshot},
    text,
    views::{
        diagnosis, pools,
        tui::moment,
        units::{Bytes, counted},
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Failure,
    Ending,
    Library,
    Loss,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Failure, Self::Ending, Self::Library, Self::Loss];

    /// What can be shown: all of them, or one kind.
    pub fn choices() -> Vec<Option<Self>> {
        std::iter::once(None).chain(Self::ALL.map(Some)).collect()
    }

    /// Of one, and of several.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Failure => ("failure", "failures"),
            Self::Ending => ("end", "ends"),
            Self::Library => ("library", "libraries"),
            Self::Loss => ("loss", "losses"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Milliseconds since 1970.
    pub at: u64,
    pub what: What<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    Failure(&'a Failure),
    Ending(&'a Ending),
    Notice(&'a Notice),
}

/// What makes an event the same in the next snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id {
    at: String,
    /// A failure's number, a process's pid.
    number: u64,
    text: String,
}

/// The newest first.
pub fn entries(snapshot: &Snapshot) -> Vec<Entry<'_>> {
    let failures = snapshot.failures.iter().map(What::Failure);
    let endings = snapshot.endings.iter().map(What::Ending);
    let notices = snapshot.notices.iter().map(What::Notice);
    let mut entries: Vec<Entry<'_>> = failures
        .chain(endings)
        .chain(notices)
        .map(|what| Entry {
            at: moment::millis(what.at()).unwrap_or_default(),
            what,
        })
        .collect();
    // Each of the lists is in order: of one moment's events, the later one is the newer.
    entries.reverse();
    entries.sort_by_key(|entry| Reverse(entry.at));
    entries
}

impl What<'_> {
    pub fn at(&self) -> &str {
        match self {
            Self::Failure(failure) => &failure.at,
            Self::Ending(ending) => &ending.at,
            Self::Notice(notice) => &notice.at,
        }
    }
}

impl Entry<'_> {
    pub fn kind(&self) -> Kind {
        match self.what {
            What::Failure(_) => Kind::Failure,
            What::Ending(_) => Kind::Ending,
            What::Notice(notice) => match notice.kind {
                NoticeKind::Library => Kind::Library,
                NoticeKind::Loss | NoticeKind::Inexact | NoticeKind::Gap | NoticeKind::Audit => {
                    Kind::Loss
                }
            },
        }
    }

    pub fn id(&self) -> Id {
        let (number, text) = match self.what {
            What::Failure(failure) => (failure.number, String::new()),
            What::Ending(ending) => (ending.pid.into(), String::new()),
            What::Notice(notice) => (0, notice.text.clone()),
        };
        Id {
            at: self.what.at().into(),
            number,
            text,
        }
    }

    pub fn pid(&self) -> Option<u32> {
        match self.what {
            What::Failure(failure) => Some(failure.pid),
            What::Ending(ending) => Some(ending.pid),
            What::Notice(_) => None,
        }
    }

    /// `out of memory`, `ended holding`, …
    pub fn headline(&self) -> &'static str {
        match self.what {
            What::Failure(_) => "out of memory",
            What::Ending(_) => "ended holding",
            What::Notice(notice) => match notice.kind {
                NoticeKind::Library => "not understood",
                NoticeKind::Loss => "loss",
                NoticeKind::Inexact => "inexact",
                NoticeKind::Gap => "gap",
                NoticeKind::Audit => "corrected",
            },
        }
    }

    /// Whom it is about: `4011 python`.
    pub fn who(&self) -> String {
        let (pid, comm) = match self.what {
            What::Failure(failure) => (failure.pid, &failure.comm),
            What::Ending(ending) => (ending.pid, &ending.comm),
            What::Notice(_) => return String::new(),
        };
        format!("{pid} {}", text::visible(comm))
    }

    /// In a line.
    pub fn summary(&self) -> String {
        match self.what {
            What::Failure(failure) => {
                format!(
                    "{}: {}",
                    text::visible(&failure.pool),
                    diagnosis::words(failure)
                )
            }
            What::Ending(ending) => held(ending),
            What::Notice(notice) => text::visible(&notice.text),
        }
    }
}

/// `2.00 GiB of DRAM in 12 allocations on tt-metal:0, …`
fn held(ending: &Ending) -> String {
    let rows = ending.held.iter().map(|row| {
        let live = row.live_allocations.map_or_else(String::new, |live| {
            format!(" in {}", counted(live, "allocation", "allocations"))
        });
        format!(
            "{} of {}{live} on {}",
            Bytes::Human.format_or_unknown(row.charged_bytes),
            text::visible(&row.pool),
            pools::device_ids(&row.runtime, &[row.device])
        )
    });
    rows.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(at: &str, kind: NoticeKind) -> Notice {
        Notice {
            at: at.into(),
            kind,
            text: at.into(),
        }
    }

    #[test]
    fn one_list_in_the_order_of_time() {
        let snapshot = Snapshot {
            failures: vec![Failure {
                at: "2026-01-31T12:00:00.5Z".into(),
                number: 1,
                ..Failure::default()
            }],
            endings: vec![Ending {
                at: "2026-01-31T12:00:00Z".into(),
                ..Ending::default()
            }],
            notices: vec![
                notice("2026-01-31T11:59:59.999Z", NoticeKind::Library),
                notice("2026-01-31T12:00:01Z", NoticeKind::Gap),
            ],
            ..Snapshot::default()
        };
        let kinds: Vec<Kind> = entries(&snapshot).iter().map(Entry::kind).collect();
        assert_eq!(
            kinds,
            [Kind::Loss, Kind::Failure, Kind::Ending, Kind::Library]
        );
    }
}

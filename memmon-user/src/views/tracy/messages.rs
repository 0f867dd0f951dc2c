//! What is no number, in words: failures, processes that ended holding memory, notices.

use std::collections::VecDeque;

use super::emit::{Emit, Severity};
use crate::{
    tables::{
        Fact,
        snapshot::{Ending, Failure},
    },
    text,
    views::pools,
};

/// As many texts as a checkpoint may repeat, and more.
const REMEMBERED: usize = 1000;
/// Tracy's messages end at 64 KiB.
const LONGEST: usize = 4000;

/// Each thing is told once, although a checkpoint tells it again.
#[derive(Debug, Default)]
pub struct Messages {
    told: VecDeque<String>,
}

impl Messages {
    pub fn of(&mut self, fact: &Fact) -> Option<Emit> {
        let (severity, text) = match fact {
            Fact::Failure(failure) => (Severity::Error, of_failure(failure)),
            Fact::Ending(ending) => (Severity::Warning, of_ending(ending)),
            Fact::Notice(notice) => (
                Severity::Warning,
                format!("{} (at {})", notice.text, notice.at),
            ),
            _ => return None,
        };
        self.once(severity, &text)
    }

    pub fn once(&mut self, severity: Severity, text: &str) -> Option<Emit> {
        let text = text::fit(text, LONGEST, "…");
        if self.told.contains(&text) {
            return None;
        }
        if self.told.len() == REMEMBERED {
            self.told.pop_front();
        }
        self.told.push_back(text.clone());
        Some(Emit::Message { severity, text })
    }
}

/// Bytes as they are: `1,073,741,824 B`.
fn bytes(count: u64) -> String {
    format!("{} B", crate::views::units::grouped(count))
}

fn of_failure(failure: &Failure) -> String {
    let mut said = format!(
        "out of memory: {}[{}] asked for {} of {} on {}",
        failure.comm,
        failure.pid,
        bytes(failure.requested_bytes),
        failure.pool,
        pools::device_ids(&failure.runtime, &failure.devices),
    );
    let mut add = |what: &str, count: Option<u64>, unit: &str| {
        if let Some(count) = count {
            said += &format!("; {what} {}{unit}", bytes(count));
        }
    };
    add("needed", failure.needed_bytes, "");
    add("free", failure.free_bytes, "");
    add(
        "largest free block",
        failure.largest_free_bytes_per_bank,
        " per bank",
    );
    for holder in failure.holders.iter().take(5) {
        said += &format!(
            "; {}[{}] held {}",
            holder.comm,
            holder.pid,
            bytes(holder.charged_bytes)
        );
    }
    said + &format!(" (at {})", failure.at)
}

fn of_ending(ending: &Ending) -> String {
    let mut said = format!("{}[{}] ended holding memory", ending.comm, ending.pid);
    for held in &ending.held {
        if let Some(count) = held.charged_bytes.or(held.requested_bytes) {
            said += &format!(
                "; {} of {} on {}",
                bytes(count),
                held.pool,
                pools::device_ids(&held.runtime, &[held.device])
            );
        }
    }
    said + &format!(" (at {})", ending.at)
}

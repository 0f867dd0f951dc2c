//! All that is known of an event, in lines.

use super::entries::{Entry, What};
use crate::{
    tables::snapshot::{Ending, Failure, Holder, Notice, NoticeKind},
    text,
    views::{
        diagnosis, pools,
        units::{Bytes, UNKNOWN, counted, grouped, percent},
    },
};

pub fn lines(entry: &Entry<'_>) -> Vec<String> {
    match entry.what {
        What::Failure(failure) => of_failure(failure),
        What::Ending(ending) => of_ending(ending),
        What::Notice(notice) => of_notice(notice),
    }
}

fn of_failure(failure: &Failure) -> Vec<String> {
    let capacity = failure.capacity_bytes;
    let exact = |bytes: Option<u64>| match bytes {
        Some(bytes) => format!("{} ({} B)", Bytes::Human.format(bytes), grouped(bytes)),
        None => UNKNOWN.into(),
    };
    let each = |bytes: Option<u64>| {
        let banks = failure.banks.filter(|banks| *banks > 1)?;
        let each = bytes? / banks;
        Some(format!(
            ", {} in each of {banks} banks",
            Bytes::Human.format(each)
        ))
    };
    let each = |bytes: Option<u64>| each(bytes).unwrap_or_default();
    let largest = failure.largest_free_bytes_per_bank;
    let all_banks = largest
        .zip(failure.banks)
        .map(|(largest, banks)| largest * banks);
    let of_pool = capacity.map_or_else(String::new, |all| {
        format!(" of {}", Bytes::Human.format(all))
    });
    let mut lines = vec![
        diagnosis::words(failure),
        format!(
            "by process {} {}, thread {}, on {}, {}",
            failure.pid,
            text::visible(&failure.comm),
            failure.tid,
            pools::device_ids(&failure.runtime, &failure.devices),
            text::visible(&failure.at)
        ),
        format!("asked for      {}", exact(Some(failure.requested_bytes))),
        format!(
            "needed         {}{}",
            exact(failure.needed_bytes),
            each(failure.needed_bytes)
        ),
        format!(
            "free           {}{of_pool}{}",
            exact(failure.free_bytes),
            each(failure.free_bytes)
        ),
        format!("largest block  {}{}", exact(all_banks), each(all_banks)),
    ];
    if failure.holders.is_empty() {
        lines.push("held by nobody, as far as is known".into());
    }
    for (nth, holder) in failure.holders.iter().enumerate() {
        let label = if nth == 0 { "held by" } else { "" };
        lines.push(format!("{label:<15}{}", held_by(holder, failure, capacity)));
    }
    lines
}

fn held_by(holder: &Holder, failure: &Failure, capacity: Option<u64>) -> String {
    let share = capacity.and_then(|all| percent(holder.charged_bytes, all));
    let share = share.map_or_else(String::new, |share| format!(" {share:>3}%"));
    let live = holder.live_allocations.map_or_else(String::new, |live| {
        format!("  {}", counted(live, "allocation", "allocations"))
    });
    let itself = if holder.pid == failure.pid {
        "  (itself)"
    } else {
        ""
    };
    format!(
        "{:>10}{share}  {} {}, {}{live}{itself}",
        Bytes::Human.format(holder.charged_bytes),
        holder.pid,
        text::visible(&holder.comm),
        pools::user(holder.user.as_deref(), holder.uid),
    )
}

fn of_ending(ending: &Ending) -> Vec<String> {
    let user = pools::user(ending.user.as_deref(), None);
    let mut lines = vec![
        format!(
            "process {} {} of {user} ended without freeing",
            ending.pid,
            text::visible(&ending.comm)
        ),
        format!("at {}", text::visible(&ending.at)),
    ];
    for row in &ending.held {
        let device = pools::device_ids(&row.runtime, &[row.device]);
        let charged = row.charged_bytes.map_or_else(
            || UNKNOWN.into(),
            |bytes| format!("{} ({} B)", Bytes::Human.format(bytes), grouped(bytes)),
        );
        let live = row.live_allocations.map_or_else(String::new, |live| {
            format!(" in {}", counted(live, "allocation", "allocations"))
        });
        let unsure = if row.exact { "" } else { ", not exact" };
        lines.push(format!(
            "{device}  {:<9} {charged}{live}{unsure}",
            text::visible(&row.pool)
        ));
    }
    lines
}

fn of_notice(notice: &Notice) -> Vec<String> {
    let meaning = match notice.kind {
        NoticeKind::Library => {
            "What its processes hold is not known; `memmon-ebpf profiles check` tells what a profile needs."
        }
        NoticeKind::Loss => {
            "Totals are kept in the kernel and stay exact; the list of single events has a hole."
        }
        NoticeKind::Inexact => "The rows in question are marked with ~.",
        NoticeKind::Audit => {
            "A walk through the process found other numbers than the ledger's, and the allocator's stand from then on; the row counts such corrections."
        }
        NoticeKind::Gap => "What happened meanwhile is not known.",
    };
    vec![
        text::visible(&notice.text),
        format!("at {}", text::visible(&notice.at)),
        meaning.into(),
    ]
}

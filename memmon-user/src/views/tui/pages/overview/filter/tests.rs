use super::*;
use crate::views::sample;
use crate::views::tui::history::History;

/// The pids of the busy machine that a filter lets through, one for each row.
fn taken(typed: &str) -> Vec<u32> {
    let snapshot = sample::busy();
    let filter: Filter = typed.parse().unwrap_or_else(|e| panic!("{typed}: {e}"));
    let rows = Rows::of(&snapshot, &History::default());
    let taken = rows
        .rows
        .iter()
        .filter(|row| filter.takes(row, &rows, &snapshot));
    taken.map(|row| row.process(&snapshot).pid).collect()
}

#[test]
fn every_kind_of_term() {
    let all = [4011, 4011, 512, 77, 3999, 9000];
    for (typed, expected) in [
        ("", &all[..]),
        ("   ", &all),
        ("python", &[4011, 4011, 3999]),
        ("SERVE.py", &[4011, 4011]),
        ("grace", &[512, 9000]),
        ("9000", &[9000]),
        ("\"conv2d and\"", &[512]),
        ("\"serve.py --model\"", &[4011, 4011]),
        ("user:ada", &[4011, 4011, 3999]),
        ("user:ADA dev:1", &[4011, 3999]),
        ("user:ada,root", &[4011, 4011, 77, 3999]),
        ("user:ad", &[]),
        ("!user:ada", &[512, 77, 9000]),
        ("pid:77,512", &[512, 77]),
        ("dev:0", &[4011, 512]),
        ("dev:39681", &[4011, 3999]),
        ("pool:trace", &[4011]),
        ("pool:l1 !pool:cb", &[512]),
        (">2G", &[4011, 4011, 512]),
        ("<1G", &[3999, 9000]),
        (">4G user:grace", &[512]),
        ("l1>4M", &[4011]),
        ("pool:L1>=4M", &[4011, 512]),
        ("failed>0", &[512]),
        ("live>=800", &[4011]),
        ("peak>5G", &[4011, 512]),
        ("runtime:tt-metal", &[4011, 4011, 512, 3999]),
        ("runtime:cuda", &[]),
        ("cgroup:session-2", &all),
        ("state:exited", &[3999]),
        ("!state:exited cmd:python", &[4011, 4011]),
        ("since:attach", &[77]),
        ("rate>0", &[]),
        ("\"user:ada\"", &[]),
    ] {
        assert_eq!(taken(typed), expected, "{typed}");
    }
}

#[test]
fn what_makes_no_sense_is_said() {
    for (typed, words) in [
        ("usr:ada", "no `usr:`"),
        ("user:", "such as `user:ada`"),
        ("pid:python", "`python` is no pid"),
        ("dev:x", "`x` is no device"),
        ("state:dead", "running and exited"),
        (">lots", "`lots` is no amount"),
        (">", "`` is no amount"),
        ("live>1X", "`1x` is no amount"),
        ("!", "wants something to leave out"),
        ("\"open", "closing"),
        ("a+b>1", "live, allocs"),
    ] {
        let error = typed.parse::<Filter>().expect_err(typed).to_string();
        assert!(error.contains(words), "{typed}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn whatever_is_typed_is_a_filter_or_an_error(typed in ".{0,24}") {
        if let Ok(filter) = typed.parse::<Filter>() {
            let snapshot = sample::troubled();
            let rows = Rows::of(&snapshot, &History::default());
            for row in &rows.rows {
                filter.takes(row, &rows, &snapshot);
            }
        }
    }
}

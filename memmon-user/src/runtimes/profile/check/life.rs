//! Whether the probes of a profile, together, follow an allocation from its begin to its end.

use memmon_ebpf::spec::{Action, reg};

use super::{Check, name, sets};
use crate::runtimes::profile::document::schema::Probe;

impl<'a> Check<'a> {
    fn begins(&self) -> impl Iterator<Item = &'a Probe> + use<'a> {
        self.probes().filter(|probe| probe.action == Action::Begin)
    }

    /// What begins must be able to end.
    pub(super) fn life(&mut self) {
        let first = |action: Action| self.probes().find(|probe| probe.action == action);
        let (begin, commit) = (first(Action::Begin), first(Action::Commit));
        let (fail, free) = (first(Action::Fail), first(Action::Free));
        let alloc = first(Action::Alloc);
        let mut found: Vec<(&Probe, String)> = Vec::new();
        if let Some(begin) = begin
            && commit.is_none()
        {
            found.push((begin, "a `begin` without any `commit` never counts".into()));
        }
        for (end, name) in [(commit, "commit"), (fail, "fail")] {
            if let Some(end) = end
                && begin.is_none()
            {
                found.push((end, format!("a `{name}` without any `begin` never counts")));
            }
        }
        let release = first(Action::Release);
        if let Some(freed) = first(Action::Freed)
            && free.is_none()
            && release.is_none()
        {
            found.push((freed, "a `freed` without any `free` undoes nothing".into()));
        }
        if let Some(free) = free.or(release) {
            if commit.is_none() && alloc.is_none() {
                let text = format!(
                    "a `{}` without any allocation frees nothing",
                    name(free.action)
                );
                found.push((free, text));
            }
            let begin_has_key = self.begins().any(|begin| sets(begin, reg::KEY));
            for probe in self.probes() {
                let lacks = match probe.action {
                    Action::Alloc => !sets(probe, reg::KEY),
                    Action::Commit => !sets(probe, reg::KEY) && !begin_has_key,
                    _ => false,
                };
                if lacks {
                    let text = format!("without `key` \"{}\" could never free it", free.name);
                    found.push((probe, text));
                }
            }
        }
        for probe in self.probes() {
            let lacks = match probe.action {
                Action::Alloc => !sets(probe, reg::REQUESTED),
                Action::Commit => {
                    !sets(probe, reg::REQUESTED)
                        && !self.begins().any(|begin| sets(begin, reg::REQUESTED))
                }
                _ => false,
            };
            if lacks {
                found.push((probe, "needs `requested`: how many bytes is it?".into()));
            }
        }
        for (probe, text) in found {
            let path = [format!("probe \"{}\"", probe.name)];
            self.add(&probe.span, &path, text);
        }
    }
}

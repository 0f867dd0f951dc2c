//! Names of pools and plots: each is told once, and stands for the same thing from then on.

use std::collections::HashMap;

use super::emit::{Emit, NameId};
use crate::{tables::DeviceKey, text};

/// More plots than this are of no use to anybody, and Tracy keeps every name for ever.
const MOST_PLOTS: usize = 2048;
/// Devices × pools.
const MOST_POOLS: usize = 512;
/// What is allocated in pools beyond that.
const OTHER_POOLS: &str = "other pools";

/// In terminal cells; Tracy's windows are no wider.
const WIDEST: usize = 120;

#[derive(Debug, Default)]
pub struct Names {
    pools: HashMap<String, NameId>,
    plots: HashMap<String, NameId>,
    /// Which device goes by a name.
    devices: HashMap<String, DeviceKey>,
    next: NameId,
}

impl Names {
    /// `tt-metal:0`; where another device goes by that name already, with its own serial.
    pub fn device(&mut self, runtime: &str, id: Option<i64>, uid: Option<&str>) -> String {
        let key = match (uid, id) {
            (Some(uid), _) => DeviceKey::Uid(uid.to_owned()),
            (None, Some(id)) => DeviceKey::Id(id),
            (None, None) => DeviceKey::Unknown,
        };
        let name = match id {
            Some(id) => format!("{runtime}:{id}"),
            None => format!("{runtime}:?"),
        };
        if self.devices.len() >= MOST_POOLS
            || *self.devices.entry(name.clone()).or_insert(key.clone()) == key
        {
            return name;
        }
        match uid {
            Some(uid) => format!("{name} ({uid})"),
            None => name,
        }
    }

    pub fn pool(&mut self, name: &str, emits: &mut Vec<Emit>) -> NameId {
        let name = if self.pools.len() < MOST_POOLS || self.pools.contains_key(name) {
            name
        } else {
            OTHER_POOLS
        };
        intern(&mut self.pools, &mut self.next, name, emits)
    }

    /// None where there are too many.
    pub fn plot(&mut self, name: &str, emits: &mut Vec<Emit>) -> Option<NameId> {
        let room = self.plots.len() < MOST_PLOTS || self.plots.contains_key(name);
        room.then(|| intern(&mut self.plots, &mut self.next, name, emits))
    }
}

fn intern(
    known: &mut HashMap<String, NameId>,
    next: &mut NameId,
    name: &str,
    emits: &mut Vec<Emit>,
) -> NameId {
    if let Some(id) = known.get(name) {
        return *id;
    }
    let id = *next;
    *next += 1;
    known.insert(name.to_owned(), id);
    emits.push(Emit::Name {
        id,
        text: text::fit(name, WIDEST, "…"),
    });
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_once() {
        let (mut names, mut emits) = (Names::default(), Vec::new());
        let pool = names.pool("tt-metal:0 DRAM", &mut emits);
        assert_eq!(names.pool("tt-metal:0 DRAM", &mut emits), pool);
        // A plot of the same name is another thing to Tracy.
        assert_ne!(names.plot("tt-metal:0 DRAM", &mut emits), Some(pool));
        assert_eq!(emits.len(), 2);
    }

    #[test]
    fn devices_of_one_id_are_told_apart() {
        let mut names = Names::default();
        assert_eq!(names.device("tt-metal", Some(0), Some("7")), "tt-metal:0");
        assert_eq!(
            names.device("tt-metal", Some(0), Some("8")),
            "tt-metal:0 (8)"
        );
        assert_eq!(names.device("tt-metal", Some(0), Some("7")), "tt-metal:0");
        assert_eq!(names.device("tt-metal", None, None), "tt-metal:?");
    }

    #[test]
    fn there_is_a_bound() {
        let (mut names, mut emits) = (Names::default(), Vec::new());
        let plots: Vec<_> = (0..5000)
            .map(|n| names.plot(&n.to_string(), &mut emits))
            .collect();
        assert_eq!(plots.iter().flatten().count(), MOST_PLOTS);
        let last = names.pool("first", &mut emits);
        for n in 0..5000 {
            names.pool(&n.to_string(), &mut emits);
        }
        assert_eq!(names.pool("first", &mut emits), last);
        assert_eq!(emits.len(), MOST_PLOTS + MOST_POOLS + 1);
    }
}

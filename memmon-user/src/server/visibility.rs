//! What a user sees of others: their numbers, and by default not their command lines, which may hold
//! secrets.

use std::collections::HashSet;

use crate::tables::snapshot::Snapshot;

/// Whose command lines are shown to a user who is not root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Commands {
    /// Everybody's
    All,
    /// The user's own
    #[default]
    Own,
}

/// Whose command lines someone sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    Everything,
    Own(u32),
    Nothing,
}

impl Commands {
    pub fn sight(self, uid: u32) -> Sight {
        match self {
            Self::All => Sight::Everything,
            Self::Own if uid == 0 => Sight::Everything,
            Self::Own => Sight::Own(uid),
        }
    }
}

impl Sight {
    /// Users who run nothing of what is shown see the same.
    pub fn among(self, running: &HashSet<u32>) -> Self {
        match self {
            Self::Own(uid) if !running.contains(&uid) => Self::Nothing,
            sight => sight,
        }
    }

    pub fn sees(self, uid: Option<u32>) -> bool {
        match self {
            Self::Everything => true,
            Self::Own(own) => uid == Some(own),
            Self::Nothing => false,
        }
    }

    pub fn of(self, mut snapshot: Snapshot) -> Snapshot {
        for process in &mut snapshot.processes {
            if !self.sees(process.uid) {
                process.command.clear();
            }
        }
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::snapshot::Process;

    fn commands(sight: Sight) -> Vec<bool> {
        let process = |uid| Process {
            uid,
            command: vec!["train".into(), "--token=secret".into()],
            ..Process::default()
        };
        let snapshot = Snapshot {
            processes: vec![process(Some(0)), process(Some(1000)), process(None)],
            ..Snapshot::default()
        };
        let seen = sight.of(snapshot);
        seen.processes
            .iter()
            .map(|process| !process.command.is_empty())
            .collect()
    }

    #[test]
    fn others_commands_are_hidden() {
        assert_eq!(commands(Commands::Own.sight(0)), [true, true, true]);
        assert_eq!(commands(Commands::Own.sight(1000)), [false, true, false]);
        assert_eq!(commands(Commands::Own.sight(7)), [false, false, false]);
        assert_eq!(commands(Commands::All.sight(7)), [true, true, true]);
        let running = HashSet::from([0, 1000]);
        assert_eq!(Sight::Own(7).among(&running), Sight::Nothing);
        assert_eq!(Sight::Own(1000).among(&running), Sight::Own(1000));
    }
}

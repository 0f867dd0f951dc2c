//! How many clients there may be, in all and of one user: nobody can take all the places.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Connections at one time.
pub const IN_ALL: usize = 256;
/// Of these, for root alone.
pub const FOR_ROOT: usize = 32;
/// Connections of one user who is not root.
pub const OF_ONE: usize = 32;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Full {
    #[error("{OF_ONE} connections of user {0} are open already; end some of these clients")]
    User(u32),
    #[error("all {} connections are taken; try again later, or as root", IN_ALL - FOR_ROOT)]
    All,
}

/// The clients that are connected.
#[derive(Clone, Debug, Default)]
pub struct Guests(Arc<Mutex<HashMap<u32, usize>>>);

/// A client's place, which is free again when this is dropped.
#[derive(Debug)]
pub struct Guest {
    guests: Guests,
    uid: u32,
}

impl Guests {
    pub fn admit(&self, uid: u32) -> Result<Guest, Full> {
        let mut counts = self.counts();
        let all: usize = counts.values().sum();
        let own = counts.entry(uid).or_default();
        if uid == 0 {
            if all >= IN_ALL {
                return Err(Full::All);
            }
        } else if *own >= OF_ONE {
            return Err(Full::User(uid));
        } else if all >= IN_ALL - FOR_ROOT {
            return Err(Full::All);
        }
        *own += 1;
        Ok(Guest {
            guests: self.clone(),
            uid,
        })
    }

    pub fn count(&self) -> usize {
        self.counts().values().sum()
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.guests.counts();
        if let Some(count) = counts.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_the_places() {
        let guests = Guests::default();
        let mut inside: Vec<_> = (0..OF_ONE).map(|_| guests.admit(1000).unwrap()).collect();
        assert_eq!(guests.admit(1000).unwrap_err(), Full::User(1000));
        for uid in 1001.. {
            match guests.admit(uid) {
                Ok(guest) => inside.push(guest),
                Err(full) => {
                    assert_eq!(full, Full::All);
                    break;
                }
            }
        }
        assert_eq!(guests.count(), IN_ALL - FOR_ROOT);
        let root = guests.admit(0).unwrap();
        drop(inside);
        assert_eq!(guests.count(), 1);
        drop(root);
        assert!(guests.counts().is_empty(), "a user who left costs nothing");
    }
}

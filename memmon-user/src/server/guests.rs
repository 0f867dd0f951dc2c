//! How many clients there may be, in all and of one user: nobody can take all the places.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// What they are called.
    pub what: &'static str,
    pub in_all: usize,
    /// Of these, for root alone.
    pub for_root: usize,
    /// Of one user who is not root.
    pub of_one: usize,
}

pub const CONNECTIONS: Places = Places {
    what: "connections",
    in_all: 256,
    for_root: 32,
    of_one: 32,
};

pub const FOLLOWERS: Places = Places {
    what: "followers",
    in_all: 16,
    for_root: 8,
    of_one: 2,
};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Full {
    #[error("user {uid} has {count} {what} already; end some of these clients")]
    User {
        uid: u32,
        count: usize,
        what: &'static str,
    },
    #[error("there are {count} {what} already; try again later, or as root")]
    All { count: usize, what: &'static str },
}

/// Who is there.
#[derive(Clone, Debug)]
pub struct Guests {
    places: Places,
    counts: Arc<Mutex<HashMap<u32, usize>>>,
}

/// A client's place, which is free again when this is dropped.
#[derive(Debug)]
pub struct Guest {
    guests: Guests,
    uid: u32,
}

impl Guests {
    pub fn new(places: Places) -> Self {
        Self {
            places,
            counts: Arc::default(),
        }
    }

    pub fn admit(&self, uid: u32) -> Result<Guest, Full> {
        let Places {
            what,
            in_all,
            for_root,
            of_one,
        } = self.places;
        let mut counts = self.counts();
        let count: usize = counts.values().sum();
        let own = counts.get(&uid).copied().unwrap_or_default();
        let (open, of_one) = match uid {
            0 => (in_all, in_all),
            _ => (in_all - for_root, of_one),
        };
        if count >= open {
            return Err(Full::All { count, what });
        }
        if own >= of_one {
            return Err(Full::User {
                uid,
                count: own,
                what,
            });
        }
        counts.insert(uid, own + 1);
        Ok(Guest {
            guests: self.clone(),
            uid,
        })
    }

    pub fn count(&self) -> usize {
        self.counts().values().sum()
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
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
        let Places {
            in_all,
            for_root,
            of_one,
            what: _,
        } = CONNECTIONS;
        let guests = Guests::new(CONNECTIONS);
        let mut inside: Vec<_> = (0..of_one).map(|_| guests.admit(1000).unwrap()).collect();
        let refusal = guests.admit(1000).unwrap_err();
        assert!(matches!(refusal, Full::User { uid: 1000, .. }), "{refusal}");
        for uid in 1001.. {
            match guests.admit(uid) {
                Ok(guest) => inside.push(guest),
                Err(full) => {
                    assert!(matches!(full, Full::All { .. }), "{full}");
                    break;
                }
            }
        }
        assert_eq!(guests.count(), in_all - for_root);
        let root: Vec<_> = std::iter::from_fn(|| guests.admit(0).ok()).collect();
        assert_eq!(root.len(), for_root);
        drop((inside, root));
        assert!(guests.counts().is_empty(), "a user who left costs nothing");
    }
}

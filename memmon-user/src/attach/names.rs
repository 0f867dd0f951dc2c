//! Names of functions, as numbers: the kernel notes by which one an allocation was made.

use std::sync::{Mutex, PoisonError};

/// As many are told apart. Hardly more are probed in all of a runtime's libraries.
const MOST: usize = 4096;

static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From 1; 0 where there are too many.
pub fn number(name: &str) -> u32 {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = names.iter().position(|known| known == name);
    let index = match known {
        Some(index) => index,
        None if names.len() >= MOST => return 0,
        None => {
            names.push(name.to_owned());
            names.len() - 1
        }
    };
    u32::try_from(index + 1).unwrap_or(0)
}

/// The name of that number, given out by this process.
pub fn name(number: u32) -> Option<String> {
    let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let index = usize::try_from(number.checked_sub(1)?).ok()?;
    names.get(index).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_number() {
        let one = number("acme_alloc");
        assert_eq!(number("acme_alloc"), one);
        assert_ne!(number("acme_alloc_host"), one);
        assert_eq!(name(one).as_deref(), Some("acme_alloc"));
        assert_eq!(name(0), None);
    }
}

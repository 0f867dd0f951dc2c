//! The heap of a program that runs for weeks.

use std::time::Duration;

const TRIM_EVERY: Duration = Duration::from_secs(10);

/// Keeps freed memory from piling up. Every refresh makes and drops copies of the tables, on
/// several threads: by its own rules glibc would have up to eight arenas a processor, and in each
/// of them keep for itself what such a copy took. Called while there is one thread.
pub fn keep_small() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (libc::M_ARENA_MAX, 2),
        // Given, these two no longer grow with what was freed last.
        (libc::M_MMAP_THRESHOLD, 128 << 10),
        (libc::M_TRIM_THRESHOLD, 256 << 10),
    ] {
        // SAFETY: it takes two numbers. Where it knows better, all stays as it is.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Hands pages back that hold nothing, for ever. A list of what is live or a recording's state is a million pieces for
/// a moment; where something that stays was put between them, glibc keeps all of its pages.
pub async fn trim() {
    let mut every = tokio::time::interval(TRIM_EVERY);
    loop {
        every.tick().await;
        #[cfg(target_env = "gnu")]
        // SAFETY: it takes its own locks, and changes nothing that is in use.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

//! Links on their way out. Closing one waits until no CPU can be in its program any more: tens of
//! milliseconds on an idle machine, seconds on a busy one. So each is closed by a thread of its own,
//! side by side, and nobody waits for it who has something else to do.

use std::thread::JoinHandle;

/// What is being closed, with the specs that its probes may run until then.
#[derive(Debug, Default)]
pub struct Closing {
    threads: Vec<(Vec<JoinHandle<()>>, Vec<u32>)>,
}

impl Closing {
    /// Closes the links by dropping them. `specs` are theirs.
    pub fn begin<L: Send + 'static>(&mut self, links: Vec<L>, specs: Vec<u32>) {
        let threads = links.into_iter().filter_map(|link| {
            std::thread::Builder::new()
                .name("closing".to_owned())
                // Where no thread can be had, the link is closed here and now.
                .spawn(move || drop(link))
                .ok()
        });
        self.threads.push((threads.collect(), specs));
    }

    /// Specs that no probe can run any more.
    pub fn closed(&mut self) -> Vec<u32> {
        let mut free = Vec::new();
        self.threads.retain_mut(|(threads, specs)| {
            let is_closing = threads.iter().any(|thread| !thread.is_finished());
            if !is_closing {
                free.append(specs);
            }
            is_closing
        });
        free
    }

    /// Waits until everything is closed.
    pub fn finish(&mut self) {
        for (threads, _) in self.threads.drain(..) {
            for thread in threads {
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc, Barrier,
            atomic::{AtomicUsize, Ordering},
        },
        time::{Duration, Instant},
    };

    use super::*;

    /// A link that takes as long to close as somebody holds the other end.
    struct Slow(Arc<Barrier>, Arc<AtomicUsize>);

    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.wait();
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn nobody_waits_and_no_spec_is_used_again_too_early() {
        let barrier = Arc::new(Barrier::new(3));
        let dropped = Arc::new(AtomicUsize::new(0));
        let link = || Slow(barrier.clone(), dropped.clone());
        let mut closing = Closing::default();
        closing.begin(vec![link(), link()], vec![7, 8]);
        assert!(closing.closed().is_empty());
        barrier.wait();
        let started = Instant::now();
        let mut free = closing.closed();
        while free.is_empty() && started.elapsed() < Duration::from_secs(60) {
            std::thread::yield_now();
            free = closing.closed();
        }
        assert_eq!((free, dropped.load(Ordering::SeqCst)), (vec![7, 8], 2));
        closing.finish();
        // What has no links at all is free at once.
        closing.begin(Vec::<Slow>::new(), vec![9]);
        assert_eq!(closing.closed(), [9]);
    }
}

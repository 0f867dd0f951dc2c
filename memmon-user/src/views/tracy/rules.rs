//! A stand-in for Tracy in tests: it panics where the profiler would end the connection.

use std::collections::BTreeMap;

use super::emit::{Emit, NameId, Severity};

#[derive(Debug, Default)]
pub struct Rules {
    names: BTreeMap<NameId, String>,
    live: BTreeMap<(NameId, u64), u64>,
    plots: BTreeMap<NameId, i64>,
    pub messages: Vec<(Severity, String)>,
    pub frames: usize,
    pub allocations: usize,
    pub frees: usize,
}

impl Rules {
    pub fn take(&mut self, emits: Vec<Emit>) {
        for emit in emits {
            match emit {
                Emit::Name { id, text } => {
                    assert!(!self.names.values().any(|known| *known == text), "{text}");
                    assert_eq!(self.names.insert(id, text), None, "a name changed");
                }
                Emit::Alloc {
                    pool,
                    pointer,
                    size,
                } => {
                    assert!(self.names.contains_key(&pool), "a pool without a name");
                    let before = self.live.insert((pool, pointer), size);
                    assert_eq!(before, None, "{pointer:#x} was allocated twice");
                    self.allocations += 1;
                }
                Emit::Free { pool, pointer } => {
                    let freed = self.live.remove(&(pool, pointer));
                    assert!(freed.is_some(), "{pointer:#x} was freed and did not stand");
                    self.frees += 1;
                }
                Emit::Plot { plot, bytes } => {
                    assert!(self.names.contains_key(&plot), "a plot without a name");
                    self.plots.insert(plot, bytes);
                }
                Emit::Message { severity, text } => self.messages.push((severity, text)),
                Emit::Frame => self.frames += 1,
            }
        }
    }

    /// What stands: the pool's name, the address without the bits that tell blocks apart, the size.
    pub fn blocks(&self) -> Vec<(&str, u64, u64)> {
        let mut blocks: Vec<_> = self
            .live
            .iter()
            .map(|((pool, pointer), size)| {
                (self.names[pool].as_str(), pointer & ((1 << 48) - 1), *size)
            })
            .collect();
        blocks.sort_unstable();
        blocks
    }

    pub fn pointers(&self, pool: &str) -> Vec<u64> {
        let of_pool = self.live.keys().filter(|(id, _)| self.names[id] == pool);
        of_pool.map(|(_, pointer)| *pointer).collect()
    }

    /// Plots that are not at 0.
    pub fn plots(&self) -> Vec<(&str, i64)> {
        let mut plots: Vec<_> = self
            .plots
            .iter()
            .map(|(plot, bytes)| (self.names[plot].as_str(), *bytes))
            .filter(|(_, bytes)| *bytes != 0)
            .collect();
        plots.sort_unstable();
        plots
    }
}

//! What the profiler makes of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    Query, Question,
    stream::{Item, kind, u64_at},
};

#[derive(Debug, Default)]
pub struct Books {
    /// By the addresses of their names.
    pools: BTreeMap<u64, Pool>,
    plots: BTreeMap<u64, Vec<f64>>,
    pub messages: Vec<Message>,
    pub frames: usize,
    /// The client said that this was all.
    pub ended: bool,
    /// Kinds of items that came and mean nothing here.
    pub others: BTreeSet<u8>,
    strings: BTreeMap<u64, String>,
    plot_names: BTreeMap<u64, String>,
    plot_formats: BTreeMap<u64, u8>,
    asked: BTreeSet<(u8, u64)>,
    mem_name: Option<u64>,
    single: Option<Vec<u8>>,
    threads: BTreeSet<u32>,
}

/// Live allocations by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    pub live: BTreeMap<u64, u64>,
    pub allocations: usize,
    pub frees: usize,
}

impl Pool {
    pub fn bytes(&self) -> u64 {
        self.live.values().sum()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub severity: u8,
    pub text: String,
}

impl Books {
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        let mut found = self
            .pools
            .iter()
            .filter(|(pointer, _)| self.strings.get(pointer).is_some_and(|known| known == name));
        let (_, pool) = found.next()?;
        // One stable pointer per name.
        assert!(found.next().is_none(), "two pools are called {name}");
        Some(pool)
    }

    pub fn pool_names(&self) -> Vec<&str> {
        self.pools
            .keys()
            .filter_map(|pointer| self.strings.get(pointer))
            .map(String::as_str)
            .collect()
    }

    /// Names and latest values.
    pub fn plots(&self) -> BTreeMap<&str, f64> {
        let named = self.plots.iter().filter_map(|(pointer, points)| {
            Some((self.plot_names.get(pointer)?.as_str(), *points.last()?))
        });
        let plots: Vec<_> = named.collect();
        let by_name: BTreeMap<&str, f64> = plots.iter().copied().collect();
        assert_eq!(
            by_name.len(),
            plots.len(),
            "two plots have one name: {plots:?}"
        );
        by_name
    }

    /// Whether all plots are drawn as bytes.
    pub fn plots_are_bytes(&self) -> bool {
        self.plots
            .keys()
            .all(|plot| self.plot_formats.get(plot) == Some(&1))
    }

    pub fn unknown_names(&self) -> usize {
        let pools = self
            .pools
            .keys()
            .filter(|pointer| !self.strings.contains_key(pointer))
            .count();
        let plots = self
            .plots
            .keys()
            .filter(|pointer| !self.plot_names.contains_key(pointer))
            .count();
        pools + plots
    }

    /// The questions that it raises.
    pub fn enter(&mut self, item: &Item) -> Result<Vec<Query>> {
        let Item { kind, fields, text } = item;
        let mut questions = Vec::new();
        match *kind {
            kind::MEM_NAME => {
                ensure!(self.mem_name.is_none(), "two names for one memory event");
                self.mem_name = Some(u64_at(fields, 0));
            }
            kind::MEM_ALLOC | kind::MEM_FREE => bail!("memory of no pool"),
            kind::MEM_ALLOC_NAMED => {
                let (name, address) = (self.pool_of_event()?, u64_at(fields, 12));
                let mut size = [0; 8];
                size[..6].copy_from_slice(&fields[20..26]);
                let pool = self.pools.entry(name).or_default();
                let before = pool.live.insert(address, u64::from_le_bytes(size));
                ensure!(before.is_none(), "{address:#x} was allocated twice");
                pool.allocations += 1;
                questions.extend(self.once(Question::String, name));
            }
            kind::MEM_FREE_NAMED => {
                let (name, address) = (self.pool_of_event()?, u64_at(fields, 12));
                let pool = self.pools.entry(name).or_default();
                let freed = pool.live.remove(&address);
                ensure!(freed.is_some(), "{address:#x} was freed and did not stand");
                pool.frees += 1;
                questions.extend(self.once(Question::String, name));
            }
            kind::PLOT_INT | kind::PLOT_FLOAT | kind::PLOT_DOUBLE => {
                let name = u64_at(fields, 0);
                let value = point(*kind, fields);
                self.plots.entry(name).or_default().push(value);
                questions.extend(self.once(Question::PlotName, name));
            }
            kind::PLOT_CONFIG => {
                let name = u64_at(fields, 0);
                self.plot_formats.insert(name, fields[8]);
            }
            kind::FRAME_MARK => {
                ensure!(u64_at(fields, 8) == 0, "a frame set with a name");
                self.frames += 1;
            }
            kind::SINGLE_STRING | kind::SINGLE_STRING_8 => self.single = Some(text.clone()),
            kind::MESSAGE | kind::MESSAGE_COLOR => {
                let text = self.single.take().context("a message without text")?;
                let metadata = fields.last().copied().unwrap_or_default();
                self.messages.push(Message {
                    severity: metadata >> 4,
                    text: String::from_utf8(text).context("a message")?,
                });
            }
            kind::STRING_DATA => {
                self.strings
                    .insert(u64_at(fields, 0), String::from_utf8(text.clone())?);
            }
            kind::PLOT_NAME => {
                self.plot_names
                    .insert(u64_at(fields, 0), String::from_utf8(text.clone())?);
            }
            kind::THREAD_CONTEXT => {
                let thread = u32::from_le_bytes([fields[0], fields[1], fields[2], fields[3]]);
                if self.threads.insert(thread) {
                    questions.push((Question::ThreadString, u64::from(thread)).into());
                }
            }
            kind::TERMINATE => self.ended = true,
            kind::CRASH => bail!("the client crashed"),
            kind::KEEP_ALIVE | kind::THREAD_NAME | kind::CPU_TOPOLOGY => {}
            other => {
                self.others.insert(other);
            }
        }
        Ok(questions)
    }

    fn pool_of_event(&mut self) -> Result<u64> {
        self.mem_name
            .take()
            .context("a memory event without the name of its pool")
    }

    fn once(&mut self, kind: Question, pointer: u64) -> Option<Query> {
        self.asked
            .insert((kind as u8, pointer))
            .then_some(Query { kind, pointer })
    }
}

/// The value of a point.
fn point(kind: u8, fields: &[u8]) -> f64 {
    match kind {
        kind::PLOT_INT => u64_at(fields, 16).cast_signed() as f64,
        kind::PLOT_FLOAT => f64::from(f32::from_le_bytes([
            fields[16], fields[17], fields[18], fields[19],
        ])),
        _ => f64::from_bits(u64_at(fields, 16)),
    }
}

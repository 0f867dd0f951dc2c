//! Fields of one object, read together: a read of the target's memory costs ten times what other steps cost.

use memmon_ebpf::spec::{BLOCK_WORDS, width};

use super::{
    graph::{Graph, Id, Value},
    steps::Step,
};

/// One read of several fields.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub base: Id,
    /// Where it begins, from `base`: at its first field.
    pub offset: i32,
    /// Up to the end of its last field.
    pub bytes: u8,
    pub fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub id: Id,
    pub width: u8,
    /// Bytes from the beginning of the block.
    at: u8,
}

impl Field {
    /// The word of the block that it lies in, and by how many bits to shift that.
    pub fn place(&self) -> (u8, i32) {
        (self.at / 8, i32::from(self.at % 8) * 8)
    }
}

const MOST_BYTES: i64 = 8 * BLOCK_WORDS as i64;

/// The steps, with loads from one base made one step, where the first of them stood.
///
/// A block begins and ends with fields that are read in any case, and is much shorter than a page. So it can be read
/// exactly when they can. What stands behind a condition is not read before it.
pub(super) fn gather(graph: &Graph, steps: &[Step]) -> Vec<Step> {
    let is_condition =
        |step: &Step| matches!(step, Step::Require(_) | Step::Succeed(_) | Step::Error(_));
    steps
        .chunk_by(|before, _| !is_condition(before))
        .flat_map(|part| gather_in(graph, part))
        .collect()
}

fn gather_in(graph: &Graph, steps: &[Step]) -> Vec<Step> {
    let blocks = blocks(graph, steps);
    let block_of = |id: Id| {
        let has = |block: &Block| block.fields.iter().any(|field| field.id == id);
        blocks.iter().position(has)
    };
    let mut done = vec![false; blocks.len()];
    let mut gathered = Vec::with_capacity(steps.len());
    for step in steps {
        let index = match step {
            Step::Compute(id) => block_of(*id),
            _ => None,
        };
        match index.and_then(|index| Some((blocks.get(index)?, done.get_mut(index)?))) {
            Some((block, done)) => {
                if !std::mem::replace(done, true) {
                    gathered.push(Step::Read(block.clone()));
                }
            }
            None => gathered.push(step.clone()),
        }
    }
    gathered
}

struct Load {
    id: Id,
    base: Id,
    offset: i32,
    width: u8,
}

impl Load {
    fn end(&self) -> i64 {
        i64::from(self.offset) + i64::from(self.width & !width::SIGNED)
    }
}

/// Only of two fields and more.
fn blocks(graph: &Graph, steps: &[Step]) -> Vec<Block> {
    let mut loads: Vec<Load> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Compute(id) => match graph.get(*id) {
                Value::Load(width, base, offset) => Some(Load {
                    id: *id,
                    base,
                    offset,
                    width,
                }),
                _ => None,
            },
            _ => None,
        })
        .collect();
    loads.sort_by_key(|load| (load.base, load.offset, load.end()));
    let mut blocks: Vec<Block> = Vec::new();
    for load in loads {
        if let Some(block) = blocks.last_mut()
            && block.base == load.base
            && let Some((field, bytes)) = fits(block, &load)
        {
            block.bytes = bytes;
            block.fields.push(field);
            continue;
        }
        blocks.push(Block {
            base: load.base,
            offset: load.offset,
            bytes: load.width & !width::SIGNED,
            fields: vec![Field {
                id: load.id,
                width: load.width,
                at: 0,
            }],
        });
    }
    blocks.retain(|block| block.fields.len() > 1);
    blocks
}

/// The load as a field of the block, and the block's size with it.
fn fits(block: &Block, load: &Load) -> Option<(Field, u8)> {
    let begin = i64::from(block.offset);
    let (at, bytes) = (i64::from(load.offset) - begin, load.end() - begin);
    // In one of its words.
    let whole = at / 8 == (bytes - 1) / 8;
    if !whole || bytes > MOST_BYTES {
        return None;
    }
    let field = Field {
        id: load.id,
        width: load.width,
        at: u8::try_from(at).ok()?,
    };
    Some((field, block.bytes.max(u8::try_from(bytes).ok()?)))
}

//! What is made of a library's content: its layout, and where its probes go. Containers each have a copy of the same
//! library; it is gone through once.

use std::{fs::File, sync::Arc};

use super::runtimes::{Known, Runtimes};
use crate::{
    attach::{kernel::Point, plan},
    elf::{self, Reads},
    runtimes::resolver::{Model, Understood},
};

/// What one runtime makes of it.
#[derive(Clone)]
pub struct Understanding {
    pub known: Known,
    pub basis: Option<&'static str>,
    pub model: Option<Arc<dyn Model>>,
    pub points: Vec<Point>,
    pub problem: Option<String>,
}

/// Contents that are remembered. As many releases are hardly ever used side by side.
const REMEMBERED: usize = 32;

/// The contents that were gone through, the latest last.
#[derive(Default)]
pub struct Understandings {
    known: Vec<Content>,
}

struct Content {
    /// Profiles go by these.
    name: String,
    build_id: Option<String>,
    /// What all follows from. Build ids may lie; this was compared.
    reads: Reads,
    understood: Vec<Understanding>,
}

impl Understandings {
    pub fn of(
        &mut self,
        runtimes: &Runtimes,
        name: &str,
        build_id: Option<&str>,
        library: &elf::Library,
        file: &File,
    ) -> Vec<Understanding> {
        let known = self.known.iter().position(|content| {
            content.name == name
                && content.build_id.as_deref() == build_id
                && content.reads.hold_for(file)
        });
        if let Some(content) = known.map(|index| self.known.remove(index)) {
            let understood = content.understood.clone();
            self.known.push(content);
            return understood;
        }
        let understood: Vec<Understanding> = runtimes
            .of(name, build_id)
            .into_iter()
            .map(|known| understand(runtimes, known, library))
            .collect();
        if let Some(reads) = library.reads() {
            if self.known.len() >= REMEMBERED {
                self.known.remove(0);
            }
            self.known.push(Content {
                name: name.to_owned(),
                build_id: build_id.map(str::to_owned),
                reads,
                understood: understood.clone(),
            });
        }
        understood
    }
}

impl Understanding {
    pub fn failed(known: Known, problem: String) -> Self {
        Self {
            known,
            basis: None,
            model: None,
            points: Vec::new(),
            problem: Some(problem),
        }
    }
}

fn understand(runtimes: &Runtimes, known: Known, library: &elf::Library) -> Understanding {
    let understood: Understood = match runtimes.understand(known, library) {
        Ok(understood) => understood,
        Err(problem) => return Understanding::failed(known, problem),
    };
    let points = runtimes
        .compile(known, &understood)
        .and_then(|probes| plan::points(library, &probes));
    match points {
        Ok(points) => Understanding {
            known,
            basis: Some(understood.basis),
            model: understood.model,
            points,
            problem: None,
        },
        Err(problem) => Understanding::failed(known, problem),
    }
}

//! What one goes to in a recording: failures, processes that ended holding memory, notices.

use super::{
    cursor::Place,
    format::{FrameKind, flag},
    reader::{ReadError, Recording},
};
use crate::tables::Fact;

impl Fact {
    pub fn is_incident(&self) -> bool {
        matches!(self, Self::Failure(_) | Self::Ending(_) | Self::Notice(_))
    }
}

/// An incident, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    pub place: Place,
    pub fact: Fact,
}

impl Recording {
    /// The first incident from a place on.
    pub fn incident_from(&self, place: Place) -> Result<Option<Incident>, ReadError> {
        for frame in place.frame..self.frames().len() {
            let found = self
                .incidents_of(frame)?
                .into_iter()
                .find(|incident| incident.place >= place);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The last incident before a place.
    pub fn incident_before(&self, place: Place) -> Result<Option<Incident>, ReadError> {
        for frame in (0..self.frames().len().min(place.frame + 1)).rev() {
            let found = self
                .incidents_of(frame)?
                .into_iter()
                .rfind(|incident| incident.place < place);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn incidents_of(&self, at: usize) -> Result<Vec<Incident>, ReadError> {
        let Some(frame) = self.frames().get(at) else {
            return Ok(Vec::new());
        };
        let header = &frame.header;
        if header.kind != FrameKind::Batches || header.flags & flag::INCIDENTS == 0 {
            return Ok(Vec::new());
        }
        let batches = self.load(frame)?;
        let facts = batches.into_iter().enumerate().flat_map(|(batch, facts)| {
            let facts = facts.facts.into_iter().enumerate();
            facts.map(move |(fact, it)| (batch, fact, it))
        });
        Ok(facts
            .filter(|(_, _, fact)| fact.is_incident())
            .map(|(batch, place, fact)| Incident {
                place: Place {
                    frame: at,
                    batch,
                    fact: place,
                },
                fact,
            })
            .collect())
    }
}

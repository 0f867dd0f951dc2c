//! What daemon and client say to each other, and how it lies on the wire: a length (four bytes, big
//! endian) and that many bytes of JSON.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio_util::codec::LengthDelimitedCodec;

use crate::tables::{
    Batch, Filter,
    audit::Report,
    live::{LiveAsk, LiveList},
    snapshot::Snapshot,
};

/// The version of these messages. It grows when what stands in `docs/protocol.md` changes its
/// meaning; new wishes and new fields are additions, and leave it as it is.
pub const PROTOCOL: u32 = 1;

/// The longest message that a daemon takes, in bytes.
pub const LONGEST_ASK: usize = 64 << 10;
/// The longest message that a client takes, in bytes.
pub const LONGEST_ANSWER: usize = 256 << 20;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    pub protocol: u32,
    pub wish: Wish,
    #[serde(default)]
    pub filter: Filter,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// One snapshot, which includes everything that had happened when this was asked.
    Snapshot,
    /// A snapshot now, and one every so often from then on.
    Watch { refresh_ms: u64 },
    /// The live allocations, as they are now.
    Live(LiveAsk),
    /// The whole state, then everything that is told to the tables.
    Follow,
    /// The rows of these processes (of all where there is none) compared with the allocators' own
    /// numbers.
    Audit {
        #[serde(default)]
        pids: Vec<u32>,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Snapshot(Arc<Snapshot>),
    /// None: not now, for too many ask.
    Live(Option<LiveList>),
    Batch(Arc<Batch>),
    /// None: not now, for too many ask.
    Audit(Option<Report>),
    Error(String),
}

/// Why a message is not understood, in words for whoever sent it.
#[derive(Debug, thiserror::Error)]
pub enum Misunderstood {
    #[error(
        "this daemon speaks protocol {PROTOCOL}, the client {0}; use a client of the daemon's version"
    )]
    Protocol(u32),
    #[error("not understood: {0}; use a client of the daemon's version")]
    Strange(#[from] serde_json::Error),
}

impl Ask {
    pub fn new(wish: Wish, filter: Filter) -> Self {
        Self {
            protocol: PROTOCOL,
            wish,
            filter,
        }
    }

    /// The version is looked at first: what a newer client wishes need not be known here.
    pub fn read(message: &[u8]) -> Result<Self, Misunderstood> {
        #[derive(Deserialize)]
        struct Version {
            protocol: u32,
        }
        let Version { protocol } = serde_json::from_slice(message)?;
        if protocol != PROTOCOL {
            return Err(Misunderstood::Protocol(protocol));
        }
        Ok(serde_json::from_slice(message)?)
    }
}

/// The message with its length before it, ready to be written.
pub fn frame(message: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    use serde::ser::Error as _;
    let mut text = vec![0; size_of::<u32>()];
    serde_json::to_writer(&mut text, message)?;
    let length = text.len() - size_of::<u32>();
    let prefix = u32::try_from(length)
        .ok()
        .filter(|_| length <= LONGEST_ANSWER)
        .ok_or_else(|| serde_json::Error::custom("it is too long"))?;
    text[..size_of::<u32>()].copy_from_slice(&prefix.to_be_bytes());
    Ok(text.into())
}

/// Takes messages apart again.
pub fn codec(longest: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .max_frame_length(longest)
        .new_codec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_document_shows_is_understood() {
        let document = include_str!("../../../docs/protocol.md");
        let asks: Vec<&str> = document
            .lines()
            .filter(|line| line.starts_with("{\"protocol\""))
            .collect();
        assert!(asks.len() >= 2, "{asks:?}");
        for ask in asks {
            Ask::read(ask.as_bytes()).unwrap_or_else(|error| panic!("{ask}: {error}"));
        }
    }

    #[test]
    fn a_newer_client_is_refused_in_words() {
        let refusal = Ask::read(br#"{"protocol": 2, "wish": {"dance": {}}}"#).unwrap_err();
        assert!(
            refusal.to_string().contains("protocol 1, the client 2"),
            "{refusal}"
        );
        let refusal = Ask::read(br#"{"protocol": 1, "wish": "dance"}"#).unwrap_err();
        assert!(refusal.to_string().contains("`dance`"), "{refusal}");
    }

    #[test]
    fn a_frame_is_what_the_codec_takes_apart() {
        use tokio_util::codec::Decoder as _;
        let framed = frame(&Answer::Error("no".into())).unwrap();
        let mut buffer = bytes::BytesMut::from(&framed[..]);
        let message = codec(LONGEST_ANSWER).decode(&mut buffer).unwrap().unwrap();
        assert_eq!(&message[..], br#"{"error":"no"}"#);
        assert!(buffer.is_empty());
    }
}

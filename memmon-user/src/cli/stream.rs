//! A plain stream of snapshots, for pipes, files and programs.

use std::process::ExitCode;

use tokio::sync::watch::error::RecvError;

use super::{
    args::Watch,
    exit::Failure,
    watch::{Ends, Links, Snapshots},
};
use crate::{
    server::Link,
    views::{
        output::{Sink, Written},
        snapshot::{self, Options},
    },
};

pub struct Stream {
    snapshots: Snapshots,
    link: Option<Links>,
    /// It was said that the daemon is gone.
    lost: bool,
}

impl Stream {
    pub fn new(snapshots: Snapshots, link: Option<Links>) -> Self {
        Self {
            snapshots,
            link,
            lost: false,
        }
    }

    pub async fn run(mut self, mut sink: Sink, args: &Watch) -> Result<ExitCode, Failure> {
        let mut stream = snapshot::Stream::new(
            args.output.format.unwrap_or_default(),
            Options::default(),
            sink.continues(),
        );
        let mut ends = Ends::new()?;
        loop {
            let snapshot = self.snapshots.borrow_and_update().clone();
            let text = stream.render(&snapshot)?;
            if let Written::ReaderGone = sink.write(&text)? {
                break;
            }
            tokio::select! {
                changed = self.changed() => if changed.is_err() {
                    return Err(Failure::new("the observation ended"));
                },
                () = ends.wait() => break,
            }
        }
        sink.finish()?;
        Ok(ExitCode::SUCCESS)
    }

    /// Waits for the next snapshot, and says meanwhile what becomes of the daemon.
    async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            tokio::select! {
                biased;
                Some(link) = news(self.link.as_mut()) => self.tell(link),
                changed = self.snapshots.changed() => return changed,
            }
        }
    }

    fn tell(&mut self, link: Link) {
        match link {
            Link::Lost { .. } if !self.lost => {
                eprintln!("memmon-ebpf: the daemon went away; waiting until one is there again");
                self.lost = true;
            }
            Link::Connected if self.lost => {
                eprintln!("memmon-ebpf: a daemon is there again");
                self.lost = false;
            }
            _ => {}
        }
    }
}

async fn news(link: Option<&mut Links>) -> Option<Link> {
    let link = link?;
    link.changed().await.ok()?;
    Some(*link.borrow_and_update())
}

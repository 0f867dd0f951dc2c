//! One connection of a scraper without a port, for `tests/fuzz`.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
    sync::mpsc,
};

use super::{listen::connection, scrape::Scrapes};
use crate::{observe::Request, tables::snapshot::Snapshot};

/// What is answered to these bytes.
pub async fn exchange(bytes: &[u8]) -> Vec<u8> {
    let (mut scraper, stream) = duplex(1 << 20);
    let (requests, mut asked) = mpsc::channel::<Request>(1);
    let scrapes = Arc::new(Scrapes::new(requests, 10));
    let mut answer = Vec::new();
    let asking = async {
        let _ = scraper.write_all(bytes).await;
        let _ = scraper.shutdown().await;
        let _ = scraper.read_to_end(&mut answer).await;
    };
    let observing = async {
        while let Some(request) = asked.recv().await {
            let _ = request.reply.send(Snapshot::default());
        }
    };
    tokio::join!(asking, connection(stream, scrapes), observing);
    answer
}

//! A client with a hostile daemon.
use std::{cell::LazyCell, time::Duration};

use crate::views;
use memmon::{
    server::{Client, ClientError},
    tables::Filter,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
    runtime::{Builder, Runtime},
    time::timeout,
};

struct Daemon {
    runtime: Runtime,
    folder: tempfile::TempDir,
    listener: UnixListener,
}

thread_local! {
    static DAEMON: LazyCell<Daemon> = LazyCell::new(|| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let inside = runtime.enter();
        let listener = UnixListener::bind(folder.path().join("socket")).expect("a socket");
        drop(inside);
        Daemon { runtime, folder, listener }
    });
}

async fn answer(listener: &UnixListener, data: &[u8]) {
    let Ok((mut stream, _)) = listener.accept().await else {
        return;
    };
    let mut question = [0; 1024];
    let _ = stream.read(&mut question).await;
    let _ = stream.write_all(data).await;
}

async fn ask(daemon: &Daemon, data: &[u8], live: bool) -> Result<(), ClientError> {
    let path = daemon.folder.path().join("socket");
    let mut client = Client::connect(&path, Duration::ZERO).await?;
    let asking = async {
        if live {
            client.live(Default::default()).await.map(|_| None)
        } else {
            client.snapshot(Filter::default()).await.map(Some)
        }
    };
    let both = async { tokio::join!(asking, answer(&daemon.listener, data)) };
    let (answer, ()) = timeout(Duration::from_secs(5), both)
        .await
        .expect("an answer or an error");
    if let Some(snapshot) = answer? {
        views::show(&snapshot);
    }
    Ok(())
}

pub fn run(data: &[u8]) {
    let [how, text @ ..] = data else { return };
    let mut bytes = Vec::new();
    // A length that is right, or none.
    if how & 2 == 0 {
        bytes.extend((text.len() as u32).to_be_bytes());
    }
    bytes.extend(text);
    DAEMON.with(|daemon| {
        if let Err(error) = daemon.runtime.block_on(ask(daemon, &bytes, how & 1 != 0)) {
            assert!(!error.to_string().is_empty());
        }
    });
}

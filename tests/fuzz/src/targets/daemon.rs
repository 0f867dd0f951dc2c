//! A daemon with a hostile client.
use std::{cell::LazyCell, sync::Arc, time::Duration};

use memmon::{
    server::{
        Access, Claim, Commands, Daemon, Sources,
        protocol::{Answer, LONGEST_ANSWER, codec},
    },
    tables::{Batch, Fact, Follower, Replica, snapshot::Observer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    runtime::{Builder, Runtime},
    sync::{broadcast, mpsc},
    time::timeout,
};
use tokio_util::codec::Decoder as _;

struct House {
    runtime: Runtime,
    folder: tempfile::TempDir,
}

thread_local! {
    static HOUSE: LazyCell<House> = LazyCell::new(house);
}

/// A daemon of an observation of nothing.
fn house() -> House {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    runtime.block_on(async {
        let (requests, mut asked) = mpsc::channel::<memmon::observe::Request>(8);
        let (inspections, mut looked) = mpsc::channel::<memmon::tables::live::Inspect>(8);
        let (follows, mut followed) = mpsc::channel::<tokio::sync::oneshot::Sender<Follower>>(8);
        let checkpoint = Arc::new(Batch {
            facts: vec![Fact::Start {
                host: "host".to_owned(),
                observer: Observer::default(),
                runtimes: Vec::new(),
            }],
            ..Batch::default()
        });
        let replica = Replica::of(&checkpoint);
        tokio::spawn(async move {
            let (told, _) = broadcast::channel(4);
            loop {
                tokio::select! {
                    Some(request) = asked.recv() => {
                        let snapshot = request.filter.apply(replica.snapshot(String::new()));
                        let _ = request.reply.send(snapshot);
                    }
                    Some(look) = looked.recv() => {
                        let list = replica.tables.live_list([], &look.ask, 0, String::new());
                        let _ = look.reply.send(list);
                    }
                    Some(reply) = followed.recv() => {
                        let _ = reply.send(Follower {
                            checkpoint: checkpoint.clone(),
                            batches: told.subscribe(),
                        });
                    }
                    else => return,
                }
            }
        });
        let sources = Sources {
            requests,
            inspections,
            follows,
            audits: tokio::sync::mpsc::channel(1).0,
            scope: Default::default(),
        };
        let access = Access {
            mode: 0o600,
            group: None,
        };
        let socket = Claim::take(&path)
            .await
            .expect("a path")
            .listen(&access)
            .expect("a socket");
        tokio::spawn(async move {
            let daemon = Daemon::new(sources, Commands::Own);
            let _ = daemon.serve(socket, std::future::pending()).await;
        });
    });
    House { runtime, folder }
}

async fn ask(path: &std::path::Path, data: &[u8]) {
    let mut stream = UnixStream::connect(path).await.expect("the daemon listens");
    // It may have had enough before the end.
    let _ = stream.write_all(data).await;
    let _ = stream.shutdown().await;
    let mut answers = bytes::BytesMut::new();
    let read = async {
        while stream
            .read_buf(&mut answers)
            .await
            .is_ok_and(|read| read > 0)
        {}
    };
    timeout(Duration::from_secs(5), read)
        .await
        .expect("the daemon ends a connection that ended");
    let mut codec = codec(LONGEST_ANSWER);
    while let Some(message) = codec.decode(&mut answers).expect("frames") {
        if let Err(error) = serde_json::from_slice::<Answer>(&message) {
            panic!("no answer ({error}): {message:?}");
        }
    }
    assert!(answers.is_empty(), "half an answer: {answers:?}");
}

/// Frames with the right lengths around the lines of the input; a line that begins with `!` stands as it is.
fn framed(data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        match line {
            [b'!', raw @ ..] => bytes.extend(raw),
            line => {
                bytes.extend((line.len() as u32).to_be_bytes());
                bytes.extend(line);
            }
        }
    }
    bytes
}

pub fn run(data: &[u8]) {
    HOUSE.with(|house| {
        let path = house.folder.path().join("socket");
        house.runtime.block_on(ask(&path, &framed(data)));
    });
}

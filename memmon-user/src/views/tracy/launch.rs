//! Starts client processes. Shutting one away takes rights (a network of its own, an empty root,
//! another user) that nothing else in memmon needs: a thread that does nothing else keeps them.

use std::{io, os::fd::OwnedFd, process::Stdio, sync::mpsc, thread};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

use crate::rights;

/// The hidden verb of `memmon-ebpf` that [`super::client`] answers to.
pub const VERB: &str = "tracy-client";

/// The thread ends with the last of these, and what it started with it.
#[derive(Clone, Debug)]
pub struct Launcher(mpsc::Sender<Job>);

#[derive(Debug)]
struct Job {
    profiler: OwnedFd,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Launcher {
    /// The calling thread has the rights that it takes, and is in a tokio runtime.
    pub fn start() -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let runtime = Handle::current();
        thread::Builder::new()
            .name("launcher".to_owned())
            .spawn(move || {
                rights::or_end(rights::keep_and_hand_down(&rights::CONFINING));
                let _inside = runtime.enter();
                for Job { profiler, reply } in inbox {
                    let _ = reply.send(start(profiler));
                }
            })?;
        Ok(Self(jobs))
    }

    /// A client for the profiler at the other end.
    pub async fn client(&self, profiler: TcpStream) -> io::Result<Child> {
        let (reply, started) = oneshot::channel();
        let profiler = OwnedFd::from(profiler.into_std()?);
        let gone = || io::Error::other("the thread that starts it has ended");
        let job = Job { profiler, reply };
        self.0.send(job).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}

fn start(profiler: OwnedFd) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg0("memmon-ebpf")
        .arg(VERB)
        .env_clear()
        // Keys pressed for memmon, or for the command that it runs, are not for this process.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(profiler)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

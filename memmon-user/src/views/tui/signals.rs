//! Signals that mean something to a program that owns the terminal.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

#[derive(Clone, Copy, Debug)]
pub enum Arrived {
    End(i32),
    Stop,
    Continue,
    Resize,
}

#[derive(Debug)]
pub struct Signals {
    ends: [(Signal, i32); 4],
    stop: Signal,
    resume: Signal,
    resize: Signal,
}

impl Signals {
    pub fn new() -> io::Result<Self> {
        let end = |number: i32| signal(SignalKind::from_raw(number)).map(|s| (s, number));
        Ok(Self {
            ends: [
                end(libc::SIGTERM)?,
                end(libc::SIGHUP)?,
                end(libc::SIGINT)?,
                end(libc::SIGQUIT)?,
            ],
            stop: signal(SignalKind::from_raw(libc::SIGTSTP))?,
            resume: signal(SignalKind::from_raw(libc::SIGCONT))?,
            resize: signal(SignalKind::window_change())?,
        })
    }

    pub async fn next(&mut self) -> Arrived {
        let [(a, a_no), (b, b_no), (c, c_no), (d, d_no)] = &mut self.ends;
        tokio::select! {
            _ = a.recv() => Arrived::End(*a_no),
            _ = b.recv() => Arrived::End(*b_no),
            _ = c.recv() => Arrived::End(*c_no),
            _ = d.recv() => Arrived::End(*d_no),
            _ = self.stop.recv() => Arrived::Stop,
            _ = self.resume.recv() => Arrived::Continue,
            _ = self.resize.recv() => Arrived::Resize,
        }
    }
}

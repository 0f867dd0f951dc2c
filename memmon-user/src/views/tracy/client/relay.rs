//! Bytes between the profiler and Tracy's client. The process ends with the connection.

use std::{
    io::{self, Write as _},
    net::{Shutdown, TcpStream},
    thread,
};

use super::super::handshake;

pub fn start(profiler: TcpStream, mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    // The greeting was taken before this process was started.
    client.write_all(&handshake::greeting())?;
    let (from_profiler, to_client) = (profiler.try_clone()?, client.try_clone()?);
    spawn("to Tracy", from_profiler, to_client)?;
    spawn("to the profiler", client, profiler)
}

fn spawn(name: &str, mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // Whatever ends it: there is nobody left to tell.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
            // SAFETY: ends the process at once. Tracy's threads may be anywhere in its code: what runs
            // at an ordinary exit would pull the ground from under them.
            unsafe { libc::_exit(0) }
        })?;
    Ok(())
}

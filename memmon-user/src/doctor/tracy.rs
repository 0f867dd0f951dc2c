//! Whether a Tracy profiler can look, and which.

use std::{io::ErrorKind, net::TcpListener};

use super::{Area, Check, State};
use crate::views::tracy;

const AREA: Area = Area::Trial;
const NAME: &str = "Tracy";

pub fn check() -> Check {
    if !tracy::is_built_in() {
        return AREA.ok(NAME, "not built in: there is no --tracy");
    }
    let address = tracy::listening_address();
    let spoken = format!(
        "protocol {}: profilers of Tracy {}, at {address} with --tracy",
        tracy::protocol_version(),
        tracy::releases()
    );
    match TcpListener::bind(address) {
        Ok(_) => AREA.ok(NAME, spoken),
        Err(error) if error.kind() == ErrorKind::AddrInUse => AREA.finds(
            NAME,
            State::Limited,
            format!("{spoken}, which is taken now: by memmon itself, or by another traced program"),
            "use --tracy-listen with another port",
        ),
        Err(error) => AREA.finds(
            NAME,
            State::Limited,
            format!("{spoken}, which cannot be used: {error}"),
            "use --tracy-listen with an address of this machine",
        ),
    }
}

//! Where scrapers are answered, as it is written on the command line.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

/// A port alone is one of this machine for itself: nobody is let in from elsewhere by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no address: write ADDR:PORT as 127.0.0.1:9464 or [::1]:9464, or a port alone for this machine only"
)]
pub struct BadAddress(String);

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let here = |port: &str| {
            let port = port.parse().ok()?;
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
        };
        text.parse()
            .ok()
            .or_else(|| here(text.strip_prefix("localhost:").unwrap_or(text)))
            .map(Self)
            .ok_or_else(|| BadAddress(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_for_this_machine() {
        for (text, meant) in [
            ("9464", "127.0.0.1:9464"),
            ("localhost:9464", "127.0.0.1:9464"),
            ("127.0.0.1:9464", "127.0.0.1:9464"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:9464", "[::1]:9464"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.0.to_string(), meant);
        }
        for text in [
            "",
            ":9464",
            "65536",
            "-1",
            "example.org:9464",
            "127.0.0.1",
            "::1:9464x",
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("127.0.0.1:9464"), "{error}");
        }
    }
}

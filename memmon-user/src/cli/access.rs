//! Who may ask the daemon, and what they are shown.

use std::path::PathBuf;

use nix::unistd::{Gid, Group};

use super::{args::DEFAULT_SOCKET, exit::Failure};
use crate::server::{Access, Commands};

/// Everybody may connect; what they see of others depends on who they are.
const MODE: u32 = 0o666;
const MODE_OF_GROUP: u32 = 0o660;

#[derive(Clone, Debug, clap::Args)]
pub struct AccessArgs {
    /// Where to listen
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Who may connect, as the socket's permissions [default: 0666, with --socket-group 0660]
    #[arg(long, value_name = "OCTAL", value_parser = mode)]
    pub socket_mode: Option<u32>,
    /// The group that the socket is given to, by name or number
    #[arg(long, value_name = "GROUP")]
    pub socket_group: Option<String>,
    /// Whose command lines are shown to users who are not root
    #[arg(long, value_name = "WHOSE", value_enum, default_value_t)]
    pub show_commands: Commands,
}

impl AccessArgs {
    pub fn access(&self) -> Result<Access, Failure> {
        let group = self.socket_group.as_deref().map(group).transpose()?;
        let usual = if group.is_some() { MODE_OF_GROUP } else { MODE };
        Ok(Access {
            mode: self.socket_mode.unwrap_or(usual),
            group,
        })
    }
}

fn group(name: &str) -> Result<(String, u32), Failure> {
    let found = match name.parse().map(Gid::from_raw) {
        Ok(id) => return Ok((name.to_owned(), id.as_raw())),
        Err(_) => Group::from_name(name),
    };
    match found {
        Ok(Some(group)) => Ok((group.name, group.gid.as_raw())),
        Ok(None) => Err(Failure::new(format!(
            "there is no group {name}; make it (`groupadd --system {name}`), or choose another --socket-group"
        ))),
        Err(error) => Err(Failure::new(format!(
            "the group {name} cannot be looked up: {error}; give its number"
        ))),
    }
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode & !0o777 == 0 && mode & 0o600 == 0o600 => Ok(mode),
        _ => Err(
            "permissions in octal are needed, from 0600 to 0777, with read and write for the owner"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::mode;

    #[test]
    fn modes() {
        assert_eq!(mode("0660"), Ok(0o660));
        assert_eq!(mode("666"), Ok(0o666));
        for wrong in ["", "rw", "0990", "0066", "4660", "-1"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }
}

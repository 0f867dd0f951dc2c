//! What the BPF programs have to say (aya-log): oddities, forwarded to the program's own log.

use std::os::fd::{AsRawFd, RawFd};

use aya::Ebpf;
pub use aya_log::LEVEL;
use aya_log::{EbpfLogger, Error};
use log::Log;

use super::kernel::{KernelError, map_error};

/// The level that the programs are told when they are loaded: what is above it is not even checked
/// for.
pub fn wanted() -> u8 {
    log::max_level() as u8
}

/// Messages that wait to be forwarded.
#[expect(missing_debug_implementations, reason = "the logger has none")]
pub struct Messages(EbpfLogger<&'static dyn Log>);

impl Messages {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        match EbpfLogger::init(ebpf) {
            Ok(logger) => Ok(Self(logger)),
            Err(Error::MapError(source)) => Err(map_error("AYA_LOGS", source)),
            Err(_) => Err(KernelError::Missing("AYA_LOGS")),
        }
    }

    /// Hands on what has been said.
    pub fn forward(&mut self) {
        self.0.flush();
    }
}

/// Becomes readable when something was said.
impl AsRawFd for Messages {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

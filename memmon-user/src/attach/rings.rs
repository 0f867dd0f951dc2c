//! The ring buffers, apart from the rest: they are read by the drain alone.

use std::os::fd::{AsRawFd as _, RawFd};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};

use super::{
    kernel::{KernelError, take},
    messages::Messages,
};

#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct Rings {
    pub history: RingBuf<MapData>,
    pub control: RingBuf<MapData>,
    pub messages: Messages,
}

impl Rings {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            history: take(ebpf, "HISTORY")?,
            control: take(ebpf, "CONTROL")?,
            messages: Messages::take(ebpf)?,
        })
    }

    pub fn control_fd(&self) -> RawFd {
        self.control.as_raw_fd()
    }

    pub fn history_fd(&self) -> RawFd {
        self.history.as_raw_fd()
    }

    pub fn messages_fd(&self) -> RawFd {
        self.messages.as_raw_fd()
    }
}

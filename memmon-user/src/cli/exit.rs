//! Exit codes, and errors that carry one.

use std::fmt;

use crate::{
    observe::StartError,
    server::{ClientError, SocketError},
};

pub const DONE: u8 = 0;
/// It could not do its work.
pub const FAILED: u8 = 1;
/// The command line makes no sense.
pub const USAGE: u8 = 2;
/// Not permitted.
pub const NOT_PERMITTED: u8 = 3;
/// Nothing to observe.
pub const NOTHING: u8 = 4;

/// Ends the program: one message and a code.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    error: anyhow::Error,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self::with(FAILED, message)
    }

    pub fn with(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            error: anyhow::Error::msg(message.into()),
        }
    }
}

/// Any error is the machine's fault or the program's own, unless it is about rights.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let refused = error
            .downcast_ref::<StartError>()
            .is_some_and(StartError::is_permission);
        if refused {
            let message = format!(
                "{error:#}; run it as root, or with CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
            );
            return Self::with(NOT_PERMITTED, message);
        }
        let closed = error
            .downcast_ref::<ClientError>()
            .is_some_and(ClientError::is_permission)
            || error
                .downcast_ref::<SocketError>()
                .is_some_and(SocketError::is_permission);
        Self {
            code: if closed { NOT_PERMITTED } else { FAILED },
            error,
        }
    }
}

/// The error and what caused it, in one line where they are one line each.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

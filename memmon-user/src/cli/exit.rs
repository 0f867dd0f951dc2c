//! Exit codes, and errors that carry one.

use crate::observe::StartError;

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
    pub message: String,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self::with(FAILED, message)
    }

    pub fn with(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Any error that is the program's own fault or the machine's.
    pub fn of(error: &dyn std::error::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        if error.is_permission() {
            let message =
                format!("{error}; run it as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE");
            return Self::with(NOT_PERMITTED, message);
        }
        Self::of(&error)
    }
}

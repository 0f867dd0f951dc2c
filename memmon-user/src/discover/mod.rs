//! Which processes map which runtime library: those that run already, and those to come.

pub mod ahead;
pub mod scan;
pub mod watch;

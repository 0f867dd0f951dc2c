//! From a library and its probe specs to links in the kernel.

pub mod features;
pub mod kernel;
pub mod live;
pub mod plan;
pub mod wire;

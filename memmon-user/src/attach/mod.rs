//! From a library and its probe specs to links in the kernel.

pub mod batch;
mod closing;
pub mod features;
pub mod kernel;
pub mod landing;
pub mod messages;
pub mod names;
pub mod plan;
pub mod rings;
pub mod table;
pub mod wire;

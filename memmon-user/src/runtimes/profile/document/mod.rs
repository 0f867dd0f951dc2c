//! The file: TOML text → [`schema::Profile`].

pub mod glob;
pub(super) mod read;
pub(super) mod schema;
mod values;

//! The code of a function that is probed, and of what is beside it: where a probe of it is placed.
use crate::{decoders, image};

pub fn run(data: &[u8]) {
    let [looks_at, rest @ ..] = data else {
        return;
    };
    let library = image::library(rest, &["probed", "other"]);
    if let Some(probed) = library.symbol("probed") {
        decoders::landing(&library, &probed, *looks_at);
    }
}

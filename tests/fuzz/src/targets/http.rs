//! What connects to `serve --metrics`.
use std::cell::LazyCell;

use memmon::server::http::fuzzing::exchange;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: LazyCell<Runtime> =
        LazyCell::new(|| Builder::new_current_thread().enable_all().build().expect("a runtime"));
}

pub fn run(data: &[u8]) {
    let answer = RUNTIME.with(|runtime| runtime.block_on(exchange(data)));
    // Whatever was said, the answer is HTTP or none.
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1."),
        "{answer:?}"
    );
}

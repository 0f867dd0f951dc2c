//! The command line, argument by argument, and what is read from it: moments, addresses, sizes.
use memmon::{cli::fuzzing::parse, recording::Moment, server::http::Address};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(Moment::Share(share)) = text.parse() {
        assert!((0.0..=1.0).contains(&share), "{share}");
    }
    if let Ok(address) = text.parse::<Address>() {
        let again: Address = address.0.to_string().parse().expect("its own words");
        assert_eq!(again, address);
    }
    parse(text.lines().take(16));
}

//! What `/proc` says of a process that chooses its own name, arguments and paths.
use memmon::target::{identity, maps};

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let regions = maps::parse(&text);
    assert!(regions.len() <= text.lines().count());
    for region in &regions {
        region.is_anonymous();
        assert!(!region.file_name().contains('/'));
        // As the kernel would print it, it says the same.
        let flag = |set: bool, letter: char| if set { letter } else { '-' };
        let line = format!(
            "{:x}-{:x} {}{}{}p {:x} {:x}:{:x} {} {}{}",
            region.start,
            region.end,
            flag(region.readable, 'r'),
            flag(region.writable, 'w'),
            flag(region.executable, 'x'),
            region.offset,
            region.device.0,
            region.device.1,
            region.inode,
            region.path,
            if region.deleted { " (deleted)" } else { "" },
        );
        if !region.path.contains(['\n', '\r']) {
            assert_eq!(maps::parse(&line), [region.clone()], "{line:?}");
        }
    }
    // The letters stand where they mean something.
    let plain = |line: &&str| {
        line.bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    };
    for line in text.lines().filter(plain) {
        let letters = line.split(' ').filter(|word| !word.is_empty()).nth(1);
        if let ([region], Some(letters)) = (maps::parse(line).as_slice(), letters) {
            assert_eq!(region.readable, letters.starts_with('r'), "{line}");
            assert_eq!(region.writable, letters.get(1..2) == Some("w"), "{line}");
            assert_eq!(region.executable, letters.get(2..3) == Some("x"), "{line}");
        }
    }
    let (comm, _) = identity::parse_stat(&text);
    assert!(text.contains(&comm));
    identity::parse_state(&text);
    identity::parse_parent(&text);
    identity::parse_cgroup(&text);
    identity::parse_boot_time(&text);
    identity::parse_command(data);
}

//! What memmon makes: nobody else's to write, whatever the umask, and not where somebody else wants it.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink},
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Result, ensure};
use memmon_tests::{
    memmon::{Daemon, command},
    people::{NOBODY, open_directory},
};

/// With a umask that keeps nobody out.
fn open_handed(mut command: Command) -> Command {
    // SAFETY: one system call.
    unsafe {
        command.pre_exec(|| {
            libc::umask(0);
            Ok(())
        });
    }
    command
}

fn run(args: &[&str], last: &Path) -> Result<Output> {
    let mut command = open_handed(command(args));
    Ok(command.arg(last).stdin(Stdio::null()).output()?)
}

fn modes(directory: &Path) -> Result<Vec<(String, u32)>> {
    let mut modes = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let meta = fs::symlink_metadata(entry.path())?;
        modes.push((entry.path().display().to_string(), meta.mode()));
        if meta.is_dir() {
            modes.extend(self::modes(&entry.path())?);
        }
    }
    Ok(modes)
}

#[test]
fn nothing_is_writable_by_others() -> Result<()> {
    let directory = open_directory()?;
    let place = directory.path();
    ensure!(
        run(&["-q", "--format", "json", "-o"], &place.join("once"))?
            .status
            .success()
    );
    ensure!(
        run(
            &["record", "--duration", "0.3", "--max-size", "1M", "-o"],
            &place.join("recording")
        )?
        .status
        .success()
    );
    ensure!(
        run(&["man", "--output"], &place.join("man/man1"))?
            .status
            .success()
    );
    let mut stream = open_handed(command(["-r", "100", "-o"]));
    let stream = stream
        .arg(place.join("stream"))
        .args(["-p", "1", "--wait", "1"])
        .output()?;
    assert_eq!(stream.status.code(), Some(4), "{stream:?}");
    let mut stream = open_handed(Command::new("timeout"));
    stream
        .args(["-s", "INT", "3"])
        .arg(memmon_tests::memmon::binary());
    let stream = stream
        .args(["-r", "100", "-o"])
        .arg(place.join("stream"))
        .output()?;
    ensure!(place.join("stream").exists(), "{stream:?}");
    let mut run = open_handed(command(["run", "-o"]));
    ensure!(
        run.arg(place.join("run"))
            .args(["--", "true"])
            .status()?
            .success()
    );
    let made = modes(place)?;
    ensure!(made.len() > 10, "{made:?}");
    for (path, mode) in &made {
        assert_eq!(mode & 0o022, 0, "{path} has mode {mode:o}");
    }
    // The socket is what others may connect to, and the one thing that they may write to.
    let daemon = Daemon::start_in(open_directory()?, |_| {}, &["-p", "1"])?;
    let socket = daemon.socket();
    let place = socket.parent().unwrap_or(Path::new("/"));
    for (path, mode) in modes(place)? {
        let others = if path.ends_with("/socket") { 0o022 } else { 0 };
        assert_eq!(mode & 0o022, others, "{path} has mode {mode:o}");
    }
    Ok(())
}

/// Nobody's link, pipe and file in a folder like `/tmp`, where root is about to write.
#[test]
fn traps_in_shared_folders() -> Result<()> {
    let outer = open_directory()?;
    let victim = outer.path().join("victim");
    fs::write(&victim, "as it was")?;
    let shared = outer.path().join("tmp");
    fs::create_dir(&shared)?;
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777))?;
    let trap = shared.join("trap");
    let nowhere = outer.path().join("new");
    for kind in ["link", "link to nothing", "pipe", "file"] {
        match kind {
            "link" => symlink(&victim, &trap)?,
            "link to nothing" => symlink(&nowhere, &trap)?,
            "pipe" => nix::unistd::mkfifo(&trap, nix::sys::stat::Mode::S_IRWXU)?,
            _ => fs::write(&trap, "")?,
        }
        lchown(&trap, Some(NOBODY), Some(NOBODY))?;
        for words in [
            &["-q", "--format", "json", "-o"][..],
            &["-r", "100", "--format", "json", "-o"],
            &["record", "--force", "--duration", "0.1", "-o"],
            &["serve", "-p", "1", "--socket"],
        ] {
            // Where there is something that is no socket, a daemon does not listen.
            let output = command(words).arg(&trap).stdin(Stdio::null()).output()?;
            assert_eq!(
                output.status.code(),
                Some(1),
                "{kind}, {words:?}: {output:?}"
            );
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(said.contains("/tmp/trap"), "{kind}, {words:?}: {said}");
        }
        let run = command(["run", "-o"])
            .arg(&trap)
            .args(["--", "true"])
            .output()?;
        ensure!(
            String::from_utf8_lossy(&run.stderr).contains("everybody can write to"),
            "{run:?}"
        );
        assert_eq!(fs::symlink_metadata(&trap)?.uid(), NOBODY, "{kind}");
        fs::remove_file(&trap)?;
    }
    assert_eq!(fs::read_to_string(&victim)?, "as it was");
    ensure!(!nowhere.exists());
    // The lock beside a socket is not followed either.
    symlink(&victim, shared.join("socket.lock"))?;
    lchown(shared.join("socket.lock"), Some(NOBODY), Some(NOBODY))?;
    let output = command(["serve", "-p", "1", "--socket"])
        .arg(shared.join("socket"))
        .output()?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    // One's own links are followed as ever.
    symlink(&victim, &trap)?;
    let output = command(["-q", "--format", "json", "-o"])
        .arg(&trap)
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(fs::read_to_string(&victim)?.starts_with('{'));
    Ok(())
}

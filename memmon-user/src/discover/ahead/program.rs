//! The programs that a command line names: what `execvp` would start, and what that starts in turn as far as it can be
//! read off (`#!`, `timeout 60 ./train`).

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Read as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{AT_FDCWD, AtFlags},
    unistd::{AccessFlags, faccessat},
};

use crate::target::maps;

/// Where programs are looked for when nothing is said: as the C library has it.
const DEFAULT_PATH: &str = "/bin:/usr/bin";
/// Words that are looked at: what a program passes on to another stands in the beginning.
const MAX_WORDS: usize = 64;
/// How often an interpreter may be a script itself, as in the kernel.
const MAX_SCRIPTS: usize = 5;
/// As much of a file as the kernel looks at.
const MAX_FIRST_LINE: u64 = 256;

/// The files of these programs: of the command, of others that its words name, and of interpreters. `path` is the
/// command's `PATH`.
pub fn named_by(words: &[OsString], path: Option<&OsStr>) -> Vec<PathBuf> {
    let mut programs = Vec::new();
    for (index, word) in words.iter().enumerate().take(MAX_WORDS) {
        // The first word is a program, whatever it looks like.
        if index == 0 || may_name_a_program(word) {
            add(word, path, MAX_SCRIPTS, &mut programs);
        }
    }
    programs
}

/// Not an option, nor a variable for `env`.
fn may_name_a_program(word: &OsStr) -> bool {
    let bytes = word.as_bytes();
    !bytes.starts_with(b"-") && !bytes.contains(&b'=')
}

fn add(word: &OsStr, path: Option<&OsStr>, scripts: usize, programs: &mut Vec<PathBuf>) {
    let Some(file) = located(word, path) else {
        return;
    };
    if programs.contains(&file) {
        return;
    }
    let interpreters = if scripts > 0 {
        first_line(&file)
            .map(|line| interpreters(&line))
            .unwrap_or_default()
    } else {
        Vec::new()
    };
    programs.push(file);
    for word in interpreters {
        add(&word, path, scripts - 1, programs);
    }
}

/// The file that `execvp` would execute.
fn located(word: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    if word.is_empty() {
        return None;
    }
    if word.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(word)).filter(|file| is_executable(file));
    }
    // An empty part is the working directory.
    std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH)))
        .map(|folder| match folder.as_os_str().is_empty() {
            true => Path::new(".").join(word),
            false => folder.join(word),
        })
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    faccessat(AT_FDCWD, file, AccessFlags::X_OK, AtFlags::AT_EACCESS).is_ok() && file.is_file()
}

fn first_line(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file: File = maps::open_regular(file).ok()?;
    file.take(MAX_FIRST_LINE).read_to_end(&mut bytes).ok()?;
    let end = bytes.iter().position(|byte| *byte == b'\n');
    bytes.truncate(end.unwrap_or(bytes.len()));
    Some(bytes)
}

/// The programs in a script's first line: its interpreter, and what `env` is to find.
fn interpreters(line: &[u8]) -> Vec<OsString> {
    let Some(line) = line.strip_prefix(b"#!") else {
        return Vec::new();
    };
    let mut words = line
        .split(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
        .filter(|word| !word.is_empty())
        .map(OsStr::from_bytes);
    let Some(interpreter) = words.next() else {
        return Vec::new();
    };
    let mut found = vec![interpreter.to_owned()];
    if Path::new(interpreter).file_name() == Some(OsStr::new("env")) {
        found.extend(
            words
                .find(|word| may_name_a_program(word))
                .map(OsStr::to_owned),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn names(line: &str) -> Vec<OsString> {
        interpreters(line.as_bytes())
    }

    #[test]
    fn first_lines() {
        assert_eq!(names("#!/bin/sh"), ["/bin/sh"]);
        assert_eq!(names("#! \t/usr/bin/python3 -u"), ["/usr/bin/python3"]);
        assert_eq!(names("#!/usr/bin/env python3"), ["/usr/bin/env", "python3"]);
        assert_eq!(
            names("#!/usr/bin/env -S A=1 python3 -u"),
            ["/usr/bin/env", "python3"]
        );
        assert!(names("#!").is_empty());
        assert!(names("import sys").is_empty());
    }

    #[test]
    fn as_execvp_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let script = |name: &str, text: &str, mode: u32| {
            fs::write(place(name), text).unwrap();
            fs::set_permissions(place(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        script("a", "#!/usr/bin/env -S X=1 b -u\n", 0o755);
        script("b", "#!/bin/sh\n", 0o755);
        script("data", "#!/bin/sh\n", 0o644);
        // It names itself.
        script("again", &format!("#!{}\n", place("again").display()), 0o755);
        fs::create_dir(place("folder")).unwrap();
        let path = format!("/nowhere:{}", folder.path().display());
        let programs = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            named_by(&words, Some(OsStr::new(&path)))
        };
        assert_eq!(
            programs(&["a"]),
            [
                place("a"),
                PathBuf::from("/usr/bin/env"),
                place("b"),
                PathBuf::from("/bin/sh")
            ]
        );
        assert!(programs(&["data", "folder", "none", ""]).is_empty());
        assert_eq!(programs(&["again"]), [place("again")]);
        // What it may start in turn; neither options nor variables.
        let there = place("b").display().to_string();
        assert_eq!(
            programs(&["none", "10", "-x", "b=b", &there]),
            [place("b"), PathBuf::from("/bin/sh")]
        );
    }
}

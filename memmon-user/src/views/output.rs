//! Where rendered text goes: standard output, a device or pipe, or a file that is written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{origin, rights};

/// The mode of a new file, which the umask narrows: others never write to it, whatever the umask.
const NEW: u32 = 0o644;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One text: replaces a regular file, once it is complete.
    Whole,
    /// Text after text: appends to a regular file.
    Stream,
}

#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error("cannot write to {}: {cause}; {}", .path.display(), next_step(.cause))]
    Unwritable { path: PathBuf, cause: io::Error },
    #[error("cannot write to standard output: {cause}; send it elsewhere (`> FILE`)")]
    Stdout { cause: io::Error },
    #[error("standard output is closed; send it somewhere (`> FILE`)")]
    Closed,
}

fn next_step(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => "make its folder first, or name another file with -o",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "name a file in a folder that may be written with -o"
        }
        io::ErrorKind::IsADirectory => "name a file in that folder with -o",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or name another place with -o"
        }
        _ => "name another place with -o",
    }
}

/// What became of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Written {
    All,
    /// The reader of the pipe went away (`| head`): there is nothing more to do, and nothing to complain about.
    ReaderGone,
}

#[derive(Debug)]
pub struct Sink {
    path: PathBuf,
    target: Target,
    continues: bool,
}

#[derive(Debug)]
enum Target {
    Stdout,
    /// A device or a pipe.
    Direct(File),
    Append(File),
    /// `path` is replaced when the text is complete.
    Replace(NamedTempFile),
}

impl Sink {
    /// Opens now, so that a place that cannot be written is found before the work, not after it.
    pub fn open(path: Option<&Path>, mode: Mode) -> Result<Self, OutputError> {
        let path = path.unwrap_or(Path::new("-"));
        if is_stdout(path) && origin::is_stdout_closed() {
            return Err(OutputError::Closed);
        }
        let target = open(path, mode).map_err(|cause| OutputError::Unwritable {
            path: path.into(),
            cause,
        })?;
        let continues = match &target {
            Target::Append(file) => file.metadata().is_ok_and(|m| m.len() > 0),
            _ => false,
        };
        Ok(Self {
            path: path.into(),
            target,
            continues,
        })
    }

    /// Whether what is written goes behind earlier output (and a header would stand in its middle).
    pub fn continues(&self) -> bool {
        self.continues
    }

    pub fn write(&mut self, text: &str) -> Result<Written, OutputError> {
        self.write_bytes(text.as_bytes())
    }

    pub fn write_bytes(&mut self, bytes: &[u8]) -> Result<Written, OutputError> {
        let done = match &mut self.target {
            Target::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush())
            }
            Target::Direct(file) => file.write_all(bytes),
            Target::Append(file) => append(file, bytes),
            Target::Replace(file) => file.write_all(bytes),
        };
        match done {
            Ok(()) => Ok(Written::All),
            Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(Written::ReaderGone),
            Err(cause) => Err(self.error(cause)),
        }
    }

    /// Completes a file that is written whole. Without it the file stays as it was.
    pub fn finish(self) -> Result<(), OutputError> {
        let path = self.path;
        match self.target {
            Target::Replace(temporary) => {
                replace(&path, temporary).map_err(|cause| OutputError::Unwritable { path, cause })
            }
            Target::Stdout | Target::Direct(_) | Target::Append(_) => Ok(()),
        }
    }

    fn error(&self, cause: io::Error) -> OutputError {
        match self.target {
            Target::Stdout => OutputError::Stdout { cause },
            _ => OutputError::Unwritable {
                path: self.path.clone(),
                cause,
            },
        }
    }
}

/// One text, whole.
pub fn write_whole(path: Option<&Path>, text: &str) -> Result<Written, OutputError> {
    let mut sink = Sink::open(path, Mode::Whole)?;
    let written = sink.write(text)?;
    sink.finish()?;
    Ok(written)
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdout")
}

fn open(path: &Path, mode: Mode) -> io::Result<Target> {
    if is_stdout(path) {
        return Ok(Target::Stdout);
    }
    // A descriptor of our own by name: whatever it is, its holder does not expect another file in its place.
    if ["/dev/fd", "/dev/stderr", "/proc/self/fd"]
        .iter()
        .any(|own| path.starts_with(own))
    {
        return Ok(Target::Direct(OpenOptions::new().append(true).open(path)?));
    }
    rights::no_trap(path)?;
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(there) if is_direct(&there) => {
            Ok(Target::Direct(OpenOptions::new().write(true).open(path)?))
        }
        Ok(_) => open_file(path, mode),
        Err(e) if e.kind() == io::ErrorKind::NotFound => open_file(path, mode),
        Err(e) => Err(e),
    }
}

fn is_direct(there: &fs::Metadata) -> bool {
    let kind = there.file_type();
    kind.is_fifo() || kind.is_char_device() || kind.is_block_device() || kind.is_socket()
}

fn open_file(path: &Path, mode: Mode) -> io::Result<Target> {
    if mode == Mode::Stream {
        return Ok(Target::Append(
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(NEW)
                .open(path)?,
        ));
    }
    let path = followed(path)?;
    if path.exists() {
        // A file that may not be written must not be replaced either, though the folder would allow it.
        OpenOptions::new().write(true).open(&path)?;
    }
    let (folder, name) = (
        folder_of(&path),
        path.file_name().ok_or(io::ErrorKind::IsADirectory)?,
    );
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    // The process's umask narrows this mode, as it would for any new file.
    let temporary = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".part")
        .permissions(fs::Permissions::from_mode(NEW))
        .tempfile_in(folder)?;
    Ok(Target::Replace(temporary))
}

/// The file a symbolic link stands for: the link stays, the file is replaced.
fn followed(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Ok(path) => Ok(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            Ok(to) => Ok(folder_of(path).join(to)),
            Err(_) => Ok(path.into()),
        },
        Err(e) => Err(e),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn replace(path: &Path, temporary: NamedTempFile) -> io::Result<()> {
    rights::no_trap(path)?;
    let path = followed(path)?;
    if let Ok(old) = fs::metadata(&path) {
        // The owner first: changing it clears the set-id bits of the mode. Only root can, and only root needs to.
        let _ = std::os::unix::fs::fchown(temporary.as_file(), Some(old.uid()), Some(old.gid()));
        temporary
            .as_file()
            .set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
    }
    // On disk before it takes the name: a crash leaves the old text or the new one.
    temporary.as_file().sync_all()?;
    temporary.persist(&path).map_err(|e| e.error)?;
    Ok(())
}

/// All of it or none: a disk that fills up in the middle leaves no half snapshot behind.
fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    file.write_all(bytes).inspect_err(|_| {
        let _ = file.set_len(before);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_is_whole_or_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.json");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let mut sink = Sink::open(Some(&path), Mode::Whole).unwrap();
        assert_eq!(sink.write("half").unwrap(), Written::All);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        drop(sink);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(
            names(folder.path()),
            ["out.json"],
            "nothing is left beside it"
        );
        assert_eq!(write_whole(Some(&path), "new").unwrap(), Written::All);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(names(folder.path()), ["out.json"]);
    }

    #[test]
    fn a_new_file_is_nobody_elses_to_write() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        let _ = write_whole(Some(&ours), "x").unwrap();
        fs::write(&plain, "x").unwrap();
        assert_eq!(
            fs::metadata(ours).unwrap().mode(),
            fs::metadata(plain).unwrap().mode() & !0o022
        );
    }

    #[test]
    fn links_stay_links_even_when_they_point_nowhere_yet() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        symlink("file", &link).unwrap();
        for text in ["first", "second"] {
            let _ = write_whole(Some(&link), text).unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }

    #[test]
    fn a_stream_appends_and_knows_that_it_continues() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut sink = Sink::open(Some(&path), Mode::Stream).unwrap();
        assert!(!sink.continues());
        let _ = sink.write("1\n").unwrap();
        let _ = sink.write("2\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n");
        assert!(Sink::open(Some(&path), Mode::Stream).unwrap().continues());
    }

    #[test]
    fn devices_and_pipes_are_written_directly() {
        assert_eq!(
            write_whole(Some(Path::new("/dev/null")), "x").unwrap(),
            Written::All
        );
        assert!(
            fs::metadata("/dev/null")
                .unwrap()
                .file_type()
                .is_char_device()
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reading = path.clone();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            File::open(reading)
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            text
        });
        let _ = write_whole(Some(&path), "through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
    }

    #[test]
    fn a_reader_that_left_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reading = path.clone();
        let reader = std::thread::spawn(move || drop(File::open(reading).unwrap()));
        let mut sink = Sink::open(Some(&path), Mode::Stream).unwrap();
        reader.join().unwrap();
        assert_eq!(sink.write("x").unwrap(), Written::ReaderGone);
    }

    #[test]
    fn errors_name_the_place_the_cause_and_the_next_step() {
        for (path, words) in [
            (
                "/no/such/folder/x",
                ["/no/such/folder/x", "No such file", "make its folder"],
            ),
            (
                "/",
                [
                    "cannot write to /:",
                    "directory",
                    "name a file in that folder",
                ],
            ),
            ("/dev/full", ["/dev/full", "No space", "free some space"]),
        ] {
            let message = write_whole(Some(Path::new(path)), "x")
                .unwrap_err()
                .to_string();
            for word in words {
                assert!(message.contains(word), "{message}");
            }
        }
    }
}

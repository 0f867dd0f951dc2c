//! The socket's file: one daemon for each, never open to more than was asked for, and gone when the
//! daemon is.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::{
            ffi::OsStrExt as _,
            fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
            net,
        },
    },
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

/// The kernel takes no longer paths for a socket.
const LONGEST_PATH: usize = 107;

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub mode: u32,
    /// Name and number.
    pub group: Option<(String, u32)>,
}

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("a daemon is listening on {} already; ask it, or choose another --socket", .0.display())]
    Running(PathBuf),
    #[error("{} is there and is no socket; choose another --socket", .0.display())]
    NoSocket(PathBuf),
    #[error("{} is longer than a socket's path can be ({LONGEST_PATH} bytes); choose another --socket", .0.display())]
    TooLong(PathBuf),
    #[error("there is no directory {}; make it, or choose another --socket", .0.display())]
    NoDirectory(PathBuf),
    #[error("{} belongs to user {uid}, who could keep daemons away with it; choose another --socket, in a directory of your own", .path.display())]
    Foreign { path: PathBuf, uid: u32 },
    #[error("cannot give {} to the group {group}: {cause}; choose a group that you are in, or run it as root", .path.display())]
    Group {
        path: PathBuf,
        group: String,
        cause: io::Error,
    },
    #[error("cannot listen on {}: {cause}; choose another --socket, in a directory that you can write to", .path.display())]
    Unusable { path: PathBuf, cause: io::Error },
}

impl SocketError {
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Group { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// The right to listen on a path, which no other daemon has meanwhile.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    directory: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

/// A socket that is listened on. Its file goes when this is dropped.
#[derive(Debug)]
pub struct Socket {
    pub listener: UnixListener,
    claim: Claim,
    identity: (u64, u64),
}

impl Claim {
    /// Says everything that is wrong with the path, before anything is done.
    pub async fn take(path: &Path) -> Result<Self, SocketError> {
        if path.as_os_str().len() > LONGEST_PATH {
            return Err(SocketError::TooLong(path.to_owned()));
        }
        let unusable = |cause| SocketError::Unusable {
            path: path.to_owned(),
            cause,
        };
        let no_name = || unusable(io::Error::from(io::ErrorKind::IsADirectory));
        let name = path.file_name().ok_or_else(no_name)?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if !directory.is_dir() {
            return Err(SocketError::NoDirectory(directory.to_owned()));
        }
        let lock_path = directory.join(lock_name(name));
        let lock = lock(path, &lock_path)?;
        let claim = Self {
            path: path.to_owned(),
            directory: directory.to_owned(),
            lock_path,
            _lock: lock,
        };
        claim.nobody_listens().await?;
        Ok(claim)
    }

    /// A socket that nobody listens on was left by a daemon that was killed.
    async fn nobody_listens(&self) -> Result<(), SocketError> {
        let Ok(meta) = fs::symlink_metadata(&self.path) else {
            return Ok(());
        };
        if !meta.file_type().is_socket() {
            return Err(SocketError::NoSocket(self.path.clone()));
        }
        match UnixStream::connect(&self.path).await {
            Ok(_) => Err(SocketError::Running(self.path.clone())),
            Err(cause) => match cause.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(()),
                // It is busy, so it is there.
                io::ErrorKind::WouldBlock => Err(SocketError::Running(self.path.clone())),
                _ => Err(self.unusable(cause)),
            },
        }
    }

    /// Makes the socket where nobody else can reach it, and moves it to its place when its group and
    /// mode are what they shall be. A stale one is replaced.
    pub fn listen(self, access: &Access) -> Result<Socket, SocketError> {
        let unusable = |cause| self.unusable(cause);
        let private = tempfile::Builder::new()
            .prefix(".memmon-ebpf-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&self.directory)
            .map_err(unusable)?;
        let made = private.path().join("socket");
        // By its descriptor: the path of the directory may be too long for a socket.
        let directory = File::open(private.path()).map_err(unusable)?;
        let short = format!("/proc/self/fd/{}/socket", directory.as_raw_fd());
        let listener = net::UnixListener::bind(short).map_err(unusable)?;
        if let Some((name, id)) = &access.group {
            std::os::unix::fs::chown(&made, None, Some(*id)).map_err(|cause| {
                SocketError::Group {
                    path: self.path.clone(),
                    group: name.clone(),
                    cause,
                }
            })?;
        }
        fs::set_permissions(&made, Permissions::from_mode(access.mode)).map_err(unusable)?;
        let meta = fs::symlink_metadata(&made).map_err(unusable)?;
        listener.set_nonblocking(true).map_err(unusable)?;
        let listener = UnixListener::from_std(listener).map_err(unusable)?;
        fs::rename(&made, &self.path).map_err(unusable)?;
        Ok(Socket {
            listener,
            identity: identity(&meta),
            claim: self,
        })
    }

    fn unusable(&self, cause: io::Error) -> SocketError {
        SocketError::Unusable {
            path: self.path.clone(),
            cause,
        }
    }
}

impl Socket {
    pub fn path(&self) -> &Path {
        &self.claim.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let path = &self.claim.path;
        // Somebody may have put something else there.
        if fs::symlink_metadata(path).is_ok_and(|meta| identity(&meta) == self.identity) {
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // It is still locked: whoever opened it before sees that it is not the one at its path.
        let _ = fs::remove_file(&self.lock_path);
    }
}

fn lock_name(name: &OsStr) -> OsString {
    let mut lock = name.to_owned();
    lock.push(OsStr::from_bytes(b".lock"));
    lock
}

fn identity(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Locks the file beside the socket. The kernel unlocks it, however its daemon ends.
fn lock(socket: &Path, path: &Path) -> Result<File, SocketError> {
    let unusable = |cause| SocketError::Unusable {
        path: socket.to_owned(),
        cause,
    };
    loop {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(unusable)?;
        let meta = file.metadata().map_err(unusable)?;
        if meta.uid() != nix::unistd::geteuid().as_raw() {
            return Err(SocketError::Foreign {
                path: path.to_owned(),
                uid: meta.uid(),
            });
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(SocketError::Running(socket.to_owned()));
            }
            Err(fs::TryLockError::Error(cause)) => return Err(unusable(cause)),
        }
        // A daemon that ended between the two took the file with it.
        if fs::symlink_metadata(path).is_ok_and(|now| identity(&now) == identity(&meta)) {
            return Ok(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYBODY: Access = Access {
        mode: 0o666,
        group: None,
    };

    async fn listen(path: &Path) -> Result<Socket, SocketError> {
        Claim::take(path).await?.listen(&EVERYBODY)
    }

    #[tokio::test]
    async fn one_daemon_for_a_path_and_nothing_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let first = Claim::take(&path).await.unwrap();
        assert!(
            matches!(Claim::take(&path).await, Err(SocketError::Running(_))),
            "claimed, although it does not listen yet"
        );
        let first = first.listen(&EVERYBODY).unwrap();
        assert!(matches!(
            Claim::take(&path).await,
            Err(SocketError::Running(_))
        ));
        let mode = fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o666);
        drop(first);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        drop(listen(&path).await.unwrap());
    }

    #[tokio::test]
    async fn what_a_killed_daemon_left_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        drop(net::UnixListener::bind(&path).unwrap());
        fs::write(directory.path().join("socket.lock"), "").unwrap();
        let socket = listen(&path).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
        // A program without a lock, in its place.
        fs::remove_file(&path).unwrap();
        let other = net::UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists(), "it is not ours");
        assert!(matches!(listen(&path).await, Err(SocketError::Running(_))));
        drop(other);
    }

    #[tokio::test]
    async fn a_path_as_long_as_can_be() {
        let directory = tempfile::tempdir().unwrap();
        let room = LONGEST_PATH - directory.path().as_os_str().len() - 2;
        let deep = directory.path().join("d".repeat(room));
        fs::create_dir(&deep).unwrap();
        let path = deep.join("s");
        assert_eq!(path.as_os_str().len(), LONGEST_PATH + 1);
        assert!(matches!(listen(&path).await, Err(SocketError::TooLong(_))));
        let deep = directory.path().join("d".repeat(room - 1));
        fs::create_dir(&deep).unwrap();
        let path = deep.join("s");
        let _socket = listen(&path).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn each_error_is_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let error = async |path: PathBuf| listen(&path).await.unwrap_err();
        let missing = error(directory.path().join("missing/socket")).await;
        assert!(matches!(missing, SocketError::NoDirectory(_)), "{missing}");
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let no_socket = error(file).await;
        assert!(matches!(no_socket, SocketError::NoSocket(_)), "{no_socket}");
        let read_only = error("/proc/socket".into()).await;
        assert!(
            matches!(read_only, SocketError::Unusable { .. }),
            "{read_only}"
        );
    }
}

//! A process's mappings, from `/proc/PID/maps`.

use std::{
    fs,
    io::{self, Read as _},
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::{Mode, SFlag, fstat},
};

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    pub start: u64,
    pub end: u64,
    pub readable: bool,
    pub writable: bool,
    pub executable: bool,
    pub offset: u64,
    /// Device numbers as the kernel prints them.
    pub device: (u32, u32),
    pub inode: u64,
    /// The file's path, a label such as `[heap]`, or nothing. ` (deleted)` is left off.
    pub path: String,
    pub deleted: bool,
}

impl Region {
    /// Not of a file: what an allocator lives in.
    pub fn is_anonymous(&self) -> bool {
        self.inode == 0
            && (self.path.is_empty()
                || self.path.starts_with("[heap]")
                || self.path.starts_with("[anon"))
    }

    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Opens the mapped file itself, whatever its path names by now: through `map_files` where the
    /// rights allow it, else through the process's own root.
    pub fn open_file(&self, pid: u32) -> io::Result<fs::File> {
        let exact = format!("/proc/{pid}/map_files/{:x}-{:x}", self.start, self.end);
        match located(Path::new(&exact)).and_then(|file| regular(&file)) {
            Ok(file) => Ok(file),
            Err(_) if self.deleted => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the file was deleted, and /proc/PID/map_files cannot be read (CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE)",
            )),
            Err(first) => self.open_in_root(pid).map_err(|_| first),
        }
    }

    fn open_in_root(&self, pid: u32) -> io::Result<fs::File> {
        let root = open(
            Path::new(&format!("/proc/{pid}/root")),
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        // Links of the target are followed inside its root only.
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let place = openat2(&root, self.path.trim_start_matches('/'), how)?;
        if fstat(&place)?.st_ino != self.inode {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "another file lies at that path by now",
            ));
        }
        regular(&place)
    }
}

/// Finds a file without opening it: nothing happens to a device, and a pipe keeps nobody waiting.
fn located(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// Opens a regular file; anything else (a pipe, which may keep one waiting; a device) is an error.
pub fn open_regular(path: &Path) -> io::Result<fs::File> {
    regular(&located(path)?)
}

/// Opens what was found, where that is a regular file: what a target has at a path may be anything.
fn regular(place: &OwnedFd) -> io::Result<fs::File> {
    if SFlag::from_bits_truncate(fstat(place)?.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    fs::File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))
}

/// Mappings that are read of one process; Linux allows 65,530 unless told otherwise.
const MAX_REGIONS: usize = 1 << 18;
/// How much text that may be.
const MAX_TEXT: u64 = 64 << 20;

/// The mappings of a process, by address.
pub fn of_process(pid: u32) -> io::Result<Vec<Region>> {
    let mut text = Vec::new();
    fs::File::open(format!("/proc/{pid}/maps"))?
        .take(MAX_TEXT)
        .read_to_end(&mut text)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// The mappings of a file in the form of `/proc/PID/maps`; lines that are none are left out.
pub fn parse(text: &str) -> Vec<Region> {
    text.lines()
        .filter_map(parse_line)
        .take(MAX_REGIONS)
        .collect()
}

fn parse_line(line: &str) -> Option<Region> {
    let mut rest = line;
    let mut field = || {
        let trimmed = rest.trim_start();
        let (head, tail) = trimmed.split_once(' ').unwrap_or((trimmed, ""));
        rest = tail;
        head
    };
    let (start, end) = field().split_once('-')?;
    let permissions = field().as_bytes();
    let offset = field();
    let (major, minor) = field().split_once(':')?;
    let inode = field();
    let path = rest.trim_start();
    let (path, deleted) = match path.strip_suffix(" (deleted)") {
        Some(path) => (path, true),
        None => (path, false),
    };
    Some(Region {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        readable: permissions.first() == Some(&b'r'),
        writable: permissions.get(1) == Some(&b'w'),
        executable: permissions.get(2) == Some(&b'x'),
        offset: u64::from_str_radix(offset, 16).ok()?,
        device: (
            u32::from_str_radix(major, 16).ok()?,
            u32::from_str_radix(minor, 16).ok()?,
        ),
        inode: inode.parse().ok()?,
        path: path.to_owned(),
        deleted,
    })
}

/// A mapping of this file as it will stand in the list of whoever maps it: its device and inode need not be those that
/// `stat` tells (overlayfs, btrfs). It is made for that moment, and not looked into.
pub fn of_file(file: &fs::File) -> io::Result<Region> {
    const LENGTH: usize = 1;
    // SAFETY: a new mapping, which nothing refers to.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            LENGTH,
            libc::PROT_READ,
            libc::MAP_PRIVATE,
            file.as_raw_fd(),
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let regions = of_process(std::process::id());
    // SAFETY: what was mapped above; nothing refers to it.
    unsafe { libc::munmap(start, LENGTH) };
    let start = start.addr() as u64;
    let is_it = |region: &Region| (region.start..region.end).contains(&start);
    regions?
        .into_iter()
        .find(is_it)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Every process there is, memmon itself left out.
pub fn pids() -> Vec<u32> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .collect()
}

/// `/proc/self/fd/N`: a path that names an open file to the kernel.
pub fn fd_path(file: &fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = "7f0000000000-7f0000001000 r-xp 00001000 fe:01 1234                       /a b/lib.so (deleted)\n\
                    7ffe00000000-7ffe00001000 rw-p 00000000 00:00 0 \n\
                    garbage\n";
        let regions = parse(text);
        assert_eq!(regions.len(), 2);
        assert_eq!(regions[0].path, "/a b/lib.so");
        assert!(regions[0].deleted && regions[0].executable && !regions[0].writable);
        assert_eq!(regions[0].inode, 1234);
        assert!(regions[1].is_anonymous());
    }
}

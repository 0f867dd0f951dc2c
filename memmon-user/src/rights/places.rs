//! Files that are written with more rights than their place gives everybody, and at the end, when rights
//! have been given up.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use caps::{CapSet, Capability};
use nix::{
    fcntl::{AT_FDCWD, AtFlags},
    unistd::{AccessFlags, faccessat, geteuid},
};

/// To write where only another user may, and to leave a file to whom it belongs.
const WRITING: [Capability; 3] = [
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_CHOWN,
];

/// What the calling thread must keep in order to make, replace or remove these files later, as it could now:
/// nothing where they lie in the user's own folders, as a rule. (Root writes to a folder of Ada's,
/// after `sudo`, by these.)
pub fn to_write_later<'a>(files: impl IntoIterator<Item = &'a Path>) -> Vec<Capability> {
    let Ok(effective) = caps::read(None, CapSet::Effective) else {
        return Vec::new();
    };
    if !WRITING.iter().any(|each| effective.contains(each)) {
        return Vec::new();
    }
    // As it will be without them; for this thread alone.
    if caps::clear(None, CapSet::Effective).is_err() {
        return Vec::new();
    }
    let needed = files.into_iter().any(|file| !may_replace(file));
    let _ = caps::set(None, CapSet::Effective, &effective);
    match needed {
        true => WRITING.to_vec(),
        false => Vec::new(),
    }
}

fn may_replace(file: &Path) -> bool {
    // Of a link, it is the file that it stands for which is replaced.
    let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let own = match fs::metadata(&real) {
        Ok(there) => there.uid() == geteuid().as_raw(),
        Err(_) => true,
    };
    own && may(&folder(&real))
}

fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn may(folder: &Path) -> bool {
    let wanted = AccessFlags::W_OK | AccessFlags::X_OK;
    faccessat(AT_FDCWD, folder, wanted, AtFlags::AT_EACCESS).is_ok()
}

/// Links that are followed at the most.
const LINKS: usize = 40;

/// An error where a file is another user's, or a link of another user's leads to it, and lies in a folder
/// that everybody can write to (`/tmp`): they may have put it there for root to write through. The
/// kernel's own guard (`fs.protected_symlinks`) need not be on, and knows of opening only.
pub fn no_trap(file: &Path) -> io::Result<()> {
    let mut file = file.to_owned();
    for _ in 0..LINKS {
        let Ok(there) = fs::symlink_metadata(&file) else {
            return Ok(());
        };
        let place = folder(&file);
        let shared = fs::metadata(&place)?;
        let caller = std::env::var("SUDO_UID")
            .ok()
            .and_then(|id| id.parse().ok());
        let trusted = [Some(geteuid().as_raw()), Some(shared.uid()), caller];
        if shared.mode() & 0o002 != 0 && !trusted.contains(&Some(there.uid())) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "{} is user {}'s, in a folder that everybody can write to",
                    file.display(),
                    there.uid()
                ),
            ));
        }
        match fs::read_link(&file) {
            Ok(to) => file = place.join(to),
            Err(_) => return Ok(()),
        }
    }
    Err(nix::Error::ELOOP.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_for_ones_own_folder() {
        let folder = tempfile::tempdir().unwrap();
        let before = caps::read(None, CapSet::Effective).unwrap();
        assert!(to_write_later([folder.path().join("new").as_path()]).is_empty());
        // A folder that is not there cannot be written to by anybody; it is an error then as now.
        let _ = to_write_later([Path::new("/nowhere/at/all")]);
        assert_eq!(caps::read(None, CapSet::Effective).unwrap(), before);
    }
}

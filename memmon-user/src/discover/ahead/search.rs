//! Which files the dynamic loader would map for a program: what it needs, and what that needs, as `ld.so(8)` looks for
//! it. Where there are variants for several processors, all of them count: probes in one that nobody maps cost nothing.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ffi::{OsStr, OsString},
    fs::File,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{Found, cache::Cache};
use crate::{
    elf::{self, Needs},
    target::maps::{self, fd_path},
};

/// Where libraries lie that no cache names, on the distributions there are.
const DEFAULT_FOLDERS: [&str; 6] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];
/// Below any folder: libraries that are made for some processors.
const VARIANTS: [&str; 3] = ["x86-64-v4", "x86-64-v3", "x86-64-v2"];
const VARIANTS_FOLDER: &str = "glibc-hwcaps";

/// Files that are looked into for one command. The largest programs have some hundreds.
const MAX_FILES: usize = 2_048;
/// Libraries that are found for one command: each takes milliseconds to attach to.
const MAX_FOUND: usize = 32;
/// Folders in one list, and files in one folder.
const MAX_FOLDERS: usize = 256;
const MAX_LISTED: usize = 16_384;

/// A file that can be loaded.
struct Object {
    needs: Needs,
}

/// What the loader knows of an object beside what is in it.
struct Loaded {
    object: Rc<Object>,
    /// The folder that it was found in.
    origin: PathBuf,
    /// `DT_RPATH` of those that it is loaded for.
    inherited: Rc<Vec<PathBuf>>,
}

pub(super) struct Search<'a> {
    wants: &'a dyn Fn(&str) -> bool,
    cache: &'a Cache,
    /// `LD_LIBRARY_PATH`.
    library_path: Vec<PathBuf>,
    /// By device and inode; none where it cannot be loaded.
    files: HashMap<(u64, u64), Option<Rc<Object>>>,
    /// Whether a folder has variants.
    variants: HashMap<PathBuf, bool>,
    pub found: Vec<Found>,
}

impl<'a> Search<'a> {
    pub fn new(
        wants: &'a dyn Fn(&str) -> bool,
        cache: &'a Cache,
        library_path: Option<&OsStr>,
    ) -> Self {
        Self {
            wants,
            cache,
            library_path: library_path.map(folders).unwrap_or_default(),
            files: HashMap::new(),
            variants: HashMap::new(),
            found: Vec::new(),
        }
    }

    /// What is opened by this name, with what it needs: a path, or what is looked for as `dlopen` does.
    pub fn named(&mut self, name: &OsStr) {
        let by = Loaded {
            object: Rc::new(Object {
                needs: Needs::default(),
            }),
            origin: PathBuf::from("."),
            inherited: Rc::default(),
        };
        for file in self.locate(name, &by) {
            self.with_needs(&file);
        }
    }

    /// Whatever of the cache and of `LD_LIBRARY_PATH` has a wanted name: programs open those by name.
    pub fn whatever_is_wanted(&mut self) {
        let cached = self.cache.iter();
        let named = cached.filter(|(name, file)| {
            self.is_wanted(name) || file.file_name().is_some_and(|name| self.is_wanted(name))
        });
        let mut files: Vec<PathBuf> = named.map(|(_, file)| file.to_owned()).collect();
        for folder in &self.library_path {
            let listed = std::fs::read_dir(folder).into_iter().flatten().flatten();
            files.extend(
                listed
                    .take(MAX_LISTED)
                    .filter(|entry| self.is_wanted(&entry.file_name()))
                    .map(|entry| entry.path()),
            );
        }
        // In an order that is the same every time.
        files.sort();
        files.dedup();
        for file in files {
            self.with_needs(&file);
        }
    }

    /// The file, and what it needs.
    pub fn with_needs(&mut self, file: &Path) {
        let Some(first) = self.load(file, &Rc::default()) else {
            return;
        };
        // What has been loaded by a name is not looked for again.
        let mut asked = HashSet::<OsString>::new();
        let mut queue = VecDeque::from([first]);
        while let Some(by) = queue.pop_front() {
            let inherited = Rc::new(self.handed_down(&by));
            for name in &by.object.needs.libraries {
                if !asked.insert(name.clone()) {
                    continue;
                }
                for file in self.locate(name, &by) {
                    queue.extend(self.load(&file, &inherited));
                }
            }
        }
    }

    /// `DT_RPATH` as those see it that this one needs.
    fn handed_down(&self, by: &Loaded) -> Vec<PathBuf> {
        let mut all = own_rpath(by);
        all.extend(by.inherited.iter().cloned());
        all.truncate(MAX_FOLDERS);
        all
    }

    /// The files that this name stands for, the way the loader looks: the first place that has one.
    fn locate(&mut self, name: &OsStr, by: &Loaded) -> Vec<PathBuf> {
        if name.as_bytes().contains(&b'/') {
            return expanded(name, &by.origin);
        }
        let needs = &by.object.needs;
        let mut places = Vec::new();
        if needs.runpath.is_none() {
            places.extend(self.handed_down(by));
        }
        places.extend(self.library_path.iter().cloned());
        if let Some(runpath) = &needs.runpath {
            places.extend(own_folders(runpath, &by.origin));
        }
        if let Some(files) = self.first_of(&places, name) {
            return files;
        }
        let cache = self.cache;
        let cached = cache.files(name).iter().filter(|file| self.loads(file));
        let cached: Vec<PathBuf> = cached.cloned().collect();
        if !cached.is_empty() {
            return cached;
        }
        let default = DEFAULT_FOLDERS.map(PathBuf::from);
        self.first_of(&default, name).unwrap_or_default()
    }

    fn first_of(&mut self, folders: &[PathBuf], name: &OsStr) -> Option<Vec<PathBuf>> {
        folders.iter().find_map(|folder| {
            let mut files = vec![folder.join(name)];
            let known = self.variants.get(folder).copied();
            let has_variants = known.unwrap_or_else(|| {
                let has_variants = folder.join(VARIANTS_FOLDER).is_dir();
                self.variants.insert(folder.clone(), has_variants);
                has_variants
            });
            if has_variants {
                let variants = folder.join(VARIANTS_FOLDER);
                files.extend(VARIANTS.map(|variant| variants.join(variant).join(name)));
            }
            files.retain(|file| self.loads(file));
            (!files.is_empty()).then_some(files)
        })
    }

    /// Whether it is there, and for this machine: the loader passes over others.
    fn loads(&mut self, file: &Path) -> bool {
        self.object(file).is_some()
    }

    fn load(&mut self, file: &Path, inherited: &Rc<Vec<PathBuf>>) -> Option<Loaded> {
        let object = self.object(file)?;
        let path = std::path::absolute(file).ok()?;
        Some(Loaded {
            object,
            origin: path.parent()?.to_owned(),
            inherited: inherited.clone(),
        })
    }

    fn object(&mut self, path: &Path) -> Option<Rc<Object>> {
        // Most places have nothing of the name.
        let meta = path.metadata().ok()?;
        let id = (meta.dev(), meta.ino());
        if let Some(known) = self.files.get(&id) {
            return known.clone();
        }
        if self.files.len() >= MAX_FILES {
            return None;
        }
        let object = self.look_into(path);
        self.files.insert(id, object.clone());
        object
    }

    fn look_into(&mut self, path: &Path) -> Option<Rc<Object>> {
        let file: File = maps::open_regular(path).ok()?;
        let library = elf::Library::open(&file).ok()?;
        let object = Rc::new(Object {
            needs: library.needs(),
        });
        // What counts is its own name, as a process's mappings tell it, not that of a link.
        let real = std::fs::read_link(fd_path(&file)).ok()?;
        let is_wanted = real.file_name().is_some_and(|name| self.is_wanted(name));
        if is_wanted && self.found.len() < MAX_FOUND {
            self.found.push(Found { path: real, file });
        }
        Some(object)
    }

    fn is_wanted(&self, name: &OsStr) -> bool {
        (self.wants)(&name.to_string_lossy())
    }
}

/// Where an object has its own list, `DT_RPATH` does not count.
fn own_rpath(by: &Loaded) -> Vec<PathBuf> {
    let Needs { rpath, runpath, .. } = &by.object.needs;
    match (rpath, runpath) {
        (Some(rpath), None) => own_folders(rpath, &by.origin),
        _ => Vec::new(),
    }
}

/// The folders in an object's list.
fn own_folders(list: &OsStr, origin: &Path) -> Vec<PathBuf> {
    list.as_bytes()
        .split(|byte| *byte == b':')
        .take(MAX_FOLDERS)
        .flat_map(|folder| expanded(OsStr::from_bytes(folder), origin))
        .collect()
}

/// The folders in `LD_LIBRARY_PATH`. An empty one is the working directory.
fn folders(list: &OsStr) -> Vec<PathBuf> {
    list.as_bytes()
        .split(|byte| matches!(byte, b':' | b';'))
        .take(MAX_FOLDERS)
        .map(|folder| match folder {
            b"" => PathBuf::from("."),
            folder => PathBuf::from(OsStr::from_bytes(folder)),
        })
        .collect()
}

/// With what stands for its variables, each as `$NAME` or `${NAME}`: `ORIGIN`, `PLATFORM`, and `LIB`, which is not the
/// same on every distribution.
fn expanded(text: &OsStr, origin: &Path) -> Vec<PathBuf> {
    if !text.as_bytes().contains(&b'$') {
        return vec![PathBuf::from(text)];
    }
    let with = |lib: &[u8]| {
        let mut bytes = text.as_bytes().to_vec();
        let values = [
            (&b"ORIGIN"[..], origin.as_os_str().as_bytes()),
            (b"PLATFORM", b"x86_64"),
            (b"LIB", lib),
        ];
        for (name, value) in values {
            bytes = replaced(&bytes, &[b"${", name, b"}"].concat(), value);
            bytes = replaced(&bytes, &[b"$", name].concat(), value);
        }
        PathBuf::from(OsStr::from_bytes(&bytes))
    };
    let mut all = vec![with(b"lib/x86_64-linux-gnu"), with(b"lib64"), with(b"lib")];
    all.dedup();
    all
}

fn replaced(text: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(what.len()).position(|part| part == what) {
        let (before, after) = rest.split_at(at);
        result.extend(before);
        result.extend(by);
        rest = after.get(what.len()..).unwrap_or_default();
    }
    result.extend(rest);
    result
}

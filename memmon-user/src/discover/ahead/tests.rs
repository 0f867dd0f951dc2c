use std::{fs, path::Path, process::Command};

use super::{cache::Cache, search::Search, *};

/// A folder of libraries and programs, made on the spot by the C compiler.
struct Yard(tempfile::TempDir);

impl Yard {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn make(&self, name: &str, args: &[&str]) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let source = self.path("a.c");
        fs::write(&source, "int main(void) { return 0; }\n").unwrap();
        let done = Command::new("gcc")
            .current_dir(self.0.path())
            .args(["-g0", "-Wl,--no-as-needed", "-o"])
            .args([&file, &source])
            .args(args)
            .status()
            .expect("gcc is needed for this test");
        assert!(done.success(), "{name}: {args:?}");
    }

    /// A library that needs these.
    fn library(&self, name: &str, args: &[&str]) {
        let base = Path::new(name).file_name().unwrap().to_str().unwrap();
        let soname = format!("-Wl,-soname,{base}");
        self.make(name, &[&["-shared", "-fPIC", &soname], args].concat());
    }

    /// What is found of libraries called `libwanted…` for this program, by their places.
    fn found(&self, program: &str, library_path: Option<&str>) -> Vec<String> {
        let wants = |name: &str| name.starts_with("libwanted");
        let cache = Cache::default();
        let mut search = Search::new(&wants, &cache, library_path.map(OsStr::new));
        search.with_needs(&self.path(program));
        let root = self.0.path().canonicalize().unwrap();
        let place = |found: &Found| {
            found
                .path
                .strip_prefix(&root)
                .unwrap()
                .display()
                .to_string()
        };
        search.found.iter().map(place).collect()
    }
}

#[test]
fn by_the_lists_in_the_files() {
    let yard = Yard::new();
    yard.library("deep/libwanted-deep.so", &[]);
    // By a list of its own: seen from where it lies itself.
    yard.library(
        "lib/libmiddle.so",
        &[
            "deep/libwanted-deep.so",
            "-Wl,--enable-new-dtags,-rpath,${ORIGIN}/../deep",
        ],
    );
    yard.library("lib/libwanted.so", &[]);
    let needs = ["lib/libmiddle.so", "lib/libwanted.so"];
    for dtags in ["--enable-new-dtags", "--disable-new-dtags"] {
        let list = format!("-Wl,{dtags},-rpath,/nowhere:$ORIGIN/lib,-rpath-link,deep");
        yard.make("program", &[&needs[..], &[list.as_str()]].concat());
        let mut found = yard.found("program", None);
        found.sort();
        assert_eq!(
            found,
            ["deep/libwanted-deep.so", "lib/libwanted.so"],
            "{dtags}"
        );
    }
    // Without a list there is nothing to be found, but where the environment says.
    yard.make("bare", &[&needs[..], &["-Wl,-rpath-link,deep"]].concat());
    assert!(yard.found("bare", None).is_empty());
    let place = yard.path("lib").display().to_string();
    assert_eq!(yard.found("bare", Some(&place)).len(), 2);
    assert_eq!(
        yard.found("bare", Some(&format!("/nowhere;{place}"))).len(),
        2
    );
}

/// `DT_RPATH` holds for what is needed by what is needed; `DT_RUNPATH` does not.
#[test]
fn lists_that_are_handed_down() {
    let yard = Yard::new();
    yard.library("lib/libwanted.so", &[]);
    yard.library("lib/libmiddle.so", &["lib/libwanted.so"]);
    for (dtags, expected) in [("--disable-new-dtags", 1), ("--enable-new-dtags", 0)] {
        let list = format!("-Wl,{dtags},-rpath,$ORIGIN/lib,-rpath-link,lib");
        yard.make("program", &["lib/libmiddle.so", &list]);
        assert_eq!(yard.found("program", None).len(), expected, "{dtags}");
        // It is what the loader itself does.
        let listed = Command::new("ldd").arg(yard.path("program")).output();
        if let Ok(listed) = listed {
            let text = String::from_utf8_lossy(&listed.stdout).into_owned();
            let is_missing = text.contains("libwanted.so => not found");
            assert_eq!(is_missing, expected == 0, "{text}");
        }
    }
}

#[test]
fn variants_links_and_other_machines() {
    let yard = Yard::new();
    yard.library("lib/libwanted.so.1.2", &[]);
    yard.library("lib/glibc-hwcaps/x86-64-v3/libwanted.so.1", &[]);
    yard.library("needed/libwanted.so.1", &[]);
    std::os::unix::fs::symlink("libwanted.so.1.2", yard.path("lib/libwanted.so.1")).unwrap();
    yard.make("program", &["needed/libwanted.so.1"]);
    // Another machine's is passed over, as are others that cannot be loaded.
    fs::create_dir(yard.path("other")).unwrap();
    let mut bytes = fs::read(yard.path("needed/libwanted.so.1")).unwrap();
    bytes[18] = 3;
    fs::write(yard.path("other/libwanted.so.1"), bytes).unwrap();
    fs::create_dir_all(yard.path("folder/libwanted.so.1")).unwrap();
    let places = ["other", "folder", "lib", "needed"].map(|name| yard.path(name));
    let list = std::env::join_paths(places).unwrap();
    assert_eq!(
        yard.found("program", list.to_str()),
        [
            "lib/libwanted.so.1.2",
            "lib/glibc-hwcaps/x86-64-v3/libwanted.so.1"
        ]
    );
}

#[test]
fn whatever_has_a_wanted_name() {
    let yard = Yard::new();
    yard.library("lib/libwanted-a.so", &[]);
    yard.library("lib/libother.so", &[]);
    fs::write(
        yard.path("lib/libwanted-text.so"),
        "INPUT(libwanted-a.so)\n",
    )
    .unwrap();
    let place = yard.path("lib");
    let wants = |name: &str| name.starts_with("libwanted");
    let cache = Cache::default();
    let mut search = Search::new(&wants, &cache, Some(place.as_os_str()));
    search.whatever_is_wanted();
    let found: Vec<_> = search
        .found
        .iter()
        .filter_map(|found| found.path.file_name())
        .collect();
    assert_eq!(found, ["libwanted-a.so"]);
    search.named(OsStr::new("libother.so"));
    search.named(yard.path("lib/none.so").as_os_str());
    assert_eq!(search.found.len(), 1);
}

#[test]
fn preloaded_libraries() {
    let names = preloaded(Some(OsStr::new("liba.so:/opt/libb.so  libc.so:")));
    assert_eq!(names, ["liba.so", "/opt/libb.so", "libc.so"]);
    assert!(preloaded(None).is_empty());
}

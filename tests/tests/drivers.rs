//! Real drivers, where they are installed: what is found in them, which no symbol names.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use memmon::{
    elf::Library,
    runtimes::{level_zero, opencl, resolver::Understood, vulkan},
};
use memmon_tests::optional::{NotRun, needs};

const SYSTEM: &str = "/usr/lib/x86_64-linux-gnu";

fn open(path: &Path) -> Result<Library> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Ok(Library::open(&file)?)
}

fn understood(
    path: &Path,
    library: &Library,
    understand: fn(&Library) -> Result<Understood, String>,
) -> Result<Understood> {
    let understood = understand(library).map_err(anyhow::Error::msg);
    understood.with_context(|| path.display().to_string())
}

fn named(variable: &str) -> Vec<PathBuf> {
    let named: OsString = std::env::var_os(variable).unwrap_or_default();
    std::env::split_paths(&named).collect()
}

/// It is stripped, and exports nothing of this.
fn pocl_by_its_table() -> Result<()> {
    let path = Path::new(SYSTEM).join("libpocl.so.2");
    needs(&path)?;
    let library = open(&path)?;
    let found = understood(&path, &library, opencl::understand)?.constants;
    for name in [
        "create_buffer",
        "retain_mem_object",
        "release_mem_object",
        "create_sub_buffer",
        "create_image",
        "svm_alloc",
        "svm_free",
        "enqueue_svm_free",
    ] {
        let address = *found.get(name).context(name)?;
        ensure!(
            library.is_code(address.cast_unsigned()),
            "{name}: {address:#x}"
        );
    }
    let usm = understood(&path, &library, opencl::understand_usm)?.constants;
    ensure!(usm.is_empty(), "{usm:?}");
    Ok(())
}

/// Mesa's of this system, and those in the folders that `MEMMON_VULKAN_DIRS` names.
fn mesas_vulkan() -> Result<()> {
    let mut seen = 0;
    let folders = [vec![SYSTEM.into()], named("MEMMON_VULKAN_DIRS")].concat();
    for file in folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
    {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with("libvulkan_") || !name.ends_with(".so") {
            continue;
        }
        let found = understood(&path, &open(&path)?, vulkan::understand)?.constants;
        println!("{}: {found:x?}", path.display());
        ensure!(found["allocate_memory"] != found["free_memory"]);
        seen += 1;
    }
    if seen == 0 {
        return Err(NotRun("no Vulkan driver of Mesa's is installed".to_owned()).into());
    }
    Ok(())
}

/// Those that are installed here, and those that `MEMMON_LEVEL_ZERO_DRIVERS` names.
fn level_zeros() -> Result<Vec<PathBuf>> {
    let mut drivers = named("MEMMON_LEVEL_ZERO_DRIVERS");
    drivers.retain(|path| path.exists());
    let installed = Path::new(SYSTEM).join("libze_intel_gpu.so.1");
    if drivers.is_empty() {
        needs(&installed)?;
    }
    drivers.extend(installed.exists().then_some(installed));
    Ok(drivers)
}

/// The end-to-end tests compare what is counted there; this is for drivers that do not run here, too.
fn level_zero_by_its_tables() -> Result<()> {
    const FUNCTIONS: [(&str, &str); 9] = [
        ("mem_alloc_shared", "zeMemAllocShared"),
        ("mem_alloc_device", "zeMemAllocDevice"),
        ("mem_alloc_host", "zeMemAllocHost"),
        ("mem_free", "zeMemFree"),
        ("mem_free_ext", "zeMemFreeExt"),
        ("physical_create", "zePhysicalMemCreate"),
        ("physical_destroy", "zePhysicalMemDestroy"),
        ("device_get", "zeDeviceGet"),
        ("device_get_sub_devices", "zeDeviceGetSubDevices"),
    ];
    for path in level_zeros()? {
        let library = open(&path)?;
        let found = understood(&path, &library, level_zero::understand)?.constants;
        for (name, symbol) in FUNCTIONS {
            let address = found
                .get(name)
                .with_context(|| name.to_owned())?
                .cast_unsigned();
            // Nothing of the public interface stands in a table, and no function in the midst of another.
            let export = library.symbol(symbol).map(|symbol| symbol.address);
            ensure!(export != Some(address) && address % 16 == 0, "{name}");
            ensure!(library.is_code(address), "{name}: {address:#x}");
        }
        println!("{}: {found:x?}", path.display());
    }
    Ok(())
}

/// One whose code was damaged is not understood, or is understood in another way; it is never the end of us.
fn any_damage_is_followed_to_an_end() -> Result<()> {
    let path = level_zeros()?.pop().context("none")?;
    let bytes = fs::read(&path)?;
    let library = open(&path)?;
    let start = library
        .symbol("zeGetMemProcAddrTable")
        .and_then(|symbol| library.file_offset(symbol.address))
        .context("where its table is filled")?;
    let start = usize::try_from(start)?;
    let mut state = 1_u64;
    for _ in 0..200 {
        let mut damaged = bytes.clone();
        for _ in 0..8 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = start + (state >> 33) as usize % 600;
            damaged[at] = (state >> 56) as u8;
        }
        let _ = level_zero::understand(&Library::from_bytes(damaged)?);
    }
    Ok(())
}

memmon_tests::cases![
    pocl_by_its_table,
    mesas_vulkan,
    level_zero_by_its_tables,
    any_damage_is_followed_to_an_end,
];

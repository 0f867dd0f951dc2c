//! Stands in for tt-metal's RISC-V compiler, so that `ttnn` runs its operations on a mock device.
//!
//! A mock device runs no kernels: what counts is that the runtime finds a compiler of the version it asks for, and
//! that the files it then opens are there and well formed. `cargo xtask lab` installs this program where the `ttnn`
//! wheel looks for `riscv-tt-elf-g++`.

mod elf;

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = if words.iter().any(|word| word == "--version") {
        print_version()
    } else {
        compile(&words)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stand-in compiler: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The version the wheel was built for: then the runtime takes the firmware that is in the wheel.
fn print_version() -> io::Result<()> {
    let program = std::env::current_exe()?;
    // ttnn/runtime/sfpi/compiler/bin/riscv-tt-elf-g++
    let wheel = program.ancestors().nth(5).unwrap_or(Path::new("/"));
    let file = wheel.join("tt_metal/sfpi-version");
    let text = std::fs::read_to_string(&file)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches(['\'', '"']))
            .unwrap_or_default()
    };
    println!(
        "riscv-tt-elf-g++ (tenstorrent/sfpi:{}[{}]) 15.1.0",
        value("sfpi_version"),
        value("sfpi_build")
    );
    Ok(())
}

/// Writes what `-o` and `-MF` name.
fn compile(words: &[OsString]) -> io::Result<()> {
    let after = |option: &str| {
        let at = words.iter().position(|word| word == option)?;
        words.get(at + 1).map(PathBuf::from)
    };
    let Some(output) = after("-o") else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "nothing to write: no -o",
        ));
    };
    if output.extension() == Some(OsStr::new("elf")) {
        std::fs::write(&output, elf::program())?;
    } else {
        std::fs::write(&output, b"")?;
    }
    if let Some(rules) = after("-MF") {
        std::fs::write(rules, format!("{}:\n", output.display()))?;
    }
    Ok(())
}

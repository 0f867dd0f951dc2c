use std::process::ExitCode;

fn main() -> ExitCode {
    memmon::cli::main()
}

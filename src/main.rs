//! The program: hands the command line over and ends with the code that comes back.

use std::process::ExitCode;

fn main() -> ExitCode {
    aishell::cli::run(std::env::args_os()).into()
}

//! `aishell completions`: what a shell needs to complete commands and options.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Arguments;
use super::exit::Exit;
use super::invocation::Invocation;

/// Print the completion script of a shell
///
/// bash: `source <(aishell completions bash)`; zsh: write it to a file `_aishell` in a directory of `fpath`;
/// fish: write it to `~/.config/fish/completions/aishell.fish`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub fn run(self, invocation: &Invocation) -> Exit {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "aishell", &mut script);
        invocation.output.answer(&String::from_utf8_lossy(&script));
        Exit::Done
    }
}

//! `aishell exec`: one command in a running container.

use std::ffi::OsString;

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::inside::{Inside, Wish, not_run, variable, words};
use super::invocation::Invocation;
use crate::session::terminal;

/// Run one command in a running container, and end with its code
///
/// It runs as the container's user, in the directory you are in where the container has that. What it writes comes out
/// here as it is written; with --interactive it reads what comes in here. When this command is ended, so is that one.
#[derive(Debug, Args)]
pub struct Exec {
    /// Hand standard input to the command
    #[arg(short, long)]
    interactive: bool,

    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,

    /// Set a variable; a name alone takes its value from here
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,

    /// Run it in this directory of the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// The container, by its name in the manifest
    name: String,

    /// The command; everything from here on is handed to it as it is
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<OsString>,
}

impl Exec {
    /// Runs the command.
    ///
    /// # Errors
    /// Nothing ran, or nobody knows how it ended.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        Box::pin(self.attempt(invocation)).await.map_err(not_run)
    }

    async fn attempt(self, invocation: &Invocation) -> Result<Exit, Failure> {
        if self.tty && self.interactive && !terminal::on_input() {
            return Err(Failure::usage(
                "standard input is not a terminal",
                "leave --tty away: what comes in is then handed on as it is",
            ));
        }
        let env = self.env.iter().map(|written| variable(invocation, written));
        let wish = Wish {
            words: words(self.command)?,
            env: env.filter_map(Result::transpose).collect::<Result<_, _>>()?,
            workdir: self.workdir,
            terminal: self.tty,
            input: self.interactive,
        };
        Inside::find(invocation, &self.name)
            .await?
            .open(invocation, wish)
            .await
    }
}

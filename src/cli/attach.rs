//! `aishell attach`: a shell in a running container.

use std::ffi::OsString;

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::inside::{Inside, Wish, not_run, variable, words};
use super::invocation::Invocation;
use crate::session::{shell, terminal};

/// Open a shell, or a command, in a running container
///
/// It is the login shell of the container's user, in the directory you are in where the container has that. Every key
/// goes to it. Where standard input or output is no terminal it gets none either, and reads and writes those.
#[derive(Debug, Args)]
pub struct Attach {
    /// Set a variable; a name alone takes its value from here
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,

    /// Begin in this directory of the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// The container, by its name in the manifest
    name: String,

    /// A command in place of the shell; everything from here on is handed to it as it is
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Attach {
    /// Opens the shell.
    ///
    /// # Errors
    /// Nothing ran, or nobody knows how it ended.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        Box::pin(self.attempt(invocation)).await.map_err(not_run)
    }

    async fn attempt(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let env = self.env.iter().map(|written| variable(invocation, written));
        let env = env.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let inside = Inside::find(invocation, &self.name).await?;
        let words = match self.command {
            command if command.is_empty() => {
                shell::login(inside.container.spec.user.as_deref(), terminal::size())
            }
            command => words(command)?,
        };
        let wish = Wish {
            words,
            env,
            workdir: self.workdir,
            terminal: terminal::on_input() && terminal::on_output(),
            input: true,
        };
        inside.open(invocation, wish).await
    }
}

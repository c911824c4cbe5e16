//! `aishell attach`: a shell in a running container.

use std::ffi::OsString;

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::inside::{Inside, Wish, not_run, variable, words};
use super::invocation::Invocation;
use crate::session::detached::keys::{Keys, KeysError};
use crate::session::detached::{Held, Left, Sockets, resume};
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

    /// Open a session that can be left with --detach-keys and returned to with --resume
    #[arg(long, conflicts_with = "resume")]
    detachable: bool,

    /// Return to a session that was left: the only one of the container, or the one with this id
    #[arg(
        long,
        value_name = "ID",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with_all = ["env", "workdir", "command"]
    )]
    resume: Option<String>,

    /// The keys by which such a session is left
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q", value_parser = keys)]
    detach_keys: Keys,

    /// The container, by its name in the manifest
    name: String,

    /// A command in place of the shell; everything from here on is handed to it as it is
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<OsString>,
}

fn keys(text: &str) -> Result<Keys, String> {
    text.parse().map_err(|error: KeysError| error.to_string())
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
        let in_terminal = terminal::on_input() && terminal::on_output();
        if (self.detachable || self.resume.is_some()) && !in_terminal {
            return Err(Failure::usage(
                "standard input and output are no terminal",
                "leave --detachable and --resume away, or run it in a terminal",
            ));
        }
        let env = self.env.iter().map(|written| variable(invocation, written));
        let env = env.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let inside = Inside::find(invocation, &self.name).await?;
        let sockets = Sockets::of(&invocation.host);
        if let Some(id) = self.resume {
            let id = Some(id.as_str()).filter(|id| !id.is_empty());
            let held = held(&sockets, &inside.container.id, &self.name, id).await?;
            return sit_down(invocation, &sockets, &held, (&self.name, &self.detach_keys)).await;
        }
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
            terminal: in_terminal,
            input: true,
        };
        if !self.detachable {
            return inside.open(invocation, wish).await;
        }
        let command = inside.command(invocation, wish).await?;
        let container = &inside.container.id;
        let held = sockets.open(inside.engine.host(), container, &command).await?;
        sit_down(invocation, &sockets, &held, (&self.name, &self.detach_keys)).await
    }
}

/// Finds the session of a container that is meant.
async fn held(sockets: &Sockets, container: &str, name: &str, id: Option<&str>) -> Result<Held, Failure> {
    let mut all = sockets.list().await;
    all.retain(|held| held.container == container);
    let mut meant = all.iter().filter(|held| id.is_none_or(|id| held.id == id));
    match (meant.next(), meant.next()) {
        (Some(held), None) => return Ok(held.clone()),
        (Some(_), Some(_)) => {}
        (None, _) if all.is_empty() => {
            let message = format!("nobody has left a session of container `{name}`");
            let hint = format!("open one with `aishell attach --detachable {name}`");
            return Err(Failure::usage(message, &hint));
        }
        (None, _) => {}
    }
    let list: Vec<String> = all
        .iter()
        .map(|held| {
            format!(
                "{} (since {})",
                held.id,
                held.since.split('.').next().unwrap_or_default()
            )
        })
        .collect();
    let message = match id {
        Some(id) => format!("container `{name}` has no session `{id}`"),
        None => format!("container `{name}` has {} sessions", all.len()),
    };
    let hint = format!("say which with --resume=ID: {}", list.join(", "));
    Err(Failure::usage(message, &hint))
}

/// Sits down at a session, and says how to return where it goes on.
async fn sit_down(
    invocation: &Invocation,
    sockets: &Sockets,
    held: &Held,
    (name, keys): (&str, &Keys),
) -> Result<Exit, Failure> {
    let left = Box::pin(resume(sockets, held, keys)).await?;
    let return_to = format!("return with `aishell attach --resume={} {name}`\n", held.id);
    let told = |how: &str| {
        if !invocation.output.is_quiet() {
            invocation.output.talk(&format!("\n{how}; {return_to}"));
        }
    };
    Ok(match left {
        Left::Ended(code) => Exit::Own(code),
        Left::ByKeys => {
            told("the session goes on");
            Exit::Done
        }
        Left::Taken => {
            told("somebody else has sat down at the session");
            Exit::Done
        }
        Left::Told(code) => Exit::Own(code),
    })
}

//! The command line: what can be typed, and what is done about it.
//!
//! Every command is a module with its options and a `run`. Commands decide nothing about resources: they load,
//! call the pipeline, and hand what it returns to [`render`] or [`json`].

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

pub use self::exit::Exit;
use self::failure::Failure;
use self::invocation::Invocation;
pub use self::output::{Color, Format};
use self::output::{Layout, Output};
use self::progress::Mode;
use self::viewpoint::Viewpoint;
use crate::host::Host;
use crate::session;

mod adhoc;
mod apply;
mod attach;
mod completions;
mod delete;
mod diff;
mod doctor;
mod exec;
pub mod exit;
pub mod failure;
mod harness;
mod init;
mod inside;
mod invocation;
pub mod json;
mod log;
mod logs;
mod named;
mod output;
mod phases;
mod planned;
mod progress;
mod prune;
mod ps;
mod render;
mod restart;
mod run;
mod schema;
mod signal;
mod start;
mod status;
mod stop;
mod update;
mod validate;
pub mod viewpoint;
mod watch;

/// Write down once which sandboxes you want; aishell makes Docker match it
///
/// A manifest declares a foundation image, agent tools and named containers. `diff` shows what differs from it,
/// `apply` makes it so, `watch` keeps it so.
///
/// `aishell claude`, `aishell codex` and so on open a harness: in the container of the manifest that has it, or, where
/// there is no manifest, in one of its own that is removed at the end.
#[derive(Debug, Parser)]
#[command(
    name = "aishell",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 differences, 2 usage, 3 invalid manifest, 4 engine unreachable, \
                  5 steps failed, 6 a person is needed, 7 another apply is at work, 8 the saved plan is stale, 130 interrupted; `exec` and `attach`: that of the command, or 125."
)]
pub struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command has.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Read this manifest instead of searching for one; `-` is standard input
    #[arg(short, long, global = true, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,

    /// Use the engine of this Docker context
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "host")]
    context: Option<String>,

    /// Use the engine at this address, such as `unix:///var/run/docker.sock`
    #[arg(long, global = true, value_name = "URI")]
    host: Option<String>,

    /// Answer with `text` or with one `json` document
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        hide_possible_values = true,
        default_value = "text"
    )]
    output: Format,

    /// Colour the output: `auto` (on a terminal, unless `NO_COLOR` is set), `always` or `never`
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        hide_possible_values = true,
        hide_default_value = true,
        default_value = "auto"
    )]
    color: Color,

    /// Print only the answer and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,

    /// Print more; twice for everything (`AISHELL_LOG` is a finer filter)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    /// Show progress: `auto` (bars on a terminal), `plain` lines, `json` events on stderr, or `none`
    #[arg(
        long,
        global = true,
        value_name = "MODE",
        hide_possible_values = true,
        hide_default_value = true,
        default_value = "auto"
    )]
    progress: Mode,

    /// Never ask; a question counts as answered with no
    #[arg(long, global = true)]
    no_input: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Validate(validate::Validate),
    #[command(visible_alias = "plan")]
    Diff(diff::Diff),
    #[command(visible_alias = "up")]
    Apply(apply::Apply),
    Watch(watch::Watch),
    Update(update::Update),
    Status(status::Status),
    Phases(phases::Phases),
    Doctor(doctor::Doctor),
    Ps(ps::Ps),
    Logs(logs::Logs),
    Stop(stop::Stop),
    Start(start::Start),
    Restart(restart::Restart),
    Run(run::Run),
    Exec(exec::Exec),
    Attach(attach::Attach),
    #[command(visible_alias = "down")]
    Delete(delete::Delete),
    Prune(prune::Prune),
    Schema(schema::Schema),
    Completions(completions::Completions),
    #[command(external_subcommand)]
    Harness(Vec<OsString>),
}

/// Runs a command line, program name first, and returns how it ended.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Not commands of a person's.
    if arguments.get(1).is_some_and(|word| word == session::guard::WORD) {
        session::guard::stand_by();
        return Exit::Done;
    }
    if arguments
        .get(1)
        .is_some_and(|word| word == session::detached::holder::WORD)
    {
        session::detached::holder::hold();
        return Exit::Done;
    }
    let Arguments { global, command } = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody to tell is no reason to end differently.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
        }
    };
    let host = match Host::detect() {
        Ok(host) => host,
        Err(error) => return without_session(&error.into()),
    };
    let output = Arc::new(Output::new(global.output, global.color, global.quiet, &host));
    let invocation = Invocation { global, host, output };
    let result = log::install(&invocation).and_then(|()| dispatch(&invocation, command));
    let exit = match result {
        Ok(exit) => exit,
        Err(failure) => {
            report(&invocation, &failure);
            failure.exit
        }
    };
    match invocation.output.finish() {
        Ok(()) => exit,
        Err(error) => {
            invocation
                .output
                .talk(&format!("error: the answer cannot be written: {error}\n"));
            Exit::Failed
        }
    }
}

fn dispatch(invocation: &Invocation, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Init(init) => init.run(invocation),
        Command::Validate(validate) => validate.run(invocation),
        Command::Diff(diff) => wait(diff.run(invocation))?,
        Command::Apply(apply) => wait(apply.run(invocation))?,
        Command::Watch(watch) => wait(watch.run(invocation))?,
        Command::Update(update) => wait(update.run(invocation))?,
        Command::Status(status) => wait(status.run(invocation))?,
        Command::Phases(phases) => wait(phases.run(invocation))?,
        Command::Doctor(doctor) => wait(doctor.run(invocation))?,
        Command::Ps(ps) => wait(ps.run(invocation))?,
        Command::Logs(logs) => wait(logs.run(invocation))?,
        Command::Stop(stop) => wait(stop.run(invocation))?,
        Command::Start(start) => wait(start.run(invocation))?,
        Command::Restart(restart) => wait(restart.run(invocation))?,
        Command::Run(run) => wait(run.run(invocation))?,
        Command::Exec(exec) => wait(exec.run(invocation))?,
        Command::Attach(attach) => wait(attach.run(invocation))?,
        Command::Delete(delete) => wait(delete.run(invocation))?,
        Command::Prune(prune) => wait(prune.run(invocation))?,
        Command::Schema(schema) => Ok(schema.run(invocation)),
        Command::Harness(words) => wait(harness::run(invocation, words))?,
        Command::Completions(completions) => Ok(completions.run(invocation)),
    }
}

/// Waits for a command that talks to the engine.
fn wait<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        let message = format!("the system refuses what is needed to talk to the engine: {error}");
        Failure::usage(message, "check the limits on open files and processes")
    })?;
    let result = runtime.block_on(work);
    // Whatever still waits for the engine must not keep the program from ending.
    runtime.shutdown_background();
    Ok(result)
}

/// Tells what went wrong: people on stderr, programs on stdout too.
fn report(invocation: &Invocation, failure: &Failure) {
    let directory = &invocation.host.directory;
    if invocation.is_json() {
        let document = json::Error::of(failure.exit.code(), &failure.problems, Viewpoint::of(directory));
        invocation.output.document(&document);
    }
    invocation
        .output
        .talk(&failure.render(invocation.output.layout(), directory));
}

/// Tells what went wrong before anything is known about the person.
fn without_session(failure: &Failure) -> Exit {
    use io::Write as _;
    let layout = Layout {
        width: None,
        unicode: false,
    };
    let text = failure.render(layout, std::path::Path::new("/"));
    let _ = anstream::AutoStream::auto(io::stderr()).write_all(text.as_bytes());
    failure.exit
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}

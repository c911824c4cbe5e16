//! Every command of the program, and every line that can be typed of those that only look.

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use self::Nature::{Looks, LooksElsewhere, Writes};

/// What a command may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// It only looks, if it is told this.
    Looks(&'static [&'static str]),
    /// It only looks, and what it answers with is no document: a test of its own shows it.
    LooksElsewhere,
    /// It changes something.
    Writes,
}

/// What each command may do. Whoever adds a command decides that here.
const NATURES: &[(&str, Nature)] = &[
    ("apply", Looks(&["--dry-run"])),
    ("apply", Writes),
    ("attach", Writes),
    ("completions", Looks(&[])),
    ("delete", Writes),
    ("diff", Looks(&[])),
    ("doctor", Looks(&[])),
    ("exec", Writes),
    ("init", Writes),
    ("logs", LooksElsewhere),
    ("phases", Looks(&[])),
    ("prune", Looks(&["nobody"])),
    ("prune", Writes),
    ("ps", Looks(&[])),
    ("restart", Writes),
    ("run", Writes),
    ("schema", Looks(&[])),
    ("start", Writes),
    ("status", Looks(&[])),
    ("stop", Writes),
    ("update", Looks(&["--check"])),
    ("update", Writes),
    ("validate", Looks(&[])),
    ("watch", Writes),
];

/// What is given where anything might be: the option or argument, and a value that fits every world it is tried in.
const VALUES: &[(&str, &str)] = &[
    ("keep", "0"),
    ("lock_timeout", "1s"),
    ("manifest", "aishell.yaml"),
    ("names", "tool"),
    ("older_than", "1s"),
    ("only", "container/a"),
    ("rebuild", "foundation"),
    ("replace", "a"),
    ("wait", "1s"),
];

/// Options that take or make a file, which tests of their own show.
const FILES: &[&str] = &["out", "plan"];

fn natures(command: &str) -> impl Iterator<Item = Nature> {
    let of = move |(name, _): &&(&str, Nature)| *name == command;
    NATURES.iter().filter(of).map(|(_, nature)| *nature)
}

fn commands() -> Command {
    let mut commands = aishell::cli::Arguments::command();
    commands.build();
    commands
}

/// Returns every command there is.
fn names(commands: &Command) -> Vec<&str> {
    let names = commands.get_subcommands().map(Command::get_name);
    names.filter(|name| *name != "help").collect()
}

/// Returns everything that can be typed of commands that only look: each under each of its names, and with each of
/// its options and arguments. Fails if of a command nobody has said what it may do, or one is spoken of that is not there.
pub fn lines() -> Vec<Vec<String>> {
    let commands = commands();
    let names = names(&commands);
    let unspoken = names.iter().filter(|name| natures(name).next().is_none());
    let gone = NATURES
        .iter()
        .map(|(name, _)| name)
        .filter(|name| !names.contains(name));
    let undecided: Vec<_> = unspoken.chain(gone).collect();
    assert!(
        undecided.is_empty(),
        "say in NATURES what these may do: {undecided:?}"
    );
    let mut lines = Vec::new();
    for command in commands.get_subcommands() {
        for nature in natures(command.get_name()) {
            if let Looks(told) = nature {
                lines.extend(lines_of(command, told));
            }
        }
    }
    lines
}

fn lines_of(command: &Command, told: &[&str]) -> Vec<Vec<String>> {
    let line = |name: &str, more: &[String]| -> Vec<String> {
        let told = told.iter().map(|word| (*word).to_owned());
        let name = std::iter::once(name.to_owned());
        name.chain(told).chain(more.iter().cloned()).collect()
    };
    let own = |argument: &&Arg| {
        let id = argument.get_id().as_str();
        !argument.is_global_set() && !["help", "version"].contains(&id) && !FILES.contains(&id)
    };
    let is_told = |argument: &&Arg| {
        let long = argument.get_long().map(|long| format!("--{long}"));
        long.is_some_and(|long| told.contains(&long.as_str()))
    };
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(own)
        .filter(|argument| !is_told(argument))
        .collect();
    let mut lines = Vec::new();
    if !own.iter().any(|argument| argument.is_required_set()) {
        let names = std::iter::once(command.get_name()).chain(command.get_visible_aliases());
        lines.extend(names.map(|name| line(name, &[])));
    }
    for argument in own {
        lines.extend(
            words_of(argument)
                .iter()
                .map(|word| line(command.get_name(), std::slice::from_ref(word))),
        );
    }
    lines
}

/// Returns each way to give an option or argument.
fn words_of(argument: &Arg) -> Vec<String> {
    let long = argument.get_long().map(|long| format!("--{long}"));
    if !argument.get_action().takes_values() {
        assert!(
            matches!(argument.get_action(), ArgAction::SetTrue | ArgAction::Count),
            "{argument}"
        );
        return long.into_iter().collect();
    }
    let mut values: Vec<String> = argument
        .get_possible_values()
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect();
    if values.is_empty() {
        let id = argument.get_id().as_str();
        let value = VALUES.iter().find(|(name, _)| *name == id);
        let (_, value) = value.unwrap_or_else(|| panic!("say in VALUES what to give for {argument}"));
        values.push((*value).to_owned());
    } else if argument.get_value_delimiter().is_some() {
        values.push(values.join(","));
    }
    let given = |value: String| match &long {
        Some(long) => format!("{long}={value}"),
        None => value,
    };
    values.into_iter().map(given).collect()
}

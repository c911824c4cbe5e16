//! `aishell update`: moves what is pinned.

use std::sync::Arc;

use clap::Args;

use super::apply::{conclude, cut, exit};
use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::json;
use super::output::{Tone, clean};
use super::progress::Watcher;
use super::render::count;
use super::render::table::{Cell, table};
use super::signal::{Ended, watched};
use crate::apply::Stop;
use crate::claim::{Claims, Turn};
use crate::lock::Change;
use crate::manifest::place::Problem;
use crate::pin::{NotFound, Pinning, Updated, choose, update};
use crate::prepare::Prepared;
use crate::units::Duration;

/// Pin anew what `latest`, ranges, tags and branches mean
///
/// Asks the package manager, the registries, git and downloads, and writes what they say to the lock beside the manifest. Containers
/// are not touched: `apply` brings about what the lock says.
#[derive(Debug, Args)]
pub struct Update {
    /// What to ask about: harnesses, references of images, addresses of repositories, tools, `runtime`, `builtin`; all of them if none is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Do not write the lock, and end with 1 if something means something else by now
    #[arg(long)]
    check: bool,
    /// Wait so long for another apply to the same objects to end, such as 60s
    #[arg(long, value_name = "DURATION", default_value = "0")]
    lock_timeout: Duration,
}

/// What there is to say of an update.
struct Answer<'a> {
    prepared: &'a Prepared,
    changes: &'a [Change],
    unchanged: &'a [String],
    notes: &'a [String],
    check: bool,
}

impl Update {
    /// Asks, and writes.
    ///
    /// # Errors
    /// The manifest is invalid, a name is nobody's, or something cannot be asked. The lock is as it was.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let mut prepared = invocation.prepare(None)?;
        if prepared.lock().path().is_none() {
            let message = "a manifest from standard input has no lock beside it";
            return Err(Failure::usage(message, "name its file with --file"));
        }
        let chosen = choose(&prepared, &self.names)?;
        let engine = invocation.engine_of(&prepared)?;
        let watcher = Arc::new(Watcher::new(invocation, prepared.loaded.source.directory()));
        let (wish, stop) = Stop::new();
        let claims = Claims::of(&invocation.host);
        let how = Pinning {
            host: &invocation.host,
            turn: Turn {
                claims: &claims,
                command: "update",
                patience: self.lock_timeout.into(),
            },
            locked: false,
        };
        let told = (&watcher, &stop);
        let work = Box::pin(update(&engine, &mut prepared, (chosen, self.check), how, told));
        let again = invocation.again("update", None);
        let ended = watched(work, &wish, |signal| watcher.signalled(signal)).await?;
        let (updated, signal) = match ended {
            Ended::Whole(result, signal) => (result?, signal),
            Ended::Cut(signal) => return Ok(cut(&watcher, signal, &again)),
        };
        watcher.close();
        let (changes, unchanged, notes) = match updated {
            Updated::Asked {
                changes,
                unchanged,
                notes,
            } => (changes, unchanged, notes),
            Updated::Stopped(report) => {
                conclude(invocation, &watcher, &report, &again);
                return Ok(exit(&report));
            }
        };
        let answer = Answer {
            prepared: &prepared,
            changes: &changes,
            unchanged: &unchanged,
            notes: &notes,
            check: self.check,
        };
        if invocation.is_json() {
            invocation.output.document(&answer.document());
        } else {
            invocation.output.answer(&answer.text(invocation));
        }
        if let Some(signal) = signal {
            return Ok(signal.exit());
        }
        Ok(if self.check && !changes.is_empty() {
            Exit::Differs
        } else {
            Exit::Done
        })
    }
}

impl Answer<'_> {
    fn lock(&self) -> String {
        let path = self.prepared.lock().path();
        path.map(|path| path.display().to_string()).unwrap_or_default()
    }

    fn document(&self) -> json::Update<'_> {
        let Self {
            prepared,
            changes,
            unchanged,
            notes,
            check,
        } = self;
        json::Update {
            api_version: json::API_VERSION,
            kind: json::Update::KIND,
            manifest: &prepared.info,
            lock: self.lock(),
            written: !check && !changes.is_empty(),
            changes,
            unchanged,
            notes,
        }
    }

    fn text(&self, invocation: &Invocation) -> String {
        let Self {
            prepared: _,
            changes,
            unchanged,
            notes,
            check,
        } = self;
        let rows: Vec<Vec<Cell>> = changes.iter().map(row).collect();
        let mut text = if rows.is_empty() {
            String::new()
        } else {
            table(&["", "NAME", "FROM", "TO"], &rows) + "\n"
        };
        let lock = self.lock();
        let directory = invocation.host.directory.display().to_string() + "/";
        let lock = clean(lock.strip_prefix(&directory).unwrap_or(&lock));
        let same = count(unchanged.len(), "entry").replace("entrys", "entries");
        let means = if unchanged.len() == 1 { "means" } else { "mean" };
        let conclusion = match (changes.len(), check) {
            (0, _) => format!("nothing new: {same} of {lock} {means} what they meant\n"),
            (number, true) => format!(
                "{} newer than {lock} says; `aishell update` moves them\n",
                entries(number)
            ),
            (number, false) => format!(
                "{} written to {lock}; `aishell apply` brings it about\n",
                entries(number)
            ),
        };
        text.push_str(&conclusion);
        for note in *notes {
            text.push_str(&clean(note));
            text.push('\n');
        }
        text
    }
}

fn entries(number: usize) -> String {
    if number == 1 {
        "1 entry is".to_owned()
    } else {
        format!("{number} entries are")
    }
}

fn row(change: &Change) -> Vec<Cell> {
    let Change { kind, name, from, to } = change;
    vec![
        Cell::new(kind.as_str(), Tone::Faint),
        Cell::new(name, Tone::Name),
        Cell::plain(from.as_deref().map(short).unwrap_or_default()),
        Cell::new(short(to), Tone::Change),
    ]
}

/// Returns a digest or commit as people compare it; versions as they are.
fn short(meaning: &str) -> &str {
    let is_commit = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if meaning.starts_with("sha256:") {
        meaning.get(..19).unwrap_or(meaning)
    } else if meaning.get(..40).is_some_and(is_commit) {
        meaning.get(..12).unwrap_or(meaning)
    } else {
        meaning
    }
}

impl From<NotFound> for Failure {
    fn from(error: NotFound) -> Self {
        let problem = Problem::new(error.to_string());
        let NotFound {
            name: _,
            nearest,
            known,
        } = error;
        let hint = match nearest {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None if known.is_empty() => "nothing in the manifest can be pinned".to_owned(),
            None => format!("known: {}", known.join(", ")),
        };
        Self::new(Exit::Usage, problem.hint(hint))
    }
}

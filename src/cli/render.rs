//! Plans, reports and states as people read them.

use self::row::{Came, Columns, Row};
use self::value::Reason;
use super::output::{Layout, Tone, clean};
use super::viewpoint::Viewpoint;
use crate::observed::EngineInfo;
use crate::report::{ConditionKind, Done, Outcome, Report, Retries};
use crate::spec::Mount;
use crate::step::{Action, Because, Blocked, ManifestInfo, Plan, Resource, Step, Summary, Unknown, Work};

mod diagnosis;
mod failed;
mod phases;
pub mod row;
pub mod status;
pub mod table;
pub mod value;

/// How things are shown to one person.
#[derive(Clone, Copy, Debug)]
pub struct Style<'a> {
    /// What there is room and letters for.
    pub layout: Layout,
    /// Where files are seen from.
    pub viewpoint: Viewpoint<'a>,
}

/// The signs that are used, with or without letters beyond ASCII.
struct Signs {
    restart: &'static str,
    replace: &'static str,
    arrow: &'static str,
    dot: &'static str,
    done: &'static str,
    failed: &'static str,
    bar: &'static str,
}

const UNICODE: Signs = Signs {
    restart: "↻",
    replace: "±",
    arrow: "→",
    dot: "·",
    done: "✓",
    failed: "✗",
    bar: "│",
};

const ASCII: Signs = Signs {
    restart: "@",
    replace: "*",
    arrow: "->",
    dot: "-",
    done: "v",
    failed: "x",
    bar: "|",
};

impl Style<'_> {
    fn signs(self) -> &'static Signs {
        if self.layout.unicode { &UNICODE } else { &ASCII }
    }

    /// Returns the line that says what is talked about.
    pub fn header(self, manifest: &ManifestInfo, engine: &EngineInfo) -> String {
        if manifest.name.is_empty() {
            return format!("docker {}\n\n", clean(&engine.host));
        }
        let dot = Tone::Faint.paint(self.signs().dot);
        format!(
            "{} {dot} {} {dot} docker {}\n\n",
            clean(&manifest.path),
            Tone::Name.paint(&clean(&manifest.name)),
            clean(&engine.host)
        )
    }

    /// Returns a plan: what will be done, what will not, and why; if asked for, what is as it should be too.
    pub fn plan(self, plan: &Plan, with_unchanged: bool) -> String {
        let mut rows: Vec<Row> = plan.steps.iter().map(|step| self.step(step)).collect();
        rows.extend(plan.blocked.iter().map(|blocked| self.blocked(blocked)));
        rows.extend(plan.unknown.iter().map(unknown));
        if with_unchanged {
            rows.extend(plan.unchanged.iter().map(unchanged));
        }
        [
            self.header(&plan.manifest, &plan.engine),
            self.rows(&rows),
            if rows.is_empty() { "" } else { "\n" }.to_owned(),
            summary(plan),
            discards(plan),
            notes(&plan.notes),
        ]
        .concat()
    }

    /// Returns the widths that the lines of a plan need, so that they can be written one by one.
    pub fn columns(self, plan: &Plan) -> Columns {
        let mut rows: Vec<Row> = plan.steps.iter().map(|step| self.step(step)).collect();
        rows.extend(plan.blocked.iter().map(|blocked| self.blocked(blocked)));
        Columns::of(&rows)
    }

    /// Returns the line of a step that has an outcome, with the end of its output if it failed.
    pub fn done(self, done: &Done, columns: Columns) -> String {
        let signs = self.signs();
        let mut row = self.step(&done.step);
        if done.outcome == Outcome::Done {
            let files = done.step.discards.map(files_discarded);
            row.reasons.extend(files.map(Reason::words));
        }
        row.reasons
            .extend(done.retries.map(|retries| Reason::words(asked_again(retries))));
        let took = value::seconds(done.seconds);
        row.outcome = Some(match done.outcome {
            Outcome::Done => Came::new(signs.done, Tone::Good, &took),
            Outcome::Failed => Came::new(signs.failed, Tone::Bad, &took),
            Outcome::Skipped => Came::new("-", Tone::Change, ""),
            Outcome::Blocked => Came::new("!", Tone::Bad, ""),
        });
        let failure = done.error.as_ref().map(|error| match done.outcome {
            Outcome::Skipped => format!("      skipped: {}\n", clean(&error.message)),
            Outcome::Blocked => format!("      blocked: {}\n", clean(&error.message)),
            Outcome::Done | Outcome::Failed => self.failure(error),
        });
        columns.lines(&row, self.layout) + &failure.unwrap_or_default()
    }

    /// Returns the line of something that needs a person.
    pub fn needs_person(self, blocked: &Blocked, columns: Columns) -> String {
        columns.lines(&self.blocked(blocked), self.layout)
    }

    /// Returns what follows the lines of a report: what is left, and how it all came out.
    pub fn outcome(self, report: &Report, again: &str) -> String {
        let rows: Vec<Row> = report
            .blocked
            .iter()
            .map(|blocked| self.blocked(blocked))
            .collect();
        let nothing = report.steps.is_empty() && rows.is_empty();
        let failed = report.steps.iter().any(|done| done.outcome != Outcome::Done);
        let stuck = failed || (!report.converged && report.blocked.is_empty());
        [
            self.rows(&rows),
            if nothing { "" } else { "\n" }.to_owned(),
            result(report),
            notes(&report.notes),
            if stuck {
                format!("what is done stays done; continue with: {again}\n")
            } else {
                String::new()
            },
        ]
        .concat()
    }

    /// Returns what needs a person, in a line each.
    pub fn held_back(self, blocked: &[Blocked]) -> String {
        let rows: Vec<Row> = blocked.iter().map(|blocked| self.blocked(blocked)).collect();
        self.rows(&rows)
    }

    fn rows(self, rows: &[Row]) -> String {
        let columns = Columns::of(rows);
        rows.iter().map(|row| columns.lines(row, self.layout)).collect()
    }

    fn step(self, step: &Step) -> Row {
        let (mark, tone) = self.mark(step.action);
        let mut reasons = self.reasons(&step.because);
        if let Some(detail) = &step.detail {
            let detail = clean(detail);
            match reasons.first_mut() {
                Some(first) if first.text.is_empty() => first.text = detail,
                Some(_) | None => reasons.push(Reason::words(detail)),
            }
        }
        if !step.widens.is_empty() {
            reasons.push(Reason::words(clean(&format!(
                "widens: {}",
                step.widens.join(", ")
            ))));
        }
        Row {
            outcome: None,
            mark,
            tone,
            kind: step.resource.kind.as_str(),
            name: clean(&step.resource.name),
            word: word(step),
            reasons,
        }
    }

    fn blocked(self, blocked: &Blocked) -> Row {
        let unblock = blocked
            .unblock
            .as_deref()
            .map(|command| clean(command.strip_prefix("aishell ").unwrap_or(command)));
        let mut reasons = vec![Reason {
            field: None,
            text: format!("{}: {}", blocked.reason.as_str(), clean(&blocked.detail)),
            note: unblock,
        }];
        let because = self.reasons(&blocked.because);
        reasons.extend(because.into_iter().filter(|reason| !reason.text.is_empty()));
        Row {
            outcome: None,
            mark: "!",
            tone: Tone::Bad,
            kind: blocked.resource.kind.as_str(),
            name: clean(&blocked.resource.name),
            word: "blocked",
            reasons,
        }
    }

    fn reasons(self, because: &[Because]) -> Vec<Reason> {
        value::telling(because)
            .map(|because| {
                let place = because.at.as_ref().map(|place| {
                    let place = self.viewpoint.see(place);
                    clean(&format!("{}:{}", place.file.display(), place.line))
                });
                value::reason(because, self.signs().arrow, place)
            })
            .collect()
    }

    fn mark(self, action: Action) -> (&'static str, Tone) {
        match action {
            Action::Pull | Action::Build | Action::Snapshot | Action::Populate | Action::Create => {
                ("+", Tone::Good)
            }
            Action::Update | Action::Connect | Action::Disconnect | Action::Rename | Action::Tag => {
                ("~", Tone::Change)
            }
            Action::Start | Action::Unpause | Action::Restart | Action::Stop => {
                (self.signs().restart, Tone::Change)
            }
            Action::Replace => (self.signs().replace, Tone::Change),
            Action::Remove => ("-", Tone::Bad),
        }
    }
}

/// Returns the word for what a step does: what it costs where something runs, else what is done.
fn word(step: &Step) -> &'static str {
    match step.action {
        Action::Update | Action::Connect | Action::Disconnect | Action::Replace => step.impact.as_str(),
        Action::Pull
        | Action::Build
        | Action::Snapshot
        | Action::Populate
        | Action::Create
        | Action::Start
        | Action::Unpause
        | Action::Rename
        | Action::Restart
        | Action::Stop
        | Action::Tag
        | Action::Remove => step.action.as_str(),
    }
}

fn unknown(unknown: &Unknown) -> Row {
    Row {
        outcome: None,
        mark: "?",
        tone: Tone::Change,
        kind: unknown.kind.as_str(),
        name: clean(&unknown.name),
        word: "unknown",
        reasons: vec![Reason::words(clean(&unknown.reason))],
    }
}

fn unchanged(resource: &Resource) -> Row {
    Row {
        outcome: None,
        mark: "=",
        tone: Tone::Faint,
        kind: resource.kind.as_str(),
        name: clean(&resource.name),
        word: "unchanged",
        reasons: Vec::new(),
    }
}

/// Returns what is lost with containers, one a line.
fn discards(plan: &Plan) -> String {
    let steps = plan.steps.iter().filter_map(|step| {
        let how = match step.action {
            Action::Replace => "replacing",
            _ => "removing",
        };
        let kept = if keeps_home(step) {
            " (its home volume is kept)"
        } else {
            ""
        };
        let lost = files_discarded(step.discards?);
        Some((&step.resource.name, format!("{how} {lost}{kept}")))
    });
    let blocked = plan.blocked.iter().filter_map(|blocked| {
        let lost = files_discarded(blocked.discards?);
        Some((&blocked.resource.name, format!("what is blocked {lost}")))
    });
    let line = |(name, what): (&String, String)| format!("{}: {what}\n", clean(name));
    steps.chain(blocked).map(line).collect()
}

fn asked_again(retries: Retries) -> String {
    let Retries { times, waited } = retries;
    let times = if times == 1 {
        "once".to_owned()
    } else {
        format!("{times} times")
    };
    format!(
        "engine asked again {times}, {}",
        value::seconds(waited.as_secs_f64())
    )
}

fn files_discarded(files: usize) -> String {
    format!("discards {} in the container layer", count(files, "file"))
}

/// Says whether the home of a container that is replaced is a volume, which outlives it.
fn keeps_home(step: &Step) -> bool {
    let Work::Replace { new, .. } = &step.work else {
        return false;
    };
    let home = format!("{}-home", new.create.name);
    let mounts = new.create.spec.mounts.values();
    mounts
        .filter_map(|mount| match mount {
            Mount::Volume { name, .. } => Some(name),
            Mount::Bind { .. } | Mount::Tmpfs { .. } => None,
        })
        .any(|name| *name == home)
}

/// Returns notes, one a line.
pub fn notes(notes: &[String]) -> String {
    notes
        .iter()
        .flat_map(|note| [clean(note), "\n".to_owned()])
        .collect()
}

/// Returns a number with its noun.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Returns the line that counts what a plan holds.
fn summary(plan: &Plan) -> String {
    if plan.is_empty() {
        return nothing(plan.unchanged.len());
    }
    let Summary {
        create,
        update,
        restart,
        replace,
        remove,
        other,
        blocked,
        unchanged,
    } = plan.summary();
    counted(&[
        (create, "to create"),
        (update, "to change in place"),
        (restart, "to restart"),
        (replace, "to replace"),
        (remove, "to remove"),
        (other, "other"),
        (blocked, "blocked"),
        (plan.unknown.len(), "not known yet"),
        (unchanged, "unchanged"),
    ]) + "\n"
}

fn nothing(unchanged: usize) -> String {
    if unchanged == 0 {
        return "nothing to do\n".to_owned();
    }
    let (are, them) = if unchanged == 1 {
        ("is", "it")
    } else {
        ("are", "them")
    };
    let resources = count(unchanged, "resource");
    format!("nothing to do: {resources} {are} as the manifest wants {them}\n")
}

fn counted(counts: &[(usize, &str)]) -> String {
    let shown: Vec<String> = counts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, words)| format!("{number} {words}"))
        .collect();
    shown.join(", ")
}

/// Returns the line that counts what came of a plan.
fn result(report: &Report) -> String {
    if report.steps.is_empty() && report.converged {
        return nothing(report.unchanged.len());
    }
    let (mut create, mut update, mut restart, mut replace, mut remove, mut other) = (0, 0, 0, 0, 0, 0);
    let (mut failed, mut skipped) = (0, 0);
    for done in &report.steps {
        let counter = match (done.outcome, done.step.action) {
            (Outcome::Failed, _) => &mut failed,
            (Outcome::Skipped, _) => &mut skipped,
            // They are among the blocked ones by now, unless whoever was there has left.
            (Outcome::Blocked, _) => continue,
            (
                Outcome::Done,
                Action::Pull | Action::Build | Action::Snapshot | Action::Populate | Action::Create,
            ) => &mut create,
            (Outcome::Done, Action::Update | Action::Connect | Action::Disconnect) => &mut update,
            (Outcome::Done, Action::Start | Action::Unpause | Action::Restart) => &mut restart,
            (Outcome::Done, Action::Replace) => &mut replace,
            (Outcome::Done, Action::Remove) => &mut remove,
            (Outcome::Done, Action::Rename | Action::Stop | Action::Tag) => &mut other,
        };
        *counter += 1;
    }
    counted(&[
        (create, "created"),
        (update, "changed in place"),
        (restart, "restarted"),
        (replace, "replaced"),
        (remove, "removed"),
        (other, "other"),
        (failed, "failed"),
        (skipped, "skipped"),
        (report.blocked.len(), "blocked"),
    ]) + &conclusion(report)
}

/// Returns how the manifest stands after a pass, in the words of its condition.
fn conclusion(report: &Report) -> String {
    let condition = report
        .conditions
        .iter()
        .find(|condition| condition.kind == ConditionKind::Converged);
    match condition {
        Some(condition) if report.converged => format!(": {}\n", clean(&condition.message)),
        Some(_) | None => "\n".to_owned(),
    }
}

#[cfg(test)]
mod tests;

//! Plans, reports and states as people read them.

use unicode_width::UnicodeWidthStr as _;

use self::value::Reason;
use super::output::{Layout, Tone, clean};
use super::viewpoint::Viewpoint;
use crate::observed::EngineInfo;
use crate::report::{Done, Outcome, Report};
use crate::step::{Action, Because, Blocked, ManifestInfo, Plan, Resource, Step, Summary, Unknown};

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

/// How wide the text of a reason may be before what follows it is no longer aligned.
const ALIGNED: usize = 48;

/// One line of a plan, with everything it says.
#[derive(Clone, Debug)]
struct Row {
    /// What came of it, once something did.
    outcome: Option<(&'static str, Tone)>,
    mark: &'static str,
    tone: Tone,
    kind: &'static str,
    name: String,
    word: &'static str,
    reasons: Vec<Reason>,
}

/// The widths of the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    kind: usize,
    name: usize,
    word: usize,
    field: usize,
    text: usize,
}

impl Style<'_> {
    fn signs(self) -> &'static Signs {
        if self.layout.unicode { &UNICODE } else { &ASCII }
    }

    /// Returns the line that says what is talked about.
    pub fn header(self, manifest: &ManifestInfo, engine: &EngineInfo) -> String {
        let dot = Tone::Faint.paint(self.signs().dot);
        format!(
            "{} {dot} {} {dot} docker {}\n\n",
            clean(&manifest.path),
            Tone::Name.paint(&clean(&manifest.name)),
            clean(&engine.host)
        )
    }

    /// Returns a plan: what will be done, what will not, and why.
    pub fn plan(self, plan: &Plan, verbose: bool) -> String {
        let mut text = self.header(&plan.manifest, &plan.engine);
        let mut rows: Vec<Row> = plan.steps.iter().map(|step| self.step(step)).collect();
        rows.extend(plan.blocked.iter().map(|blocked| self.blocked(blocked)));
        rows.extend(plan.unknown.iter().map(unknown));
        if verbose {
            rows.extend(plan.unchanged.iter().map(unchanged));
        }
        let columns = Columns::of(&rows);
        for row in &rows {
            text.push_str(&self.row(row, columns));
        }
        if !rows.is_empty() {
            text.push('\n');
        }
        text.push_str(&summary(plan));
        text.push_str(&self.notes(&plan.notes));
        text
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
        row.outcome = Some(match done.outcome {
            Outcome::Done => (signs.done, Tone::Good),
            Outcome::Failed => (signs.failed, Tone::Bad),
            Outcome::Skipped => ("-", Tone::Change),
        });
        if done.outcome != Outcome::Skipped {
            if row.reasons.is_empty() {
                row.reasons.push(Reason::default());
            }
            if let Some(first) = row.reasons.first_mut() {
                first.note = Some(value::seconds(done.seconds));
            }
        }
        let mut text = self.row(&row, columns);
        let Some(error) = &done.error else { return text };
        let indent = " ".repeat(6);
        match done.outcome {
            Outcome::Skipped => text.push_str(&format!("{indent}skipped: {}\n", clean(&error.message))),
            Outcome::Done | Outcome::Failed => {
                let lines = error.message.lines().map(clean);
                for (index, line) in lines.enumerate() {
                    let prefix = if index == 0 {
                        Tone::Bad.paint("error: ")
                    } else {
                        " ".repeat(7)
                    };
                    text.push_str(&format!("{indent}{prefix}{line}\n"));
                }
                for line in &error.log {
                    let bar = Tone::Faint.paint(signs.bar);
                    text.push_str(&format!("{indent}{bar} {}\n", clean(line)));
                }
            }
        }
        text
    }

    /// Returns what follows the lines of a report: what is left, and how it all came out.
    pub fn outcome(self, report: &Report, again: &str) -> String {
        let mut text = String::new();
        let rows: Vec<Row> = report
            .blocked
            .iter()
            .map(|blocked| self.blocked(blocked))
            .collect();
        let columns = Columns::of(&rows);
        for row in &rows {
            text.push_str(&self.row(row, columns));
        }
        if !(report.steps.is_empty() && rows.is_empty()) {
            text.push('\n');
        }
        text.push_str(&result(report));
        text.push_str(&self.notes(&report.notes));
        let failed = report.steps.iter().any(|done| done.outcome != Outcome::Done);
        if failed || (!report.converged && report.blocked.is_empty()) {
            text.push_str(&format!("what is done stays done; continue with: {again}\n"));
        }
        text
    }

    fn notes(self, notes: &[String]) -> String {
        notes.iter().map(|note| format!("{}\n", clean(note))).collect()
    }

    fn step(self, step: &Step) -> Row {
        let (mark, tone) = self.mark(step.action);
        let mut reasons = self.reasons(&step.because);
        if let Some(detail) = &step.detail {
            let detail = clean(detail);
            match reasons.first_mut() {
                Some(first) if first.text.is_empty() => first.text = detail,
                _ => reasons.push(Reason::words(detail)),
            }
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
        reasons.extend(
            self.reasons(&blocked.because)
                .into_iter()
                .filter(|reason| !reason.text.is_empty()),
        );
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
        because
            .iter()
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

    /// Returns a row as lines: one for each reason, more where a terminal has no room.
    fn row(self, row: &Row, columns: Columns) -> String {
        let Row {
            outcome,
            mark,
            tone,
            kind,
            name,
            word,
            reasons,
        } = row;
        let mut head = String::from("  ");
        let mut indent = 2;
        if let Some((sign, tone)) = outcome {
            head.push_str(&format!("{} ", tone.paint(sign)));
            indent += 2;
        }
        head.push_str(&format!(
            "{} {}  {}   {}   ",
            tone.paint(mark),
            padded(kind, columns.kind, Tone::Plain),
            padded(name, columns.name, Tone::Name),
            padded(word, columns.word, Tone::Plain),
        ));
        indent += 2 + columns.kind.max(kind.width()) + 2 + columns.name.max(name.width()) + 3;
        indent += columns.word.max(word.width()) + 3;
        let mut text = head;
        for (index, reason) in reasons.iter().enumerate() {
            if index > 0 {
                text.push_str(&" ".repeat(indent));
            }
            text.push_str(&self.reason(reason, columns, indent));
            trim(&mut text);
            text.push('\n');
        }
        if reasons.is_empty() {
            trim(&mut text);
            text.push('\n');
        }
        text
    }

    fn reason(self, reason: &Reason, columns: Columns, indent: usize) -> String {
        let mut body = String::new();
        if let Some(field) = &reason.field {
            body.push_str(field);
            body.push_str(&" ".repeat(columns.field.saturating_sub(field.width()) + 2));
        }
        body.push_str(&reason.text);
        let note = reason.note.as_deref().unwrap_or_default();
        let width = body.width();
        let gap = columns.text.saturating_sub(width) + 3;
        let Some(room) = self.layout.width.map(|columns| columns.saturating_sub(indent)) else {
            return format!("{body}{}{}", " ".repeat(gap), Tone::Faint.paint(note));
        };
        // With hardly any room left, the terminal breaks lines as well as anybody.
        if room < 24 || width + gap + note.width() <= room {
            return format!("{body}{}{}", " ".repeat(gap), Tone::Faint.paint(note));
        }
        let mut lines = wrap(&body, room);
        let last = lines.last().map_or(0, |line| line.width());
        if !note.is_empty() {
            if last + 3 + note.width() <= room {
                if let Some(line) = lines.last_mut() {
                    line.push_str(&format!("   {}", Tone::Faint.paint(note)));
                }
            } else {
                lines.push(Tone::Faint.paint(note));
            }
        }
        lines.join(&format!("\n{}", " ".repeat(indent)))
    }
}

impl Columns {
    fn of(rows: &[Row]) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.kind = columns.kind.max(row.kind.width());
            columns.name = columns.name.max(row.name.width());
            columns.word = columns.word.max(row.word.width());
            for reason in &row.reasons {
                let field = reason.field.as_ref().map_or(0, |field| field.width());
                columns.field = columns.field.max(field.min(ALIGNED));
            }
        }
        for reason in rows.iter().flat_map(|row| &row.reasons) {
            let field = reason
                .field
                .as_ref()
                .map_or(0, |field| columns.field.max(field.width()) + 2);
            let text = field + reason.text.width();
            if text <= ALIGNED {
                columns.text = columns.text.max(text);
            }
        }
        columns
    }

    /// Returns columns that fit these and the others.
    #[must_use]
    pub fn fit(self, other: Self) -> Self {
        Self {
            kind: self.kind.max(other.kind),
            name: self.name.max(other.name),
            word: self.word.max(other.word),
            field: self.field.max(other.field),
            text: self.text.max(other.text),
        }
    }
}

fn trim(text: &mut String) {
    text.truncate(text.trim_end_matches(' ').len());
}

fn padded(text: &str, width: usize, tone: Tone) -> String {
    format!(
        "{}{}",
        tone.paint(text),
        " ".repeat(width.saturating_sub(text.width()))
    )
}

/// Breaks text at spaces so that no line is wider than there is room; words that are too long stay whole.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_inclusive(' ') {
        if !line.is_empty() && line.width() + word.trim_end().width() > room {
            lines.push(line.trim_end().to_owned());
            line.clear();
        }
        line.push_str(word);
    }
    lines.push(line.trim_end().to_owned());
    lines
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

/// Returns a number with its noun.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Returns the line that counts what a plan holds.
fn summary(plan: &Plan) -> String {
    if plan.is_empty() {
        return format!("{}\n", nothing(plan.unchanged.len()));
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
    let counts = counted(&[
        (create, "to create"),
        (update, "to change in place"),
        (restart, "to restart"),
        (replace, "to replace"),
        (remove, "to remove"),
        (other, "other"),
        (blocked, "blocked"),
        (plan.unknown.len(), "not known yet"),
        (unchanged, "unchanged"),
    ]);
    format!("{counts}\n")
}

fn nothing(unchanged: usize) -> String {
    match unchanged {
        0 => "nothing to do: the manifest wants nothing, and there is nothing".to_owned(),
        1 => "nothing to do: 1 resource is as the manifest wants it".to_owned(),
        many => format!("nothing to do: {many} resources are as the manifest wants them"),
    }
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
        return format!("{}\n", nothing(report.unchanged.len()));
    }
    let (mut create, mut update, mut restart, mut replace, mut remove, mut other) = (0, 0, 0, 0, 0, 0);
    let (mut failed, mut skipped) = (0, 0);
    for done in &report.steps {
        let counter = match (done.outcome, done.step.action) {
            (Outcome::Failed, _) => &mut failed,
            (Outcome::Skipped, _) => &mut skipped,
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
    let counts = counted(&[
        (create, "created"),
        (update, "changed in place"),
        (restart, "restarted"),
        (replace, "replaced"),
        (remove, "removed"),
        (other, "other"),
        (failed, "failed"),
        (skipped, "skipped"),
        (report.blocked.len(), "blocked"),
        (report.unchanged.len(), "as wanted"),
    ]);
    format!("{counts}\n")
}

#[cfg(test)]
mod tests;

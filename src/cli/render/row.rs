//! Rows: one resource, what happens to it and why, in columns that are aligned with those of its neighbours.

use unicode_width::UnicodeWidthStr as _;

use super::value::Reason;
use crate::cli::output::{Layout, Tone};

/// How wide the text of a reason may be before what follows it is no longer aligned.
const ALIGNED: usize = 48;
/// How far reasons are indented that do not fit beside the columns.
const BELOW: usize = 6;

/// One resource, with everything that is said about it.
#[derive(Clone, Debug)]
pub struct Row {
    /// What came of it, once something did.
    pub outcome: Option<Came>,
    /// The sign for what happens.
    pub mark: &'static str,
    /// The tone of the sign.
    pub tone: Tone,
    /// The kind of the resource.
    pub kind: &'static str,
    /// The name of the resource.
    pub name: String,
    /// What happens, in a word.
    pub word: &'static str,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    sign: &'static str,
    tone: Tone,
    took: String,
}

impl Came {
    /// Says in a sign what came of it, and how long it took.
    pub fn new(sign: &'static str, tone: Tone, took: &str) -> Self {
        Self {
            sign,
            tone,
            took: took.to_owned(),
        }
    }

    fn show(&self) -> String {
        let took = Tone::Faint.paint(&format!("{:>6}", self.took));
        format!("{} {took}  ", self.tone.paint(self.sign))
    }
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

impl Columns {
    /// Returns the widths that rows need.
    pub fn of(rows: &[Row]) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.kind = columns.kind.max(row.kind.width());
            columns.name = columns.name.max(row.name.width());
            columns.word = columns.word.max(row.word.width());
            for field in row.reasons.iter().filter_map(|reason| reason.field.as_ref()) {
                columns.field = columns.field.max(field.width().min(ALIGNED));
            }
        }
        for reason in rows.iter().flat_map(|row| &row.reasons) {
            let width = columns.body(reason).width();
            if width <= ALIGNED {
                columns.text = columns.text.max(width);
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

    /// Returns a row as lines: one for each reason, more where a terminal has no room.
    pub fn lines(self, row: &Row, layout: Layout) -> String {
        let Row {
            outcome,
            mark,
            tone,
            kind,
            name,
            word,
            reasons,
        } = row;
        let sign = outcome.as_ref().map_or_else(String::new, Came::show);
        let head = format!(
            "  {sign}{} {}  {}   {}   ",
            tone.paint(mark),
            padded(kind, self.kind, Tone::Plain),
            padded(name, self.name, Tone::Name),
            padded(word, self.word, Tone::Plain),
        );
        let indent = anstream::adapter::strip_str(&head).to_string().width();
        let room = layout.width.map(|width| width.saturating_sub(indent));
        let crowded = room.is_some_and(|room| reasons.iter().any(|reason| self.body(reason).width() > room));
        if crowded {
            // Beside the columns there is no room: below them there is.
            let room = layout.width.map(|width| width.saturating_sub(BELOW));
            let lines = reasons.iter().flat_map(|reason| self.reason(reason, room));
            return below(&head, lines);
        }
        let mut lines = reasons.iter().flat_map(|reason| self.reason(reason, room));
        let first = lines.next().unwrap_or_default();
        let blank = " ".repeat(indent);
        let rest: String = lines.map(|line| finished(&format!("{blank}{line}"))).collect();
        finished(&format!("{head}{first}")) + &rest
    }

    fn body(self, reason: &Reason) -> String {
        match &reason.field {
            Some(field) => format!("{}  {}", padded(field, self.field, Tone::Plain), reason.text),
            None => reason.text.clone(),
        }
    }

    /// Returns the lines of one reason, at most as wide as there is room.
    fn reason(self, reason: &Reason, room: Option<usize>) -> Vec<String> {
        let body = self.body(reason);
        let note = reason.note.as_deref().unwrap_or_default();
        let gap = self.text.saturating_sub(body.width()) + 3;
        let whole = body.width() + gap + note.width();
        let Some(room) = room.filter(|room| whole > *room) else {
            return vec![format!("{body}{}{}", " ".repeat(gap), Tone::Faint.paint(note))];
        };
        let mut lines = wrap(&body, room);
        let painted = Tone::Faint.paint(note);
        match lines.last_mut() {
            _ if note.is_empty() => {}
            Some(last) if last.width() + 3 + note.width() <= room => {
                last.push_str("   ");
                last.push_str(&painted);
            }
            Some(_) | None => lines.push(painted),
        }
        lines
    }
}

/// Returns a head with lines below it.
fn below(head: &str, lines: impl Iterator<Item = String>) -> String {
    let blank = " ".repeat(BELOW);
    let lines: String = lines.map(|line| finished(&format!("{blank}{line}"))).collect();
    finished(head) + &lines
}

/// Returns a line with its end.
fn finished(line: &str) -> String {
    format!("{}\n", line.trim_end())
}

/// Returns text in its tone, filled up with spaces.
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

//! [`Output`]: the one place that writes to the terminal, and what is known about it.
//!
//! Answers go to stdout, talk goes to stderr. Text is styled as it is written down; where colours are not wanted
//! they are taken out here.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Mutex;

use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use crate::host::Host;

/// When output is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What answers look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs: one JSON document
    Json,
}

/// Where answers and talk go.
#[derive(Debug)]
pub struct Output {
    format: Format,
    quiet: bool,
    answer_color: ColorChoice,
    talk_color: ColorChoice,
    layout: Layout,
    talks_to_terminal: bool,
    hears_terminal: bool,
    failed: Mutex<Option<io::Error>>,
}

/// What text is laid out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Columns of the terminal; `None` where the answer does not go to one, and lines may be as long as they are.
    pub width: Option<usize>,
    /// Whether signs beyond ASCII can be shown.
    pub unicode: bool,
}

impl Output {
    /// Finds out where answers and talk go.
    pub fn new(format: Format, color: Color, quiet: bool, host: &Host) -> Self {
        let choose = |automatic| match color {
            Color::Auto => automatic,
            Color::Always => ColorChoice::AlwaysAnsi,
            Color::Never => ColorChoice::Never,
        };
        let width = terminal_size::terminal_size_of(io::stdout())
            .filter(|_| io::stdout().is_terminal())
            .map(|(terminal_size::Width(columns), _)| usize::from(columns));
        Self {
            format,
            quiet,
            answer_color: choose(AutoStream::choice(&io::stdout())),
            talk_color: choose(AutoStream::choice(&io::stderr())),
            layout: Layout {
                width,
                unicode: speaks_unicode(host),
            },
            talks_to_terminal: io::stderr().is_terminal(),
            hears_terminal: io::stdin().is_terminal(),
            failed: Mutex::default(),
        }
    }

    /// Says what answers look like.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Says whether only answers and errors are wanted.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Says whether talk is coloured.
    pub fn talks_in_color(&self) -> bool {
        !matches!(self.talk_color, ColorChoice::Never)
    }

    /// Says whether talk goes to a terminal.
    pub fn talks_to_terminal(&self) -> bool {
        self.talks_to_terminal
    }

    /// Says what answers are laid out for.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Says whether a person can be asked: both directions are a terminal.
    pub fn can_ask(&self) -> bool {
        self.hears_terminal && self.talks_to_terminal
    }

    /// Writes a part of the answer. What goes wrong is kept for [`Output::finish`]: work under way must not end
    /// because nobody reads about it any more.
    pub fn answer(&self, text: &str) {
        let mut stream = AutoStream::new(io::stdout().lock(), self.answer_color);
        let written = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
        if let (Err(error), Ok(mut failed)) = (written, self.failed.lock()) {
            failed.get_or_insert(error);
        }
    }

    /// Says whether nobody reads the answer any more.
    pub fn is_unread(&self) -> bool {
        let failed = self.failed.lock();
        failed.is_ok_and(|failed| {
            failed
                .as_ref()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        })
    }

    /// Writes a JSON document as one line of the answer.
    pub fn line(&self, document: &impl Serialize) {
        match serde_json::to_string(document) {
            Ok(text) => self.answer(&format!("{text}\n")),
            Err(error) => self.talk(&format!("cannot write JSON: {error}\n")),
        }
    }

    /// Writes the answer as one JSON document.
    pub fn document(&self, document: &impl Serialize) {
        match serde_json::to_string_pretty(document) {
            Ok(text) => self.answer(&format!("{text}\n")),
            Err(error) => self.talk(&format!("cannot write JSON: {error}\n")),
        }
    }

    /// Talks to the person. That nobody listens is no reason to fail.
    pub fn talk(&self, text: &str) {
        let mut stream = AutoStream::new(io::stderr().lock(), self.talk_color);
        let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
    }

    /// Asks a yes-or-no question; anything but a clear yes is no.
    pub fn ask(&self, question: &str) -> bool {
        self.talk(&format!("{question} [y/N] "));
        let mut answer = String::new();
        match io::stdin().read_line(&mut answer) {
            Ok(_) => matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"),
            Err(_) => false,
        }
    }

    /// Says whether the answer could be written. A reader that has gone away has read what it wanted.
    ///
    /// # Errors
    /// The first failure to write, other than a closed pipe.
    pub fn finish(&self) -> io::Result<()> {
        let failed = self.failed.lock().ok().and_then(|mut failed| failed.take());
        match failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            Some(_) | None => Ok(()),
        }
    }
}

/// Says whether the locale can show signs beyond ASCII.
fn speaks_unicode(host: &Host) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| host.variable(name))
        .unwrap_or_default()
        .to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// A meaning that has a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// New, or as it should be.
    Good,
    /// Changes, or wants attention.
    Change,
    /// Goes away, or is wrong.
    Bad,
    /// The name of something.
    Name,
    /// Less important.
    Faint,
    /// Nothing special.
    Plain,
}

impl Tone {
    /// Returns the text in the colour of its meaning.
    pub fn paint(self, text: &str) -> String {
        let style = match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Change => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Name => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Plain => return text.to_owned(),
        };
        if text.is_empty() {
            return String::new();
        }
        format!("{style}{text}{style:#}")
    }
}

/// Returns text that others wrote as one line without anything a terminal would obey.
pub fn clean(text: &str) -> String {
    let text = anstream::adapter::strip_str(text).to_string();
    // A carriage return takes back what stood before it.
    let text = text.trim_end_matches(['\r', '\n']);
    let text = text.rsplit('\r').next().unwrap_or(text);
    text.chars()
        .map(|character| match character {
            '\t' | '\n' => ' ',
            // Marks that turn the direction of writing can make one text look like another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
            character if character.is_control() => char::REPLACEMENT_CHARACTER,
            character => character,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_taken_out() {
        assert_eq!(clean("\u{1b}[31mred\u{1b}[0m\u{1b}]0;title\u{7}"), "red");
        assert_eq!(clean("10%\r100%\r\n"), "100%");
        assert_eq!(clean("a\tb\u{7}"), "a b");
        assert_eq!(clean("\u{202e}txt.exe"), "\u{fffd}txt.exe");
        assert_eq!(clean("plain ✓"), "plain ✓");
    }
}

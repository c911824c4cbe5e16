//! Where something is written, and what is wrong with it there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

/// A position in a file a person wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// The file, absolute; `-` for standard input.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: u32,
    /// The column in characters, counted from 1.
    pub column: u32,
}

impl Place {
    /// Returns this place with its file as seen from `directory`, when it lies below it.
    #[must_use]
    pub fn seen_from(&self, directory: &Path) -> Self {
        let file = self
            .file
            .strip_prefix(directory)
            .unwrap_or(&self.file)
            .to_path_buf();
        Self {
            file,
            line: self.line,
            column: self.column,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// A span of a file, small enough to be carried by every value of a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The file, absolute; `-` for standard input.
    pub file: Arc<Path>,
    /// The line it starts on, counted from 1.
    pub line: u32,
    /// The column it starts at in characters, counted from 1.
    pub column: u32,
    /// How many characters of that line it covers; 0 for a list or map written as a block.
    pub length: u32,
}

impl Mark {
    /// Returns where the span starts.
    pub fn place(&self) -> Place {
        Place {
            file: self.file.to_path_buf(),
            line: self.line,
            column: self.column,
        }
    }
}

/// One thing that is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it is wrong; `None` when nothing is written that could be pointed at.
    pub place: Option<Place>,
    /// What is wrong, in the words of the person who wrote the file.
    pub message: String,
    /// What would help.
    pub hint: Option<String>,
    /// How many characters from `place` on are meant, at least 1.
    pub length: u32,
}

impl Problem {
    /// Makes a problem without place and hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            place: None,
            message: message.into(),
            hint: None,
            length: 1,
        }
    }

    /// Says where it is.
    #[must_use]
    pub fn at(mut self, mark: &Mark) -> Self {
        self.place = Some(mark.place());
        self.length = mark.length.max(1);
        self
    }

    /// Says what would help.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// The text of every manifest file that was read, by the name places carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts(BTreeMap<PathBuf, String>);

impl Texts {
    /// Remembers the text of a file.
    pub fn insert(&mut self, file: PathBuf, text: String) {
        self.0.insert(file, text);
    }

    /// Returns the whole text of a file.
    pub fn text(&self, file: &Path) -> Option<&str> {
        self.0.get(file).map(String::as_str)
    }

    /// Returns the line a place is on, without its line break.
    pub fn line(&self, place: &Place) -> Option<&str> {
        let index = usize::try_from(place.line).ok()?.checked_sub(1)?;
        self.text(&place.file)?.lines().nth(index)
    }

    /// Returns every file with its text, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.0.iter().map(|(file, text)| (file.as_path(), text.as_str()))
    }
}

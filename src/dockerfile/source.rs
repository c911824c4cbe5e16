//! What instructions take from the context of the build.

use std::ops::Range;

use super::part::{Keyword, Part, strings, unquoted};
use super::{MOVED, RESERVED};

/// A reference to the context in an instruction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source<'a> {
    /// A path, where it is, and what has to be before it once it is moved.
    Path {
        path: &'a str,
        place: Range<usize>,
        prefix: &'static str,
    },
    /// A mount that names no path and so is of everything; a path can be added here.
    Everything { place: usize },
}

impl Source<'_> {
    /// Says whether what is beside the context could be part of it.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Everything { .. } => true,
            Self::Path { path, .. } => {
                let cleaned = clean(path);
                let first = cleaned.split('/').next().unwrap_or_default();
                first.is_empty() || first == RESERVED || first.contains(['*', '?', '[', '$'])
            }
        }
    }

    /// Returns the edit that makes it follow the context.
    pub(super) fn moved(self) -> (Range<usize>, String) {
        match self {
            Self::Everything { place } => (place..place, format!(",source={MOVED}")),
            Self::Path { path, place, prefix } => {
                // A trailing slash means that it has to be a directory.
                let slash = if path.len() > 1 && path.ends_with('/') {
                    "/"
                } else {
                    ""
                };
                (
                    place,
                    format!("{MOVED}/{prefix}{}{slash}", clean(path)).replace("//", "/"),
                )
            }
        }
    }
}

/// Returns a path without what leads nowhere; no path leads out of the context.
pub(super) fn clean(path: &str) -> String {
    let mut steps = Vec::new();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => {
                steps.pop();
            }
            step => steps.push(step),
        }
    }
    steps.join("/")
}

impl<'a> Part<'a> {
    /// Returns the references to the context.
    pub(super) fn sources(&self, escape: char) -> Vec<Source<'a>> {
        match self.keyword {
            Keyword::Copy => self.copied(escape),
            Keyword::Run => self.mounted(escape),
            Keyword::From | Keyword::Arg | Keyword::OnBuild | Keyword::Other => Vec::new(),
        }
    }

    fn copied(&self, escape: char) -> Vec<Source<'a>> {
        let words = self.words(escape);
        let count = words
            .iter()
            .take_while(|word| self.text[(*word).clone()].starts_with("--"))
            .count();
        let (flags, words) = words.split_at(count);
        let flag = |name: &str| flags.iter().any(|flag| self.text[flag.clone()].starts_with(name));
        if flag("--from=") {
            return Vec::new();
        }
        // What is before the point is not made in the image.
        let prefix = if flag("--parents") && !flag("--parents=false") {
            "./"
        } else {
            ""
        };
        let Some(first) = words.first() else {
            return Vec::new();
        };
        let mut arguments = if self.text[first.clone()].starts_with('[') {
            strings(self.text, first.start)
        } else {
            words.to_vec()
        };
        arguments.pop();
        let source = |place: Range<usize>| {
            let place = unquoted(self.text, place);
            let path = &self.text[place.clone()];
            let elsewhere = path.starts_with("<<") || path.contains("://") || path.starts_with("git@");
            (!elsewhere).then_some(Source::Path { path, place, prefix })
        };
        arguments.into_iter().filter_map(source).collect()
    }

    fn mounted(&self, escape: char) -> Vec<Source<'a>> {
        let words = self.words(escape).into_iter();
        let mut sources = Vec::new();
        for word in words.take_while(|word| self.text[word.clone()].starts_with("--")) {
            let Some(options) = self.text[word.clone()].strip_prefix("--mount=") else {
                continue;
            };
            let mut place = word.end - options.len();
            let mut found = Source::Everything { place: word.end };
            let mut ours = true;
            for option in options.split(',') {
                match option.split_once('=') {
                    Some(("type", kind)) => ours &= kind == "bind",
                    Some(("from", _)) => ours = false,
                    Some(("source" | "src", path)) => {
                        let end = place + option.len();
                        found = Source::Path {
                            path,
                            place: end - path.len()..end,
                            prefix: "",
                        };
                    }
                    _ => {}
                }
                place += option.len() + 1;
            }
            if ours {
                sources.push(found);
            }
        }
        sources
    }
}

//! Dockerfiles as text: what has to be changed in one so that it can be sent with things of ours beside it. Pure.
//!
//! A Dockerfile travels in the archive of its context, and so does the bundle of certificates. Neither may reach an
//! image: both are in a directory of their own, and where the Dockerfile copies the whole context, the context is
//! moved one directory down and every reference to it follows.

use std::ops::Range;

/// The directory of the archive that holds what we add.
pub const RESERVED: &str = ".aishell";
/// The Dockerfile in the archive.
pub const DOCKERFILE: &str = ".aishell/Dockerfile";
/// The directory of the archive that a moved context is in.
const MOVED: &str = "context";
/// Where the certificates are while a `RUN` runs. `/dev` is memory that every `RUN` gets anew, so not even the place
/// to mount them stays behind in a layer.
const MOUNTED: &str = "/dev/aishell";
/// The bundle in either directory.
const BUNDLE: &str = "ca.pem";

/// What makes tools use a bundle: the variable, and the file in the mounted directory that it names. As arguments of
/// the build they are seen by every `RUN` and are in no image's environment; an image's own variables win.
const VARIABLES: [(&str, &str); 8] = [
    ("SSL_CERT_FILE", BUNDLE),
    ("CURL_CA_BUNDLE", BUNDLE),
    ("REQUESTS_CA_BUNDLE", BUNDLE),
    ("PIP_CERT", BUNDLE),
    ("NODE_EXTRA_CA_CERTS", BUNDLE),
    ("GIT_SSL_CAINFO", BUNDLE),
    ("CARGO_HTTP_CAINFO", BUNDLE),
    ("APT_CONFIG", "apt.conf"),
];

/// A Dockerfile that is ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its text.
    pub text: String,
    /// The directory of the archive that the context has to be in; empty is its root.
    pub below: &'static str,
}

/// Prepares a Dockerfile for an archive in which [`files`] are beside the context.
///
/// `taken` says whether the context has something in the place of our directory. What cannot be made sense of is
/// left as it is, for the engine to judge.
pub fn prepare(text: &str, certificates: bool, taken: bool) -> Prepared {
    let escape = escape(text);
    let parts = parts(text, escape);
    let moved = taken
        || parts
            .iter()
            .any(|part| part.sources(escape).into_iter().any(|source| source.is_whole()));
    let mut out = String::with_capacity(text.len() + 1024);
    for part in &parts {
        let mut edits = Vec::new();
        if moved {
            edits.extend(part.sources(escape).into_iter().map(Source::moved));
        }
        if certificates && part.keyword == Keyword::Run {
            let mount = format!(" --mount=type=bind,source={RESERVED},target={MOUNTED}");
            edits.push((part.word_end..part.word_end, mount));
        }
        // From the last to the first, so that places stay right.
        edits.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
        let mut text = part.text.to_owned();
        for (place, replacement) in edits {
            text.replace_range(place, &replacement);
        }
        out.push_str(&text);
        if certificates && part.keyword == Keyword::From {
            if !out.ends_with('\n') {
                out.push('\n');
            }
            out.push_str("ARG");
            for (variable, file) in VARIABLES {
                out.extend([" ", variable, "=", MOUNTED, "/", file]);
            }
            out.push('\n');
        }
    }
    Prepared {
        text: out,
        below: if moved { MOVED } else { "" },
    }
}

/// Returns the files that are put into the archive beside the context.
pub fn files(text: String, certificates: Option<&[u8]>) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![(DOCKERFILE.to_owned(), text.into_bytes())];
    if let Some(bundle) = certificates {
        let apt = format!("Acquire::https::CAInfo \"{MOUNTED}/{BUNDLE}\";\n");
        files.push((format!("{RESERVED}/{BUNDLE}"), bundle.to_vec()));
        files.push((format!("{RESERVED}/apt.conf"), apt.into_bytes()));
    }
    files
}

/// What a build can see of its context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// All of it, as far as anybody can tell.
    Everything,
    /// These paths and what is below them, relative to the context; none at all is an empty list.
    Below(Vec<String>),
}

/// Returns what the instructions of a Dockerfile can see of the context: what they never mention cannot change an
/// image. Triggers of the images it starts from are not known here.
pub fn reads(text: &str) -> Reads {
    let escape = escape(text);
    let mut paths = Vec::new();
    for part in parts(text, escape) {
        for source in part.sources(escape) {
            let Source::Path { path, .. } = source else {
                return Reads::Everything;
            };
            let cleaned = clean(path);
            let literal: Vec<&str> = cleaned
                .split('/')
                .take_while(|step| !step.contains(['*', '?', '[', '$', '\\']))
                .collect();
            let below = literal.join("/");
            if below.is_empty() {
                return Reads::Everything;
            }
            paths.push(below);
        }
    }
    paths.sort();
    paths.dedup();
    Reads::Below(paths)
}

/// The instructions that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keyword {
    From,
    Run,
    /// `COPY` and `ADD`.
    Copy,
    OnBuild,
    /// Any other instruction; comments, empty lines and the bodies of here-documents as well.
    Other,
}

/// A piece of a Dockerfile; all of them together are its text.
#[derive(Debug)]
struct Part<'a> {
    keyword: Keyword,
    text: &'a str,
    /// Where the keyword ends.
    word_end: usize,
}

/// Returns the character that escapes and that continues lines, which a directive can change. Directives are only
/// what comes before anything else.
fn escape(text: &str) -> char {
    for line in text.trim_start_matches('\u{feff}').lines() {
        let Some((name, value)) = line
            .trim()
            .strip_prefix('#')
            .and_then(|line| line.split_once('='))
        else {
            break;
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "escape" if value.trim() == "`" => return '`',
            "syntax" | "check" => {}
            _ => break,
        }
    }
    '\\'
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// Says whether the next line belongs to the same instruction.
fn is_continued(line: &str, escape: char) -> bool {
    let line = line.trim_end();
    line.strip_suffix(escape)
        .is_some_and(|before| !before.ends_with(escape))
}

fn parts(text: &str, escape: char) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.split_inclusive('\n').next() {
        let plain = first.trim_start_matches('\u{feff}');
        if plain.trim().is_empty() || is_comment(plain) {
            parts.push(Part {
                keyword: Keyword::Other,
                text: first,
                word_end: 0,
            });
            rest = &rest[first.len()..];
            continue;
        }
        let mut length = 0;
        for line in rest.split_inclusive('\n') {
            length += line.len();
            // Comments and empty lines between the lines of an instruction do not end it.
            let between = length > line.len() && (is_comment(line) || line.trim().is_empty());
            if !between && !is_continued(line, escape) {
                break;
            }
        }
        let (instruction, mut after) = rest.split_at(length);
        let start = first.len() - plain.trim_start().len();
        let word = instruction[start..]
            .split(char::is_whitespace)
            .next()
            .unwrap_or_default();
        let keyword = match word.to_ascii_uppercase().as_str() {
            "FROM" => Keyword::From,
            "RUN" => Keyword::Run,
            "COPY" | "ADD" => Keyword::Copy,
            "ONBUILD" => Keyword::OnBuild,
            _ => Keyword::Other,
        };
        let part = Part {
            keyword,
            text: instruction,
            word_end: start + word.len(),
        };
        let mut bodies = 0;
        for (indented, name) in part.heredocs(escape) {
            for line in after[bodies..].split_inclusive('\n') {
                bodies += line.len();
                let line = line.trim_end_matches(['\n', '\r']);
                if name
                    == if indented {
                        line.trim_start_matches('\t')
                    } else {
                        line
                    }
                {
                    break;
                }
            }
        }
        parts.push(part);
        if bodies > 0 {
            parts.push(Part {
                keyword: Keyword::Other,
                text: &after[..bodies],
                word_end: 0,
            });
            after = &after[bodies..];
        }
        rest = after;
    }
    parts
}

/// A reference to the context in an instruction.
#[derive(Debug, PartialEq, Eq)]
enum Source<'a> {
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
    fn is_whole(&self) -> bool {
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
    fn moved(self) -> (Range<usize>, String) {
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
fn clean(path: &str) -> String {
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
    /// Returns the words behind the keyword: where they are. Quotes are part of them.
    fn words(&self, escape: char) -> Vec<Range<usize>> {
        let mut words = Vec::new();
        let mut start = None;
        let mut quote = None;
        let mut at = self.word_end;
        while let Some(character) = self.text[at..].chars().next() {
            let next = at + character.len_utf8();
            if character == escape && quote != Some('\'') {
                let line = self.text[next..].split_inclusive('\n').next().unwrap_or_default();
                if line.ends_with('\n') && line.trim().is_empty() {
                    at = skip_comments(self.text, next + line.len());
                    continue;
                }
                start.get_or_insert(at);
                at = next + self.text[next..].chars().next().map_or(0, char::len_utf8);
                continue;
            }
            if quote == Some(character) {
                quote = None;
            } else if quote.is_none() && (character == '"' || character == '\'') {
                quote = Some(character);
            }
            if quote.is_none() && character.is_whitespace() {
                words.extend(start.take().map(|start| start..at));
            } else {
                start.get_or_insert(at);
            }
            at = next;
        }
        words.extend(start.map(|start| start..self.text.len()));
        words
    }

    /// Returns the here-documents that follow: whether tabs before their lines are dropped, and the line that ends
    /// them.
    fn heredocs(&self, escape: char) -> Vec<(bool, String)> {
        match self.keyword {
            Keyword::Run | Keyword::Copy | Keyword::OnBuild => {}
            Keyword::From | Keyword::Other => return Vec::new(),
        }
        let name = |word: Range<usize>| {
            let word = self.text[word].trim_start_matches(|digit: char| digit.is_ascii_digit());
            let name = word.strip_prefix("<<")?;
            let (indented, name) = name.strip_prefix('-').map_or((false, name), |name| (true, name));
            let name: String = name
                .chars()
                .filter(|character| !['"', '\''].contains(character))
                .collect();
            (!name.is_empty() && !name.contains('<')).then_some((indented, name))
        };
        self.words(escape).into_iter().filter_map(name).collect()
    }

    /// Returns the references to the context.
    fn sources(&self, escape: char) -> Vec<Source<'a>> {
        match self.keyword {
            Keyword::Copy => self.copied(escape),
            Keyword::Run => self.mounted(escape),
            Keyword::From | Keyword::OnBuild | Keyword::Other => Vec::new(),
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

/// Returns where the text goes on behind comments and empty lines.
fn skip_comments(text: &str, mut at: usize) -> usize {
    for line in text[at..].split_inclusive('\n') {
        if !(is_comment(line) || line.trim().is_empty()) {
            break;
        }
        at += line.len();
    }
    at
}

/// Returns a place without the quotes around it.
fn unquoted(text: &str, place: Range<usize>) -> Range<usize> {
    let word = &text[place.clone()];
    let quoted = word.len() > 1
        && ['"', '\'']
            .iter()
            .any(|quote| word.starts_with(*quote) && word.ends_with(*quote));
    if quoted {
        place.start + 1..place.end - 1
    } else {
        place
    }
}

/// Returns the places of the strings of a list in JSON, quotes included.
fn strings(text: &str, from: usize) -> Vec<Range<usize>> {
    let mut strings = Vec::new();
    let mut start = None;
    let mut escaped = false;
    for (at, character) in text[from..].char_indices() {
        match (start, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(begun), '"') => {
                strings.push(begun..from + at + 1);
                start = None;
            }
            (None, '"') => start = Some(from + at),
            _ => {}
        }
    }
    strings
}

#[cfg(test)]
mod tests;

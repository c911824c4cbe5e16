//! Dockerfiles as text: what has to be changed in one so that it can be sent with things of ours beside it. Pure.
//!
//! A Dockerfile travels in the archive of its context, and so does the bundle of certificates. Neither may reach an
//! image: both are in a directory of their own, and where the Dockerfile copies the whole context, the context is
//! moved one directory down and every reference to it follows.

mod base;
mod parent;
mod part;
mod source;
mod step;
mod trigger;

pub use base::{BaseImage, base_images, is_foreign, starts};
pub use parent::{Mention, Origin, origin};
use part::{Keyword, Part, escape, parts};
use source::{Source, clean};
pub use step::{line_of_complaint, line_of_image, line_of_step};
pub use trigger::{Whole, declares, had_done, instructions, reads_with, triggers};

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

/// Returns the line of the instruction that takes a file of the context, counted from 1: the one that names it most
/// closely.
pub fn line_of_file(text: &str, file: &str) -> Option<u32> {
    let escape = escape(text);
    let mut found: Option<(usize, u32)> = None;
    for part in parts(text, escape) {
        for source in part.sources(escape) {
            let below = match source {
                Source::Everything { .. } => String::new(),
                Source::Path { path, .. } => literal(path),
            };
            let is_below = below.is_empty()
                || file == below
                || file
                    .strip_prefix(&below)
                    .is_some_and(|rest| rest.starts_with('/'));
            if is_below && found.is_none_or(|(length, _)| below.len() > length) {
                found = Some((below.len(), part.line(text)));
            }
        }
    }
    found.map(|(_, line)| line)
}

/// Returns the line that declares an argument, counted from 1.
pub fn line_of_argument(text: &str, name: &str) -> Option<u32> {
    let escape = escape(text);
    let declares = |part: &Part<'_>| {
        let mut words = part.words(escape).into_iter().map(|word| &part.text[word]);
        part.keyword == Keyword::Arg && words.any(|word| word.split('=').next() == Some(name))
    };
    let part = parts(text, escape).into_iter().find(declares)?;
    Some(part.line(text))
}

/// Returns the line of the instruction whose here-document a line belongs to; both are counted from 1.
pub fn line_of_document(text: &str, line: u32) -> Option<u32> {
    let escape = escape(text);
    let parts = parts(text, escape);
    let bodies = parts
        .windows(2)
        .filter(|pair| pair[1].word_end == 0 && !pair[0].heredocs(escape).is_empty());
    let mut bodies = bodies.map(|pair| {
        let first = pair[1].line(text);
        let length = u32::try_from(pair[1].text.lines().count()).unwrap_or(u32::MAX);
        (pair[0].line(text), first..first.saturating_add(length))
    });
    bodies
        .find(|(_, body)| body.contains(&line))
        .map(|(line, _)| line)
}

/// Returns the part of a path that stands for itself.
fn literal(path: &str) -> String {
    let cleaned = clean(path);
    let steps = cleaned.split('/');
    let literal: Vec<&str> = steps
        .take_while(|step| !step.contains(['*', '?', '[', '$', '\\']))
        .collect();
    literal.join("/")
}

/// Returns what the instructions of a Dockerfile can see of the context: what they never mention cannot change an
/// image. What the images it starts from have it do is another text.
pub fn reads(text: &str) -> Reads {
    let escape = escape(text);
    let mut paths = Vec::new();
    for part in parts(text, escape) {
        for source in part.sources(escape) {
            let Source::Path { path, .. } = source else {
                return Reads::Everything;
            };
            let below = literal(path);
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

#[cfg(test)]
mod tests;

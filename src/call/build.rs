//! What is asked for when an image is built.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::label::Labels;

/// A build from a Dockerfile.
#[derive(Clone, PartialEq, Eq)]
pub struct Build {
    /// The keyed tag that the image gets.
    pub tag: String,
    /// Labels of the image; a random identifier is added.
    pub labels: Labels,
    /// The Dockerfile's text, as it is to be sent.
    pub dockerfile: String,
    /// What the images it starts from have it do besides.
    pub triggers: Vec<Trigger>,
    /// The Dockerfile, absolute; nothing where it is none of a person's.
    pub path: Option<PathBuf>,
    /// The directory sent as context.
    pub context: PathBuf,
    /// The files of the context, relative to it, already filtered by `.dockerignore`.
    pub files: Arc<[PathBuf]>,
    /// The digest that the context must have: one that was changed meanwhile is built by nobody. `None` where it is none
    /// of a person's.
    pub digest: Option<String>,
    /// Build arguments, proxies included.
    pub args: BTreeMap<String, String>,
    /// The stage of the Dockerfile to stop at.
    pub target: Option<String>,
    /// A CA bundle that every `RUN` sees, in no layer.
    pub certificates: Option<Vec<u8>>,
    /// Whether what earlier builds left is used again.
    pub cache: bool,
}

/// Names build arguments without their values: the address of a proxy may have a password in it.
impl fmt::Debug for Build {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tag,
            labels,
            dockerfile,
            triggers,
            path,
            context,
            files,
            digest,
            args,
            target,
            certificates,
            cache,
        } = self;
        let certificates = certificates.as_ref().map(Vec::len);
        formatter
            .debug_struct("Build")
            .field("tag", tag)
            .field("labels", labels)
            .field("dockerfile", dockerfile)
            .field("triggers", triggers)
            .field("path", path)
            .field("context", context)
            .field("files", files)
            .field("digest", digest)
            .field("args", &args.keys().collect::<BTreeSet<_>>())
            .field("target", target)
            .field("certificates", &certificates)
            .field("cache", cache)
            .finish()
    }
}

/// What an image that a Dockerfile begins a stage with has that do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The image as the Dockerfile names it, its variables filled in.
    pub image: String,
    /// The line of that `FROM`, counted from 1.
    pub line: u32,
    /// The instructions, without `ONBUILD`.
    pub instructions: String,
    /// The same image without them, once there is one.
    pub bare: Option<String>,
}

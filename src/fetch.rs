//! What phases get from elsewhere: fetched by this host into a cache of its user, checked, and read from there.
//!
//! Repositories are fetched by git, with whatever the person's git is configured to log in with. What comes from
//! there is only ever read: nothing that a repository holds is run, neither its configuration nor hooks nor filters.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::context::{ContextError, Tree};
use crate::lock::Revision;
use crate::progress::Progress;
use crate::remote::{DownloadUrl, RepositoryReference, RepositoryUrl, Sha256, Source, Store};
use crate::report::Failure;

mod archive;
mod cache;
mod download;
mod git;
mod http;
mod repository;

pub use archive::ArchiveError;
use cache::{Cache, Work};
pub use git::GitError;
pub use http::HttpError;

/// Something to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub source: Source,
    /// Where it is kept.
    pub store: Arc<Store>,
}

/// What was fetched, as long as somebody has this.
#[derive(Debug)]
pub struct Fetched {
    /// The files.
    pub tree: Arc<Tree>,
    /// The directory they are in, which goes with this.
    _work: Work,
}

/// Why something was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The cache cannot be used.
    #[error("{} cannot be used", path.display())]
    Cache {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// git failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// What is wanted of a repository is not there.
    #[error("{reference} is not there: the repository has no such {what}")]
    NoSuchReference {
        /// What is wanted.
        reference: RepositoryReference,
        /// What kind of thing that is.
        what: &'static str,
    },
    /// A repository has no branch and no tag at all.
    #[error("{url} has nothing in it, or what it says breaks off")]
    Empty {
        /// The repository.
        url: RepositoryUrl,
    },
    /// A commit is not in the repository any more, or never was.
    #[error("commit {commit} is not in {url}")]
    NoSuchCommit {
        /// The repository.
        url: String,
        /// The commit.
        commit: String,
    },
    /// It cannot be downloaded.
    #[error("{url} cannot be downloaded")]
    Http {
        /// Where it is.
        url: DownloadUrl,
        /// Why.
        #[source]
        cause: HttpError,
    },
    /// A download is larger than anybody needs.
    #[error("{url} has {bytes} bytes or more, which is too large")]
    TooLarge {
        /// Where it is.
        url: DownloadUrl,
        /// How many bytes it has, as far as is known.
        bytes: u64,
    },
    /// A download is something else than what was written down.
    #[error("{url} has sha256 {found}, and {wanted} is wanted")]
    Mismatch {
        /// Where it is.
        url: DownloadUrl,
        /// What is written down.
        wanted: Sha256,
        /// What it has.
        found: Sha256,
    },
    /// The program is not in its download.
    #[error("{url}")]
    Archive {
        /// Where that is.
        url: DownloadUrl,
        /// Why.
        #[source]
        cause: ArchiveError,
    },
    /// What was fetched cannot be read.
    #[error("what was fetched cannot be read")]
    Unreadable(#[from] ContextError),
}

impl FetchError {
    /// Returns what it means for a step: the chain of causes, the last output, and what most often helps.
    pub fn failure(&self) -> Failure {
        let mut message = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        let (log, hint) = match self {
            Self::Git(error) => (error.log(), error.hint()),
            Self::NoSuchCommit { .. } => (
                Vec::new(),
                Some("`aishell update` asks what is there now, and writes that to the lock".to_owned()),
            ),
            Self::Http { cause, .. } => (Vec::new(), cause.hint().map(str::to_owned)),
            Self::Archive { cause, .. } => (Vec::new(), cause.hint()),
            Self::Mismatch { .. } => (
                Vec::new(),
                Some("somebody has put something else there; if that is right, write it down: `sha256`, or `aishell update`".to_owned()),
            ),
            Self::NoSuchReference { .. }
            | Self::Empty { .. }
            | Self::TooLarge { .. }
            | Self::Cache { .. }
            | Self::Unreadable(_) => (Vec::new(), None),

        };
        Failure {
            hint,
            ..Failure::new(message).log(log)
        }
    }
}

/// Fetches something, or takes it from the cache.
///
/// # Cancel safety
/// Dropping the future ends whatever runs for it. What is left in the cache is swept by the next one.
///
/// # Errors
/// It cannot be had, or is not what it must be.
pub async fn fetch(order: &Order, progress: &Progress) -> Result<Fetched, FetchError> {
    let Order { source, store } = order;
    let cache = Cache::open(store)?;
    match source {
        Source::Repository {
            url,
            commit,
            branch,
            tag,
            depth,
        } => {
            let clone = repository::Clone {
                url,
                commit,
                branch: branch.as_ref(),
                tag: tag.as_ref(),
                depth: *depth,
            };
            let (work, tree) = clone.make(&cache, store, progress).await?;
            Ok(Fetched {
                tree: Arc::new(tree),
                _work: work,
            })
        }
        Source::Tool { url, sha256, bin } => {
            let tool = download::Tool { url, sha256, bin };
            let (work, tree) = tool.make(&cache, store, progress).await?;
            Ok(Fetched {
                tree: Arc::new(tree),
                _work: work,
            })
        }
    }
}

/// Asks a repository what a branch or tag means now.
///
/// # Errors
/// It cannot be asked, or has no such thing.
pub async fn revision(reference: &RepositoryReference, store: &Store) -> Result<Revision, FetchError> {
    repository::revision(reference, &Cache::open(store)?, store).await
}

/// Downloads something to see what it is made of.
///
/// # Errors
/// It cannot be downloaded.
pub async fn digest(url: &DownloadUrl, store: &Store) -> Result<Sha256, FetchError> {
    Box::pin(download::pin(url, &Cache::open(store)?, store)).await
}

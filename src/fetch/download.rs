//! Downloads: kept by their digest, so that what is in the cache is what was wanted, or is not used.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use http_body_util::BodyExt as _;

use super::FetchError;
use super::archive::take;
use super::cache::{Cache, Work, remove_unless_file, unusable};
use super::http::{HttpError, get};
use crate::context::{Digests, Tree};
use crate::key::Hasher;
use crate::progress::Progress;
use crate::remote::{DownloadUrl, Sha256, Store};

/// The largest download, in bytes.
const LARGEST: u64 = 4 << 30;

/// A program to be had from a download.
pub(super) struct Tool<'a> {
    pub url: &'a DownloadUrl,
    pub sha256: &'a Sha256,
    pub bin: &'a str,
}

impl Tool<'_> {
    /// Takes the program out of the download, which is downloaded unless it is there.
    pub async fn make(
        &self,
        cache: &Cache,
        store: &Store,
        progress: &Progress,
    ) -> Result<(Work, Tree), FetchError> {
        let lock = cache.lock("downloads", self.sha256.as_str(), progress).await?;
        let kept = cache.path("downloads", self.sha256.as_str());
        remove_unless_file(&kept).map_err(unusable(&kept))?;
        if digest_of(kept.clone()).await.as_ref() != Some(self.sha256) {
            let download = download(self.url, cache, store, progress).await?;
            let (work, file, found) = (download.work, download.file, download.digest);
            if found != *self.sha256 {
                return Err(FetchError::Mismatch {
                    url: self.url.clone(),
                    wanted: self.sha256.clone(),
                    found,
                });
            }
            fs::rename(&file, &kept).map_err(unusable(&kept))?;
            drop(work);
        }
        let work = cache.work()?;
        let (file, bin) = (work.path().join("tool"), self.bin.to_owned());
        let taking = tokio::task::spawn_blocking(move || -> Result<Tree, Taken> {
            let mut content = BufWriter::new(File::create(&file)?);
            take(&kept, &bin, &mut content).map_err(Taken::Archive)?;
            content.flush()?;
            Tree::read(&file, &Digests::default()).map_err(Taken::Tree)
        });
        let taken = taking
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error).into()));
        drop(lock);
        match taken {
            Ok(tree) => Ok((work, tree)),
            Err(Taken::Archive(cause)) => Err(FetchError::Archive {
                url: self.url.clone(),
                cause,
            }),
            Err(Taken::Tree(error)) => Err(error.into()),
            Err(Taken::File(error)) => Err(unusable(work.path())(error)),
        }
    }
}

/// Why a program was not taken out of a download.
enum Taken {
    Archive(super::ArchiveError),
    Tree(crate::context::ContextError),
    File(io::Error),
}

impl From<io::Error> for Taken {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

/// Downloads something whose digest nobody knows, keeps it, and returns that.
pub(super) async fn pin(url: &DownloadUrl, cache: &Cache, store: &Store) -> Result<Sha256, FetchError> {
    let download = download(url, cache, store, &Progress::default()).await?;
    if !download.is_whole {
        return Err(FetchError::Http {
            url: url.clone(),
            cause: HttpError::Endless { host: download.host },
        });
    }
    let found = download.digest;
    let kept = cache.path("downloads", found.as_str());
    remove_unless_file(&kept).map_err(unusable(&kept))?;
    fs::rename(&download.file, &kept).map_err(unusable(&kept))?;
    Ok(found)
}

/// Something that was downloaded.
struct Downloaded {
    /// The directory it is in.
    work: Work,
    file: PathBuf,
    digest: Sha256,
    /// Who had it.
    host: String,
    /// Whether it would have been seen if the connection had broken off.
    is_whole: bool,
}

/// Downloads into a directory of its own.
async fn download(
    url: &DownloadUrl,
    cache: &Cache,
    store: &Store,
    progress: &Progress,
) -> Result<Downloaded, FetchError> {
    progress.line(format!("downloading {url}"));
    let failed = |cause| FetchError::Http {
        url: url.clone(),
        cause,
    };
    let mut answer = get(url, store).await.map_err(failed)?;
    let work = cache.work()?;
    let path = work.path().join("download");
    let mut file = BufWriter::new(File::create(&path).map_err(unusable(&path))?);
    let mut hasher = Hasher::new();
    let length = answer.response.headers().get(hyper::header::CONTENT_LENGTH);
    let total: Option<u64> = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let is_chunked = answer
        .response
        .headers()
        .contains_key(hyper::header::TRANSFER_ENCODING);
    let too_large = |done| FetchError::TooLarge {
        url: url.clone(),
        bytes: done,
    };
    if let Some(total) = total.filter(|total| *total > LARGEST) {
        return Err(too_large(total));
    }
    let mut done = 0;
    loop {
        let frame = tokio::time::timeout(store.patience, answer.response.body_mut().frame()).await;
        let frame = frame.map_err(|_| {
            failed(HttpError::Silent {
                host: answer.host.clone(),
                patience: store.patience,
            })
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|cause| {
            failed(HttpError::Garbled {
                host: answer.host.clone(),
                cause,
            })
        })?;
        let Some(bytes) = frame.data_ref() else { continue };
        done += bytes.len() as u64;
        if done > LARGEST {
            return Err(too_large(done));
        }
        hasher.update(bytes);
        file.write_all(bytes).map_err(unusable(&path))?;
        progress.amount(url.as_str(), done, total);
    }
    let file = file
        .into_inner()
        .map_err(|error| unusable(&path)(error.into_error()))?;
    file.sync_all().map_err(unusable(&path))?;
    let digest = hasher.finish();
    let digest = digest
        .parse()
        .map_err(|error| unusable(&path)(io::Error::other(error)))?;
    Ok(Downloaded {
        work,
        file: path,
        digest,
        is_whole: answer.is_safe || total.is_some() || is_chunked,
        host: answer.host,
    })
}

/// Returns the digest of a file that is kept; nothing, if it is not there.
async fn digest_of(path: PathBuf) -> Option<Sha256> {
    let read = tokio::task::spawn_blocking(move || hash(&path).ok());
    read.await.ok()??.parse().ok()
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..length]);
    }
}

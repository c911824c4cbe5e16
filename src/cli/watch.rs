//! `aishell watch`: keeps the engine as the manifest wants it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use self::teller::Teller;
use super::diff::StandingOptions;
use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::signal::{Ended, Signal, watched};
use crate::apply::Stop;
use crate::claim::{ClaimError, Claims, Locked, Scope, Turn, identity};
use crate::controller::backoff::Jitter;
use crate::controller::files::{Check, Files};
use crate::controller::{End, Settings, watch};
use crate::engine::docker::DockerEngine;
use crate::label::Owner;
use crate::manifest::load::STANDARD_INPUT;
use crate::prepare::Prepared;
use crate::reconcile::Intent;
use crate::units::Duration;

mod fold;
mod teller;

/// The shortest time between two looks at everything.
const SHORTEST: std::time::Duration = std::time::Duration::from_secs(1);
/// How long another writer is waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

/// Keep Docker as the manifest wants it
///
/// Applies every change of the manifest and of the files it names, and puts right what happens to the containers. While
/// an edit is not valid, the last good manifest stays in force. Ctrl-C finishes the step in hand, a second one ends at
/// once.
#[derive(Debug, Args)]
pub struct Watch {
    /// The manifest, if it is not to be searched for
    #[arg(value_name = "MANIFEST", value_hint = clap::ValueHint::FilePath)]
    manifest: Option<PathBuf>,
    #[command(flatten)]
    options: StandingOptions,
    /// Look at everything so often, whatever the engine tells
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    resync: Duration,
    /// End with 0 once everything is as wanted and ready, with 5 or 6 if it cannot be
    #[arg(long)]
    once_ready: bool,
}

impl Watch {
    /// Watches until somebody wishes otherwise.
    ///
    /// # Errors
    /// The manifest is invalid, somebody else watches it, or the engine cannot be asked. Nothing was touched.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let given = self.manifest.clone().or(invocation.global.file.clone());
        if given.as_deref() == Some(Path::new(STANDARD_INPUT)) {
            return Err(Failure::usage(
                "standard input cannot be watched",
                "write the manifest to a file and name that",
            ));
        }
        let resync = self.resync.as_std();
        if resync < SHORTEST {
            return Err(Failure::usage("--resync is too short", "a second is the least"));
        }
        let prepared = Arc::new(invocation.prepare(self.manifest.as_deref())?);
        let engine = invocation.engine_of(&prepared)?;
        let claims = Claims::of(&invocation.host);
        let claim = alone(&claims, &engine, prepared.owner()).await?;
        let consent = self.options.consent_so_far();
        prepared.make_sources(&consent.widen)?;
        let (wish, stop) = Stop::new();
        let base = prepared.loaded.source.directory();
        let teller = Arc::new(Teller::new(invocation, base, wish.clone()));
        let given = given.map(|path| invocation.host.directory.join(path));
        let mut files = Files::new(&invocation.host, given, Arc::clone(&prepared), check(&engine));
        let settings = Settings {
            turn: Some(Turn {
                claims: &claims,
                command: "watch",
                patience: PATIENCE,
            }),
            consent,
            resync,
            once_ready: self.once_ready,
            jitter: Jitter::random(),
        };
        let intent = Arc::clone(&prepared) as Arc<dyn Intent>;
        let work = Box::pin(watch(&engine, (&mut files, intent), settings, &teller, &stop));
        let under_way = |signal| {
            let busy = teller.watcher().is_busy();
            if busy {
                teller.watcher().signalled(signal);
            }
            busy
        };
        let ended = watched(work, &wish, under_way).await?;
        let busy = teller.watcher().is_busy();
        teller.close();
        drop(claim);
        Ok(match ended {
            Ended::Whole(end, signal) => signal.map_or(exit(end?), Signal::exit),
            Ended::Cut(signal) => {
                if busy {
                    let again = invocation.again("apply", self.manifest.as_deref());
                    let text = format!("stopped at once; what was begun is taken up again by: {again}\n");
                    teller.watcher().talk(&text);
                }
                signal.exit()
            }
        })
    }
}

/// Sees to it that nobody else watches the same objects; where that cannot be known, there is no reason not to.
async fn alone(claims: &Claims, engine: &DockerEngine, owner: &Owner) -> Result<Option<Locked>, Failure> {
    let at_once = std::time::Duration::ZERO;
    let id = identity(engine).await?;
    match claims.take(&id, owner, Scope::Watch, ("watch", at_once)).await {
        Ok(claim) => Ok(Some(claim)),
        Err(error @ ClaimError::Unusable { .. }) => {
            tracing::warn!("{error}; another watch would not be noticed");
            Ok(None)
        }
        Err(error @ ClaimError::Held { .. }) => Err(Failure::watched(&error)),
        Err(error @ (ClaimError::Stranger { .. } | ClaimError::Engine(_))) => Err(error.into()),
    }
}

/// Returns what checks a manifest that was edited against the engine.
fn check(engine: &DockerEngine) -> Check {
    let (local, host) = (engine.is_local(), engine.host().to_owned());
    Arc::new(move |prepared: &Prepared| {
        if local {
            Vec::new()
        } else {
            prepared.remote_problems(&host)
        }
    })
}

fn exit(end: End) -> Exit {
    match end {
        End::Stopped | End::Ready => Exit::Done,
        End::Blocked => Exit::Blocked,
        End::Failed => Exit::Failed,
    }
}

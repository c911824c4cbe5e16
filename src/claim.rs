//! [`Claim`]: one writer at a time for the objects of one owner on one engine.
//!
//! Among the processes of one host a lock on a file keeps others out ([`file`]); across hosts, and between processes
//! that share no files, a container that lives as long as its holder's connection ([`stake`]), or a volume where no
//! image is there to make one from. Both end with the process, however that ends: nothing is renewed, and no clock
//! decides anything.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::call::{Answer, Call, VolumeReply};
use crate::engine::{Engine, EngineError};
use crate::label::Owner;
use crate::observe::ask;
use crate::observed::Observed;
use crate::progress::Progress;

mod file;
mod holder;
mod stake;
mod taking;

pub use file::{Claims, Locked};
pub use holder::Holder;
pub use stake::Stake;

use stake::Mark;
use taking::Taking;

/// How often a claim that somebody holds is asked for again.
const EVERY: Duration = Duration::from_millis(50);
/// As long as makes no difference, whatever was asked for.
const FOREVER: Duration = Duration::from_secs(1 << 30);

/// What may be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Writing to the owner's objects, for one pass.
    Pass,
    /// Watching the manifest, for a life.
    Watch,
    /// Being next to write.
    Next,
}

/// A claim. It ends when it is released, and when the process ends.
#[derive(Debug)]
#[must_use]
pub struct Claim {
    own: Held,
    /// What says the same to whoever still goes by an earlier name of the owner.
    earlier: Vec<Held>,
}

/// A claim of one identity.
#[derive(Debug)]
struct Held {
    mark: Mark,
    /// None where no lock file can be made.
    _file: Option<Locked>,
}

/// Why there is no claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody else holds it.
    #[error("{holder}")]
    Held {
        /// Who.
        holder: Holder,
        /// The volume that says so, where one does and nobody can tell from here whether its holder lives.
        volume: Option<String>,
    },
    /// The lock file cannot be used.
    #[error("the lock file {} cannot be used", path.display())]
    Unusable {
        /// The file, or the directory it should be in.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A stranger has the name that a claim needs.
    #[error("{name} is needed to keep others out meanwhile, and that is {who}")]
    Stranger {
        /// The name.
        name: String,
        /// What it is: `container` or `volume`.
        kind: &'static str,
        /// Whose it is, in a person's words.
        who: String,
    },
    /// The engine could not be asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A turn at writing: what is needed to ask for it.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// Where lock files are.
    pub claims: &'a Claims,
    /// The command that asks.
    pub command: &'a str,
    /// How long to wait while somebody else writes.
    pub patience: Duration,
}

impl ClaimError {
    /// Returns the command by which a person makes room, where somebody has to: nobody else can tell from here whether
    /// what is in the way is still needed.
    pub fn unblock(&self) -> Option<String> {
        match self {
            Self::Held {
                volume: Some(volume), ..
            } => Some(format!("docker volume rm {volume}")),
            Self::Stranger {
                name, kind: "volume", ..
            } => Some(format!("docker volume rm {name}")),
            Self::Stranger { name, .. } => Some(format!("docker rename {name} another-name")),
            Self::Held { volume: None, .. } | Self::Unusable { .. } | Self::Engine(_) => None,
        }
    }
}

impl Turn<'_> {
    /// Waits for the turn to write to the objects of an owner. What was seen of them before helps, if it is there.
    ///
    /// # Errors
    /// Somebody else is writing, or the engine cannot be asked; nothing was touched.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it holds nothing.
    pub async fn take(
        self,
        engine: &impl Engine,
        owner: &Owner,
        seen: Option<&Observed>,
    ) -> Result<Claim, ClaimError> {
        let mut stake = None;
        let claim = self.take_with(engine, owner, (seen, &mut stake)).await;
        if let Some(stake) = stake {
            stake.remove(engine).await;
        }
        claim
    }

    /// Waits as [`Turn::take`], and does something while the claim holds.
    ///
    /// # Errors
    /// As [`Turn::take`], and whatever the work says.
    pub async fn during<T, F: From<ClaimError>>(
        self,
        engine: &impl Engine,
        owner: &Owner,
        seen: Option<&Observed>,
        work: impl Future<Output = Result<T, F>>,
    ) -> Result<T, F> {
        let claim = self.take(engine, owner, seen).await?;
        let done = work.await;
        claim.release(engine).await;
        done
    }

    /// Waits as [`Turn::take`], with what was kept from the last time, which is left where it was if it is not needed.
    ///
    /// What an owner had under an earlier name is claimed under that name, too. All who want several claims take them in
    /// one order, so that no two wait for each other.
    ///
    /// # Errors
    /// As [`Turn::take`].
    pub async fn take_with(
        self,
        engine: &impl Engine,
        owner: &Owner,
        (seen, kept): (Option<&Observed>, &mut Option<Stake>),
    ) -> Result<Claim, ClaimError> {
        let until = Instant::now()
            .checked_add(self.patience)
            .unwrap_or_else(|| Instant::now() + FOREVER);
        let mut earlier: Vec<Owner> = owner.earlier().collect();
        earlier.sort_by_key(Owner::claim);
        earlier.dedup();
        let (first, last): (Vec<Owner>, Vec<Owner>) =
            earlier.into_iter().partition(|one| one.claim() < owner.claim());
        let mut held = Vec::new();
        let claimed = async {
            for one in &first {
                held.push(Box::pin(self.take_one(engine, one, (seen, &mut None), until)).await?);
            }
            let own = Box::pin(self.take_one(engine, owner, (seen, kept), until)).await?;
            for one in &last {
                match Box::pin(self.take_one(engine, one, (seen, &mut None), until)).await {
                    Ok(taken) => held.push(taken),
                    Err(error) => {
                        held.push(own);
                        return Err(error);
                    }
                }
            }
            Ok(own)
        };
        match claimed.await {
            Ok(own) => Ok(Claim { own, earlier: held }),
            Err(error) => {
                for one in held {
                    one.mark.remove(engine).await;
                }
                Err(error)
            }
        }
    }

    /// Waits for the turn to write to what goes by one name.
    async fn take_one(
        self,
        engine: &impl Engine,
        owner: &Owner,
        (seen, kept): (Option<&Observed>, &mut Option<Stake>),
        until: Instant,
    ) -> Result<Held, ClaimError> {
        let at_once = Turn {
            patience: Duration::ZERO,
            ..self
        };
        let file = match at_once.here(engine, owner).await {
            Err(ClaimError::Held { .. }) if !self.patience.is_zero() => {
                self.queued(engine, owner, (seen, kept), until).await?
            }
            answered => answered?,
        };
        let taking = Taking::new((engine, owner), self, file.as_ref(), until);
        let mark = Box::pin(taking.run(seen, kept)).await?;
        Ok(Held { mark, _file: file })
    }

    /// Waits in line behind other processes of this host. Whoever is at its head makes ready meanwhile, so that its turn
    /// begins as soon as it can.
    async fn queued(
        self,
        engine: &impl Engine,
        owner: &Owner,
        (seen, kept): (Option<&Observed>, &mut Option<Stake>),
        until: Instant,
    ) -> Result<Option<Locked>, ClaimError> {
        let left = || until.saturating_duration_since(Instant::now());
        let (claims, id) = (self.claims, identity(engine).await?);
        let ahead = claims.take(&id, owner, Scope::Next, (self.command, left())).await;
        if ahead.is_ok() {
            let taking = Taking::new((engine, owner), self, None, until);
            Box::pin(taking.make_ready(claims.record(&id, owner), seen, kept)).await;
        }
        let turn = Turn {
            patience: left(),
            ..self
        };
        turn.here(engine, owner).await
    }

    /// Waits for the turn among the processes of this host alone.
    ///
    /// Where no lock file can be made there is none: a full runtime directory would end all work.
    ///
    /// # Errors
    /// As [`Turn::take`].
    pub async fn here(self, engine: &impl Engine, owner: &Owner) -> Result<Option<Locked>, ClaimError> {
        let Self {
            claims,
            command,
            patience,
        } = self;
        let engine = identity(engine).await?;
        match claims
            .take(&engine, owner, Scope::Pass, (command, patience))
            .await
        {
            Ok(locked) => Ok(Some(locked)),
            Err(error @ ClaimError::Unusable { .. }) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(
                    cause,
                    "{error}; another aishell is noticed by its container alone"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl Claim {
    /// Ends the claim.
    ///
    /// # Guarantees
    /// Nothing of it is left when this returns, as far as the engine can be reached.
    pub async fn release(self, engine: &impl Engine) {
        let Self { own, earlier } = self;
        for held in earlier.into_iter().chain([own]) {
            held.mark.remove(engine).await;
        }
    }

    /// Ends the claim, and returns what makes the next one quick.
    pub async fn shelve(self, engine: &impl Engine) -> Option<Stake> {
        let Self { own, earlier } = self;
        for held in earlier {
            held.mark.remove(engine).await;
        }
        own.mark.shelve(engine).await
    }
}

/// Removes what was to be a claim and does not run: whoever made it was killed before it could start it, or is about to
/// and makes another one.
pub async fn clear(engine: &impl Engine, seen: &Observed) {
    for idle in &seen.idle_claims {
        // One that runs by now is somebody's, and stays.
        let call = Call::RemoveIdle {
            container: idle.clone(),
        };
        let _ = engine.call(&call, &Progress::default()).await;
    }
}

/// Removes volumes that claim something and whose holders are known to be gone. Returns those whose holders may live.
pub async fn bury<'v>(engine: &impl Engine, claims: &'v [VolumeReply]) -> Vec<&'v VolumeReply> {
    let mut left = Vec::new();
    for volume in claims {
        if !taking::bury(engine, volume).await {
            left.push(volume);
        }
    }
    left
}

/// Says in a person's words what a volume is that claims something, and how it goes.
pub fn told(volume: &VolumeReply) -> String {
    let name = &volume.name;
    if taking::gone(&volume.labels, None).is_some() {
        return format!("volume {name} was left by an aishell that was killed; --yes removes it");
    }
    let held = ClaimError::Held {
        holder: Holder::read(&volume.labels),
        volume: Some(name.clone()),
    };
    let unblock = held.unblock().unwrap_or_default();
    format!("volume {name}: {held}; if it was killed: {unblock}")
}

/// Returns what tells an engine from all others, however it is reached.
///
/// # Errors
/// It cannot be asked.
pub async fn identity(engine: &impl Engine) -> Result<String, EngineError> {
    let id = |answer| match answer {
        Answer::Id(id) => Some(id),
        _ => None,
    };
    match ask(engine, Call::Identify, id).await {
        // Where an engine has none, owners are told from each other all the same.
        Err(EngineError::Unexpected { .. }) => Ok(String::new()),
        asked => asked,
    }
}

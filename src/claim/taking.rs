//! Taking a claim across hosts: who has the name, whether they live, and whose turn it is.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::file::{Gone, Locked};
use super::stake::{self, Mark, Stake, remove_volume};
use super::{ClaimError, EVERY, Holder, Turn};
use crate::call::{Call, ContainerReply, VolumeReply};
use crate::engine::{Engine, EngineError};
use crate::label::{self, Kind, LOCK, Labels, NONCE, OwnedId, Owner};
use crate::observe::{
    ask, found, inspected_container, inspected_image, inspected_volume, listed_images, whose,
};
use crate::observed::{Observed, RunState};
use crate::progress::Progress;

/// How long what is about to go may take, whoever is not patient: it has no holder any more.
const LINGER: Duration = Duration::from_secs(2);
/// How often somebody else's claim is looked at.
const LOOK: Duration = Duration::from_millis(25);
/// How often one is looked at whose holder is gone. The engine takes its time to remove it, and that is all that there
/// is to wait for: one that is being removed must not be given another name, or an engine lists it for ever.
const SOON: Duration = Duration::from_millis(10);
/// How often something that may pass is tried again.
const AGAIN: u32 = 3;
/// On how many images a container is tried before a volume has to do.
const IMAGES: usize = 3;

/// Somebody who wants a claim.
pub(super) struct Taking<'a, E> {
    engine: &'a E,
    owner: &'a Owner,
    /// The lock that is held on this host.
    file: Option<&'a Locked>,
    /// Until when to wait while somebody else holds it.
    until: Instant,
    /// The name that all know.
    name: String,
    nonce: String,
    labels: Labels,
    /// The images to make a container from, once they were asked for.
    images: Option<Vec<String>>,
    /// Those that do not serve.
    unfit: BTreeSet<String>,
    /// How often a container was gone before it was started.
    swept: u32,
    /// When something was first seen to be on its way out, by its id.
    ending: Option<(String, Instant)>,
    /// The labels of the image, by its id, that somebody else's claim was made from.
    inherited: Option<(String, Labels)>,
}

impl<'a, E: Engine> Taking<'a, E> {
    pub(super) fn new(
        (engine, owner): (&'a E, &'a Owner),
        turn: Turn<'_>,
        file: Option<&'a Locked>,
        until: Instant,
    ) -> Self {
        let nonce = nonce();
        let mut labels = stake::labels(owner, Holder::this(turn.command, &turn.claims.by).labels());
        labels.extend(file.and_then(Locked::record).map(|lock| (LOCK.to_owned(), lock)));
        labels.insert(NONCE.to_owned(), nonce.clone());
        Self {
            engine,
            owner,
            file,
            until,
            name: owner.claim(),
            nonce,
            labels,
            images: None,
            unfit: BTreeSet::new(),
            swept: 0,
            ending: None,
            inherited: None,
        }
    }

    /// Takes the claim, and sweeps up what others did not come to claim with.
    pub(super) async fn run(
        mut self,
        seen: Option<&Observed>,
        kept: &mut Option<Stake>,
    ) -> Result<Mark, ClaimError> {
        let mut failures = 0;
        let mark = loop {
            match self.attempt(seen, kept).await {
                Ok(Some(mark)) => break mark,
                Ok(None) => {}
                Err(ClaimError::Engine(error)) if error.is_retryable() && failures < AGAIN => {
                    failures += 1;
                    tracing::debug!("the claim is tried again: {error}");
                    sleep(EVERY * failures).await;
                }
                Err(error) => return Err(error),
            }
        };
        if let Some(seen) = seen {
            super::clear(self.engine, seen).await;
        }
        Ok(mark)
    }

    /// Makes a container ready for whoever is next, with the lock that it will hold then. What does not work now may work
    /// when it is its turn.
    pub(super) async fn make_ready(
        mut self,
        lock: Option<String>,
        seen: Option<&Observed>,
        kept: &mut Option<Stake>,
    ) {
        self.labels.extend(lock.map(|lock| (LOCK.to_owned(), lock)));
        let _ = self.prepare(seen, kept).await;
    }

    /// Takes the claim if it is free; `None` means that it is worth another look.
    async fn attempt(
        &mut self,
        seen: Option<&Observed>,
        kept: &mut Option<Stake>,
    ) -> Result<Option<Mark>, ClaimError> {
        let (container, volume) = futures_util::try_join!(self.container(), self.volume())?;
        if let Some(container) = container {
            let holder = self.occupied(container).await?;
            return self.held(seen, kept, holder).await;
        }
        if let Some(volume) = volume.filter(|volume| !self.is_own(volume) && says_something(volume)) {
            let holder = self.volume_holder(volume).await?;
            return self.held(seen, kept, holder).await;
        }
        if !self.prepare(seen, kept).await? {
            return Ok(None);
        }
        match kept.take() {
            Some(stake) => self.name(stake, kept).await,
            None => self.number().await,
        }
    }

    /// Waits a little while somebody holds it, as long as there is patience for it; meanwhile makes ready.
    async fn held(
        &mut self,
        seen: Option<&Observed>,
        kept: &mut Option<Stake>,
        holder: Option<ClaimError>,
    ) -> Result<Option<Mark>, ClaimError> {
        let Some(held) = holder else {
            // What is on its way out is not waited for by patience.
            self.prepare(seen, kept).await?;
            sleep(SOON).await;
            return Ok(None);
        };
        if Instant::now() >= self.until {
            return Err(held);
        }
        self.prepare(seen, kept).await?;
        let left = self.until.saturating_duration_since(Instant::now());
        sleep(LOOK.min(left)).await;
        Ok(None)
    }

    /// Gives a container the name that all know.
    async fn name(&mut self, stake: Stake, kept: &mut Option<Stake>) -> Result<Option<Mark>, ClaimError> {
        if let Err(error) = stake.rename(self.engine, &self.name).await {
            // Somebody was faster; or it is about to go, since its connection is lost.
            let faster = matches!(error, EngineError::Conflict { .. }) && self.runs(&stake).await?;
            if faster {
                *kept = Some(stake);
                return Ok(None);
            }
            stake.remove(self.engine).await;
            return match error {
                EngineError::Conflict { .. } | EngineError::NotFound { .. } => Ok(None),
                error => Err(error.into()),
            };
        }
        match self.alone(&stake).await {
            Ok(true) => Ok(Some(Mark::Container(stake))),
            Ok(false) => {
                self.unfit.insert(stake.image.clone());
                stake.remove(self.engine).await;
                Ok(None)
            }
            Err(error) => {
                stake.remove(self.engine).await;
                Err(error)
            }
        }
    }

    /// Waits until no volume claims the same, and says whether the container that has the name runs.
    ///
    /// Whoever came with a volume later than this container sees it and goes.
    async fn alone(&mut self, stake: &Stake) -> Result<bool, ClaimError> {
        let until = self.until.max(Instant::now() + LINGER);
        loop {
            let (runs, volume) = futures_util::try_join!(self.runs(stake), self.volume())?;
            let Some(volume) = volume.filter(|volume| runs && says_something(volume)) else {
                return Ok(runs);
            };
            if let Some(held) = self.volume_holder(volume).await?
                && Instant::now() >= until
            {
                return Err(held);
            }
            sleep(LOOK).await;
        }
    }

    /// Claims with a volume, where there is nothing to make a container from.
    async fn number(&mut self) -> Result<Option<Mark>, ClaimError> {
        let call = Call::CreateVolume {
            name: self.name.clone(),
            labels: self.labels.clone(),
        };
        let made = match ask(self.engine, call, inspected_volume).await {
            Ok(made) => made,
            Err(error @ EngineError::Unreachable { .. }) => return Err(error.into()),
            Err(error) => {
                // What comes next says what is wrong with the engine better than this could.
                tracing::warn!(
                    "the engine makes no claim: {error}; an aishell elsewhere would not be noticed"
                );
                return Ok(Some(Mark::Nothing));
            }
        };
        if !says_something(&made) {
            let name = &self.name;
            tracing::warn!(
                "volume {name} has no labels and was left alone; until it is gone (docker volume rm {name}) an aishell \
                 elsewhere may not be noticed"
            );
            return Ok(Some(Mark::Nothing));
        }
        if !self.is_own(&made) {
            return Ok(None);
        }
        let free = self.container().await.map(|container| container.is_none());
        if matches!(free, Ok(true)) {
            return Ok(Some(Mark::Volume(self.name.clone())));
        }
        // Whoever has the container waits for this to go.
        Mark::Volume(self.name.clone()).remove(self.engine).await;
        free.map(|_| None).map_err(Into::into)
    }

    /// Makes a container ready, if there is an image to make one from. Returns whether that is all that can be done.
    async fn prepare(
        &mut self,
        seen: Option<&Observed>,
        kept: &mut Option<Stake>,
    ) -> Result<bool, ClaimError> {
        if kept.is_some() {
            return Ok(true);
        }
        if self.images.is_none() {
            let listed = match seen {
                Some(seen) => seen.images.values().cloned().collect(),
                None => ask(self.engine, Call::ListImages, listed_images).await?,
            };
            self.images = Some(stake::candidates(self.owner, &listed, seen));
        }
        for image in self.images.iter().flatten().take(IMAGES) {
            if self.unfit.contains(image) {
                continue;
            }
            // Another one each time: what became of the last may not be known.
            let claim = (self.name.as_str(), &nonce()[..8]);
            match Stake::make(self.engine, claim, image, &self.labels).await {
                Ok(stake) => {
                    *kept = Some(stake);
                    return Ok(true);
                }
                Err(error @ EngineError::Unreachable { .. }) => return Err(error.into()),
                // Before it was started somebody took it for one that a killed one left.
                Err(EngineError::NotFound { .. } | EngineError::Conflict { .. }) if self.swept < AGAIN => {
                    self.swept += 1;
                    return Ok(false);
                }
                // It has no such command, or is gone.
                Err(error) => {
                    tracing::debug!("{image} is not for a claim: {error}");
                    self.unfit.insert(image.clone());
                }
            }
        }
        Ok(true)
    }

    /// Looks at who has the name. What is returned is that somebody lives who holds it; nothing means that it is on
    /// its way out.
    async fn occupied(&mut self, container: ContainerReply) -> Result<Option<ClaimError>, ClaimError> {
        let inherited = self.labels_of(&container.image_id).await?;
        let mark = label::Mark::read_container(&container.labels, &inherited)
            .filter(|mark| mark.kind == Kind::Claim && self.owner.owns(mark));
        let Some(mark) = mark else {
            return Err(self.stranger("container", &container.labels, &container.spec.image));
        };
        let owned = OwnedId::new(&container.id, &mark);
        let held = ClaimError::Held {
            holder: Holder::read(&container.labels),
            volume: None,
        };
        if !container.state.is_alive() {
            // The engine is removing it; where it does not come to that, somebody has to.
            let call = Call::RemoveIdle { container: owned };
            let _ = self.engine.call(&call, &Progress::default()).await;
            return Ok(self.lingers(&container.id).then_some(held));
        }
        let Some(gone) = gone(&container.labels, self.file) else {
            return Ok(Some(held));
        };
        if self.lingers(&container.id) {
            // Whoever keeps the connection open for somebody who is gone, it is not the one who held the claim.
            let call = Call::RemoveContainer {
                container: owned,
                volumes: true,
            };
            let removed = self.engine.call(&call, &Progress::default()).await;
            drop(gone);
            removed.map(|_| ()).or_else(|error| match error {
                EngineError::NotFound { .. } | EngineError::Conflict { .. } => Ok(()),
                error => Err(error),
            })?;
        }
        Ok(None)
    }

    /// Returns the labels of an image; one is asked for once, since images do not change.
    async fn labels_of(&mut self, image: &str) -> Result<Labels, EngineError> {
        if let Some((known, labels)) = &self.inherited
            && known == image
        {
            return Ok(labels.clone());
        }
        let call = Call::InspectImage {
            image: image.to_owned(),
        };
        let Some(reply) = found(ask(self.engine, call, inspected_image).await)? else {
            return Ok(Labels::new());
        };
        self.inherited = Some((image.to_owned(), reply.image.labels.clone()));
        Ok(reply.image.labels)
    }

    /// Looks at whose the volume is, and removes it if they are gone.
    async fn volume_holder(&mut self, volume: VolumeReply) -> Result<Option<ClaimError>, ClaimError> {
        let mark = label::Mark::read(&volume.labels)
            .filter(|mark| mark.kind == Kind::Claim && self.owner.owns(mark));
        let Some(mark) = mark else {
            return Err(self.stranger("volume", &volume.labels, ""));
        };
        let Some(gone) = gone(&volume.labels, self.file) else {
            return Ok(Some(ClaimError::Held {
                holder: Holder::read(&volume.labels),
                volume: Some(self.name.clone()),
            }));
        };
        // Nobody else comes to that conclusion now; but somebody may have, and another volume may have the name.
        let same = self
            .volume()
            .await?
            .is_some_and(|now| now.labels == volume.labels);
        if same {
            remove_volume(self.engine, &OwnedId::new(&volume.name, &mark)).await;
        }
        drop(gone);
        Ok(None)
    }

    fn stranger(&self, kind: &'static str, labels: &Labels, image: &str) -> ClaimError {
        ClaimError::Stranger {
            name: self.name.clone(),
            kind,
            who: whose(kind, labels, image),
        }
    }

    /// Says whether something is on its way out for longer than that takes.
    fn lingers(&mut self, id: &str) -> bool {
        let now = Instant::now();
        match &self.ending {
            Some((ending, since)) if ending == id => now.duration_since(*since) >= LINGER,
            _ => {
                self.ending = Some((id.to_owned(), now));
                false
            }
        }
    }

    fn is_own(&self, volume: &VolumeReply) -> bool {
        volume.labels.get(NONCE) == Some(&self.nonce)
    }

    async fn container(&self) -> Result<Option<ContainerReply>, EngineError> {
        let call = Call::InspectContainer {
            container: self.name.clone(),
        };
        let reply = found(ask(self.engine, call, inspected_container).await)?;
        // The beginning of an id would answer too.
        Ok(reply.filter(|reply| reply.name == self.name))
    }

    async fn volume(&self) -> Result<Option<VolumeReply>, EngineError> {
        let call = Call::InspectVolume {
            volume: self.name.clone(),
        };
        found(ask(self.engine, call, inspected_volume).await)
    }

    async fn runs(&self, stake: &Stake) -> Result<bool, EngineError> {
        let call = Call::InspectContainer {
            container: stake.kept.id.clone(),
        };
        let reply = found(ask(self.engine, call, inspected_container).await)?;
        Ok(reply.is_some_and(|reply| reply.state == RunState::Running))
    }
}

/// Says whether a volume claims anything. An engine that is stopped while it makes one can forget its labels; nobody
/// holds anything by that, and since it may be anybody's it stays.
fn says_something(volume: &VolumeReply) -> bool {
    !volume.labels.is_empty()
}

/// Removes a volume that claims something if its holder is gone, and says whether that is so.
pub(super) async fn bury(engine: &impl Engine, volume: &VolumeReply) -> bool {
    let Some(mark) = label::Mark::read(&volume.labels).filter(|mark| mark.kind == Kind::Claim) else {
        return false;
    };
    // While this value lives nobody else comes to the same conclusion, and puts another one in its place.
    let Some(gone) = gone(&volume.labels, None) else {
        return false;
    };
    let call = Call::InspectVolume {
        volume: volume.name.clone(),
    };
    let now = ask(engine, call, inspected_volume).await;
    if now.is_ok_and(|now| now.labels == volume.labels) {
        remove_volume(engine, &OwnedId::new(&volume.name, &mark)).await;
    }
    drop(gone);
    true
}

/// Finds out whether whoever wrote labels is gone.
pub(super) fn gone(labels: &Labels, own: Option<&Locked>) -> Option<Gone> {
    Gone::find(labels.get(LOCK)?, own)
}

/// Returns a number that nobody else has: without one the engine is asked for nothing that could be claimed.
fn nonce() -> String {
    let mut bytes = [0; 8];
    let _ = getrandom::fill(&mut bytes);
    format!("{:016x}", u64::from_ne_bytes(bytes))
}

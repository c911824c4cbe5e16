//! What makes the loop look again: gathered, told apart from what is nobody's business, and held until it is quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::{EngineError, Notice};
use crate::observe::Changes;
use crate::reconcile::Look;

/// How long it must have been quiet.
pub const QUIET: Duration = Duration::from_millis(50);
/// How long the first trigger waits at most, however many follow.
pub const LONGEST: Duration = Duration::from_millis(500);
/// How long after a pass ends of sessions say nothing: they may be those of its own questions.
const ECHO: Duration = Duration::from_millis(200);

/// Why the loop looks again; for people only, it changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The loop has begun.
    Start,
    /// A file the manifest is made of may have changed.
    Files,
    /// Something happened on the engine.
    Engine,
    /// The engine is there again.
    Connected,
    /// Notices get lost, so everything is looked at from time to time.
    Resync,
    /// The time has come to try again what did not work.
    Retry,
    /// A container that is in use may be idle now.
    Idle,
}

impl Reason {
    /// Returns the word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Files => "files",
            Self::Engine => "engine",
            Self::Connected => "connected",
            Self::Resync => "resync",
            Self::Retry => "retry",
            Self::Idle => "idle",
        }
    }
}

/// What the next pass is to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// What may have changed on the engine.
    pub changes: Changes,
    /// Whether the manifest is to be read again.
    pub files: bool,
    /// Why, and how often.
    pub reasons: BTreeMap<Reason, u64>,
    /// When the first and the last of it came.
    since: Option<(Instant, Instant)>,
}

impl Pending {
    /// Says whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Adds a trigger.
    pub fn add(&mut self, reason: Reason, changes: Changes, now: Instant) {
        self.changes.add(changes);
        self.files |= matches!(reason, Reason::Files | Reason::Resync);
        let count = self.reasons.entry(reason).or_default();
        *count = count.saturating_add(1);
        let (first, _) = self.since.unwrap_or((now, now));
        self.since = Some((first, now));
    }

    /// Returns when it has been quiet for long enough, or has waited long enough.
    pub fn due(&self) -> Option<Instant> {
        let (first, last) = self.since?;
        Some((last + QUIET).min(first + LONGEST))
    }

    /// Returns the reasons as people read them: `engine ×37, files`.
    pub fn why(&self) -> String {
        let words = self.reasons.iter().map(|(reason, count)| match count {
            1 => reason.as_str().to_owned(),
            count => format!("{} ×{count}", reason.as_str()),
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// What the loop has seen, so that it can tell what is its business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    containers: BTreeSet<String>,
    /// Containers that wait until nobody works in them.
    busy: BTreeSet<String>,
    /// Networks, by id and name.
    networks: BTreeSet<String>,
    volumes: BTreeSet<String>,
    /// Images, by id and reference.
    images: BTreeSet<String>,
}

impl Interest {
    /// Returns what matters after a look.
    pub fn of(look: &Look, busy: BTreeSet<String>) -> Self {
        let Look {
            desired,
            observed,
            plan: _,
        } = look;
        let mut networks: BTreeSet<String> = desired.network.iter().map(|one| one.name.clone()).collect();
        for (id, network) in &observed.networks {
            networks.extend([id.clone(), network.name.clone()]);
        }
        let mut volumes: BTreeSet<String> = desired.volumes.keys().cloned().collect();
        volumes.extend(desired.harness_set().map(crate::desired::HarnessSet::volume));
        volumes.extend(desired.containers.keys().map(|name| desired.owner.hold(name)));
        let mut images = BTreeSet::new();
        let ids: BTreeSet<&str> = observed
            .containers
            .values()
            .map(|container| container.image_id.as_str())
            .collect();
        images.extend(ids.into_iter().map(str::to_owned));
        for (reference, image) in &observed.references {
            images.extend([reference.clone(), image.image.id.clone()]);
        }
        images.extend(desired.stages.values().map(|stage| stage.reference().to_owned()));
        images.extend(
            desired
                .identities
                .values()
                .filter_map(|one| one.tag.known().cloned()),
        );
        for container in desired.containers.values() {
            // Networks that were there before are named, not made.
            networks.extend(container.spec.networks.keys().cloned());
        }
        Self {
            containers: observed
                .containers
                .values()
                .map(|container| container.id.id().to_owned())
                .collect(),
            busy,
            networks,
            volumes,
            images,
        }
    }

    /// Returns what a notice says may have changed; `None` if that is nobody's business here.
    fn concerns(&self, notice: Notice) -> Option<(Reason, Changes)> {
        let mut changes = Changes::default();
        let mut reason = Reason::Engine;
        match notice {
            Notice::Container { id } => {
                changes.containers.insert(id);
            }
            Notice::SessionEnded { id } => {
                if !self.busy.contains(&id) {
                    return None;
                }
                reason = Reason::Idle;
            }
            Notice::Network { id, name, container } => {
                let ours = container.filter(|container| self.containers.contains(container));
                changes.networks =
                    ours.is_none() && (self.networks.contains(&id) || self.networks.contains(&name));
                changes.containers.extend(ours);
            }
            Notice::Volume { name } => {
                if self.volumes.contains(&name) {
                    changes.volumes.insert(name);
                }
            }
            Notice::Image { id, name } => {
                changes.everything = self.images.contains(&id) || self.images.contains(&name);
            }
        }
        (reason == Reason::Idle || !changes.is_empty()).then_some((reason, changes))
    }
}

/// Where triggers arrive from other tasks.
#[derive(Debug, Default)]
pub struct Inbox {
    inside: Mutex<Inside>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    pending: Pending,
    /// Before anything was seen, everything may matter.
    interest: Option<Interest>,
    lost: Option<EngineError>,
    /// Until when ends of sessions say nothing.
    echo: Option<Instant>,
}

impl Inbox {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the engine told.
    pub fn noticed(&self, notice: Notice) {
        let mut inside = self.inside();
        let now = Instant::now();
        if matches!(notice, Notice::SessionEnded { .. }) && inside.echo.is_some_and(|until| now < until) {
            return;
        }
        let found = match &inside.interest {
            Some(interest) => interest.concerns(notice),
            None => Some((Reason::Engine, Changes::everything())),
        };
        if let Some((reason, changes)) = found {
            // Whoever waits finds out by itself that more has come: a storm must not wake it each time.
            let first = inside.pending.is_empty();
            inside.pending.add(reason, changes, now);
            drop(inside);
            if first {
                self.bell.notify_one();
            }
        }
    }

    /// Takes in that the engine tells nothing any more.
    pub fn lost(&self, error: EngineError) {
        self.inside().lost = Some(error);
        self.bell.notify_one();
    }

    /// Takes in a trigger of the loop's own.
    pub fn post(&self, reason: Reason, changes: Changes) {
        self.inside().pending.add(reason, changes, Instant::now());
        self.bell.notify_one();
    }

    /// Says what matters from now on; `None` is everything.
    pub fn interested(&self, interest: Option<Interest>) {
        self.inside().interest = interest;
    }

    /// Forgets ends of sessions that were noticed during a pass: asking who works in a container starts processes in it
    /// too. What is missed is asked for again before long.
    pub fn asked(&self) {
        let mut inside = self.inside();
        inside.echo = Some(Instant::now() + ECHO);
        if inside.pending.reasons.remove(&Reason::Idle).is_some() && inside.pending.is_empty() {
            inside.pending = Pending::default();
        }
    }

    /// Returns why the engine tells nothing any more, once.
    pub fn take_lost(&self) -> Option<EngineError> {
        self.inside().lost.take()
    }

    /// Returns when there is something to do.
    pub fn due(&self) -> Option<Instant> {
        self.inside().pending.due()
    }

    /// Returns what there is to look at, and begins anew.
    pub fn take(&self) -> Pending {
        std::mem::take(&mut self.inside().pending)
    }

    /// Returns what may have changed on the engine, because it is about to be looked at: the echo of the loop's own
    /// writes is no reason for another pass.
    pub fn take_changes(&self) -> Changes {
        let mut inside = self.inside();
        let pending = &mut inside.pending;
        let changes = std::mem::take(&mut pending.changes);
        pending.reasons.remove(&Reason::Engine);
        if pending.is_empty() {
            *pending = Pending::default();
        }
        changes
    }

    /// Waits until there may be something new.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(id: &str) -> Changes {
        Changes {
            containers: [id.to_owned()].into(),
            ..Changes::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn triggers_wait_until_it_is_quiet_and_no_longer_than_the_cap() {
        let begun = Instant::now();
        let mut pending = Pending::default();
        assert_eq!(pending.due(), None);
        pending.add(Reason::Engine, change("a"), begun);
        assert_eq!(pending.due(), Some(begun + QUIET));
        let mut now = begun;
        for _ in 0..100 {
            now += Duration::from_millis(20);
            pending.add(Reason::Engine, change("a"), now);
            assert!(pending.due() <= Some(begun + LONGEST));
        }
        assert_eq!(pending.due(), Some(begun + LONGEST));
        assert_eq!(pending.changes, change("a"));
        assert_eq!(pending.why(), "engine ×101");
    }

    #[test]
    fn only_what_was_seen_or_is_wanted_is_its_business() {
        let interest = Interest {
            containers: ["c1".to_owned()].into(),
            busy: ["c1".to_owned()].into(),
            networks: ["n1".to_owned(), "net".to_owned()].into(),
            volumes: ["home".to_owned()].into(),
            images: ["i1".to_owned()].into(),
        };
        let text = |text: &str| text.to_owned();
        let network = |id: &str, container: Option<&str>| Notice::Network {
            id: text(id),
            name: text("x"),
            container: container.map(text),
        };
        let image = |id: &str| Notice::Image {
            id: text(id),
            name: text("x"),
        };
        for (notice, expected) in [
            (Notice::Container { id: text("c2") }, Some(change("c2"))),
            (Notice::SessionEnded { id: text("c1") }, Some(Changes::default())),
            (Notice::SessionEnded { id: text("c2") }, None),
            (network("n2", Some("c1")), Some(change("c1"))),
            (network("n2", Some("c9")), None),
            (
                network("n1", None),
                Some(Changes {
                    networks: true,
                    ..Changes::default()
                }),
            ),
            (
                Notice::Volume { name: text("home") },
                Some(Changes {
                    volumes: [text("home")].into(),
                    ..Changes::default()
                }),
            ),
            (Notice::Volume { name: text("other") }, None),
            (image("i1"), Some(Changes::everything())),
            (image("i2"), None),
        ] {
            let found = interest.concerns(notice.clone()).map(|(_, changes)| changes);
            assert_eq!(found, expected, "{notice:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_echo_of_own_writes_is_taken_out_and_nothing_else() {
        let inbox = Inbox::default();
        inbox.interested(Some(Interest::default()));
        inbox.noticed(Notice::Container { id: "c1".to_owned() });
        assert_eq!(inbox.take_changes(), change("c1"));
        assert_eq!(inbox.due(), None);
        inbox.noticed(Notice::Container { id: "c1".to_owned() });
        inbox.post(Reason::Files, Changes::default());
        inbox.take_changes();
        let left = inbox.take();
        assert!(left.files && left.changes.is_empty());
        assert_eq!(inbox.due(), None);
    }
}

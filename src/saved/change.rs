//! What is no longer as a saved plan has it, one fact at a time.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Reason, Saved, SavedStep, Seen, View};
use crate::plan::Consent;
use crate::step::{Action, BlockedReason, Impact, Resource, ResourceKind};

/// Something that is no longer as a saved plan has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The engine is another one.
    Engine {
        /// Where the one was reached that the plan was made on.
        saved: String,
        /// Where this one is.
        now: String,
    },
    /// The manifest is another one.
    Owner {
        /// The name of the one that the plan was made for, and its project.
        saved: (String, String),
        /// Those of this one.
        now: (String, String),
    },
    /// A step has no reason any more.
    Needless {
        /// What it was to be done to.
        resource: Resource,
        /// What was to be done.
        action: Action,
    },
    /// A step has come to be needed.
    Added {
        /// What it is to be done to.
        resource: Resource,
        /// What is to be done.
        action: Action,
        /// Why.
        because: Vec<Reason>,
    },
    /// A step needs a person first.
    Blocked {
        /// What it was to be done to.
        resource: Resource,
        /// What was to be done.
        action: Action,
        /// Why it is not.
        reason: BlockedReason,
    },
    /// What needed a person does not.
    Unblocked {
        /// What was blocked.
        resource: Resource,
        /// What would be done.
        action: Action,
        /// Why it was not.
        reason: BlockedReason,
    },
    /// A reason is there no more, or is another one, or is new.
    Because {
        /// Whose.
        resource: Resource,
        /// As it was.
        saved: Option<Reason>,
        /// As it is.
        now: Option<Reason>,
    },
    /// A step costs something else.
    Impact {
        /// What it is done to.
        resource: Resource,
        /// What it was to cost.
        saved: Impact,
        /// What it would cost.
        now: Impact,
    },
    /// A step discards more.
    Discards {
        /// The container.
        resource: Resource,
        /// How many files it was to discard.
        saved: usize,
        /// How many it would.
        now: usize,
    },
    /// A step gives more to a sandbox.
    Widens {
        /// The container.
        resource: Resource,
        /// What it gives besides.
        what: Vec<String>,
    },
    /// A step would be carried out otherwise: what it is made from is something else.
    Otherwise {
        /// What it is done to.
        resource: Resource,
        /// What is done.
        action: Action,
    },
    /// An object is gone.
    Gone {
        /// The object, by the name that the engine knew it by.
        resource: Resource,
    },
    /// An object is another one.
    Another {
        /// The object, by the name that the engine knows it by.
        resource: Resource,
    },
    /// Sessions get something else.
    Given {
        /// The container.
        container: String,
    },
    /// The manifest, or its lock, wants something else, though no step shows it.
    Manifest,
}

impl Saved {
    /// Returns what is no longer as it was when the plan was saved; nothing means that it holds: the same steps, for
    /// the same reasons, with the same objects.
    pub fn changes(&self, view: View<'_>, consent: &Consent) -> Vec<Change> {
        let now = Self::of(view, consent, &self.manifest.path, Timestamp::UNIX_EPOCH);
        if self.engine.id != now.engine.id {
            let (saved, now) = (self.engine.host.clone(), now.engine.host);
            return vec![Change::Engine { saved, now }];
        }
        let owner = |one: &Self| (one.manifest.name.clone(), one.manifest.project.clone());
        if owner(self) != owner(&now) {
            let (saved, now) = (owner(self), owner(&now));
            return vec![Change::Owner { saved, now }];
        }
        let mut changes = Vec::new();
        self.steps(&now, &mut changes);
        self.blocked(&now, &mut changes);
        self.objects(&now, &mut changes);
        let containers: std::collections::BTreeSet<&String> =
            self.given.keys().chain(now.given.keys()).collect();
        for container in containers {
            // A step that gives it says so itself.
            let told = changes.iter().any(
                |change| matches!(change.resource(), Some(one) if one.kind == ResourceKind::Container && one.name == *container),
            );
            if !told && self.given.get(container) != now.given.get(container) {
                changes.push(Change::Given {
                    container: container.clone(),
                });
            }
        }
        if changes.is_empty() && self.manifest.key != now.manifest.key {
            changes.push(Change::Manifest);
        }
        changes
    }

    fn steps(&self, now: &Self, changes: &mut Vec<Change>) {
        let (before, after) = (by_resource(&self.steps), by_resource(&now.steps));
        let mut all: Vec<_> = before.keys().chain(after.keys()).collect();
        all.sort();
        all.dedup();
        for at @ (resource, action) in all {
            let (resource, action) = (resource.clone(), *action);
            let none = Vec::new();
            let (saved, found) = (before.get(at).unwrap_or(&none), after.get(at).unwrap_or(&none));
            for (saved, found) in saved.iter().zip(found) {
                compare(saved, found, changes);
            }
            for saved in saved.iter().skip(found.len()) {
                let blocked = now
                    .blocked
                    .iter()
                    .find(|one| one.resource() == saved.resource() && one.action == action);
                let resource = resource.clone();
                changes.push(match blocked {
                    Some(blocked) => Change::Blocked {
                        resource,
                        action,
                        reason: blocked.reason,
                    },
                    None => Change::Needless { resource, action },
                });
            }
            for found in found.iter().skip(saved.len()) {
                let blocked = self
                    .blocked
                    .iter()
                    .find(|one| one.resource() == found.resource() && one.action == action);
                let resource = resource.clone();
                changes.push(match blocked {
                    Some(blocked) => Change::Unblocked {
                        resource,
                        action,
                        reason: blocked.reason,
                    },
                    None => Change::Added {
                        resource,
                        action,
                        because: found.because.clone(),
                    },
                });
            }
        }
    }

    /// What is blocked now and was a step is told with that, and the other way round.
    fn blocked(&self, now: &Self, changes: &mut Vec<Change>) {
        let told = |changes: &[Change], resource: &Resource| {
            changes.iter().any(|change| change.resource() == Some(resource))
        };
        for saved in self.blocked.iter().filter(|one| !now.blocked.contains(one)) {
            let (resource, action, reason) = (saved.resource(), saved.action, saved.reason);
            let same = |one: &&super::SavedBlocked| {
                one.resource() == resource && one.action == action && one.reason == reason
            };
            if let Some(found) = now.blocked.iter().find(same) {
                reasons(&resource, &saved.because, &found.because, changes);
            } else if !told(changes, &resource) {
                changes.push(Change::Unblocked {
                    resource,
                    action,
                    reason,
                });
            }
        }
        for found in now.blocked.iter().filter(|one| !self.blocked.contains(one)) {
            let (resource, action, reason) = (found.resource(), found.action, found.reason);
            if !told(changes, &resource) {
                changes.push(Change::Blocked {
                    resource,
                    action,
                    reason,
                });
            }
        }
    }

    fn objects(&self, now: &Self, changes: &mut Vec<Change>) {
        let mut found: BTreeMap<(ResourceKind, &str), Vec<&str>> = BTreeMap::new();
        for Seen { kind, name, id } in &now.seen {
            found.entry((*kind, name)).or_default().push(id);
        }
        for Seen { kind, name, id } in &self.seen {
            let resource = Resource {
                kind: *kind,
                name: name.clone(),
            };
            match found.get(&(*kind, name.as_str())) {
                Some(ids) if ids.contains(&id.as_str()) => {}
                Some(_) => changes.push(Change::Another { resource }),
                None => changes.push(Change::Gone { resource }),
            }
        }
    }
}

impl Change {
    /// Returns the resource that it is about, if it is about one of the plan.
    pub fn resource(&self) -> Option<&Resource> {
        match self {
            Self::Needless { resource, .. }
            | Self::Added { resource, .. }
            | Self::Blocked { resource, .. }
            | Self::Unblocked { resource, .. }
            | Self::Because { resource, .. }
            | Self::Impact { resource, .. }
            | Self::Discards { resource, .. }
            | Self::Widens { resource, .. }
            | Self::Otherwise { resource, .. }
            | Self::Gone { resource }
            | Self::Another { resource } => Some(resource),
            Self::Engine { .. } | Self::Owner { .. } | Self::Given { .. } | Self::Manifest => None,
        }
    }
}

fn by_resource(steps: &[SavedStep]) -> BTreeMap<(Resource, Action), Vec<&SavedStep>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for step in steps {
        all.entry((step.resource(), step.action)).or_default().push(step);
    }
    all
}

fn compare(saved: &SavedStep, now: &SavedStep, changes: &mut Vec<Change>) {
    let resource = saved.resource();
    let before = changes.len();
    reasons(&resource, &saved.because, &now.because, changes);
    if saved.impact != now.impact {
        changes.push(Change::Impact {
            resource: resource.clone(),
            saved: saved.impact,
            now: now.impact,
        });
    }
    // Who loses less than was said is no worse off, and what runs writes.
    let (discards, found) = (saved.discards.unwrap_or(0), now.discards.unwrap_or(0));
    if found > discards {
        changes.push(Change::Discards {
            resource: resource.clone(),
            saved: discards,
            now: found,
        });
    }
    let what: Vec<String> = now.widens.difference(&saved.widens).cloned().collect();
    if !what.is_empty() {
        changes.push(Change::Widens {
            resource: resource.clone(),
            what,
        });
    }
    if changes.len() == before && saved.work != now.work {
        changes.push(Change::Otherwise {
            resource,
            action: saved.action,
        });
    }
}

fn reasons(resource: &Resource, saved: &[Reason], now: &[Reason], changes: &mut Vec<Change>) {
    let mut push = |saved: Option<&Reason>, now: Option<&Reason>| {
        changes.push(Change::Because {
            resource: resource.clone(),
            saved: saved.cloned(),
            now: now.cloned(),
        });
    };
    for one in saved.iter().filter(|one| !now.contains(one)) {
        let found = now
            .iter()
            .find(|found| found.field == one.field && !saved.contains(found));
        push(Some(one), found);
    }
    for found in now.iter().filter(|found| !saved.contains(found)) {
        let is_told = saved
            .iter()
            .any(|one| one.field == found.field && !now.contains(one));
        if !is_told {
            push(None, Some(found));
        }
    }
}

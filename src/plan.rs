//! Judgement: what has to be done so that the engine becomes what the manifest wants.
//!
//! [`plan`] is pure, total and deterministic: the same desired and observed values give the same bytes. It asks
//! nobody and reads nothing; `diff` prints what it returns and `apply` carries out the same value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::desired::{Desired, Pin};
use crate::label::{Kind, Mark};
use crate::manifest::container::OnChange;
use crate::observed::{self, ByResource, Content, Observed};
use crate::step::{
    Action, Because, Blocked, BlockedReason, Impact, ManifestInfo, Plan, Resource, ResourceKind, Step,
    Unknown, Work,
};

mod busy;
mod container;
mod delete;
mod discard;
mod garbage;
mod hand;
mod hold;
mod image;
mod network;
mod phase;
mod prune;
mod requested;
mod volume;
mod widening;
mod withhold;

pub use busy::unasked;
pub use container::{NEXT, PREVIOUS, refuted, unheard};
pub use delete::deletion;
pub use discard::{files, unread};
pub use garbage::{About, Garbage, Terms, garbage};
pub use hand::{restarting, stopping};
pub use requested::{Rebuilt, Requested, Target, TargetError};
pub use widening::Baseline;

/// What the person allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// Whether what the manifest does not want any more is removed.
    pub prune: bool,
    /// Whether containers may be interrupted that somebody works in.
    pub interrupt: bool,
    /// Whether data may be lost.
    pub data_loss: bool,
    /// Whether data volumes may be made though the data of a project that seems to have been moved is elsewhere.
    pub fresh: Fresh,
    /// How much sandboxes may be given.
    pub widen: Widen,
    /// Which containers are replaced though nothing differs.
    pub replace: Requested,
    /// Which stages are built anew though nothing differs.
    pub rebuild: Rebuilt,
    /// The resources that may be touched, with what they need; `None`: every one. Nothing is removed then.
    pub only: Option<BTreeSet<Resource>>,
    /// The containers that are not to stay stopped any more, by their names in the manifest.
    pub release: BTreeSet<String>,
    /// How closely is looked.
    pub depth: Depth,
}

/// How closely is looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// At what the engine tells.
    #[default]
    Listing,
    /// Also at what is in harness volumes, unless it was read in this pass already: that is known by the id of what
    /// vouches for it.
    Content(BTreeMap<String, Content>),
}

impl Depth {
    /// Returns what is looked at by somebody who asks for the content, or does not.
    pub fn of(content: bool) -> Self {
        if content {
            Self::Content(BTreeMap::new())
        } else {
            Self::Listing
        }
    }

    /// Returns the same for the rest of a pass: what was read is known.
    #[must_use]
    pub fn seen(&self, observed: &Observed) -> Self {
        match self {
            Self::Listing => Self::Listing,
            Self::Content(_) => Self::Content(observed.contents.clone()),
        }
    }
}

/// Whether data volumes may be made though the data of a project that seems to have been moved is elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fresh {
    /// Nobody has said so.
    #[default]
    Withheld,
    /// They may be empty.
    Allowed,
}

impl Fresh {
    /// Returns what is said by somebody who allows it, or does not.
    pub fn of(allowed: bool) -> Self {
        if allowed { Self::Allowed } else { Self::Withheld }
    }
}

/// How much sandboxes may be given beyond what they have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Widen {
    /// Whatever the manifest says: a person has typed it, and is told.
    #[default]
    Allowed,
    /// Nothing that a person has not given before.
    UpTo(Arc<Baseline>),
}

impl Default for Consent {
    fn default() -> Self {
        Self {
            prune: true,
            interrupt: false,
            data_loss: false,
            fresh: Fresh::Withheld,
            widen: Widen::Allowed,
            replace: Requested::default(),
            rebuild: Rebuilt::default(),
            only: None,
            release: BTreeSet::new(),
            depth: Depth::Listing,
        }
    }
}

/// Returns the steps that make the engine what the manifest wants.
///
/// # Guarantees
/// - A plan without steps, blocked or unknown resources means that nothing differs.
/// - Every step has a reason; its needs come before it.
/// - Nothing that is not provably ours is changed or removed by any step.
pub fn plan(desired: &Desired, observed: &Observed, manifest: &ManifestInfo, consent: &Consent) -> Plan {
    // A manifest that wants nothing is more likely to be a mistake than a wish; deleting has a command of its own.
    let empty = desired.containers.is_empty();
    let prune = consent.prune && consent.only.is_none() && !empty;
    let mut draft = Draft::new(desired, observed, consent, prune);
    if empty && !observed.containers.is_empty() {
        draft.notes.push(
            "the manifest wants no containers, so nothing is removed; `aishell delete` does that".to_owned(),
        );
    }
    draft.released = hold::released(&mut draft, &consent.release);
    image::stages(&mut draft);
    image::identities(&mut draft);
    volume::harness(&mut draft);
    network::private(&mut draft);
    volume::data(&mut draft);
    let orphans = prune::containers(&mut draft);
    container::all(&mut draft, orphans);
    prune::networks(&mut draft);
    prune::jobs(&mut draft);
    prune::unfinished(&mut draft);
    hold::orphans(&mut draft);
    let held = hold::names(&draft);
    let mut plan = draft.finish(manifest.clone());
    discard::mark(&mut plan.steps, &observed.layers);
    if let Some(only) = &consent.only {
        plan.narrow(only);
    }
    busy::mark(&mut plan.steps, observed, consent, Some(desired));
    let mut withheld = busy::withheld(&plan, observed, "apply", |name| {
        let container = desired.containers.get(name);
        container.is_some_and(|container| container.on_change == OnChange::Never)
    });
    withheld.extend(withhold::reported(&plan, desired));
    withheld.extend(widening::withheld(&mut plan, desired, observed, &consent.widen));
    withheld.extend(hold::withheld(&plan, &held));
    withhold::back(&mut plan, withheld);
    plan
}

/// Returns every name the manifest needs on the engine that no object of ours has, by kind: whether a stranger has
/// one of them takes a request each, and a satisfied world needs none.
pub fn wanted_names(desired: &Desired, observed: &Observed) -> Vec<(ResourceKind, String)> {
    let mut names = Vec::new();
    for container in desired.containers.values() {
        if !observed.containers.contains_key(&container.engine_name) {
            names.push((ResourceKind::Container, container.engine_name.clone()));
        }
    }
    for volume in desired.volumes.keys() {
        if !observed.volumes.contains_key(volume) {
            names.push((ResourceKind::Volume, volume.clone()));
        }
    }
    if let Some(network) = &desired.network
        && !observed.networks.values().any(|found| found.name == network.name)
    {
        names.push((ResourceKind::Network, network.name.clone()));
    }
    if let Some(harness) = desired.harness_set() {
        if !observed.volumes.contains_key(&harness.volume()) {
            names.push((ResourceKind::Volume, harness.volume()));
        }
        if !observed.receipts.contains_key(&harness.receipt()) {
            names.push((ResourceKind::Container, harness.receipt()));
        }
    }
    names
}

/// A plan in the making.
struct Draft<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    /// Whether what the manifest does not want any more is removed.
    prune: bool,
    /// Which containers are replaced though nothing differs.
    requested: &'a Requested,
    /// Which stages are built anew though nothing differs.
    rebuilt: &'a Rebuilt,
    /// The images that are made anew because that was asked for.
    anew: BTreeSet<Made<'a>>,
    /// Whether data volumes may be made though the data of a project that seems to have been moved is elsewhere.
    fresh: Fresh,
    /// Whether the private network is made anew.
    renewed: bool,
    /// The private network, where there is one.
    keeper: Option<&'a observed::Network>,
    steps: Vec<Step>,
    blocked: Vec<Blocked>,
    unknown: Vec<Unknown>,
    unchanged: Vec<Resource>,
    notes: Vec<String>,
    /// What others wait for, by what it makes.
    makers: BTreeMap<Made<'a>, Maker>,
    /// The containers of the owner by the resource they are, so that planning grows with their number and no faster.
    live: ByResource<'a>,
    /// The labels of the images that containers of the owner run, read, by the engine's id.
    images: BTreeMap<&'a str, Mark>,
    /// The volumes that say that containers are to stay stopped, by the names of those in the manifest.
    holds: BTreeMap<&'a str, (&'a str, &'a observed::Volume)>,
    /// The identifiers of the images that stages have because somebody asked for new ones, by stage.
    rebuilt_as: BTreeMap<&'a str, &'a str>,
    /// The containers that others depend on.
    awaited: BTreeSet<&'a str>,
    /// The containers that are not to stay stopped any more, with the step that says so.
    released: BTreeMap<String, Option<u32>>,
}

/// Something that other steps may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Made<'a> {
    /// The image of a stage.
    Stage(&'a str),
    /// An identity image.
    Identity(&'a str),
    /// The harness volume.
    Harness,
    /// The private network.
    Network,
    /// A data volume.
    Volume(&'a str),
}

/// How something that others need comes about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Maker {
    /// It is there.
    Ready,
    /// A step makes it.
    Step(u32),
    /// It cannot be said yet.
    Unknown(String),
    /// It is blocked.
    Blocked,
}

/// A step before it has a number.
struct NewStep {
    resource: Resource,
    action: Action,
    impact: Impact,
    because: Vec<Because>,
    needs: Vec<u32>,
    detail: Option<String>,
    work: Work,
}

impl<'a> Draft<'a> {
    fn new(desired: &'a Desired, observed: &'a Observed, consent: &'a Consent, prune: bool) -> Self {
        Self {
            desired,
            observed,
            prune,
            requested: &consent.replace,
            rebuilt: &consent.rebuild,
            anew: BTreeSet::new(),
            fresh: consent.fresh,
            renewed: false,
            keeper: None,
            steps: Vec::new(),
            blocked: Vec::new(),
            unknown: Vec::new(),
            unchanged: Vec::new(),
            notes: desired.notes.clone(),
            makers: BTreeMap::new(),
            live: observed.by_resource(),
            images: run_images(observed),
            rebuilt_as: BTreeMap::new(),
            holds: observed.hold_volumes(&desired.owner),
            awaited: desired
                .containers
                .values()
                .flat_map(|container| &container.depends_on)
                .map(String::as_str)
                .collect(),
            released: BTreeMap::new(),
        }
    }

    fn push(&mut self, step: NewStep) -> u32 {
        let NewStep {
            resource,
            action,
            impact,
            because,
            mut needs,
            detail,
            work,
        } = step;
        let id = u32::try_from(self.steps.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        needs.sort_unstable();
        needs.dedup();
        self.steps.push(Step {
            id,
            resource,
            action,
            impact,
            because,
            needs,
            detail,
            discards: None,
            widens: Vec::new(),
            interrupts: Vec::new(),
            work,
        });
        id
    }

    fn unchanged(&mut self, kind: ResourceKind, name: &str) {
        self.unchanged.push(resource(kind, name));
    }

    fn unknown(&mut self, kind: ResourceKind, name: &str, reason: &str) {
        self.unknown.push(Unknown {
            kind,
            name: name.to_owned(),
            reason: reason.to_owned(),
        });
    }

    /// Blocks a creation because a stranger has the name.
    fn foreign(&mut self, resource: Resource, action: Action, who: &str, because: Vec<Because>) {
        self.blocked.push(Blocked {
            resource,
            action,
            impact: Impact::None,
            discards: None,
            reason: BlockedReason::Foreign,
            detail: who.to_owned(),
            unblock: None,
            because,
        });
    }

    fn made(&mut self, made: Made<'a>, maker: Maker) {
        self.makers.insert(made, maker);
    }

    /// Gathers what a resource has to wait for.
    fn needs<'m>(&self, of: impl IntoIterator<Item = Made<'m>>) -> Needs {
        let mut steps = Vec::new();
        for made in of {
            match self.makers.get(&made) {
                None | Some(Maker::Ready) => {}
                Some(Maker::Step(step)) => steps.push(*step),
                Some(Maker::Unknown(reason)) => return Needs::Unknown(reason.clone()),
                Some(Maker::Blocked) => return Needs::Blocked,
            }
        }
        Needs::Steps(steps)
    }

    fn finish(self, manifest: ManifestInfo) -> Plan {
        let Self {
            desired,
            observed,
            prune: _,
            requested: _,
            fresh: _,
            renewed: _,
            keeper: _,
            steps,
            blocked,
            unknown,
            unchanged,
            notes,
            makers: _,
            live: _,
            images: _,
            rebuilt_as: _,
            holds: _,
            awaited: _,
            released: _,
            rebuilt: _,
            anew: _,
        } = self;
        let manifest = ManifestInfo {
            key: desired.key.as_str().to_owned(),
            ..manifest
        };
        Plan {
            manifest,
            engine: observed.engine.clone(),
            steps,
            blocked,
            unknown,
            unchanged,
            notes,
        }
    }
}

/// Returns the labels of the images that containers run, where they are complete.
fn run_images(observed: &Observed) -> BTreeMap<&str, Mark> {
    let mut images: BTreeMap<&str, Option<Mark>> = BTreeMap::new();
    for container in observed.containers.values() {
        let read = || Mark::read(&container.image.as_ref()?.image.labels);
        images.entry(&container.image_id).or_insert_with(read);
    }
    let read = |(id, mark): (_, Option<Mark>)| Some((id, mark?));
    images.into_iter().filter_map(read).collect()
}

/// What a resource has to wait for.
enum Needs {
    /// These steps, if any.
    Steps(Vec<u32>),
    /// Something that cannot be said yet.
    Unknown(String),
    /// Something that is blocked.
    Blocked,
}

fn resource(kind: ResourceKind, name: &str) -> Resource {
    Resource {
        kind,
        name: name.to_owned(),
    }
}

/// Returns the labels of a job: its name is a mutex for everybody, and who started it takes care of it.
fn job_labels(desired: &Desired, name: &str, key: &crate::key::Key) -> crate::label::Labels {
    desired.owner.labels(Kind::Job, name, key)
}

/// Returns the value of a pin, or notes that it is unknown.
fn settled<'p, 'a, T>(
    draft: &mut Draft<'a>,
    pin: &'p Pin<T>,
    kind: ResourceKind,
    name: &str,
    made: Made<'a>,
) -> Option<&'p T> {
    match pin {
        Pin::Known(value) => Some(value),
        Pin::Unknown(reason) => {
            draft.unknown(kind, name, reason);
            draft.made(made, Maker::Unknown(reason.clone()));
            None
        }
    }
}

#[cfg(test)]
mod tests;

//! What of aishell's on an engine nobody uses and nobody wants any more.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use self::shared::{Ours, Shared, ours, parents};
use super::delete::{Telling, told};
use super::{Consent, resource, withhold};
use crate::call::ListedContainer;
use crate::key::Key;
use crate::label::{Kind, OwnedId, Owner};
use crate::observed::Observed;
use crate::step::{
    Action, Because, BlockedReason, Cause, ClearWork, Impact, ManifestInfo, Plan, Resource, ResourceKind,
    Step, Work,
};
use crate::stock::Stock;

mod left;
mod shared;

pub(super) use shared::{Unfinished, unfinished};

/// The kinds of images, each before what it is made on.
const IMAGES: [Kind; 5] = [
    Kind::Identity,
    Kind::Extension,
    Kind::Base,
    Kind::Foundation,
    Kind::Snapshot,
];
/// What keeps a container without a command of its own running.
const KEEPER: [&str; 2] = ["sleep", "infinity"];

/// What counts as garbage.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How many of what nobody uses stay, of each kind and manifest: the newest.
    pub keep: usize,
    /// What was made after this stays.
    pub before: Option<Timestamp>,
    /// The time.
    pub now: Timestamp,
    /// The names of the manifests whose things may go; nobody's name stands for everybody's.
    pub names: BTreeSet<String>,
    /// What manifests want that are there, by their names.
    pub wanted: BTreeSet<(String, Key)>,
    /// The names of manifests that are there, and of which nobody can say what they want.
    pub shielded: BTreeSet<String>,
    /// What the person allows.
    pub consent: Consent,
}

/// What nobody uses any more, and how it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// The steps that remove it.
    pub plan: Plan,
    /// What is known of what they remove.
    pub about: BTreeMap<Resource, About>,
    /// How much of what nobody uses stays because it is the newest of its kind.
    pub kept: usize,
}

/// What is known of something that is garbage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The manifest it was made for.
    pub manifest: String,
    /// The project, for what somebody owned.
    pub project: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// How much room it takes, in bytes, where the engine says.
    pub bytes: Option<u64>,
}

/// Returns what of aishell's on an engine is garbage: what abandoned owners left, jobs that ended, and shared objects
/// that nobody uses.
///
/// # Guarantees
/// What is not provably ours is never removed, nor is what any container uses, whoever's, unless that goes first.
pub fn garbage(stock: &Stock, abandoned: &[(Owner, Observed)], terms: &Terms) -> Garbage {
    let mut heap = Heap {
        stock,
        terms,
        garbage: Garbage {
            plan: Plan::empty(&ManifestInfo::default(), &stock.engine),
            about: BTreeMap::new(),
            kept: 0,
        },
        going: BTreeMap::new(),
    };
    for (owner, observed) in abandoned {
        heap.left_behind(owner, observed);
    }
    heap.jobs(abandoned);
    heap.claims();
    // What vouches for a harness set was made from an image, too.
    heap.harnesses();
    let unfinished = heap.unfinished();
    heap.images(&unfinished);
    heap.garbage
}

/// Garbage in the gathering.
struct Heap<'a> {
    stock: &'a Stock,
    terms: &'a Terms,
    garbage: Garbage,
    /// The containers that are removed, with the steps that do it.
    going: BTreeMap<String, u32>,
}

impl<'a> Heap<'a> {
    /// Takes in what is left of an owner whose manifest is gone.
    fn left_behind(&mut self, owner: &Owner, observed: &Observed) {
        if !self.is_meant(&owner.manifest) || self.is_young(newest(observed)) {
            return;
        }
        let telling = Telling {
            verb: "prune --yes",
            engine_names: true,
        };
        let info = ManifestInfo::default();
        let mut plan = told(observed, owner, (&info, &self.terms.consent), telling);
        if !self.terms.consent.interrupt {
            let at_work = at_work(&plan, observed);
            withhold::back(&mut plan, at_work);
        }
        let offset = u32::try_from(self.garbage.plan.steps.len()).unwrap_or(u32::MAX);
        let about = |created: Option<Timestamp>, bytes: Option<u64>| About {
            manifest: owner.manifest.clone(),
            project: Some(owner.project.clone()),
            created,
            bytes,
        };
        let usage = &self.stock.usage;
        for mut step in plan.steps {
            step.id += offset;
            step.needs.iter_mut().for_each(|need| *need += offset);
            step.because = vec![Because::plain(Cause::Orphan)];
            step.detail = Some(format!("its manifest {} is gone", owner.file));
            if let Work::Clear(work) = &step.work
                && let ClearWork::Job(job) = &**work
            {
                let id = job.id();
                self.going.insert(id.to_owned(), step.id);
                let known = about(self.created(id), usage.containers.get(id).copied());
                self.garbage.about.insert(step.resource.clone(), known);
            }
            if let Work::Guarded { object, kind, .. } = &step.work {
                let id = object.id();
                let known = match kind {
                    ResourceKind::Container => {
                        self.going.insert(id.to_owned(), step.id);
                        about(self.created(id), usage.containers.get(id).copied())
                    }
                    ResourceKind::Volume => {
                        let created = observed.volumes.get(id).map(|volume| &volume.created);
                        let created = created.and_then(|created| created.parse().ok());
                        about(created, usage.volumes.get(id).copied())
                    }
                    ResourceKind::Network | ResourceKind::Image | ResourceKind::Snapshot => about(None, None),
                };
                self.garbage.about.insert(step.resource.clone(), known);
            }
            self.garbage.plan.steps.push(step);
        }
        for mut blocked in plan.blocked {
            blocked.because = vec![Because::plain(Cause::Orphan)];
            let known = about(None, None);
            self.garbage.about.insert(blocked.resource.clone(), known);
            self.garbage.plan.blocked.push(blocked);
        }
        self.garbage.plan.notes.extend(plan.notes);
    }

    /// Takes in images that nobody uses: those that say who the user is first, since they are made from the others.
    fn images(&mut self, unfinished: &BTreeMap<&str, u32>) {
        let ours: Vec<Ours<'a>> = ours(&self.stock.images);
        // What vouches for a harness set was made from an image, and keeps it for as long as it is there.
        let (receipts, others) = self.told_apart();
        let vouched: BTreeSet<&str> = receipts
            .iter()
            .filter(|receipt| !self.going.contains_key(&receipt.id))
            .map(|receipt| receipt.image_id.as_str())
            .collect();
        let mut waits: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for receipt in receipts {
            if let Some(step) = self.going.get(&receipt.id) {
                waits.entry(&receipt.image_id).or_default().push(*step);
            }
        }
        let users = users(&others, |user| vec![&user.image_id]);
        // What images are made on: of those that somebody uses, of those that stay unused, and of those that go, with
        // the steps.
        let others = self.stock.images.values();
        let others = others.filter(|image| {
            let is_ours = ours.iter().any(|one| one.image.id == image.id);
            !is_ours && !unfinished.contains_key(image.id.as_str())
        });
        let mut used: BTreeSet<&str> = others.flat_map(|image| parents(image, &ours)).collect();
        let mut kept: BTreeSet<&str> = vouched;
        let mut steps: BTreeMap<&str, Vec<u32>> = waits;
        for (id, step) in unfinished {
            let made_on = self.stock.images.get(*id).map(|image| parents(image, &ours));
            for parent in made_on.into_iter().flatten() {
                steps.entry(parent).or_default().push(*step);
            }
        }
        for kind in IMAGES {
            let of = || ours.iter().filter(|one| one.mark.kind == kind);
            let unused = of().filter(|one| !used.contains(one.image.id.as_str()));
            let unused = self.unused(
                unused,
                |one| &one.image.id,
                &users,
                |one| kept.contains(one.image.id.as_str()),
            );
            for one in of() {
                let id = one.image.id.as_str();
                let parents = parents(one.image, &ours);
                if let Some(needs) = unused.go.get(id) {
                    let before = steps.get(id).into_iter().flatten();
                    let step = self.image(one, needs.iter().chain(before).copied().collect());
                    for parent in parents {
                        steps.entry(parent).or_default().push(step);
                    }
                } else if unused.stay.contains(id) {
                    kept.extend(parents);
                } else {
                    used.extend(parents);
                }
            }
        }
    }

    fn image(&mut self, one: &Ours<'_>, needs: Vec<u32>) -> u32 {
        let Ours {
            image,
            mark,
            tag,
            last,
            manifests,
        } = one;
        let about = About {
            manifest: mark.manifest.clone(),
            project: None,
            created: image.created,
            bytes: self.stock.usage.images.get(&image.id).copied(),
        };
        let work = ClearWork::Image {
            image: OwnedId::new(&image.id, mark),
            manifests: manifests.clone(),
            tags: image.tags.iter().filter(|other| other != last).cloned().collect(),
        };
        let resource = resource(ResourceKind::Image, tag);
        self.push(resource, about, "no container uses it", needs, work)
    }

    /// Takes in harness volumes that nobody uses, with what vouches for them.
    fn harnesses(&mut self) {
        let stock = self.stock;
        let receipts: BTreeMap<&str, &OwnedId> = stock
            .receipts
            .values()
            .map(|receipt| (receipt.mark.key.as_str(), &receipt.id))
            .collect();
        let users = users(&self.told_apart().1, |user| user.volumes.iter().collect());
        let volumes = stock.harnesses.values();
        let unused = self
            .unused(volumes, |volume| volume.id.id(), &users, |_| false)
            .go;
        for (name, volume) in &stock.harnesses {
            let Some(needs) = unused.get(name.as_str()) else {
                continue;
            };
            let about = About {
                manifest: volume.mark.manifest.clone(),
                project: None,
                created: volume.created.parse().ok(),
                bytes: stock.usage.volumes.get(name).copied(),
            };
            let receipt = receipts.get(volume.mark.key.as_str());
            let work = ClearWork::Harness {
                volume: volume.id.clone(),
                receipt: receipt.map(|id| (*id).clone()),
            };
            let detail = match &volume.harnesses {
                Some(harnesses) => format!("no container uses it: {harnesses}"),
                None => "no container uses it".to_owned(),
            };
            let resource = resource(ResourceKind::Volume, name);
            let step = self.push(resource, about, &detail, needs.clone(), work);
            if let Some(receipt) = receipt {
                self.going.insert(receipt.id().to_owned(), step);
            }
        }
    }

    /// Tells what vouches for harness sets from whoever uses something.
    fn told_apart(&self) -> (Vec<&'a ListedContainer>, Vec<&'a ListedContainer>) {
        let vouching: BTreeSet<&str> = self
            .stock
            .receipts
            .values()
            .map(|receipt| receipt.id.id())
            .collect();
        self.stock
            .users
            .iter()
            .partition(|user| vouching.contains(user.id.as_str()))
    }

    /// Tells apart what nobody uses once what goes is gone: what goes too, and the newest of each kind and manifest, which
    /// stay, as does what something else that stays needs.
    fn unused<'s, T: Shared + 's>(
        &mut self,
        shared: impl Iterator<Item = &'s T>,
        id: impl Fn(&'s T) -> &'s str,
        users: &BTreeMap<String, Vec<String>>,
        needed: impl Fn(&T) -> bool,
    ) -> Unused<'s> {
        let mut groups: BTreeMap<(Kind, &str), Group<'s, T>> = BTreeMap::new();
        for one in shared {
            let mark = one.mark();
            if !one.manifests().iter().all(|manifest| self.is_meant(manifest)) {
                continue;
            }
            let users = users.get(id(one)).into_iter().flatten();
            let steps: Option<Vec<u32>> = users.map(|user| self.going.get(user).copied()).collect();
            let is_wanted =
                one.is_wanted(&self.terms.wanted) || !self.terms.shielded.is_disjoint(&one.manifests());
            if let (Some(steps), false) = (steps, is_wanted) {
                let group = (mark.kind, mark.manifest.as_str());
                groups.entry(group).or_default().push((one, steps));
            }
        }
        let mut unused = Unused::default();
        for mut group in groups.into_values() {
            // Builders give what only changes settings the time of what it is made on; of those what is needed comes first.
            group.sort_by_key(|(one, _)| {
                let key = one.mark().key.clone();
                std::cmp::Reverse((one.created(), needed(one), key))
            });
            for (place, (one, steps)) in group.into_iter().enumerate() {
                if place < self.terms.keep || needed(one) {
                    unused.stay.insert(id(one));
                } else if !self.is_young(one.created()) {
                    unused.go.insert(id(one), steps);
                }
            }
        }
        self.garbage.kept += unused.stay.len();
        unused
    }

    /// Says whether what was made for a manifest may go.
    fn is_meant(&self, manifest: &str) -> bool {
        self.terms.names.is_empty() || self.terms.names.contains(manifest)
    }

    /// Says whether something was made too lately; what nobody knows the time of was.
    fn is_young(&self, created: Option<Timestamp>) -> bool {
        let before = self.terms.before;
        before.is_some_and(|before| created.is_none_or(|created| created > before))
    }

    fn created(&self, container: &str) -> Option<Timestamp> {
        let found = self.stock.users.iter().find(|user| user.id == container);
        found.and_then(|user| user.created)
    }

    fn push(
        &mut self,
        resource: Resource,
        about: About,
        detail: &str,
        mut needs: Vec<u32>,
        work: ClearWork,
    ) -> u32 {
        let steps = &mut self.garbage.plan.steps;
        let id = u32::try_from(steps.len()).unwrap_or(u32::MAX).saturating_add(1);
        self.garbage.about.insert(resource.clone(), about);
        needs.sort_unstable();
        needs.dedup();
        steps.push(Step {
            id,
            resource,
            action: Action::Remove,
            impact: Impact::None,
            because: vec![Because::plain(Cause::Orphan)],
            needs,
            detail: Some(detail.to_owned()),
            discards: None,
            widens: Vec::new(),
            interrupts: Vec::new(),
            work: Work::Clear(Box::new(work)),
        });
        id
    }
}

/// Returns who uses what, by what it is.
fn users(
    all: &[&ListedContainer],
    uses: impl Fn(&ListedContainer) -> Vec<&String>,
) -> BTreeMap<String, Vec<String>> {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for user in all {
        for used in uses(user) {
            users.entry(used.clone()).or_default().push(user.id.clone());
        }
    }
    users
}

/// What nobody uses, by id or name.
#[derive(Default)]
struct Unused<'s> {
    /// What goes, with the steps that it waits for.
    go: BTreeMap<&'s str, Vec<u32>>,
    /// What stays because it is the newest of its kind, or because something that stays needs it.
    stay: BTreeSet<&'s str>,
}

/// Shared objects of one kind and manifest that nobody uses, with the steps that they wait for.
type Group<'s, T> = Vec<(&'s T, Vec<u32>)>;

/// Returns the removals of containers that run a command of their own: whoever works there may have no terminal.
fn at_work(plan: &Plan, observed: &Observed) -> BTreeMap<u32, withhold::Withheld> {
    let containers = observed.containers.values().chain(observed.failed.values());
    let busy: BTreeSet<&str> = containers
        .filter(|container| {
            let command = container.spec.command.as_deref().unwrap_or_default();
            let kept = command.iter().map(String::as_str).collect::<Vec<_>>();
            container.state.is_alive() && !kept.ends_with(&KEEPER)
        })
        .map(|container| container.id.id())
        .collect();
    let held = |step: &Step| match &step.work {
        Work::Guarded { object, .. } if busy.contains(object.id()) => {
            let withheld = withhold::Withheld {
                reason: BlockedReason::Busy,
                detail: "its command runs".to_owned(),
                unblock: Some("aishell prune --yes --allow interrupt".to_owned()),
            };
            Some((step.id, withheld))
        }
        _ => None,
    };
    plan.steps.iter().filter_map(held).collect()
}

/// Returns when the last thing of an owner was made.
fn newest(observed: &Observed) -> Option<Timestamp> {
    let containers = observed.containers.values().map(|container| &container.created);
    let volumes = observed.volumes.values();
    let volumes = volumes.filter(|volume| volume.mark.kind != Kind::Harness);
    let created = containers.chain(volumes.map(|volume| &volume.created));
    created.filter_map(|created| created.parse().ok()).max()
}

//! How every phase of every stage stands that is built in phases.

use jiff::Timestamp;

use crate::desired::phase::{Chain, Phase};
use crate::desired::resolve::BUILT;
use crate::desired::{Desired, Stage, StageSource};
use crate::label::{KEY, Kind};
use crate::manifest::phase::PhaseName;
use crate::manifest::stage::StageName;
use crate::observed::{Image, Observed};
use crate::step::{Because, Cause, PhaseWork, Plan, ResourceKind, Work};

/// A stage that is built in phases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageStatus {
    /// Which one.
    pub name: StageName,
    /// Every phase there is, in order.
    pub phases: Vec<PhaseStatus>,
}

/// How a phase stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseStatus {
    /// Which one.
    pub name: PhaseName,
    /// What it does in this manifest; empty, if it does nothing.
    pub detail: String,
    /// How it stands.
    pub state: PhaseState,
    /// The keyed tag of its snapshot, there or to be; `None`, if it leaves none or the tag is not known yet.
    pub snapshot: Option<String>,
    /// When its snapshot was made, where it is there.
    pub created: Option<Timestamp>,
    /// How large its snapshot is with everything that it was made on, in bytes, where it is there.
    pub bytes: Option<u64>,
}

/// How a phase stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PhaseState {
    /// It does nothing.
    Empty,
    /// What it leaves is there, and is used as it is.
    Cached,
    /// It was never done.
    Missing,
    /// It is done anew.
    Stale(Vec<Because>),
    /// It was tried as it is, and failed.
    Failed {
        /// The container that is left of it.
        container: String,
        /// The command that opens a shell there.
        shell: String,
    },
    /// It cannot be said yet.
    Unknown(String),
}

impl PhaseState {
    /// Returns the word for people and programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Cached => "cached",
            Self::Missing => "missing",
            Self::Stale(_) => "stale",
            Self::Failed { .. } => "failed",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// Returns how every phase of every stage stands. Pure; the plan is the one made from the same values.
pub fn phases(desired: &Desired, observed: &Observed, plan: &Plan) -> Vec<StageStatus> {
    let of = |name: StageName| {
        let stage = desired.stages.get(name.as_str())?;
        let StageSource::Phases(chain) = &stage.source else {
            return None;
        };
        let looking = Looking {
            desired,
            observed,
            plan,
            name,
            stage,
            chain,
        };
        let mut phases: Vec<PhaseStatus> = PhaseName::ALL.map(|phase| looking.at(phase)).into();
        missed(&mut phases);
        Some(StageStatus { name, phases })
    };
    StageName::ALL.into_iter().filter_map(of).collect()
}

/// What leaves no image was never done if what comes before it never was.
fn missed(phases: &mut [PhaseStatus]) {
    let mut before = false;
    for phase in phases {
        if let PhaseState::Stale(because) = &phase.state
            && before
            && !phase.name.leaves_snapshot()
            && because.iter().all(|because| because.cause == Cause::Dependency)
        {
            phase.state = PhaseState::Missing;
        }
        if phase.state != PhaseState::Empty {
            before = phase.state == PhaseState::Missing;
        }
    }
}

/// A stage that is looked at.
struct Looking<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    plan: &'a Plan,
    name: StageName,
    stage: &'a Stage,
    chain: &'a Chain,
}

impl Looking<'_> {
    fn at(&self, name: PhaseName) -> PhaseStatus {
        let built = self.chain.from.ends_with(BUILT);
        if name == PhaseName::Dockerfile && built || name == PhaseName::Base && !built {
            return self.ground(name);
        }
        let found = self.chain.phases.iter().enumerate();
        match found.into_iter().find(|(_, phase)| phase.name == name) {
            Some((index, phase)) => self.phase(index, phase),
            None => PhaseStatus {
                name,
                detail: String::new(),
                state: PhaseState::Empty,
                snapshot: None,
                created: None,
                bytes: None,
            },
        }
    }

    /// Returns how that stands which the first phase starts from.
    fn ground(&self, name: PhaseName) -> PhaseStatus {
        let from = self.desired.stages.get(&self.chain.from);
        let (reference, image) = from.map_or(("", None), |from| (from.reference(), self.image(from)));
        let steps = &self.plan.steps;
        let step = from.and_then(|from| {
            let name = from.resource();
            let mut steps = steps.iter();
            steps.find(|step| step.resource.kind == ResourceKind::Image && step.resource.name == name)
        });
        let state = match (step, image) {
            (Some(step), _) => begun(&step.because),
            (None, Some(_)) => PhaseState::Cached,
            (None, None) => self.unknown(),
        };
        PhaseStatus {
            detail: match (from.map(|from| &from.source), self.name) {
                (Some(StageSource::Dockerfile { about, .. }), _) if name == PhaseName::Dockerfile => {
                    about.clone()
                }
                (_, StageName::Foundation) => reference.to_owned(),
                (_, StageName::Base | StageName::Extension) => format!("the {}", self.chain.from),
            },
            name,
            created: image.and_then(|image| image.created),
            bytes: image.and_then(|image| image.bytes),
            snapshot: (name == PhaseName::Dockerfile && from.is_some_and(|from| from.key.known().is_some()))
                .then(|| reference.to_owned()),
            state,
        }
    }

    fn phase(&self, index: usize, phase: &Phase) -> PhaseStatus {
        let is_last = index + 1 == self.chain.phases.len();
        let image = if !phase.name.leaves_snapshot() {
            None
        } else if is_last {
            self.image(self.stage)
        } else {
            let key = phase.key.known();
            key.and_then(|key| self.newest(Kind::Snapshot, key, &phase.tag))
        };
        let state = match self.step(phase.name) {
            Some((work, because)) => self.failed(work, phase).unwrap_or_else(|| begun(because)),
            None if self.is_cached(index, phase) => PhaseState::Cached,
            None => self.unknown(),
        };
        let image = image.filter(|_| state == PhaseState::Cached);
        PhaseStatus {
            name: phase.name,
            detail: phase.about.clone(),
            created: image.and_then(|image| image.created),
            bytes: image.and_then(|image| image.bytes),
            snapshot: (phase.name.leaves_snapshot() && phase.key.known().is_some())
                .then(|| phase.tag.clone()),
            state,
        }
    }

    /// Returns the step that does a phase.
    fn step(&self, name: PhaseName) -> Option<(&PhaseWork, &[Because])> {
        self.plan.steps.iter().find_map(|step| match &step.work {
            Work::Phase(work) if work.name == name && work.stage == self.name.as_str() => {
                Some((&**work, &step.because[..]))
            }
            _ => None,
        })
    }

    /// Says whether a phase that no step does is there: with the image of the stage, by itself, or as one that leaves
    /// nothing before the first that is done.
    fn is_cached(&self, index: usize, phase: &Phase) -> bool {
        let phases = self.chain.phases.iter();
        match phases
            .into_iter()
            .position(|phase| self.step(phase.name).is_some())
        {
            Some(first) if index < first => return true,
            Some(_) => {}
            None if self.image(self.stage).is_some() => return true,
            None => {}
        }
        let mut unchanged = self.plan.unchanged.iter();
        unchanged.any(|one| one.kind == ResourceKind::Snapshot && one.name == phase.tag)
    }

    /// Says why it cannot be said.
    fn unknown(&self) -> PhaseState {
        let names = [self.stage.resource(), self.name.as_str()];
        let mut unknown = self.plan.unknown.iter();
        let mut blocked = self.plan.blocked.iter();
        let reason = unknown
            .find(|one| one.kind == ResourceKind::Image && names.contains(&one.name.as_str()))
            .map(|one| one.reason.clone())
            .or_else(|| {
                let kinds = [ResourceKind::Image, ResourceKind::Snapshot];
                let of_images = blocked.find(|one| kinds.contains(&one.resource.kind));
                of_images.map(|one| format!("{} is blocked: {}", one.resource.name, one.detail))
            });
        PhaseState::Unknown(reason.unwrap_or_else(|| "something it is made on is not there yet".to_owned()))
    }

    /// Says that a phase was tried and failed, if what is left of that is there.
    fn failed(&self, work: &PhaseWork, phase: &Phase) -> Option<PhaseState> {
        let job = self.observed.jobs.get(&work.failed_name)?;
        let ours = self.desired.owner.owns(&job.mark);
        let same = work.job.get(KEY).is_some_and(|key| key == job.mark.key.as_str());
        (ours && same && phase.key.known() == Some(&job.mark.key)).then(|| PhaseState::Failed {
            container: work.failed_name.clone(),
            shell: work.shell_in(None),
        })
    }

    /// Returns the image of a stage, where it is there.
    fn image(&self, stage: &Stage) -> Option<&Image> {
        match &stage.source {
            StageSource::Image { reference, .. } => {
                let found = self.observed.references.get(reference);
                found.map(|image| &image.image)
            }
            StageSource::Dockerfile { build, kind, .. } => self.newest(*kind, stage.key.known()?, &build.tag),
            StageSource::Phases(chain) => self.newest(chain.kind, stage.key.known()?, &chain.tag),
        }
    }

    /// Returns the image that was made with a key: the one that has its name, else one that another manifest made.
    fn newest(&self, kind: Kind, key: &crate::key::Key, tag: &str) -> Option<&Image> {
        let named = self.observed.keyed(tag, kind, key);
        named.or_else(|| self.observed.made(kind, key).next())
    }
}

/// Returns how something stands that is about to be made.
fn begun(because: &[Because]) -> PhaseState {
    if because.iter().all(|because| because.cause == Cause::Missing) {
        PhaseState::Missing
    } else {
        PhaseState::Stale(because.to_vec())
    }
}

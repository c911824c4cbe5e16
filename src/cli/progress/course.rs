//! How the phases of stages come along, in a person's words: which are taken from what is there, which are done and how
//! long each took, and when a stage is ready. Pure.

use std::collections::BTreeMap;

use super::super::json::PhaseEvent;
use crate::manifest::phase::PhaseName;
use crate::manifest::stage::StageName;
use crate::report::{Done, Outcome};
use crate::step::{PhaseWork, Plan, ResourceKind, Work};

/// The stages whose phases are being done.
#[derive(Debug, Default)]
pub struct Courses(BTreeMap<String, Course>);

/// The phases of a stage.
#[derive(Debug, Default)]
struct Course {
    cached: Vec<u8>,
    seconds: f64,
}

/// A phase that is not done, since what it leaves is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    stage: StageName,
    name: PhaseName,
    alias: String,
}

/// A stage of which every phase is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    stage: String,
    cached: Vec<u8>,
    seconds: f64,
}

impl Courses {
    /// Takes in a plan, and returns the phases of its stages that are not done, as far as that is news.
    pub fn planned(&mut self, plan: &Plan) -> Vec<Cached> {
        let mut news = Vec::new();
        for stage in StageName::ALL {
            let mut works = plan.steps.iter().filter_map(|step| work(&step.work));
            if self.0.contains_key(stage.as_str()) || !works.any(|work| work.stage == stage.as_str()) {
                continue;
            }
            let snapshots = plan.unchanged.iter();
            let kinds = [ResourceKind::Snapshot, ResourceKind::Image];
            let snapshots = snapshots.filter(|one| kinds.contains(&one.kind));
            let mut cached: Vec<Cached> = snapshots.filter_map(|one| of(stage, &one.name)).collect();
            cached.sort_by_key(|one| one.name);
            let course = Course {
                cached: cached.iter().map(|one| one.name.id()).collect(),
                seconds: 0.0,
            };
            self.0.insert(stage.to_string(), course);
            news.append(&mut cached);
        }
        news
    }

    /// Takes in what came of a step, and says which stage is ready with it.
    pub fn finished(&mut self, done: &Done) -> Option<Ready> {
        let work = work(&done.step.work)?;
        if done.outcome != Outcome::Done {
            // What is done later is a course of its own.
            self.0.remove(&work.stage);
            return None;
        }
        let course = self.0.get_mut(&work.stage)?;
        course.seconds += done.seconds;
        if work.name != PhaseName::Final {
            return None;
        }
        let Course { cached, seconds } = self.0.remove(&work.stage)?;
        Some(Ready {
            stage: work.stage.clone(),
            cached,
            seconds,
        })
    }
}

/// Returns the phase that left a snapshot, if it is one of a stage, by its keyed tag.
fn of(stage: StageName, tag: &str) -> Option<Cached> {
    let (alias, _) = tag.rsplit_once('-')?;
    let (_, word) = alias.split_once(':')?;
    let word = match stage {
        StageName::Foundation => word,
        StageName::Base | StageName::Extension => word.strip_prefix(stage.as_str())?.strip_prefix('-')?,
    };
    let name = PhaseName::ALL.into_iter().find(|name| name.to_string() == word)?;
    Some(Cached {
        stage,
        name,
        alias: alias.to_owned(),
    })
}

fn work(work: &Work) -> Option<&PhaseWork> {
    match work {
        Work::Phase(work) => Some(work),
        _ => None,
    }
}

/// The signs that stand between what is said.
#[derive(Clone, Copy, Debug)]
pub struct Signs {
    arrow: &'static str,
    dots: &'static str,
}

impl Signs {
    /// Returns those that can be shown.
    pub fn of(unicode: bool) -> Self {
        if unicode {
            Self {
                arrow: "→",
                dots: "…",
            }
        } else {
            Self {
                arrow: "->",
                dots: "...",
            }
        }
    }
}

/// Returns what a phase is called while it is under way: `[8/12] 8-repos`.
pub fn title(work: &PhaseWork) -> String {
    numbered(work.name, &work.word())
}

/// Says that a phase is done: `[8/12] 8-repos … 45 s → aishell-shop:8-repos`.
pub fn told(done: &Done, signs: Signs) -> Option<String> {
    let work = work(&done.step.work).filter(|_| done.outcome == Outcome::Done)?;
    let Signs { arrow, dots } = signs;
    let left = work.alias().map(|alias| format!(" {arrow} {alias}"));
    let (title, took) = (title(work), took(done.seconds));
    Some(format!("{title} {dots} {took}{}", left.unwrap_or_default()))
}

impl Cached {
    /// Says that it is not done.
    pub fn told(&self, signs: Signs) -> String {
        let word = match self.stage {
            StageName::Foundation => self.name.to_string(),
            StageName::Base | StageName::Extension => format!("{}-{}", self.stage, self.name),
        };
        let title = numbered(self.name, &word);
        format!("{title} cached {} {}", signs.arrow, self.alias)
    }

    /// Returns it for programs.
    pub fn event(&self) -> PhaseEvent {
        PhaseEvent {
            stage: self.stage.to_string(),
            id: Some(self.name.id()),
            name: Some(self.name.as_str()),
            last: PhaseName::Final.id(),
            snapshot: Some(self.alias.clone()),
        }
    }
}

impl Ready {
    /// Says how long it took, and what was there before: `ready in 3m 36s (phases 2-7 from cache)`.
    pub fn told(&self) -> String {
        let cached = match (self.cached.first(), self.cached.last()) {
            (Some(first), Some(last)) if first == last => format!(" (phase {first} from cache)"),
            (Some(first), Some(last)) => format!(" (phases {first}-{last} from cache)"),
            (None, _) | (_, None) => String::new(),
        };
        let stage = match self.stage.as_str() {
            "foundation" => String::new(),
            stage => format!("{stage} "),
        };
        format!("{stage}ready in {}{cached}", took(self.seconds))
    }

    /// Returns it for programs, with the phases that were not done and the seconds the others took.
    pub fn event(&self) -> (PhaseEvent, Vec<u8>, f64) {
        let phase = PhaseEvent {
            stage: self.stage.clone(),
            id: None,
            name: None,
            last: PhaseName::Final.id(),
            snapshot: None,
        };
        (phase, self.cached.clone(), self.seconds)
    }
}

fn numbered(name: PhaseName, word: &str) -> String {
    format!("[{}/{}] {word}", name.id(), PhaseName::Final.id())
}

/// Returns how long something took.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes the nearest integer there is"
)]
fn took(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    match seconds.round() as u64 {
        whole @ 0..60 => format!("{whole} s"),
        whole @ 60..3600 => format!("{}m {}s", whole / 60, whole % 60),
        whole => format!("{}h {}m", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_units() {
        let told = [0.04, 9.94, 9.96, 59.4, 216.0, 3_725.0].map(took);
        assert_eq!(told, ["0.0 s", "9.9 s", "10 s", "59 s", "3m 36s", "1h 2m"]);
    }

    #[test]
    fn a_snapshot_tells_its_stage_and_phase() {
        let told = |stage, tag| of(stage, tag).map(|one| one.told(Signs::of(true)));
        let foundation = "aishell-shop:8-repos-0123456789ab";
        let base = "aishell-shop:base-8-repos-0123456789ab";
        assert_eq!(
            told(StageName::Foundation, foundation).as_deref(),
            Some("[8/12] 8-repos cached → aishell-shop:8-repos")
        );
        assert_eq!(told(StageName::Base, foundation), None);
        assert_eq!(
            told(StageName::Base, base).as_deref(),
            Some("[8/12] base-8-repos cached → aishell-shop:base-8-repos")
        );
        assert_eq!(told(StageName::Foundation, base), None);
    }

    #[test]
    fn what_is_ready_says_what_was_there() {
        let ready = |stage: &str, cached: &[u8]| {
            let ready = Ready {
                stage: stage.to_owned(),
                cached: cached.to_vec(),
                seconds: 216.0,
            };
            ready.told()
        };
        assert_eq!(ready("foundation", &[]), "ready in 3m 36s");
        assert_eq!(ready("foundation", &[2]), "ready in 3m 36s (phase 2 from cache)");
        assert_eq!(
            ready("base", &[2, 3, 7]),
            "base ready in 3m 36s (phases 2-7 from cache)"
        );
    }
}

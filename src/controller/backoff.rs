//! How long to wait before something is tried again: growing delays, each resource for itself. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::step::Resource;

/// The first delay.
const FIRST: Duration = Duration::from_secs(1);
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(300);
/// How long a resource must have needed nothing after its last delay before that is forgotten.
const CALM: Duration = Duration::from_secs(10);

/// Chance, so that many watchers do not act in step.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// Makes chance of a seed; 0 is no chance at all.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Makes chance that differs from run to run.
    pub fn random() -> Self {
        let mut bytes = [0; 8];
        // Without random numbers nothing is spread, and nothing breaks.
        let _ = getrandom::fill(&mut bytes);
        Self(u64::from_ne_bytes(bytes))
    }

    /// Returns a number from 0 to 1.
    fn draw(&mut self) -> f64 {
        if self.0 == 0 {
            return 0.0;
        }
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        f64::from(u32::try_from(self.0 >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }

    /// Returns up to a tenth more.
    pub fn longer(&mut self, time: Duration) -> Duration {
        time.mul_f64(1.0 + self.draw() / 10.0)
    }

    /// Returns up to a fifth less.
    pub fn shorter(&mut self, time: Duration) -> Duration {
        time.mul_f64(1.0 - self.draw() / 5.0)
    }
}

/// Returns the delay after so many failures: a second, doubled each time, five minutes at most.
pub fn delay(failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST.saturating_mul(doubled.max(1)).min(LONGEST)
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It succeeded. Needed again soon, it counts as a failure all the same.
    Succeeded,
    /// It failed.
    Failed,
    /// It failed, and another attempt would disturb what works.
    Refuted,
}

/// Whether something may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Now.
    Open,
    /// Not before.
    Until(Instant),
    /// Not before what is wanted changes.
    Shut,
}

/// What was tried lately, by resource.
#[derive(Clone, Debug, Default)]
pub struct Backoff(BTreeMap<Resource, Entry>);

#[derive(Clone, Debug)]
struct Entry {
    /// What was wanted.
    wanted: String,
    attempts: u32,
    gate: Gate,
    /// When all of this is forgotten.
    calm: Instant,
}

impl Backoff {
    /// Says whether a resource may be touched, given what is wanted of it: another wish is a new beginning.
    pub fn gate(&self, resource: &Resource, wanted: &str, now: Instant) -> Gate {
        match self.0.get(resource) {
            Some(entry) if entry.wanted == wanted => match entry.gate {
                Gate::Until(until) if until <= now => Gate::Open,
                gate => gate,
            },
            Some(_) | None => Gate::Open,
        }
    }

    /// Says whether the same was tried lately.
    pub fn knows(&self, resource: &Resource, wanted: &str) -> bool {
        self.0.get(resource).is_some_and(|entry| entry.wanted == wanted)
    }

    /// Notes an attempt, and returns how many there were in a row.
    pub fn attempted(
        &mut self,
        (resource, wanted): (&Resource, String),
        attempt: Attempt,
        now: Instant,
        jitter: &mut Jitter,
    ) -> u32 {
        let before = self.0.remove(resource).filter(|entry| {
            let calm = entry.calm <= now && attempt == Attempt::Succeeded;
            entry.wanted == wanted && !calm
        });
        let attempts = before.map_or(0, |entry| entry.attempts).saturating_add(1);
        let wait = delay(attempts);
        let gate = match attempt {
            Attempt::Refuted => Gate::Shut,
            Attempt::Failed | Attempt::Succeeded => Gate::Until(now + jitter.shorter(wait)),
        };
        let entry = Entry {
            wanted,
            attempts,
            gate,
            calm: now + wait + CALM.max(wait),
        };
        self.0.insert(resource.clone(), entry);
        attempts
    }

    /// Returns how often a resource was tried in a row.
    pub fn attempts(&self, resource: &Resource) -> u32 {
        self.0.get(resource).map_or(0, |entry| entry.attempts)
    }

    /// Forgets what has been calm for long enough, so that memory does not grow.
    pub fn forget(&mut self, now: Instant) {
        self.0
            .retain(|_, entry| entry.gate == Gate::Shut || entry.calm > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::ResourceKind;

    fn api() -> Resource {
        Resource {
            kind: ResourceKind::Container,
            name: "api".to_owned(),
        }
    }

    /// Tries again as soon as it may be, and returns the delays in seconds.
    fn delays(attempt: Attempt, times: usize) -> Vec<u64> {
        let (mut backoff, mut jitter) = (Backoff::default(), Jitter::new(0));
        let mut now = Instant::now();
        let mut delays = Vec::new();
        for _ in 0..times {
            backoff.attempted((&api(), "k".to_owned()), attempt, now, &mut jitter);
            let Gate::Until(until) = backoff.gate(&api(), "k", now) else {
                panic!("it may be tried at once")
            };
            delays.push((until - now).as_secs());
            now = until;
        }
        delays
    }

    #[test]
    fn delays_double_up_to_five_minutes() {
        let expected = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
        assert_eq!(delays(Attempt::Failed, 11), expected);
        assert_eq!(delay(0), FIRST);
        assert_eq!(delay(u32::MAX), LONGEST);
    }

    #[test]
    fn what_succeeds_again_and_again_is_delayed_as_what_fails() {
        assert_eq!(delays(Attempt::Succeeded, 5), [1, 2, 4, 8, 16]);
    }

    #[test]
    fn what_was_calm_long_enough_begins_anew() {
        let (mut backoff, mut jitter) = (Backoff::default(), Jitter::new(0));
        let now = Instant::now();
        let mut attempt =
            |now| backoff.attempted((&api(), "k".to_owned()), Attempt::Succeeded, now, &mut jitter);
        assert_eq!(attempt(now), 1);
        assert_eq!(attempt(now + Duration::from_secs(5)), 2);
        assert_eq!(attempt(now + Duration::from_secs(100)), 1);
        backoff.forget(now + Duration::from_secs(200));
        assert!(backoff.0.is_empty());
    }

    #[test]
    fn another_wish_is_tried_at_once() {
        let (mut backoff, mut jitter) = (Backoff::default(), Jitter::new(0));
        let now = Instant::now();
        backoff.attempted((&api(), "old".to_owned()), Attempt::Refuted, now, &mut jitter);
        let later = now + LONGEST * 100;
        backoff.forget(later);
        assert_eq!(backoff.gate(&api(), "old", later), Gate::Shut);
        assert_eq!(backoff.gate(&api(), "new", now), Gate::Open);
        let again = backoff.attempted((&api(), "new".to_owned()), Attempt::Failed, now, &mut jitter);
        assert_eq!(again, 1);
    }

    #[test]
    fn chance_stays_within_its_bounds() {
        let mut jitter = Jitter::new(42);
        let minute = Duration::from_secs(60);
        let longer: Vec<Duration> = (0..100).map(|_| jitter.longer(minute)).collect();
        assert!(
            longer
                .iter()
                .all(|time| (minute..=minute * 11 / 10).contains(time))
        );
        let shorter: Vec<Duration> = (0..100).map(|_| jitter.shorter(minute)).collect();
        assert!(
            shorter
                .iter()
                .all(|time| (minute * 4 / 5..=minute).contains(time))
        );
        assert!(longer.iter().max() > longer.iter().min());
    }
}

//! [`Exit`]: every code the program ends with. They are public: scripts depend on them.

use std::process::ExitCode;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done; for `diff`: no differences.
    Done,
    /// `diff`: differences found; `status`: not converged or not ready.
    Differs,
    /// Wrong usage.
    Usage,
    /// The manifest or the lock is invalid.
    Invalid,
    /// The engine is unreachable or unsuitable.
    Engine,
    /// One or more steps failed, the others were carried out; or the answer could not be written.
    Failed,
    /// Converged except for steps that need a person.
    Blocked,
    /// Another apply holds the claim.
    Claimed,
    /// The saved plan is stale; nothing was touched.
    Stale,
    /// The terminal went away; ended after finishing the step in hand.
    HungUp,
    /// Interrupted, after finishing the step in hand.
    Interrupted,
    /// Terminated, after finishing the step in hand.
    Terminated,
    /// `exec`, `attach`: nothing ran, because of us.
    NotRun,
    /// `exec`, `attach`: as the command in the container.
    Own(u8),
}

impl Exit {
    /// Every way to end by oneself, in the order of their codes.
    pub const ALL: [Self; 13] = [
        Self::Done,
        Self::Differs,
        Self::Usage,
        Self::Invalid,
        Self::Engine,
        Self::Failed,
        Self::Blocked,
        Self::Claimed,
        Self::Stale,
        Self::NotRun,
        Self::HungUp,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// Returns the code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Differs => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::Engine => 4,
            Self::Failed => 5,
            Self::Blocked => 6,
            Self::Claimed => 7,
            Self::Stale => 8,
            Self::HungUp => 129,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::NotRun => 125,
            Self::Own(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_published_ones() {
        let codes: Vec<u8> = Exit::ALL.into_iter().map(Exit::code).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 125, 129, 130, 143]);
    }
}

//! The phases of an image by name: their numbers, their order, and what they are for.

use std::fmt;

/// One of the ordered phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PhaseName {
    /// A Dockerfile to start from.
    Dockerfile,
    /// The image to start from.
    Base,
    /// Users.
    Users,
    /// Environment.
    Env,
    /// The working directory.
    Workdir,
    /// Layered files.
    Habitat,
    /// Files from the host.
    Files,
    /// Packages and commands.
    Setup,
    /// Git repositories.
    Repos,
    /// Tools.
    Tools,
    /// What must be there.
    Verify,
    /// Commands that must succeed.
    Test,
    /// How the image runs.
    Final,
}

impl PhaseName {
    /// Every phase, in order.
    pub const ALL: [Self; 13] = [
        Self::Dockerfile,
        Self::Base,
        Self::Users,
        Self::Env,
        Self::Workdir,
        Self::Habitat,
        Self::Files,
        Self::Setup,
        Self::Repos,
        Self::Tools,
        Self::Verify,
        Self::Test,
        Self::Final,
    ];

    /// Returns its number, which is its place in the order.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// Returns the word manifests use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dockerfile => "dockerfile",
            Self::Base => "base",
            Self::Users => "users",
            Self::Env => "env",
            Self::Workdir => "workdir",
            Self::Habitat => "habitat",
            Self::Files => "files",
            Self::Setup => "setup",
            Self::Repos => "repos",
            Self::Tools => "tools",
            Self::Verify => "verify",
            Self::Test => "test",
            Self::Final => "final",
        }
    }

    /// Returns what it is for.
    pub fn description(self) -> &'static str {
        match self {
            Self::Dockerfile => "an image from a Dockerfile",
            Self::Base => "the image to start from",
            Self::Users => "users and groups",
            Self::Env => "environment variables",
            Self::Workdir => "the working directory",
            Self::Habitat => "layered files",
            Self::Files => "files and directories from this machine",
            Self::Setup => "packages and commands",
            Self::Repos => "git repositories",
            Self::Tools => "tools",
            Self::Verify => "files that must be there",
            Self::Test => "commands that must succeed",
            Self::Final => "how the image runs",
        }
    }

    /// Says whether an image is made of what it leaves.
    pub fn leaves_snapshot(self) -> bool {
        !matches!(self, Self::Verify | Self::Test)
    }

    /// Reads a phase by its number or its word.
    pub fn parse(text: &str) -> Option<Self> {
        let text = if text == "repositories" { "repos" } else { text };
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text || name.id().to_string() == text)
    }
}

impl fmt::Display for PhaseName {
    /// Writes it as tags have it: `8-repos`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.id(), self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_found_by_number_and_by_word() {
        for (index, name) in PhaseName::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(name.id()), index);
            assert_eq!(PhaseName::parse(name.as_str()), Some(name));
            assert_eq!(PhaseName::parse(&index.to_string()), Some(name));
        }
        assert_eq!(PhaseName::parse("repositories"), Some(PhaseName::Repos));
        for wrong in ["13", "", "-1", "08", "setups"] {
            assert_eq!(PhaseName::parse(wrong), None, "{wrong}");
        }
        assert_eq!(PhaseName::Repos.to_string(), "8-repos");
    }
}

//! What was allowed and asked for when a plan was saved.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::{Consent, Depth, Fresh, Rebuilt, Requested, Target};
use crate::step::Resource;

/// What was allowed and asked for when a plan was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Options {
    /// The only resources that are touched, with what they need; `null`: every one.
    pub only: Option<BTreeSet<Resource>>,
    /// Containers that are replaced though nothing differs.
    pub replace: BTreeSet<String>,
    /// Stages, and phases of them, that are made anew though nothing differs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rebuild: BTreeSet<Target>,
    /// Whether what the manifest does not want any more is removed.
    pub prune: bool,
    /// Whether the content of harness volumes was read.
    #[serde(default, skip_serializing_if = "is_not")]
    pub deep: bool,
    /// What is allowed that is blocked otherwise.
    pub allow: BTreeSet<Allowed>,
}

/// What is blocked unless a person allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Allowed {
    /// Interrupt containers that somebody works in.
    Interrupt,
    /// Remove data volumes with their content.
    DataLoss,
    /// Make data volumes although the project seems to have been moved and its data is elsewhere.
    EmptyVolumes,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over like this")]
fn is_not(deep: &bool) -> bool {
    !deep
}

impl Allowed {
    /// Returns the word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupt",
            Self::DataLoss => "data-loss",
            Self::EmptyVolumes => "empty-volumes",
        }
    }
}

impl Options {
    pub(super) fn of(consent: &Consent) -> Self {
        let Consent {
            prune,
            interrupt,
            data_loss,
            fresh,
            // Typing `apply` is that consent.
            widen: _,
            replace,
            rebuild,
            only,
            depth,
            // Nobody asks for it with a plan.
            release: _,
        } = consent;
        let allowed = [
            (*interrupt, Allowed::Interrupt),
            (*data_loss, Allowed::DataLoss),
            (*fresh == Fresh::Allowed, Allowed::EmptyVolumes),
        ];
        Self {
            only: only.clone(),
            replace: match replace {
                Requested::Named(names) => names.clone(),
                Requested::Seen(_) => BTreeSet::new(),
            },
            rebuild: rebuild.targets.clone(),
            prune: *prune,
            deep: *depth != Depth::Listing,
            allow: allowed
                .into_iter()
                .filter_map(|(is, what)| is.then_some(what))
                .collect(),
        }
    }

    pub(super) fn consent(&self) -> Consent {
        let Options {
            only,
            replace,
            rebuild,
            prune,
            deep,
            allow,
        } = self;
        Consent {
            prune: *prune,
            interrupt: allow.contains(&Allowed::Interrupt),
            data_loss: allow.contains(&Allowed::DataLoss),
            fresh: Fresh::of(allow.contains(&Allowed::EmptyVolumes)),
            replace: Requested::Named(replace.clone()),
            rebuild: Rebuilt::of(rebuild.clone()),
            only: only.clone(),
            depth: Depth::of(*deep),
            ..Consent::default()
        }
    }
}

//! What harnesses run on.

use std::collections::BTreeMap;

use crate::catalogue::{RUNTIME, RUNTIME_VERSION};
use crate::desired::{self, MemberSource};
use crate::lock::Package;
use crate::manifest::harness::{Runtime, TIMEOUT};
use crate::manifest::member::{self, Member};
use crate::name::HarnessName;

/// Returns the runtime of a set as a member of it: one for all that come from npm and do not say that the image's is
/// meant. A set that brings the program itself has chosen.
pub(super) fn of(
    members: &BTreeMap<HarnessName, Member>,
    locked: Option<&Package>,
) -> Option<desired::Member> {
    let brought = members
        .values()
        .any(|member| member.bin.iter().any(|bin| bin == RUNTIME));
    let locked = locked.filter(|package| package.name.as_str() == RUNTIME);
    (!brought && members.values().any(needs)).then(|| desired::Member {
        name: RUNTIME.to_owned(),
        source: MemberSource::Npm {
            npm: RUNTIME.to_owned(),
        },
        version: locked.map_or_else(
            || RUNTIME_VERSION.to_owned(),
            |package| package.version.to_string(),
        ),
        integrity: locked.and_then(|package| package.integrity.as_ref().map(ToString::to_string)),
        bin: vec![RUNTIME.to_owned()],
        timeout: TIMEOUT.as_std(),
    })
}

/// Says whether a harness runs on a runtime of the set.
fn needs(member: &Member) -> bool {
    match (&member.package, member.runtime) {
        (member::Package::Npm { .. }, Runtime::Node) => true,
        (member::Package::Npm { .. }, Runtime::Image)
        | (member::Package::Pypi { .. } | member::Package::Url { .. }, _) => false,
    }
}

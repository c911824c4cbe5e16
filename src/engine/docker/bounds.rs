//! Bounds of a call, checked before it is sent: how long it may take, which names it may carry. Pure.

use std::time::Duration;

use crate::call::{Call, Content, File};
use crate::engine::EngineError;

/// How long a question may take. An engine that is half dead accepts connections and answers nothing.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(60);
/// How long a change may take that is no long work.
const WRITE_LIMIT: Duration = Duration::from_secs(300);

/// Returns how long a call may take; `None` for what takes as long as it takes.
pub(super) fn limit(call: &Call) -> Option<Duration> {
    match call {
        Call::Version
        | Call::Identify
        | Call::Clock
        | Call::ListContainers
        | Call::ListUsers
        | Call::ListVolumes
        | Call::ListNetworks
        | Call::ListImages
        | Call::InspectContainer { .. }
        | Call::InspectImage { .. }
        | Call::InspectVolume { .. }
        | Call::InspectNetwork { .. }
        | Call::AskRegistry { .. }
        | Call::ListProcesses { .. }
        | Call::ListChanges { .. }
        | Call::InspectExec { .. } => Some(READ_LIMIT),
        Call::ReadFile { .. }
        | Call::ReadTree { .. }
        | Call::StatFile { .. }
        | Call::TagImage { .. }
        | Call::RemoveImage { .. }
        | Call::CreateVolume { .. }
        | Call::RemoveVolume { .. }
        | Call::CreateNetwork { .. }
        | Call::RemoveNetwork { .. }
        | Call::ConnectNetwork { .. }
        | Call::DisconnectNetwork { .. }
        | Call::CreateContainer(_)
        | Call::CreateKept(_)
        | Call::RemoveIdle { .. }
        | Call::StartContainer { .. }
        | Call::KillContainer { .. }
        | Call::UnpauseContainer { .. }
        | Call::RenameContainer { .. }
        | Call::UpdateContainer { .. }
        | Call::RemoveContainer { .. }
        | Call::CreateExec(_) => Some(WRITE_LIMIT),
        // What is read from this host may be any amount.
        Call::Upload { files, .. } => {
            let is_of_the_host = |file: &File| matches!(file.content, Content::Host { .. });
            (!files.iter().any(is_of_the_host)).then_some(WRITE_LIMIT)
        }
        // It looks at every file of every volume.
        Call::MeasureUsage => Some(WRITE_LIMIT),
        // It has a time of its own, as a container has one to stop.
        Call::StartExec { .. } | Call::FollowExec { .. } => None,
        // It reads whatever there is.
        Call::SearchFiles { .. } | Call::TakeStock { .. } => None,
        Call::FollowLog { .. }
        | Call::PullImage { .. }
        | Call::BuildImage(_)
        | Call::CommitContainer(_)
        | Call::StopContainer { .. } => None,
    }
}

/// Refuses a name that would be another address: names are put into paths as they are.
pub(super) fn check_names(call: &Call) -> Result<(), EngineError> {
    let name = match call {
        Call::Version
        | Call::Identify
        | Call::Clock
        | Call::ListContainers
        | Call::ListUsers
        | Call::MeasureUsage
        | Call::ListVolumes
        | Call::ListNetworks
        | Call::ListImages
        | Call::PullImage { .. }
        | Call::BuildImage(_)
        | Call::CommitContainer(_)
        | Call::CreateVolume { .. }
        | Call::CreateNetwork { .. }
        | Call::CreateContainer(_)
        | Call::CreateKept(_) => return Ok(()),
        Call::InspectContainer { container }
        | Call::ReadFile { container, .. }
        | Call::ReadTree { container, .. }
        | Call::StatFile { container, .. }
        | Call::FollowLog { container }
        | Call::StartContainer { container }
        | Call::UnpauseContainer { container }
        | Call::UpdateContainer { container, .. }
        | Call::ListProcesses { container }
        | Call::ListChanges { container }
        | Call::SearchFiles { container, .. }
        | Call::TakeStock { container, .. }
        | Call::Upload { container, .. } => container,
        Call::CreateExec(exec) => &exec.container,
        Call::InspectExec { exec } | Call::StartExec { exec, .. } | Call::FollowExec { exec, .. } => exec,
        Call::InspectImage { image } | Call::TagImage { image, .. } | Call::RemoveImage { image } => image,
        Call::AskRegistry { reference } => reference,
        Call::InspectVolume { volume } => volume,
        Call::InspectNetwork { network }
        | Call::ConnectNetwork { network, .. }
        | Call::DisconnectNetwork { network, .. } => network,
        Call::RemoveVolume { volume: owned }
        | Call::RemoveNetwork { network: owned }
        | Call::StopContainer { container: owned }
        | Call::KillContainer { container: owned }
        | Call::RemoveIdle { container: owned }
        | Call::RenameContainer { container: owned, .. }
        | Call::RemoveContainer { container: owned, .. } => owned.id(),
    };
    let odd = name.contains(|character: char| "?#%\\".contains(character) || character.is_control());
    if odd
        || name
            .split('/')
            .any(|step| step.is_empty() || step == "." || step == "..")
    {
        return Err(EngineError::Refused {
            message: format!("`{name}` cannot be the name of anything"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [
            "a",
            "a-b_c.d",
            "h:5000/a/b:1",
            "a@sha256:00",
            "sha256:00",
            "my network",
        ] {
            assert_eq!(
                check_names(&Call::InspectImage {
                    image: name.to_owned()
                }),
                Ok(()),
                "{name}"
            );
        }
        for name in [
            "", "..", "../x", "a/../b", "a//b", "/a", "a/", ".", "a?b", "a#b", "a%2fb", "a\nb", "a\\b",
        ] {
            let refused = check_names(&Call::InspectImage {
                image: name.to_owned(),
            });
            assert!(matches!(refused, Err(EngineError::Refused { .. })), "{name}");
        }
    }
}

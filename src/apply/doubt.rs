//! What to do about a change that may have been made though nobody heard so: what to ask, and what the answers mean.
//! Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::call::{Answer, Call, ContainerReply, NetworkReply, VolumeReply};
use crate::label::{Labels, Mark, UID};
use crate::observed::RunState;

/// What was seen of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It was made; this would have been the answer.
    Done(Answer),
    /// It was not, or making it again does no harm.
    Undone,
    /// Somebody else is in its place, and the engine says so best.
    Taken,
    /// Nobody can tell, and making it again might do harm.
    Unclear(String),
}

/// When containers were started last before anything was changed, by id.
pub(super) type Started = BTreeMap<String, Option<String>>;

/// Says whether a call must not be sent again at all: what a command did inside cannot be seen.
pub(super) fn is_final(call: &Call) -> bool {
    matches!(call, Call::StartExec { .. } | Call::FollowExec { .. })
}

/// Says whether a call takes as long as it takes.
pub(super) fn takes_long(call: &Call) -> bool {
    matches!(
        call,
        Call::FollowLog { .. }
            | Call::PullImage { .. }
            | Call::BuildImage(_)
            | Call::CommitContainer(_)
            | Call::StopContainer { .. }
            | Call::StartExec { .. }
            | Call::FollowExec { .. }
    )
}

/// Says whether an engine may go on with a change that nobody waits for, and show it only in the end.
pub(super) fn shows_late(call: &Call) -> bool {
    matches!(call, Call::CommitContainer(_))
}

/// Says whether a call is over when its object is gone.
pub(super) fn removes(call: &Call) -> bool {
    matches!(
        call,
        Call::RemoveContainer { .. }
            | Call::RemoveIdle { .. }
            | Call::RemoveNetwork { .. }
            | Call::RemoveVolume { .. }
            | Call::RemoveImage { .. }
    )
}

/// Says whether a call may be refused because it is under way already: names are reserved before what has them can be
/// seen, and removals take their time.
pub(super) fn meets_itself(call: &Call) -> bool {
    matches!(call, Call::CreateContainer(_) | Call::RemoveContainer { .. })
}

/// Says whether a volume is what is left of a creation that the engine did not complete: it has our name, no label at
/// all, and has come about since the creation was asked for. Only one that nobody uses can be removed, so nothing is
/// lost where it was somebody else's after all.
pub(super) fn is_half_made(call: &Call, reply: &VolumeReply, since: Timestamp) -> bool {
    // Engines tell whole seconds.
    let recent = |created: Timestamp| created.as_second() >= since.as_second();
    matches!(call, Call::CreateVolume { name, .. } if reply.name == *name)
        && reply.labels.is_empty()
        && reply.created.parse().is_ok_and(recent)
}

/// Returns the labels of what a call makes.
pub(super) fn labels(call: &Call) -> Option<&Labels> {
    match call {
        Call::BuildImage(build) => Some(&build.labels),
        Call::CommitContainer(commit) => Some(&commit.labels),
        Call::CreateContainer(create) => Some(&create.labels),
        Call::CreateVolume { labels, .. } | Call::CreateNetwork { labels, .. } => Some(labels),
        _ => None,
    }
}

/// Returns the labels of what a call makes, to be changed.
pub(super) fn labels_mut(call: &mut Call) -> Option<&mut Labels> {
    match call {
        Call::BuildImage(build) => Some(&mut build.labels),
        Call::CommitContainer(commit) => Some(&mut commit.labels),
        Call::CreateContainer(create) => Some(&mut create.labels),
        Call::CreateVolume { labels, .. } | Call::CreateNetwork { labels, .. } => Some(labels),
        _ => None,
    }
}

/// Says what is known of a change after some answers, or else what is to be asked next; `None` answers what is not there.
pub(super) fn judge(call: &Call, answers: &[Option<Answer>], started: &Started) -> Result<Seen, Box<Call>> {
    match question(call, answers.len()) {
        Some(question) => Err(Box::new(question)),
        None => Ok(verdict(call, answers, started)),
    }
}

/// Returns what is to be asked after so many answers.
fn question(call: &Call, answers: usize) -> Option<Call> {
    let container = |container: &str| {
        let container = container.to_owned();
        Some(Call::InspectContainer { container })
    };
    match (call, answers) {
        (Call::CreateContainer(create), 0) => container(&create.name),
        (Call::StartContainer { container: id } | Call::UnpauseContainer { container: id }, 0) => {
            container(id)
        }
        (Call::RenameContainer { container: owned, .. } | Call::KillContainer { container: owned }, 0) => {
            container(owned.id())
        }
        (Call::ConnectNetwork { network, .. } | Call::DisconnectNetwork { network, .. }, 0) => {
            let network = network.clone();
            Some(Call::InspectNetwork { network })
        }
        (Call::ConnectNetwork { container: id, .. } | Call::DisconnectNetwork { container: id, .. }, 1) => {
            container(id)
        }
        (Call::CreateNetwork { .. }, 0) => Some(Call::ListNetworks),
        (Call::RemoveVolume { volume }, 0) => {
            let volume = volume.id().to_owned();
            Some(Call::InspectVolume { volume })
        }
        (Call::BuildImage(build), 0) => {
            let image = build.tag.clone();
            Some(Call::InspectImage { image })
        }
        (Call::CommitContainer(commit), 0) => {
            let image = commit.tag.clone();
            Some(Call::InspectImage { image })
        }
        _ => None,
    }
}

/// Says what the answers to all questions mean.
fn verdict(call: &Call, answers: &[Option<Answer>], started: &Started) -> Seen {
    let done = |done: bool| {
        if done {
            Seen::Done(Answer::Done)
        } else {
            Seen::Undone
        }
    };
    match (call, answers) {
        (Call::CreateContainer(create), [Some(Answer::Container(reply))]) => {
            if is_made(&reply.labels, &create.labels) {
                Seen::Done(Answer::Id(reply.id.clone()))
            } else {
                Seen::Taken
            }
        }
        (Call::StartContainer { .. }, [Some(Answer::Container(reply))]) => run(reply, started),
        (Call::UnpauseContainer { .. }, [Some(Answer::Container(reply))]) => {
            done(reply.state != RunState::Paused)
        }
        (Call::KillContainer { .. }, [Some(Answer::Container(reply))]) => done(!reply.state.is_alive()),
        (Call::RenameContainer { name, .. }, [Some(Answer::Container(reply))]) => done(reply.name == *name),
        (Call::ConnectNetwork { .. }, [Some(Answer::Network(network)), Some(Answer::Container(reply))]) => {
            done(is_attached(reply, network))
        }
        (
            Call::DisconnectNetwork { .. },
            [Some(Answer::Network(network)), Some(Answer::Container(reply))],
        ) => done(!is_attached(reply, network)),
        (Call::CreateNetwork { name, labels }, [Some(Answer::Networks(replies))]) => replies
            .iter()
            .find(|reply| reply.name == *name && is_made(&reply.labels, labels))
            .map_or(Seen::Undone, |reply| Seen::Done(Answer::Id(reply.id.clone()))),
        // Another one has the name: ours is gone.
        (Call::RemoveVolume { volume }, [Some(Answer::Volume(reply))]) => done(
            Mark::read(&reply.labels).is_none_or(|mark| !volume.uid().is_empty() && mark.uid != volume.uid()),
        ),
        (Call::BuildImage(_) | Call::CommitContainer(_), [Some(Answer::Image(reply))]) => {
            if labels(call).is_some_and(|labels| is_made(&reply.image.labels, labels)) {
                Seen::Done(Answer::Id(reply.image.id.clone()))
            } else {
                Seen::Undone
            }
        }
        _ => Seen::Undone,
    }
}

/// Says whether a container was started.
fn run(reply: &ContainerReply, started: &Started) -> Seen {
    match reply.state {
        RunState::Running | RunState::Paused | RunState::Restarting => Seen::Done(Answer::Done),
        // Whoever starts it while it is being started finds it running.
        RunState::Created | RunState::Removing | RunState::Dead => Seen::Undone,
        RunState::Exited { .. } => match started.get(&reply.id) {
            Some(before) if *before == reply.started => Seen::Undone,
            Some(_) => Seen::Done(Answer::Done),
            None => Seen::Unclear(
                "the engine went away while the container was started, and nobody knows whether it ran"
                    .to_owned(),
            ),
        },
    }
}

/// Says whether an object carries the identifier that it was to be made with.
fn is_made(found: &Labels, wanted: &Labels) -> bool {
    wanted.get(UID).is_some_and(|uid| found.get(UID) == Some(uid))
}

fn is_attached(reply: &ContainerReply, network: &NetworkReply) -> bool {
    let id = reply.network_ids.get(&network.name);
    reply.spec.networks.contains_key(&network.name) && id.is_none_or(|id| *id == network.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_volume_without_labels_that_has_just_come_about_is_half_made() {
        let call = Call::CreateVolume {
            name: "data".to_owned(),
            labels: Labels::new(),
        };
        let since: Timestamp = "2026-11-21T16:00:00.7Z".parse().expect("a time");
        let volume = |name: &str, created: &str| VolumeReply {
            name: name.to_owned(),
            created: created.to_owned(),
            ..VolumeReply::default()
        };
        let now = volume("data", "2026-11-21T16:00:00Z");
        assert!(is_half_made(&call, &now, since));
        assert!(is_half_made(
            &call,
            &volume("data", "2026-11-21T18:00:01+02:00"),
            since
        ));
        assert!(!is_half_made(
            &call,
            &volume("data", "2026-11-21T15:59:59Z"),
            since
        ));
        assert!(!is_half_made(&call, &volume("data", ""), since));
        assert!(!is_half_made(
            &call,
            &volume("other", "2026-11-21T16:00:00Z"),
            since
        ));
        let labelled = VolumeReply {
            labels: [("team".to_owned(), "core".to_owned())].into(),
            ..now
        };
        assert!(!is_half_made(&call, &labelled, since));
    }
}

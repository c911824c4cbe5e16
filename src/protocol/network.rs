//! A network of a name that nobody else of ours has.
//!
//! The engine lets several networks have one name when they are created at the same time, and whoever is attached by
//! name then fails. So whoever created one looks whether it is alone: the oldest stays, everybody agrees which that
//! is, and the others go before anybody is attached to them.

use jiff::Timestamp;

use super::{Next, Protocol, call, failure, unexpected};
use crate::call::{Answer, Call, NetworkReply};
use crate::engine::EngineError;
use crate::label::{self, Kind, Labels, Mark, OwnedId};
use crate::observed::Age;
use crate::report::Failure;

/// Creates a network.
pub(super) struct MakeNetwork {
    name: String,
    labels: Labels,
    at: At,
}

enum At {
    Create,
    List,
    Remove(Vec<OwnedId>),
    Done,
    Failed(Failure),
}

impl MakeNetwork {
    pub(super) fn new(name: String, labels: Labels) -> Self {
        Self {
            name,
            labels,
            at: At::Create,
        }
    }

    /// Returns the proof that a network is of the owner this one is for.
    fn owned(&self, reply: &NetworkReply) -> Option<OwnedId> {
        let mark = Mark::read(&reply.labels)?;
        let ours = reply.name == self.name
            && mark.kind == Kind::Network
            && Some(&mark.manifest) == self.labels.get(label::MANIFEST)
            && mark.project.as_ref() == self.labels.get(label::PROJECT);
        ours.then(|| OwnedId::new(&reply.id, &mark))
    }

    fn judge(&self, replies: &[NetworkReply]) -> At {
        let mut found: Vec<(Age, OwnedId)> = replies
            .iter()
            .filter_map(|reply| Some((Age::of(&reply.created, &reply.id), self.owned(reply)?)))
            .collect();
        found.sort();
        let mut found = found.into_iter().map(|(_, id)| id);
        if found.next().is_none() {
            return At::Failed(Failure::new(format!(
                "a network that is not ours is called {}; it was left alone",
                self.name
            )));
        }
        remove(found.collect())
    }
}

fn remove(later: Vec<OwnedId>) -> At {
    if later.is_empty() {
        At::Done
    } else {
        At::Remove(later)
    }
}

impl Protocol for MakeNetwork {
    fn next(&self) -> Next {
        match &self.at {
            At::Create => call(Call::CreateNetwork {
                name: self.name.clone(),
                labels: self.labels.clone(),
            }),
            At::List => call(Call::ListNetworks),
            At::Remove(later) => match later.last() {
                Some(network) => call(Call::RemoveNetwork {
                    network: network.clone(),
                }),
                None => Next::Done,
            },
            At::Done => Next::Done,
            At::Failed(failure) => Next::Failed(failure.clone()),
        }
    }

    fn heard(&mut self, result: Result<Answer, EngineError>, _now: Timestamp) {
        self.at = match (std::mem::replace(&mut self.at, At::Done), result) {
            // Engines that refuse a second network of a name say so: somebody was faster.
            (At::Create, Ok(Answer::Id(_)) | Err(EngineError::Conflict { .. })) => At::List,
            (At::List, Ok(Answer::Networks(replies))) => self.judge(&replies),
            // One that cannot be removed is seen by the next plan.
            (At::Remove(mut later), _) => {
                later.pop();
                remove(later)
            }
            (At::Done, _) => At::Done,
            (At::Failed(failure), _) => At::Failed(failure),
            (_, Err(error)) => At::Failed(failure(error)),
            (_, Ok(_)) => At::Failed(unexpected("networks")),
        };
    }
}

//! What the engine tells whoever subscribed: found by comparing worlds, so that nothing that changes one is left out.

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::world::{Container, World};
use crate::engine::{EngineError, Notice, Notices};
use crate::label::{Kind, Mark, Owner};

/// Who subscribed, and whether they hear anything.
#[derive(Default)]
pub(super) struct Listeners {
    all: Vec<(Owner, UnboundedSender<Notice>)>,
    /// Whether notices get lost.
    pub(super) deaf: bool,
}

impl Listeners {
    /// Says whether anybody listens.
    pub(super) fn any(&self) -> bool {
        !self.all.is_empty()
    }

    /// Ends every subscription.
    pub(super) fn hang_up(&mut self) {
        self.all.clear();
    }

    pub(super) fn subscribe(&mut self, owner: &Owner, lost: EngineError) -> Notices {
        let (sender, receiver) = unbounded_channel();
        self.all.push((owner.clone(), sender));
        let notices = stream::unfold(receiver, |mut receiver: UnboundedReceiver<Notice>| async move {
            let notice = receiver.recv().await?;
            Some((Ok(notice), receiver))
        });
        notices.chain(stream::once(async move { Err(lost) })).boxed()
    }

    /// Tells everybody about a notice, as often as it happened.
    pub(super) fn tell(&mut self, notice: &Notice, labels: Option<&crate::label::Labels>) {
        if self.deaf {
            return;
        }
        self.all.retain(|(owner, sender)| {
            let theirs = labels.is_none_or(|labels| {
                Mark::read(labels).is_some_and(|mark| mark.kind == Kind::Container && owner.owns(&mark))
            });
            !theirs || sender.send(notice.clone()).is_ok()
        });
    }

    /// Tells everybody what differs between two worlds.
    pub(super) fn compare(&mut self, before: &World, after: &World) {
        for (id, container) in merged(&before.containers, &after.containers) {
            let Some(found) = container.0.or(container.1) else {
                continue;
            };
            if container.0.map(seen) != container.1.map(seen) {
                let notice = Notice::Container { id: id.clone() };
                self.tell(&notice, Some(&found.reply.labels));
            }
            let ended = |before: &Container, after: &Container| {
                before.execs.keys().any(|exec| !after.execs.contains_key(exec))
            };
            if container
                .0
                .zip(container.1)
                .is_some_and(|(before, after)| ended(before, after))
            {
                let notice = Notice::SessionEnded { id: id.clone() };
                self.tell(&notice, Some(&found.reply.labels));
            }
            for (network, id_of) in attached(container.0, container.1) {
                let notice = Notice::Network {
                    id: id_of.unwrap_or_default(),
                    name: network,
                    container: Some(id.clone()),
                };
                self.tell(&notice, None);
            }
        }
        for (id, network) in merged(&before.networks, &after.networks) {
            if let (Some(found), None) | (None, Some(found)) = network {
                let notice = Notice::Network {
                    id: id.clone(),
                    name: found.reply.name.clone(),
                    container: None,
                };
                self.tell(&notice, None);
            }
        }
        for (name, volume) in merged(&before.volumes, &after.volumes) {
            if volume.0.is_some() != volume.1.is_some() {
                self.tell(&Notice::Volume { name: name.clone() }, None);
            }
        }
        for (reference, ids) in merged(&before.references, &after.references) {
            if ids.0 != ids.1 {
                let notice = Notice::Image {
                    id: ids.1.or(ids.0).cloned().unwrap_or_default(),
                    name: reference.clone(),
                };
                self.tell(&notice, None);
            }
        }
    }
}

/// Returns what of a container makes an event when it changes; attachments make events of networks.
fn seen(container: &Container) -> impl PartialEq + '_ {
    let reply = &container.reply;
    (
        &reply.name,
        reply.state,
        &reply.started,
        &reply.spec,
        reply.health,
        reply.restarts,
    )
}

/// Returns the networks that a container was attached to or detached from, with their ids where they are known.
fn attached(before: Option<&Container>, after: Option<&Container>) -> Vec<(String, Option<String>)> {
    let (Some(before), Some(after)) = (before, after) else {
        return Vec::new();
    };
    let merged = merged(&before.attachments, &after.attachments);
    merged
        .into_iter()
        .filter(|(_, (before, after))| before.map(|one| &one.aliases) != after.map(|one| &one.aliases))
        .map(|(name, (before, after))| (name.clone(), after.or(before).and_then(|one| one.network.clone())))
        .collect()
}

type Pair<'a, T> = (Option<&'a T>, Option<&'a T>);

/// Returns both values of every key of two maps.
fn merged<'a, T>(
    before: &'a std::collections::BTreeMap<String, T>,
    after: &'a std::collections::BTreeMap<String, T>,
) -> Vec<(&'a String, Pair<'a, T>)> {
    let new = after.keys().filter(|key| !before.contains_key(*key));
    before
        .keys()
        .chain(new)
        .map(|key| (key, (before.get(key), after.get(key))))
        .collect()
}

//! Networks, and who is attached to them.

use std::collections::BTreeMap;

use super::world::{Attachment, Network, World};
use super::{conflict, failed, not_found, refused};
use crate::call::NetworkReply;
use crate::engine::EngineError;
use crate::label::Labels;
use crate::observed::NetworkShape;
use crate::spec::Endpoint;

const PRIVATE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";

impl World {
    /// Several networks may have one name on 20.10; newer engines refuse the second.
    pub(super) fn create_network(&mut self, name: &str, labels: Labels) -> Result<String, EngineError> {
        if self.recent && self.network_names.first(name).is_some() {
            return Err(conflict(format!("network with name {name} already exists")));
        }
        Ok(self.insert_network(name, labels, false))
    }

    pub(super) fn insert_network(&mut self, name: &str, labels: Labels, builtin: bool) -> String {
        let id = self.id();
        let reply = NetworkReply {
            id: id.clone(),
            name: name.to_owned(),
            labels,
            created: self.now(),
            shape: NetworkShape::default(),
        };
        self.network_names.add(name, &id);
        self.networks.insert(id.clone(), Network { reply, builtin });
        id
    }

    /// Only running containers keep a network from being removed.
    pub(super) fn remove_network(&mut self, network: &str) -> Result<(), EngineError> {
        let id = self.network_id(network)?;
        let Network {
            reply: NetworkReply { name, .. },
            builtin,
        } = &self.networks[&id];
        if *builtin {
            return Err(refused(format!(
                "{name} is a pre-defined network and cannot be removed"
            )));
        }
        if self.network_users.first(&id).is_some() {
            return Err(refused(format!(
                "error while removing network: network {name} id {id} has active endpoints"
            )));
        }
        self.network_names.remove(&name.clone(), &id);
        self.networks.remove(&id);
        Ok(())
    }

    /// A running container is attached at once; any other only notes the attachment, even to a network that does not
    /// exist; one to a network that does and that it has already stays as it is, aliases included.
    pub(super) fn connect_network(
        &mut self,
        network: &str,
        container: &str,
        endpoint: &Endpoint,
    ) -> Result<(), EngineError> {
        let id = self.container_id(container)?;
        let found = self.network_id(network);
        let alive = self.at(&id)?.state().is_alive();
        let (name, known) = match found {
            Ok(found) => (self.networks[&found].reply.name.clone(), Some(found)),
            Err(error) if alive => return Err(error),
            Err(_) => (network.to_owned(), None),
        };
        let builtin = self.networks_named(&name).iter().any(|one| one.builtin);
        if builtin && !endpoint.aliases.is_empty() {
            return Err(refused(
                "network-scoped alias is supported only for containers in user defined networks",
            ));
        }
        let recent = self.recent;
        let subject = self.at_mut(&id)?;
        if known.is_some() && subject.attachments.contains_key("none") && name != "none" {
            return Err(refused(PRIVATE));
        }
        let present = subject
            .attachments
            .get(&name)
            .is_some_and(|one| !alive || one.network == known);
        if present && alive {
            let name_of_container = &subject.reply.name;
            return Err(refused(format!(
                "endpoint with name {name_of_container} already exists in network {name}"
            )));
        }
        if present && known.is_some() {
            return Ok(());
        }
        let mut attachment = Attachment {
            network: known.clone().filter(|_| alive),
            aliases: endpoint.aliases.clone(),
        };
        if known.is_some() && !builtin && !recent {
            attachment.answer_to(subject.reply.spec.hostname.as_deref());
        }
        if let Some(known) = &attachment.network {
            self.network_users.add(known, &id);
            self.at_mut(&id)?.endpoints.insert(known.clone());
        }
        self.at_mut(&id)?.attachments.insert(name, attachment);
        Ok(())
    }

    pub(super) fn disconnect_network(&mut self, network: &str, container: &str) -> Result<(), EngineError> {
        let id = self.container_id(container)?;
        let alive = self.at(&id)?.state().is_alive();
        let found = self.network_id(network);
        let name = match &found {
            Ok(found) => self.networks[found].reply.name.clone(),
            Err(error) if alive => return Err(error.clone()),
            Err(_) => network.to_owned(),
        };
        if self.at_mut(&id)?.attachments.remove(&name).is_none() {
            return Err(failed(format!(
                "container {id} is not connected to the network {name}"
            )));
        }
        if let Ok(found) = found {
            self.network_users.remove(&found, &id);
            self.at_mut(&id)?.endpoints.remove(&found);
        }
        Ok(())
    }

    /// Attaches a container that is about to run to everything it wants, as far as that exists.
    pub(super) fn join_networks(&mut self, id: &str) -> Result<(), EngineError> {
        let wanted: Vec<(String, Option<String>)> = self
            .at(id)?
            .attachments
            .iter()
            .map(|(name, attachment)| (name.clone(), attachment.network.clone()))
            .collect();
        for (name, known) in wanted {
            let network = match known {
                Some(known) if self.networks.contains_key(&known) => known,
                Some(known) => return Err(not_found(format!("network {known} not found"))),
                None => self.network_id(&name)?,
            };
            self.network_users.add(&network, id);
            let builtin = self.networks[&network].builtin || self.recent;
            let subject = self.at_mut(id)?;
            subject.endpoints.insert(network.clone());
            if let Some(attachment) = subject.attachments.get_mut(&name) {
                attachment.network = Some(network);
                if !builtin {
                    attachment.answer_to(subject.reply.spec.hostname.as_deref());
                }
            }
        }
        Ok(())
    }

    /// Detaches a container that no longer runs; what it is attached to stays noted.
    pub(super) fn leave_networks(&mut self, id: &str) {
        let Some(subject) = self.containers.get_mut(id) else {
            return;
        };
        for network in std::mem::take(&mut subject.endpoints) {
            self.network_users.remove(&network, id);
        }
    }

    /// Resolves an id, then a name, which must be the only one, then the beginning of an id.
    pub(super) fn network_id(&self, network: &str) -> Result<String, EngineError> {
        if self.networks.contains_key(network) {
            return Ok(network.to_owned());
        }
        let named: Vec<&String> = self.network_names.of(network).collect();
        match named[..] {
            [one] => Ok(one.clone()),
            [] => super::container::by_prefix(&self.networks, network)
                .ok_or_else(|| not_found(format!("network {network} not found"))),
            [..] => Err(refused(format!(
                "network {network} is ambiguous ({} matches found on name)",
                named.len()
            ))),
        }
    }

    /// Returns the attachment a container is created with: the first network, or none at all.
    pub(super) fn attachments(&self, networks: &BTreeMap<String, Endpoint>) -> BTreeMap<String, Attachment> {
        let Some((network, Endpoint { aliases })) = networks.first_key_value() else {
            return [("none".to_owned(), Attachment::default())].into();
        };
        // An id is turned into the name, and forgotten: the container starts by name.
        let name = self
            .networks
            .get(network)
            .map_or(network, |found| &found.reply.name);
        [(
            name.clone(),
            Attachment {
                network: None,
                aliases: aliases.clone(),
            },
        )]
        .into()
    }
}

impl Attachment {
    /// Adds the host name to the aliases, as engines before 25 do with one that was asked for.
    fn answer_to(&mut self, hostname: Option<&str>) {
        if let Some(hostname) = hostname
            && !self.aliases.iter().any(|alias| alias == hostname)
        {
            self.aliases.push(hostname.to_owned());
            self.aliases.sort();
        }
    }
}

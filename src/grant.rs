//! [`Grant`]: one thing that a container is given beyond what every sandbox has.
//!
//! A manifest that a sandbox can write is untrusted: what it gives away is compared with what a person has given before.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::key::digest;
use crate::spec::{ContainerSpec, Mount, Security};

/// One thing that a container, or whoever makes its image, is given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "grant")]
pub enum Grant {
    /// A path of the host, links resolved.
    Path {
        /// The path.
        path: String,
        /// Whether it can be written to.
        writable: bool,
    },
    /// A device of the host.
    Device {
        /// As in [`Security::devices`].
        device: String,
    },
    /// Everything the host may do.
    Privileged,
    /// A capability.
    Capability {
        /// Its name.
        name: String,
    },
    /// The capabilities that the engine gives to any container.
    Capabilities,
    /// Processes may gain privileges.
    NewPrivileges,
    /// A root file system that can be written to.
    WritableRoot,
    /// System calls that the engine's own profile forbids, perhaps.
    SystemCalls {
        /// `unconfined`, or the digest of a profile.
        profile: String,
    },
    /// Another runtime than the engine's choice.
    Runtime {
        /// Its name.
        name: String,
    },
    /// Processes that are not the project's owner.
    User {
        /// Who they are; `None` is whom the image says.
        user: Option<String>,
    },
    /// One more group.
    Group {
        /// Its number or name.
        group: String,
    },
    /// A port that others than this host reach.
    Port {
        /// The port in the container with its protocol.
        port: String,
        /// The address on the host.
        address: String,
        /// The port on the host.
        host: u16,
    },
    /// A network that is not the manifest's own.
    Network {
        /// Its name.
        name: String,
    },
    /// Any network at all.
    Networked,
    /// A secret of the host.
    Secret {
        /// The variable.
        variable: String,
        /// Where it comes from.
        source: String,
    },
    /// The content of a file or directory outside the project.
    File {
        /// The path, links resolved.
        path: String,
    },
    /// What is fetched from elsewhere, as whoever this host is there.
    Fetched {
        /// The repository, or the host that downloads come from.
        from: String,
    },
    /// Another engine.
    Engine {
        /// Its address.
        host: String,
    },
}

/// What every sandbox of a manifest has anyway.
#[derive(Clone, Debug, Default)]
pub struct Ground<'a> {
    /// The directory that it works on.
    pub project: Option<&'a str>,
    /// The user that owns it.
    pub user: Option<&'a str>,
    /// The manifest's own network.
    pub network: Option<&'a str>,
}

impl Grant {
    /// Returns the content of a path.
    pub fn file(path: &str) -> Self {
        Self::File {
            path: path.to_owned(),
        }
    }

    /// Says whether whoever has this has the other, too.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Path { path, writable },
                Self::Path {
                    path: below,
                    writable: wanted,
                },
            ) => Path::new(below).starts_with(path) && (*writable || !wanted),
            (
                Self::Port { port, address, host },
                Self::Port {
                    port: other_port,
                    address: other_address,
                    host: other_host,
                },
            ) => {
                let any = address.is_empty() || address.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
                (port, host) == (other_port, other_host) && (any || address == other_address)
            }
            (
                Self::Privileged,
                Self::Device { .. }
                | Self::Capability { .. }
                | Self::Capabilities
                | Self::NewPrivileges
                | Self::SystemCalls { .. },
            )
            | (Self::Network { .. }, Self::Networked) => true,
            (one, other) => one == other,
        }
    }

    /// Returns what is given, in a person's words.
    pub fn display(&self) -> String {
        match self {
            Self::Path { path, writable: true } => format!("{path} of the host"),
            Self::Path {
                path,
                writable: false,
            } => format!("{path} of the host (read-only)"),
            Self::Device { device } => format!("device {device}"),
            Self::Privileged => "every privilege of the host".to_owned(),
            Self::Capability { name } => format!("capability {name}"),
            Self::Capabilities => "the engine's capabilities".to_owned(),
            Self::NewPrivileges => "new privileges".to_owned(),
            Self::WritableRoot => "a writable root".to_owned(),
            Self::SystemCalls { profile } if profile == "unconfined" => "any system call".to_owned(),
            Self::SystemCalls { .. } => "a seccomp profile of its own".to_owned(),
            Self::Runtime { name } => format!("runtime {name}"),
            Self::User { user: None } => "the user of its image".to_owned(),
            Self::User { user: Some(user) } => format!("user {user}"),
            Self::Group { group } => format!("group {group}"),
            Self::Port { port, address, host } => format!("{address}:{host} to port {port}"),
            Self::Network { name } => format!("network {name}"),
            Self::Networked => "a network".to_owned(),
            Self::Secret { variable, source } => format!("secret {variable} from {source}"),
            Self::File { path } => format!("the content of {path}"),
            Self::Fetched { from } => format!("what is fetched from {from}"),
            Self::Engine { host } => format!("the engine at {host}"),
        }
    }
}

/// Returns what a container is given beyond the ground. `resolve` follows the links of a path of the host.
pub fn of(spec: &ContainerSpec, ground: &Ground<'_>, resolve: impl Fn(&str) -> String) -> BTreeSet<Grant> {
    let mut grants = of_security(&spec.security);
    for mount in spec.mounts.values() {
        if let Mount::Bind { source, read_only } = mount {
            grants.insert(Grant::Path {
                path: resolve(source),
                writable: !read_only,
            });
        }
    }
    let own = |grant: &Grant| match (grant, ground.project) {
        (Grant::Path { path, .. }, Some(project)) => Path::new(path).starts_with(project),
        _ => false,
    };
    grants.retain(|grant| !own(grant));
    if let Some(name) = &spec.runtime {
        grants.insert(Grant::Runtime { name: name.clone() });
    }
    if ground.user.is_none() || spec.user.as_deref() != ground.user {
        grants.insert(Grant::User {
            user: spec.user.clone(),
        });
    }
    grants.extend(
        spec.groups
            .iter()
            .map(|group| Grant::Group { group: group.clone() }),
    );
    for (port, bindings) in &spec.ports {
        for binding in bindings {
            if !binding.address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()) {
                grants.insert(Grant::Port {
                    port: port.clone(),
                    address: binding.address.clone(),
                    host: binding.port,
                });
            }
        }
    }
    for network in spec.networks.keys() {
        grants.insert(if Some(network.as_str()) == ground.network {
            Grant::Networked
        } else {
            Grant::Network {
                name: network.clone(),
            }
        });
    }
    grants
}

fn of_security(security: &Security) -> BTreeSet<Grant> {
    let Security {
        no_new_privileges,
        cap_drop,
        cap_add,
        read_only,
        privileged,
        seccomp,
        devices,
    } = security;
    let mut grants: BTreeSet<Grant> = cap_add
        .iter()
        .map(|name| Grant::Capability { name: name.clone() })
        .chain(devices.iter().map(|device| Grant::Device {
            device: device.clone(),
        }))
        .collect();
    let flags = [
        (!no_new_privileges, Grant::NewPrivileges),
        (!cap_drop.iter().any(|name| name == "ALL"), Grant::Capabilities),
        (!read_only, Grant::WritableRoot),
        (*privileged, Grant::Privileged),
    ];
    grants.extend(
        flags
            .into_iter()
            .filter(|(given, _)| *given)
            .map(|(_, grant)| grant),
    );
    if let Some(profile) = seccomp {
        let profile = match profile.as_str() {
            "unconfined" => "unconfined".to_owned(),
            text => digest(text.as_bytes()),
        };
        grants.insert(Grant::SystemCalls { profile });
    }
    grants
}

/// Returns what is wanted and not held.
pub fn beyond<'g>(wanted: &'g BTreeSet<Grant>, held: &BTreeSet<Grant>) -> Vec<&'g Grant> {
    let new = |grant: &&Grant| !held.iter().any(|held| held.covers(grant));
    wanted.iter().filter(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Binding, Endpoint};

    fn path(path: &str, writable: bool) -> Grant {
        Grant::Path {
            path: path.to_owned(),
            writable,
        }
    }

    #[test]
    fn a_path_covers_what_lies_below_it_and_reading_but_not_its_neighbours() {
        assert!(path("/srv", true).covers(&path("/srv/a", false)));
        assert!(!path("/srv", false).covers(&path("/srv/a", true)));
        assert!(!path("/srv", true).covers(&path("/srv2", false)));
        assert!(!path("/srv/a", true).covers(&path("/srv", false)));
    }

    #[test]
    fn a_strict_sandbox_in_its_project_is_given_nothing() {
        let ground = Ground {
            project: Some("/srv/demo"),
            user: Some("1000:1000"),
            network: Some("own"),
        };
        let bind = |source: &str| Mount::Bind {
            source: source.to_owned(),
            read_only: false,
        };
        let mut spec = ContainerSpec {
            user: Some("1000:1000".to_owned()),
            mounts: [("/srv/demo".to_owned(), bind("/srv/demo"))].into(),
            security: Security {
                no_new_privileges: true,
                cap_drop: vec!["ALL".to_owned()],
                read_only: true,
                ..Security::default()
            },
            networks: [("own".to_owned(), Endpoint::default())].into(),
            ..ContainerSpec::default()
        };
        let binding = |address: &str| Binding {
            address: address.to_owned(),
            port: 80,
        };
        spec.ports.insert("80/tcp".to_owned(), vec![binding("127.0.0.1")]);
        assert_eq!(of(&spec, &ground, str::to_owned), [Grant::Networked].into());
        spec.ports.insert("81/tcp".to_owned(), vec![binding("0.0.0.0")]);
        spec.mounts.insert("/x".to_owned(), bind("/srv/demo/link"));
        spec.networks.insert("lan".to_owned(), Endpoint::default());
        spec.user = None;
        let given = of(&spec, &ground, |path| match path {
            "/srv/demo/link" => "/etc".to_owned(),
            other => other.to_owned(),
        });
        let words: Vec<String> = given.iter().map(Grant::display).collect();
        assert_eq!(
            words,
            [
                "/etc of the host",
                "the user of its image",
                "0.0.0.0:80 to port 81/tcp",
                "network lan",
                "a network"
            ]
        );
    }
}

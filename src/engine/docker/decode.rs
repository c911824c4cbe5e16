//! The engine's answers to our values, normalised: what engines spell differently is one value here. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::models::{
    ContainerConfig, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryStateEnum, EndpointSettings, HealthStatusEnum, HostConfig, ImageInspect, ImageSummary,
    Mount as WireMount, MountPoint, MountType, PortMap, RestartPolicy, RestartPolicyNameEnum, SystemVersion,
    Volume,
};

use jiff::Timestamp;

use crate::call::{ContainerReply, ListedContainer, NetworkReply, VolumeReply};
use crate::label::{DEVCONTAINER, Labels, PREFIX};
use crate::observed::{EngineInfo, Health, Image, ImageConfig, ImageReply, NetworkShape, RunState};
use crate::spec::{
    Binding, ContainerSpec, Endpoint, HealthCheck, Mount, Resources, Restart, Secrets, Security, Stop,
};

mod field;
mod session;

use field::{devices, health, sorted, ulimits};
use session::health_check;
pub(super) use session::{change, exec, processes};

/// The time that engines give for "never".
const NEVER: &str = "0001-01-01";
/// The weight of processor time that no container asked for.
const SHARES: u64 = 1024;
/// The digits of a container's id that the engine uses as its host name and as an alias.
const SHORT_ID: usize = 12;

pub(super) fn engine(host: &str, version: SystemVersion) -> EngineInfo {
    EngineInfo {
        host: host.to_owned(),
        version: version.version.unwrap_or_default(),
        api_version: version.api_version.unwrap_or_default(),
        platform: format!(
            "{}/{}",
            version.os.unwrap_or_default(),
            version.arch.unwrap_or_default()
        ),
    }
}

/// Returns a container of a listing.
pub(super) fn listed_container(container: ContainerSummary) -> ListedContainer {
    let alive = [
        ContainerSummaryStateEnum::RUNNING,
        ContainerSummaryStateEnum::PAUSED,
        ContainerSummaryStateEnum::RESTARTING,
    ];
    let mounts = container.mounts.unwrap_or_default();
    let volumes = mounts
        .into_iter()
        .filter(|mount| mount.typ.as_deref() == Some("volume"));
    // A container that another one links to has more names, those with a second slash.
    let names = container.names.unwrap_or_default();
    let name = names
        .iter()
        .map(|name| name.trim_start_matches('/'))
        .find(|name| !name.contains('/'));
    ListedContainer {
        id: container.id.unwrap_or_default(),
        name: name.unwrap_or_default().to_owned(),
        image_id: container.image_id.unwrap_or_default(),
        labels: labels(container.labels),
        volumes: volumes.filter_map(|mount| mount.name).collect(),
        running: container.state.is_some_and(|state| alive.contains(&state)),
        created: container.created.and_then(second),
    }
}

/// Returns a container with its fields normalised and complete, those that come from the image included.
pub(super) fn container(container: ContainerInspectResponse) -> ContainerReply {
    let id = container.id.unwrap_or_default();
    let config = container.config.unwrap_or_default();
    let host = container.host_config.unwrap_or_default();
    let networks = container
        .network_settings
        .and_then(|settings| settings.networks)
        .unwrap_or_default();
    let state = container.state.unwrap_or_default();
    let network_ids = networks
        .iter()
        .filter_map(|(name, settings)| Some((name.clone(), text(settings.network_id.clone())?)))
        .collect();
    ContainerReply {
        network_ids,
        name: container
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        image_id: container.image.unwrap_or_default(),
        labels: labels(config.labels.clone()),
        state: run_state(&state),
        created: container.created.unwrap_or_default(),
        started: state
            .started_at
            .filter(|time| !time.is_empty() && !time.starts_with(NEVER)),
        process: state.pid.filter(|process| *process > 0),
        execs: container.exec_ids.unwrap_or_default().into_iter().collect(),
        health_check: health_check(&config),
        health: state.health.and_then(|health| match health.status? {
            HealthStatusEnum::STARTING => Some(Health::Starting),
            HealthStatusEnum::HEALTHY => Some(Health::Healthy),
            HealthStatusEnum::UNHEALTHY => Some(Health::Unhealthy),
            HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => None,
        }),
        restarts: container
            .restart_count
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or_default(),
        error: text(state.error),
        spec: spec(&id, config, host, networks, container.mounts),
        id,
    }
}

fn run_state(state: &ContainerState) -> RunState {
    match state.status.unwrap_or(ContainerStateStatusEnum::EMPTY) {
        ContainerStateStatusEnum::CREATED => RunState::Created,
        // On its way down it is still there.
        ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING => RunState::Running,
        ContainerStateStatusEnum::PAUSED => RunState::Paused,
        ContainerStateStatusEnum::RESTARTING => RunState::Restarting,
        ContainerStateStatusEnum::REMOVING => RunState::Removing,
        ContainerStateStatusEnum::DEAD => RunState::Dead,
        ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::EMPTY => RunState::Exited {
            code: state.exit_code.unwrap_or_default(),
        },
    }
}

fn spec(
    id: &str,
    config: ContainerConfig,
    host: HostConfig,
    networks: HashMap<String, EndpointSettings>,
    shown: Option<Vec<MountPoint>>,
) -> ContainerSpec {
    let short = id.get(..SHORT_ID).unwrap_or(id);
    let options = host.security_opt.unwrap_or_default();
    let mut persons = labels(config.labels);
    persons.retain(|label, _| !label.starts_with(PREFIX) && label != DEVCONTAINER);
    ContainerSpec {
        // What the engine shows does not tell which variables are secrets.
        secrets: Secrets::default(),
        image: config.image.unwrap_or_default(),
        command: list(config.cmd),
        // None at all differs from the image's own, and engines keep the difference.
        entrypoint: config.entrypoint,
        env: variables(config.env),
        user: text(config.user),
        workdir: text(config.working_dir),
        networks: endpoints(networks, short),
        hostname: text(config.hostname).filter(|name| name != short),
        labels: persons,
        mounts: mounts(host.mounts, host.tmpfs, host.binds, shown),
        ports: ports(host.port_bindings),
        security: Security {
            no_new_privileges: options.iter().any(|option| {
                matches!(
                    option.as_str(),
                    "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true"
                )
            }),
            seccomp: options.iter().find_map(|option| {
                let profile = option.strip_prefix("seccomp")?.strip_prefix([':', '='])?;
                Some(profile.to_owned())
            }),
            devices: devices(host.devices),
            cap_drop: capabilities(host.cap_drop),
            cap_add: capabilities(host.cap_add),
            read_only: host.readonly_rootfs.unwrap_or_default(),
            privileged: host.privileged.unwrap_or_default(),
        },
        stop: Stop {
            signal: text(config.stop_signal),
            timeout: config
                .stop_timeout
                .and_then(|seconds| u32::try_from(seconds).ok()),
        },
        init: host.init.unwrap_or_default(),
        shm: positive(host.shm_size).unwrap_or_default(),
        health: health(config.healthcheck),
        groups: sorted(host.group_add),
        // Their order is that in which they are asked.
        dns: host.dns.unwrap_or_default(),
        extra_hosts: host
            .extra_hosts
            .unwrap_or_default()
            .iter()
            .filter_map(|entry| entry.split_once(':'))
            .map(|(name, address)| (name.to_owned(), address.to_owned()))
            .collect(),
        runtime: text(host.runtime),
        ulimits: ulimits(host.ulimits),
        resources: Resources {
            memory: positive(host.memory),
            memory_swap: host.memory_swap.filter(|bytes| *bytes != 0),
            reservation: positive(host.memory_reservation),
            cpus: positive(host.nano_cpus),
            pids: positive(host.pids_limit),
            shares: positive(host.cpu_shares).filter(|shares| *shares != SHARES),
            cpuset: text(host.cpuset_cpus),
        },
        restart: restart(host.restart_policy),
    }
}

/// Returns the mounts that were asked for, and of what the engine shows as mounted the volumes that an image declares.
fn mounts(
    mounts: Option<Vec<WireMount>>,
    tmpfs: Option<HashMap<String, String>>,
    binds: Option<Vec<String>>,
    shown: Option<Vec<MountPoint>>,
) -> BTreeMap<String, Mount> {
    let mut found: BTreeMap<String, Mount> = shown.into_iter().flatten().filter_map(declared).collect();
    for (target, options) in tmpfs.unwrap_or_default() {
        found.insert(target, Mount::Tmpfs { options });
    }
    for bind in binds.unwrap_or_default() {
        let mut parts = bind.splitn(3, ':').map(str::to_owned);
        if let (Some(source), Some(target)) = (parts.next(), parts.next()) {
            let read_only = parts
                .next()
                .is_some_and(|options| options.split(',').any(|option| option == "ro"));
            let mount = if source.starts_with('/') {
                Mount::Bind { source, read_only }
            } else {
                Mount::Volume {
                    name: source,
                    read_only,
                }
            };
            found.insert(target, mount);
        }
    }
    for mount in mounts.unwrap_or_default() {
        let Some(target) = mount.target else { continue };
        let source = mount.source.unwrap_or_default();
        let read_only = mount.read_only.unwrap_or_default();
        let mount = match mount.typ.unwrap_or(MountType::VOLUME) {
            MountType::BIND => Mount::Bind { source, read_only },
            MountType::VOLUME => Mount::Volume {
                name: source,
                read_only,
            },
            MountType::TMPFS => {
                let options = mount.tmpfs_options.unwrap_or_default();
                let size = options.size_bytes.map(|size| format!("size={size}"));
                let mode = options.mode.map(|mode| format!("mode={mode:o}"));
                Mount::Tmpfs {
                    options: size.into_iter().chain(mode).collect::<Vec<_>>().join(","),
                }
            }
            // Never ours, and to be seen as a difference, not to be passed over.
            other @ (MountType::CLUSTER | MountType::IMAGE | MountType::NPIPE) => Mount::Volume {
                name: format!("{other}:{source}"),
                read_only,
            },
        };
        found.insert(target, mount);
    }
    found
}

/// Returns a volume that nobody named, with where it is mounted.
fn declared(shown: MountPoint) -> Option<(String, Mount)> {
    let volume = Mount::Volume {
        name: shown.name?,
        read_only: !shown.rw.unwrap_or(true),
    };
    if volume.is_anonymous() {
        Some((shown.destination?, volume))
    } else {
        None
    }
}

fn ports(bindings: Option<PortMap>) -> BTreeMap<String, Vec<Binding>> {
    let mut found = BTreeMap::new();
    for (port, bindings) in bindings.unwrap_or_default() {
        let mut bindings: Vec<_> = bindings
            .unwrap_or_default()
            .into_iter()
            .map(|binding| Binding {
                address: text(binding.host_ip).unwrap_or_else(|| "0.0.0.0".to_owned()),
                port: binding
                    .host_port
                    .and_then(|port| port.parse().ok())
                    .unwrap_or_default(),
            })
            .collect();
        bindings.sort();
        if !bindings.is_empty() {
            found.insert(port, bindings);
        }
    }
    found
}

fn capabilities(names: Option<Vec<String>>) -> Vec<String> {
    let plain = |name: String| {
        let name = name.to_ascii_uppercase();
        name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)
    };
    names
        .unwrap_or_default()
        .into_iter()
        .map(plain)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

fn restart(policy: Option<RestartPolicy>) -> Restart {
    let policy = policy.unwrap_or_default();
    match policy.name.unwrap_or(RestartPolicyNameEnum::EMPTY) {
        RestartPolicyNameEnum::EMPTY | RestartPolicyNameEnum::NO => Restart::No,
        RestartPolicyNameEnum::ALWAYS => Restart::Always,
        RestartPolicyNameEnum::UNLESS_STOPPED => Restart::UnlessStopped,
        RestartPolicyNameEnum::ON_FAILURE => Restart::OnFailure(
            policy
                .maximum_retry_count
                .and_then(|times| u32::try_from(times).ok())
                .unwrap_or_default(),
        ),
    }
}

/// Returns the attached networks. Some engines add the short id to the aliases.
fn endpoints(networks: HashMap<String, EndpointSettings>, short: &str) -> BTreeMap<String, Endpoint> {
    networks
        .into_iter()
        .filter(|(network, _)| network != "none")
        .map(|(network, settings)| {
            let aliases: BTreeSet<_> = settings
                .aliases
                .unwrap_or_default()
                .into_iter()
                .filter(|alias| alias != short)
                .collect();
            (
                network,
                Endpoint {
                    aliases: aliases.into_iter().collect(),
                },
            )
        })
        .collect()
}

pub(super) fn listed_image(image: ImageSummary) -> Image {
    Image {
        id: image.id,
        tags: named(image.repo_tags),
        digests: named(image.repo_digests),
        labels: image.labels.into_iter().collect(),
        created: second(image.created),
        bytes: u64::try_from(image.size).ok(),
    }
}

pub(super) fn image(image: ImageInspect) -> ImageReply {
    let config = image.config.unwrap_or_default();
    ImageReply {
        platform: format!(
            "{}/{}",
            image.os.unwrap_or_default(),
            image.architecture.unwrap_or_default()
        ),
        image: Image {
            id: image.id.unwrap_or_default(),
            tags: named(image.repo_tags.unwrap_or_default()),
            digests: named(image.repo_digests.unwrap_or_default()),
            labels: labels(config.labels),
            created: image.created.and_then(|created| whole(&created)),
            bytes: image.size.and_then(|size| u64::try_from(size).ok()),
        },
        config: ImageConfig {
            env: variables(config.env),
            command: list(config.cmd),
            entrypoint: list(config.entrypoint),
            user: text(config.user),
            workdir: text(config.working_dir),
            stop_signal: text(config.stop_signal),
            health: match health(config.healthcheck) {
                HealthCheck::Own(probe) => Some(probe),
                HealthCheck::Image | HealthCheck::Off => None,
            },
            on_build: config.on_build.unwrap_or_default(),
        },
    }
}

/// Leaves out the places of names that an image does not have.
fn named(names: Vec<String>) -> BTreeSet<String> {
    names
        .into_iter()
        .filter(|name| !name.contains("<none>"))
        .collect()
}

pub(super) fn volume(volume: Volume) -> VolumeReply {
    VolumeReply {
        name: volume.name,
        labels: volume.labels.into_iter().collect(),
        created: volume.created_at.unwrap_or_default(),
    }
}

/// Returns a network of a listing.
pub(super) fn network(network: bollard::models::Network) -> NetworkReply {
    NetworkReply {
        created: network.created.unwrap_or_default(),
        id: network.id.unwrap_or_default(),
        name: network.name.unwrap_or_default(),
        labels: labels(network.labels),
        shape: NetworkShape {
            driver: network.driver.unwrap_or_default(),
            internal: network.internal.unwrap_or_default(),
            ipv6: network.enable_ipv6.unwrap_or_default(),
            options: labels(network.options),
        },
    }
}

/// Returns a network that was asked for.
pub(super) fn inspected_network(found: bollard::models::NetworkInspect) -> NetworkReply {
    network(bollard::models::Network {
        created: found.created,
        id: found.id,
        name: found.name,
        labels: found.labels,
        driver: found.driver,
        internal: found.internal,
        enable_ipv6: found.enable_ipv6,
        options: found.options,
        ..bollard::models::Network::default()
    })
}

fn labels(labels: Option<HashMap<String, String>>) -> Labels {
    labels.unwrap_or_default().into_iter().collect()
}

/// Reads the time at which an image was made as the listing of images has it: in whole seconds.
fn whole(created: &str) -> Option<Timestamp> {
    let created: Timestamp = created.parse().ok()?;
    second(created.as_second())
}

fn second(second: i64) -> Option<Timestamp> {
    Timestamp::from_second(second).ok()
}

/// An empty text is none.
fn text(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// An empty list is none.
fn list(list: Option<Vec<String>>) -> Option<Vec<String>> {
    list.filter(|list| !list.is_empty())
}

/// Zero and below stand for no limit.
fn positive(number: Option<i64>) -> Option<u64> {
    number
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| *number > 0)
}

fn variables(env: Option<Vec<String>>) -> BTreeMap<String, String> {
    env.unwrap_or_default()
        .iter()
        .filter_map(|variable| variable.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests;

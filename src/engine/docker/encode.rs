//! Our values to the engine's requests. Pure.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerConfig, ContainerCreateBody, ContainerUpdateBody, DeviceMapping, EndpointSettings, ExecConfig,
    HealthConfig, HostConfig, Mount as WireMount, MountType, MountVolumeOptions, NetworkConnectRequest,
    NetworkCreateRequest, NetworkingConfig, PortBinding, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum, VolumeCreateRequest,
};

use crate::call::{Commit, Create, Exec};
use crate::label::{HARNESS_VOLUME, Labels, REBUILT, UID};
use crate::observed::NetworkShape;
use crate::spec::{
    ContainerSpec, Endpoint, HealthCheck, Mount, Probe, Resources, Restart, Security, Stop, Ulimit,
};

/// Returns labels as the engine takes them, with the random identifier that every creation gets, unless it has one.
pub(super) fn labels(labels: &Labels, uid: &str) -> HashMap<String, String> {
    let mut labels: HashMap<_, _> = labels.clone().into_iter().collect();
    labels.entry(UID.to_owned()).or_insert_with(|| uid.to_owned());
    labels
}

/// Returns a filter that lets through what carries our labels.
pub(super) fn ours() -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![UID.to_owned()])])
}

/// Splits `repository:tag`, where the repository may itself have a port.
pub(super) fn split_tag(reference: &str) -> (String, String) {
    match reference.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), tag.to_owned()),
        _ => (reference.to_owned(), "latest".to_owned()),
    }
}

/// Returns the body of the creation of a container that ends with its standard input, and is gone then.
pub(super) fn kept(create: &Create, uid: &str) -> ContainerCreateBody {
    let mut body = container(create, uid);
    body.open_stdin = Some(true);
    body.stdin_once = Some(true);
    body.attach_stdin = Some(true);
    if let Some(host) = &mut body.host_config {
        host.auto_remove = Some(true);
    }
    body
}

/// Returns the body of a container's creation.
///
/// All fields are sent that have a meaning for us, also where they equal the engine's default: engines differ in
/// their defaults. Only the first network can be given here.
pub(super) fn container(create: &Create, uid: &str) -> ContainerCreateBody {
    let Create {
        name: _,
        labels: own,
        spec,
    } = create;
    let ContainerSpec {
        image,
        command,
        entrypoint,
        env,
        secrets,
        user,
        workdir,
        hostname,
        labels: persons,
        mounts,
        ports,
        security,
        stop,
        init,
        shm,
        health,
        groups,
        dns,
        extra_hosts,
        runtime,
        ulimits,
        resources,
        restart,
        networks,
    } = spec;
    let Stop { signal, timeout } = stop;
    let mut all = labels(own, uid);
    for (label, value) in persons {
        all.entry(label.clone()).or_insert_with(|| value.clone());
    }
    let first = networks.iter().next();
    let mut host = HostConfig {
        init: Some(*init),
        shm_size: (*shm > 0).then(|| signed(*shm)),
        restart_policy: Some(policy(*restart)),
        network_mode: Some(first.map_or_else(|| "none".to_owned(), |(network, _)| network.clone())),
        port_bindings: Some(
            ports
                .iter()
                .map(|(port, bindings)| {
                    let binding = |binding: &crate::spec::Binding| PortBinding {
                        host_ip: Some(binding.address.clone()),
                        host_port: Some(binding.port.to_string()),
                    };
                    (port.clone(), Some(bindings.iter().map(binding).collect()))
                })
                .collect(),
        ),
        mounts: Some(
            mounts
                .iter()
                .filter_map(|(target, mount)| wire_mount(target, mount))
                .collect(),
        ),
        tmpfs: Some(tmpfs(mounts)),
        group_add: Some(groups.clone()),
        dns: Some(dns.clone()),
        extra_hosts: Some(
            extra_hosts
                .iter()
                .map(|(name, address)| format!("{name}:{address}"))
                .collect(),
        ),
        runtime: runtime.clone(),
        ulimits: Some(
            ulimits
                .iter()
                .map(|(name, Ulimit { soft, hard })| ResourcesUlimits {
                    name: Some(name.clone()),
                    soft: Some(*soft),
                    hard: Some(*hard),
                })
                .collect(),
        ),
        ..HostConfig::default()
    };
    secure(&mut host, security);
    limit(&mut host, resources);
    ContainerCreateBody {
        image: Some(image.clone()),
        cmd: command.clone(),
        entrypoint: entrypoint.clone(),
        env: Some(
            secrets
                .known()
                .map(|(name, value)| format!("{name}={}", value.expose()))
                .chain(variables(env))
                .collect(),
        ),
        user: user.clone(),
        working_dir: workdir.clone(),
        hostname: hostname.clone(),
        labels: Some(all),
        // Without this a binding is silently not published.
        exposed_ports: Some(ports.keys().cloned().collect()),
        healthcheck: match health {
            HealthCheck::Image => None,
            HealthCheck::Off => Some(HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..HealthConfig::default()
            }),
            HealthCheck::Own(probe) => Some(health_check(probe)),
        },
        stop_signal: signal.clone(),
        stop_timeout: timeout.map(i64::from),
        networking_config: first
            .filter(|(network, _)| !is_predefined(network))
            .map(|(network, endpoint)| NetworkingConfig {
                endpoints_config: Some(HashMap::from([(network.clone(), endpoint_settings(endpoint))])),
            }),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

/// The engine counts in nanoseconds, and takes the image's value for 0.
fn health_check(probe: &Probe) -> HealthConfig {
    let Probe {
        test,
        interval,
        timeout,
        start_period,
        retries,
    } = probe;
    let nano = |milliseconds: u64| signed(milliseconds.saturating_mul(1_000_000));
    HealthConfig {
        test: Some(test.clone()),
        interval: Some(nano(*interval)),
        timeout: Some(nano(*timeout)),
        start_period: Some(nano(*start_period)),
        retries: Some(i64::from(*retries)),
        ..HealthConfig::default()
    }
}

/// Says whether a network is one of the engine's own, which take no aliases.
fn is_predefined(network: &str) -> bool {
    matches!(network, "bridge" | "host" | "none" | "default")
}

fn endpoint_settings(endpoint: &Endpoint) -> EndpointSettings {
    let Endpoint { aliases } = endpoint;
    EndpointSettings {
        aliases: (!aliases.is_empty()).then(|| aliases.clone()),
        ..EndpointSettings::default()
    }
}

/// Returns a mount for the mount API, which, unlike binds, never creates a missing directory of the host. It
/// ignores the owner of a tmpfs, so those go elsewhere.
fn wire_mount(target: &str, mount: &Mount) -> Option<WireMount> {
    let (typ, source, read_only) = match mount {
        Mount::Bind { source, read_only } => (MountType::BIND, source, *read_only),
        Mount::Volume { name, read_only } => (MountType::VOLUME, name, *read_only),
        Mount::Tmpfs { .. } => return None,
    };
    Some(WireMount {
        target: Some(target.to_owned()),
        source: Some(source.clone()),
        typ: Some(typ),
        read_only: Some(read_only),
        // A new volume would be filled with what the image has in its place; harness volumes are filled by jobs alone.
        volume_options: source.starts_with(HARNESS_VOLUME).then(|| MountVolumeOptions {
            no_copy: Some(true),
            ..MountVolumeOptions::default()
        }),
        ..WireMount::default()
    })
}

fn tmpfs(mounts: &BTreeMap<String, Mount>) -> HashMap<String, String> {
    mounts
        .iter()
        .filter_map(|(target, mount)| match mount {
            Mount::Tmpfs { options } => Some((target.clone(), options.clone())),
            Mount::Bind { .. } | Mount::Volume { .. } => None,
        })
        .collect()
}

fn secure(host: &mut HostConfig, security: &Security) {
    let Security {
        no_new_privileges,
        cap_drop,
        cap_add,
        read_only,
        privileged,
        seccomp,
        devices,
    } = security;
    let no_new_privileges = no_new_privileges.then(|| "no-new-privileges:true".to_owned());
    let seccomp = seccomp.as_ref().map(|profile| format!("seccomp={profile}"));
    host.security_opt = Some(no_new_privileges.into_iter().chain(seccomp).collect());
    host.devices = Some(devices.iter().map(|device| device_mapping(device)).collect());
    host.cap_drop = Some(cap_drop.clone());
    host.cap_add = Some(cap_add.clone());
    host.readonly_rootfs = Some(*read_only);
    host.privileged = Some(*privileged);
}

/// Takes `HOST:CONTAINER:PERMISSIONS` apart.
fn device_mapping(device: &str) -> DeviceMapping {
    let mut parts = device.splitn(3, ':').map(str::to_owned);
    DeviceMapping {
        path_on_host: parts.next(),
        path_in_container: parts.next(),
        cgroup_permissions: parts.next(),
    }
}

fn limit(host: &mut HostConfig, resources: &Resources) {
    let Resources {
        memory,
        memory_swap,
        reservation,
        cpus,
        pids,
        shares,
        cpuset,
    } = resources;
    host.cpu_shares = shares.map(signed);
    host.cpuset_cpus.clone_from(cpuset);
    host.memory = memory.map(signed);
    host.memory_swap = *memory_swap;
    host.memory_reservation = reservation.map(signed);
    host.nano_cpus = cpus.map(signed);
    host.pids_limit = pids.map(signed);
}

fn policy(restart: Restart) -> RestartPolicy {
    let (name, times) = match restart {
        Restart::No => (RestartPolicyNameEnum::NO, 0),
        Restart::Always => (RestartPolicyNameEnum::ALWAYS, 0),
        Restart::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, 0),
        Restart::OnFailure(times) => (RestartPolicyNameEnum::ON_FAILURE, i64::from(times)),
    };
    RestartPolicy {
        name: Some(name),
        maximum_retry_count: Some(times),
    }
}

/// Returns a command that is run in a container.
pub(super) fn exec(exec: &Exec) -> ExecConfig {
    let Exec {
        container: _,
        words,
        user,
        workdir,
        env,
        secrets,
    } = exec;
    let mut env = env.clone();
    let exposed = secrets.iter();
    env.extend(exposed.map(|(name, secret)| (name.clone(), secret.expose().to_owned())));
    ExecConfig {
        cmd: Some(words.clone()),
        user: user.clone(),
        working_dir: workdir.clone(),
        env: (!env.is_empty()).then(|| variables(&env)),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    }
}

/// Returns the body of an update. A limit that is not wanted is left out, since the engine takes 0 for
/// "unchanged"; of the number of processes alone it can be told that there is no limit any more.
pub(super) fn update(resources: Option<&Resources>, restart: Option<Restart>) -> ContainerUpdateBody {
    let mut body = ContainerUpdateBody {
        restart_policy: restart.map(policy),
        ..ContainerUpdateBody::default()
    };
    if let Some(resources) = resources {
        let Resources {
            memory,
            memory_swap,
            reservation,
            cpus,
            pids,
            shares,
            cpuset,
        } = resources;
        body.cpu_shares = shares.map(signed);
        body.cpuset_cpus.clone_from(cpuset);
        body.memory = memory.map(signed);
        body.memory_swap = *memory_swap;
        body.memory_reservation = reservation.map(signed);
        body.nano_cpus = cpus.map(signed);
        body.pids_limit = Some(pids.map_or(-1, signed));
    }
    body
}

/// Returns the configuration that a commit puts over the container's. `Some(vec![])` clears an entrypoint here,
/// while as a change `ENTRYPOINT []` would not.
pub(super) fn commit(commit: &Commit, uid: &str) -> ContainerConfig {
    let Commit {
        container: _,
        rebuilt,
        tag: _,
        labels: own,
        env,
        command,
        entrypoint,
        user,
        workdir,
    } = commit;
    let mut own = own.clone();
    if *rebuilt {
        own.insert(REBUILT.to_owned(), uid.to_owned());
    }
    ContainerConfig {
        labels: Some(labels(&own, uid)),
        env: Some(variables(env)),
        cmd: command.clone(),
        entrypoint: entrypoint.clone(),
        user: user.clone(),
        working_dir: workdir.clone(),
        ..ContainerConfig::default()
    }
}

pub(super) fn volume(name: &str, own: &Labels, uid: &str) -> VolumeCreateRequest {
    VolumeCreateRequest {
        name: Some(name.to_owned()),
        labels: Some(labels(own, uid)),
        ..VolumeCreateRequest::default()
    }
}

pub(super) fn network(name: &str, own: &Labels, uid: &str) -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some(NetworkShape::default().driver),
        labels: Some(labels(own, uid)),
        ..NetworkCreateRequest::default()
    }
}

pub(super) fn connect(container: &str, endpoint: &Endpoint) -> NetworkConnectRequest {
    NetworkConnectRequest {
        container: container.to_owned(),
        endpoint_config: Some(endpoint_settings(endpoint)),
    }
}

fn variables(env: &BTreeMap<String, String>) -> Vec<String> {
    env.iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// The engine counts in signed numbers; nothing sensible is beyond them.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

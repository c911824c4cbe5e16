//! Single fields of a container that engines spell in several ways.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::{DeviceMapping, HealthConfig, ResourcesUlimits};

use super::{positive, text};
use crate::spec::{HealthCheck, Probe, Ulimit};

/// Reads a health check; that of an image and that of a container look the same.
pub(super) fn health(config: Option<HealthConfig>) -> HealthCheck {
    let Some(config) = config else {
        return HealthCheck::Image;
    };
    let test = config.test.unwrap_or_default();
    // What the engine fills in where nothing is said.
    let or = |nano: Option<i64>, seconds: u64| positive(nano).map_or(seconds * 1000, |nano| nano / 1_000_000);
    match test.first().map(String::as_str) {
        None => HealthCheck::Image,
        Some("NONE") => HealthCheck::Off,
        Some(_) => HealthCheck::Own(Probe {
            test,
            interval: or(config.interval, 30),
            timeout: or(config.timeout, 30),
            start_period: or(config.start_period, 0),
            retries: config
                .retries
                .and_then(|retries| u32::try_from(retries).ok())
                .filter(|retries| *retries > 0)
                .unwrap_or(3),
        }),
    }
}

pub(super) fn sorted(names: Option<Vec<String>>) -> Vec<String> {
    let names: BTreeSet<String> = names.unwrap_or_default().into_iter().collect();
    names.into_iter().collect()
}

pub(super) fn devices(devices: Option<Vec<DeviceMapping>>) -> Vec<String> {
    let device = |device: DeviceMapping| {
        let host = device.path_on_host?;
        let inside = text(device.path_in_container).unwrap_or_else(|| host.clone());
        let permissions = text(device.cgroup_permissions).unwrap_or_else(|| "rwm".to_owned());
        Some(format!("{host}:{inside}:{permissions}"))
    };
    sorted(Some(
        devices
            .unwrap_or_default()
            .into_iter()
            .filter_map(device)
            .collect(),
    ))
}

pub(super) fn ulimits(limits: Option<Vec<ResourcesUlimits>>) -> BTreeMap<String, Ulimit> {
    let limit = |limit: ResourcesUlimits| {
        let (soft, hard) = (limit.soft.unwrap_or_default(), limit.hard.unwrap_or_default());
        Some((limit.name?, Ulimit { soft, hard }))
    };
    limits.unwrap_or_default().into_iter().filter_map(limit).collect()
}

//! Whether two containers can run at once.

use std::collections::BTreeSet;

use crate::spec::{ContainerSpec, Mount};

/// Says whether a container can run while the one it replaces still does: they share no port of the host and no
/// volume that both write to.
pub(super) fn can_run_beside(old: &ContainerSpec, new: &ContainerSpec) -> bool {
    let writes = |spec: &ContainerSpec| -> BTreeSet<String> {
        spec.mounts
            .values()
            .filter_map(|mount| match mount {
                Mount::Volume {
                    name,
                    read_only: false,
                } => Some(name.clone()),
                Mount::Volume { read_only: true, .. } | Mount::Bind { .. } | Mount::Tmpfs { .. } => None,
            })
            .collect()
    };
    let bindings = |spec: &ContainerSpec| -> BTreeSet<u16> {
        let all = spec.ports.values().flatten();
        all.map(|binding| binding.port)
            .filter(|port| *port != 0)
            .collect()
    };
    let named = |spec: &ContainerSpec| -> BTreeSet<String> {
        let devices = spec.networks.keys().filter(|network| *network == "host");
        devices.chain(&spec.security.devices).cloned().collect()
    };
    writes(old).is_disjoint(&writes(new))
        && bindings(old).is_disjoint(&bindings(new))
        && named(old).is_disjoint(&named(new))
}

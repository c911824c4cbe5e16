//! What differs between two specifications, field by field. Values are only made of fields that do: nearly all
//! containers are as they should be, and every pass compares every one of them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Binding, ContainerSpec, Endpoint, HealthCheck, Mount, Probe, Resources, Secrets, Security, Stop, Ulimit,
};
use crate::key::digest;
use crate::secret::Secret;

/// What a change of a field costs a running container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The engine changes it while the container runs.
    Live,
    /// Only a new container can have it.
    Create,
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Dotted path as in the manifest: `resources.memory`, `env.MODE`, `ports.3000/tcp`.
    pub field: String,
    /// The first value; `Null` is absent.
    pub from: Value,
    /// The second value; `Null` is absent.
    pub to: Value,
    /// What changing it costs.
    pub class: Class,
}

/// A specification as it is compared with others: borrowed, apart from what does not count or counts otherwise. The
/// image is left out: whether an image is the wanted one is decided by what it is, not by what it is called.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    /// What counts as it is.
    spec: &'a ContainerSpec,
    /// The command.
    pub command: Option<&'a [String]>,
    /// The entrypoint.
    pub entrypoint: Option<&'a [String]>,
    /// Environment variables that are no secrets.
    pub env: Texts<'a>,
    /// Environment variables with secrets.
    pub secrets: Cow<'a, Secrets>,
    /// The user.
    pub user: Option<&'a str>,
    /// The working directory.
    pub workdir: Option<&'a str>,
    /// The person's own labels.
    pub labels: Texts<'a>,
    /// Mounts by target path.
    pub mounts: Cow<'a, BTreeMap<String, Mount>>,
    /// The signal that it is stopped by.
    pub signal: Option<&'a str>,
    /// What tells whether it can be used.
    pub health: Option<&'a Probe>,
    /// The engine's runtime.
    pub runtime: Option<&'a str>,
    /// Limits of processes by name.
    pub ulimits: Cow<'a, BTreeMap<String, Ulimit>>,
    /// Attached networks by name.
    pub networks: Cow<'a, BTreeMap<String, Endpoint>>,
}

/// Texts by name, with others below that count where there is none of that name.
#[derive(Clone, Debug)]
pub struct Texts<'a> {
    own: Cow<'a, BTreeMap<String, String>>,
    below: Vec<(&'a str, &'a str)>,
}

impl<'a> Texts<'a> {
    fn of(own: &'a BTreeMap<String, String>) -> Self {
        Self {
            own: Cow::Borrowed(own),
            below: Vec::new(),
        }
    }

    /// Puts others below.
    pub fn lay_below(&mut self, others: impl Iterator<Item = (&'a String, &'a String)>) {
        let new = others.filter(|(name, _)| !self.own.contains_key(*name));
        self.below = new.map(|(name, text)| (name.as_str(), text.as_str())).collect();
    }

    fn get(&self, name: &str) -> Option<&str> {
        let below = || self.below.iter().find(|(other, _)| *other == name);
        let own = self.own.get(name).map(String::as_str);
        own.or_else(|| below().map(|(_, text)| *text))
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = self.own.iter();
        own.map(|(name, text)| (name.as_str(), text.as_str()))
            .chain(self.below.iter().copied())
    }
}

impl<'a> Fields<'a> {
    /// Takes a specification as it is.
    pub fn of(spec: &'a ContainerSpec) -> Self {
        Self {
            spec,
            command: spec.command.as_deref(),
            entrypoint: spec.entrypoint.as_deref(),
            env: Texts::of(&spec.env),
            secrets: Cow::Borrowed(&spec.secrets),
            user: spec.user.as_deref(),
            workdir: spec.workdir.as_deref(),
            labels: Texts::of(&spec.labels),
            mounts: Cow::Borrowed(&spec.mounts),
            signal: spec.stop.signal.as_deref(),
            health: match &spec.health {
                HealthCheck::Own(probe) => Some(probe),
                // No check at all is shown as one that was switched off, or not.
                HealthCheck::Image | HealthCheck::Off => None,
            },
            runtime: spec.runtime.as_deref(),
            ulimits: Cow::Borrowed(&spec.ulimits),
            networks: Cow::Borrowed(&spec.networks),
        }
    }

    /// Takes variables to be secrets: what an engine shows does not tell which are.
    pub fn hide<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        for name in names {
            if self.env.own.contains_key(name)
                && let Some(value) = self.env.own.to_mut().remove(name)
            {
                let secret = Secret::of_text(name, value).ok();
                self.secrets.to_mut().insert(name, secret);
            }
        }
    }

    /// Leaves out the mounts that are not wanted here.
    pub fn retain_mounts(&mut self, wanted: impl Fn(&String, &Mount) -> bool) {
        retain(&mut self.mounts, wanted);
    }

    /// Leaves out the limits of processes that are not wanted here.
    pub fn retain_ulimits(&mut self, wanted: impl Fn(&String) -> bool) {
        retain(&mut self.ulimits, |name, _| wanted(name));
    }

    /// Leaves out the aliases that are not wanted here.
    pub fn retain_aliases(&mut self, wanted: impl Fn(&str, &String) -> bool) {
        let mut networks = self.networks.iter();
        if networks.all(|(network, endpoint)| endpoint.aliases.iter().all(|alias| wanted(network, alias))) {
            return;
        }
        for (network, endpoint) in self.networks.to_mut() {
            endpoint.aliases.retain(|alias| wanted(network, alias));
        }
    }

    /// Returns what differs from these fields to others, by path.
    pub fn differences(&self, to: &Self) -> Vec<Difference> {
        let mut found = Found::default();
        let told = self.secrets.differences(&to.secrets, &self.env, &to.env);
        let is_told = |field: &str| told.iter().any(|difference| difference.field == field);
        found.texts("env", (&self.env, &to.env), is_told);
        found.0.extend(told);
        found.value("command", self.command, to.command, Class::Create);
        found.value("entrypoint", self.entrypoint, to.entrypoint, Class::Create);
        found.value("user", self.user, to.user, Class::Create);
        found.value("workdir", self.workdir, to.workdir, Class::Create);
        found.texts("labels", (&self.labels, &to.labels), |_| false);
        let mount = |mount: &Mount| Value::from(mount.display());
        found.each("mounts", (&self.mounts, &to.mounts), mount, Class::Create);
        found.value("stop.signal", self.signal, to.signal, Class::Create);
        found.value("ready", self.health, to.health, Class::Create);
        found.value("runtime", self.runtime, to.runtime, Class::Create);
        let limit = |limit: &Ulimit| json!(limit);
        found.each(
            "resources.ulimits",
            (&self.ulimits, &to.ulimits),
            limit,
            Class::Create,
        );
        let aliases = |endpoint: &Endpoint| json!(endpoint.aliases);
        found.each("network", (&self.networks, &to.networks), aliases, Class::Live);
        found.plain(self.spec, to.spec);
        found.0.sort_by(|one, other| one.field.cmp(&other.field));
        found.0
    }
}

impl ContainerSpec {
    /// Returns what differs from this specification to another, by path, the image aside.
    pub fn differences(&self, to: &Self) -> Vec<Difference> {
        Fields::of(self).differences(&Fields::of(to))
    }
}

fn retain<T: Clone>(entries: &mut Cow<'_, BTreeMap<String, T>>, wanted: impl Fn(&String, &T) -> bool) {
    if entries.iter().any(|(name, value)| !wanted(name, value)) {
        entries.to_mut().retain(|name, value| wanted(name, value));
    }
}

/// Gathers what differs; an absent value is `Null`.
#[derive(Default)]
struct Found(Vec<Difference>);

impl Found {
    fn push(&mut self, field: String, from: Value, to: Value, class: Class) {
        // What is shown alike is alike for whoever would have to change it.
        if from != to {
            self.0.push(Difference {
                field,
                from,
                to,
                class,
            });
        }
    }

    fn value<T: PartialEq + Serialize>(&mut self, field: &str, from: Option<T>, to: Option<T>, class: Class) {
        if from != to {
            self.push(field.to_owned(), json!(from), json!(to), class);
        }
    }

    /// Compares lists; an empty one is no field.
    fn list(&mut self, field: &str, from: &[String], to: &[String]) {
        let filled = |list| Some(list).filter(|list: &&[String]| !list.is_empty());
        self.value(field, filled(from), filled(to), Class::Create);
    }

    fn texts(&mut self, section: &str, (from, to): (&Texts<'_>, &Texts<'_>), is_told: impl Fn(&str) -> bool) {
        let mut differs = |name: &str, from: Option<&str>, to: Option<&str>| {
            let field = format!("{section}.{name}");
            if !is_told(&field) {
                self.push(field, json!(from), json!(to), Class::Create);
            }
        };
        for (name, text) in to.iter() {
            let before = from.get(name);
            if before != Some(text) {
                differs(name, before, Some(text));
            }
        }
        for (name, text) in from.iter() {
            if to.get(name).is_none() {
                differs(name, Some(text), None);
            }
        }
    }

    fn each<T: PartialEq>(
        &mut self,
        section: &str,
        (from, to): (&BTreeMap<String, T>, &BTreeMap<String, T>),
        show: impl Fn(&T) -> Value,
        class: Class,
    ) {
        if from == to {
            return;
        }
        for (name, after) in to {
            let before = from.get(name);
            if before != Some(after) {
                let before = before.map_or(Value::Null, &show);
                self.push(format!("{section}.{name}"), before, show(after), class);
            }
        }
        for (name, before) in from {
            if !to.contains_key(name) {
                self.push(format!("{section}.{name}"), show(before), Value::Null, class);
            }
        }
    }

    /// Compares what always counts as it is.
    fn plain(&mut self, from: &ContainerSpec, to: &ContainerSpec) {
        let ContainerSpec {
            hostname,
            ports,
            security,
            stop: Stop { signal: _, timeout },
            init,
            shm,
            groups,
            dns,
            extra_hosts,
            resources,
            restart,
            image: _,
            command: _,
            entrypoint: _,
            env: _,
            secrets: _,
            user: _,
            workdir: _,
            labels: _,
            mounts: _,
            health: _,
            runtime: _,
            ulimits: _,
            networks: _,
        } = from;
        self.value("hostname", hostname.as_ref(), to.hostname.as_ref(), Class::Create);
        let shown = |bindings: &Vec<Binding>| {
            let bindings = bindings.iter();
            json!(
                bindings
                    .map(|binding| format!("{}:{}", binding.address, binding.port))
                    .collect::<Vec<_>>()
            )
        };
        self.each("ports", (ports, &to.ports), shown, Class::Create);
        if *security != to.security {
            self.security(security, &to.security);
        }
        self.value("stop.timeout", *timeout, to.stop.timeout, Class::Create);
        self.value("init", Some(init), Some(&to.init), Class::Create);
        self.value("resources.shm", Some(shm), Some(&to.shm), Class::Create);
        self.list("groups", groups, &to.groups);
        self.list("dns", dns, &to.dns);
        let text = |text: &String| Value::from(text.as_str());
        self.each("extraHosts", (extra_hosts, &to.extra_hosts), text, Class::Create);
        if *resources != to.resources {
            self.resources(resources, &to.resources);
        }
        if *restart != to.restart {
            let (before, after) = (restart.display(), to.restart.display());
            self.value("restart", Some(before), Some(after), Class::Live);
        }
    }

    fn security(&mut self, from: &Security, to: &Security) {
        let Security {
            no_new_privileges,
            cap_drop,
            cap_add,
            read_only,
            privileged,
            seccomp,
            devices,
        } = from;
        let flags = [
            ("noNewPrivileges", no_new_privileges, to.no_new_privileges),
            ("readOnly", read_only, to.read_only),
            ("privileged", privileged, to.privileged),
        ];
        for (name, from, to) in flags {
            self.value(&format!("security.{name}"), Some(*from), Some(to), Class::Create);
        }
        self.value(
            "security.capDrop",
            Some(cap_drop),
            Some(&to.cap_drop),
            Class::Create,
        );
        self.value("security.capAdd", Some(cap_add), Some(&to.cap_add), Class::Create);
        let profile = |profile: &Option<String>| profile.as_deref().map(shown_profile);
        self.value(
            "security.seccomp",
            profile(seccomp),
            profile(&to.seccomp),
            Class::Create,
        );
        self.list("security.devices", devices, &to.devices);
    }

    fn resources(&mut self, from: &Resources, to: &Resources) {
        let Resources {
            memory,
            memory_swap,
            reservation,
            cpus,
            pids,
            shares,
            cpuset,
        } = from;
        let numbers = [
            ("memory", *memory, to.memory),
            ("reservation", *reservation, to.reservation),
            ("cpus", *cpus, to.cpus),
            ("pids", *pids, to.pids),
            ("shares", *shares, to.shares),
        ];
        for (name, from, to) in numbers {
            self.value(&format!("resources.{name}"), from, to, Class::Live);
        }
        self.value("resources.memorySwap", *memory_swap, to.memory_swap, Class::Live);
        self.value(
            "resources.cpuset",
            cpuset.as_ref(),
            to.cpuset.as_ref(),
            Class::Live,
        );
    }
}

/// Returns a seccomp profile as it is told: its text is long, and nobody compares it by eye.
fn shown_profile(profile: &str) -> String {
    if profile.starts_with('{') {
        format!("a profile ({})", &digest(profile.as_bytes())[..12])
    } else {
        profile.to_owned()
    }
}

impl Texts<'_> {
    /// Returns the text of a name as a value.
    pub(super) fn value(&self, name: &str) -> Value {
        self.get(name).map_or(Value::Null, Value::from)
    }
}

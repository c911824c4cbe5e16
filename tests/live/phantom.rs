//! Phantom differences: whatever a valid manifest asks for, nothing differs once it is applied.
//!
//! `AISHELL_PHANTOMS` says how many random manifests are tried, `AISHELL_SEED` which; a failure names its seed.

use crate::daemon::Daemon;
use crate::dice::Dice;
use crate::project::{Project, changes, project};
use crate::raw;

/// How many manifests are tried unless it is said.
const MANIFESTS: usize = 12;
/// The most containers of one manifest.
const CONTAINERS: usize = 4;

/// Every field that can be asked for, with values that mean something else to different engines.
const FIELDS: &[&[&str]] = &[
    &[
        "command: [sleep, '1000']",
        "command: [sh, -c, 'exec sleep 1000']",
        "command: [sleep, '1000'], entrypoint: []",
    ],
    &["user: owner", "user: image", "user: '65534:65534'", "user: 1234"],
    &["home: tmpfs", "home: volume"],
    &["workspace: none", "workspace: project"],
    &["workdir: /tmp", "workdir: ~"],
    &[
        "env: { A: '1', PATH: '/bin' }",
        "env: { EMPTY: '', QUOTED: \"a 'b' \\\"c\\\" = $d\" }",
        "env: [X=a=b, Y= z]",
    ],
    &["labels: { team: core, empty: '' }", "labels: { 'a.b/c': 'x y' }"],
    &["hostname: box", "hostname: a.b.c"],
    &["groups: ['44', '27', '44']", "groups: [0]"],
    &["dns: [10.9.9.9, 'fd00::53']", "dns: [127.0.0.1]"],
    &[
        "extraHosts: { db: 10.0.0.7, six: 'fd00::7' }",
        "extraHosts: { host: host-gateway }",
    ],
    &[
        "stop: { signal: SIGINT }",
        "stop: { timeout: 3s, signal: kill }",
        "stop: { timeout: 0 }",
        "stop: { signal: RTMIN+3 }",
    ],
    &[
        "restart: 'no'",
        "restart: always",
        "restart: on-failure",
        "restart: on-failure:3",
    ],
    &["network: none", "network: [bridge]", "network: default"],
    &[
        "resources: { memory: 64MiB }",
        "resources: { memory: 65537k, memorySwap: unlimited }",
        "resources: { memory: 64m, memorySwap: 64m, reservation: 32m }",
        "resources: { cpus: 0.5, pids: unlimited }",
        "resources: { cpus: 1.25, pids: 64 }",
        "resources: { shm: 1MiB }",
        "resources: { ulimits: { nofile: 1000, nproc: { soft: 2000, hard: 4000 }, core: 0 } }",
    ],
    &[
        "mounts: [{ tmpfs: /scratch }]",
        "mounts: [{ tmpfs: /scratch, size: 3m, mode: '0700' }, { tmpfs: /tmp, size: 9m }]",
        "mounts: ['/usr/share:/share:ro', { volume: data, target: /data }]",
        "mounts: [{ volume: data, target: /data/, readOnly: true }, { source: /usr/lib, target: /a//b/c, readOnly: true }]",
    ],
    &[
        "security: dev",
        "security: legacy",
        "security: { capAdd: [cap_chown, NET_RAW], capDrop: [mknod] }",
        "security: { profile: legacy, capDrop: [NET_RAW], seccomp: unconfined }",
        "security: { readOnly: false, devices: [/dev/null, '/dev/zero:/dev/nil:r'] }",
    ],
    &["preStart: ['true || :', { run: ':', workdir: /tmp }]"],
    &["ready: { exec: [sh, -c, ':'], interval: 30s, startPeriod: 1m }"],
];

fn container(dice: &mut Dice) -> String {
    let mut fields = Vec::new();
    for values in FIELDS {
        if dice.one_in(3) {
            fields.push(dice.pick(values));
        }
    }
    format!("{{ {} }}", fields.join(", "))
}

/// Returns a number that a variable holds.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Returns how many manifests are tried, unless it is said, and the seed of the first.
fn dimensions(unless: usize) -> (u64, u64) {
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("random numbers");
    let unless = u64::try_from(unless).expect("a number");
    let seed = number("AISHELL_SEED").unwrap_or(u64::from_be_bytes(random) >> 16);
    (number("AISHELL_PHANTOMS").unwrap_or(unless), seed)
}

/// Returns the manifest of a seed: each can be tried again on its own.
fn manifest(seed: u64) -> String {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut text = String::from("containers:\n");
    for number in 0..=dice.below(CONTAINERS) {
        text.push_str(&format!("  c{number}: {}\n", container(&mut dice)));
    }
    text
}

/// Applies a manifest, and insists that this is enough.
fn applied(project: &Project, seed: u64, text: &str) {
    project.manifest(text);
    let run = project.apply();
    assert_eq!(
        run.code,
        Some(0),
        "AISHELL_SEED={seed} AISHELL_PHANTOMS=1\n{text}\n{run:#?}"
    );
    unchanged(project, seed, text);
}

/// Insists that nothing differs.
fn unchanged(project: &Project, seed: u64, text: &str) {
    let diff = project.diff();
    assert_eq!(
        (diff.code, changes(&diff.json)),
        (Some(0), Vec::new()),
        "AISHELL_SEED={seed} AISHELL_PHANTOMS=1\n{text}\n{:#}",
        diff.json
    );
}

#[test]
fn nothing_differs_once_it_is_applied_whatever_was_asked_for() {
    let (manifests, seed) = dimensions(MANIFESTS);
    for seed in (0..manifests).map(|index| seed.wrapping_add(index)) {
        applied(&project(), seed, &manifest(seed));
    }
}

/// What an engine gives to whoever does not say: an ordinary one, and one where all of it is otherwise.
const DEFAULTS: [&[&str]; 2] = [
    &[],
    &[
        "--log-driver=local",
        "--log-opt=max-size=3m",
        "--default-ulimit=nofile=2048:4096",
        "--default-ulimit=core=0",
        "--default-shm-size=32m",
        "--dns=10.1.2.3",
        "--dns-search=example.test",
        "--dns-opt=ndots:3",
        "--default-cgroupns-mode=private",
        "--default-ipc-mode=shareable",
        "--shutdown-timeout=9",
        "--init",
    ],
];
/// How many manifests are there when the engine is started anew.
const AT_ONCE: u64 = 20;

#[test]
#[ignore = "takes an engine of its own, and root: AISHELL_PHANTOMS=300 cargo test --test live phantom:: -- --ignored"]
fn nothing_differs_after_the_engine_was_restarted_with_other_defaults() {
    let (manifests, seed) = dimensions(2 * MANIFESTS);
    let mut daemon = Daemon::new(DEFAULTS[0], &raw::tiny());
    let mut defaults = DEFAULTS.iter().cycle().skip(1);
    let seeds: Vec<u64> = (0..manifests).map(|index| seed.wrapping_add(index)).collect();
    for seeds in seeds.chunks(usize::try_from(AT_ONCE).expect("a number")) {
        let made = seeds.iter().map(|seed| {
            let mut project = project();
            project.at(Some(daemon.host()));
            let text = manifest(*seed);
            applied(&project, *seed, &text);
            (project, *seed, text)
        });
        let made: Vec<_> = made.collect();
        for _ in &DEFAULTS {
            daemon.restart(defaults.next().expect("defaults"));
            for (project, seed, text) in &made {
                unchanged(project, *seed, text);
            }
        }
        // The next ones are made where all of it is otherwise.
        daemon.restart(defaults.next().expect("defaults"));
        for (project, _, _) in &made {
            let gone = project.run(&["delete", "--yes", "--allow", "data-loss,interrupt"]);
            assert_eq!(gone.code, Some(0), "{gone:#?}");
        }
    }
}

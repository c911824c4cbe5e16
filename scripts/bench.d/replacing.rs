//! P11 and R4: how long nobody answers while a container is replaced, and how soon the old one is back where the new
//! one does not work.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::engine::Connection;
use crate::measure::{Job, median, ratio};
use crate::proxy::{Proxy, Request};
use crate::table::Row;

/// The image that `scripts/engine base-image` makes available.
const BASE: &str = "debian:bookworm-slim";
/// Answers whoever connects.
const SERVER: &str = r#"$s = IO::Socket::INET->new(LocalPort => 8080, Listen => 64, ReuseAddr => 1) or die;
while ($c = $s->accept) { print $c "here\n"; close $c }"#;
/// Connects to the server by its name twenty times a second, and says what came of it.
const PROBER: &str = r#"$| = 1;
while (1) {
    my $s = IO::Socket::INET->new(PeerAddr => "c0", PeerPort => 8080, Timeout => 1);
    my $l = $s ? <$s> : "";
    print(($l // "") eq "here\n" ? "ok\n" : "failed: $@\n");
    select undef, undef, undef, 0.05;
}"#;

/// What is replaced, and how that is seen.
pub struct Replacing<'a> {
    pub aishell: &'a Path,
    pub socket: &'a Path,
    pub directory: &'a Path,
    pub name: &'a str,
    /// An image without a shell.
    pub image: &'a str,
    pub proxy: Proxy,
}

impl Replacing<'_> {
    fn manifest(&self, containers: &str) {
        let text = format!(
            "apiVersion: aishell/v1\nname: {}\nfoundation: {{ image: \"{BASE}\" }}\ncontainers:\n{containers}",
            self.name
        );
        fs::write(self.directory.join("aishell.yaml"), text).expect("the directory can be written to");
    }

    /// Applies, and returns the requests that took.
    fn apply(&self, code: i32) -> Vec<Request> {
        self.proxy.take();
        let mut apply =
            Job::new(self.aishell, &["apply"], self.directory).with("DOCKER_HOST", &self.proxy.address());
        apply.codes = vec![code];
        apply.run();
        self.proxy.take()
    }

    fn connection(&self) -> Connection {
        Connection::open(self.socket).expect("the engine listens")
    }

    /// What the engine says of the container of the manifest with a name.
    fn container(&self, name: &str) -> Value {
        let mut connection = self.connection();
        let listing = connection.ask("GET", "/containers/json?all=1", None);
        let listing: Vec<Value> = serde_json::from_slice(&listing).expect("a listing");
        let found = listing
            .iter()
            .find(|one| {
                // One that did not work is kept for its log, under another name.
                let engine_name = one["Names"][0].as_str().unwrap_or_default();
                one["Labels"]["aishell.manifest"] == self.name
                    && one["Labels"]["aishell.name"] == name
                    && engine_name.ends_with(&format!("-{name}"))
            })
            .expect("a container");
        let path = format!("/containers/{}/json", found["Id"].as_str().expect("an id"));
        serde_json::from_slice(&connection.ask("GET", &path, None)).expect("a container")
    }

    /// P11, the old one first: from the request that stops it until the new one was started, beside the same two
    /// requests without anything between them.
    pub fn gap(&self, rounds: usize) -> Row {
        eprintln!("replace: the old one first");
        let mode = |round: usize| {
            self.manifest(&format!(
                "  c0: {{ command: [sleep, infinity], env: {{ MODE: m{round} }} }}\n"
            ));
        };
        mode(0);
        self.apply(0);
        let mut times = [Vec::new(), Vec::new()];
        for round in 1..=rounds {
            let before = self.container("c0");
            mode(round);
            let seen = self.apply(0);
            let (stop, start) = (found(&seen, "stop"), found(&seen, "start"));
            times[0].push((start.answered - stop.at).as_secs_f64());
            let create = seen
                .iter()
                .find(|request| request.path.contains("/containers/create"))
                .expect("a creation");
            times[1].push(self.stop_and_start(create));
            assert_ne!(before["Id"], self.container("c0")["Id"], "it was replaced");
        }
        let ratio = ratio(&times[0], &times[1]);
        Row {
            case: "P11".to_owned(),
            what: "replace, the old one first: nobody answers for".to_owned(),
            value: 1000.0 * median(&times[0]),
            unit: "ms",
            floor: Some(1000.0 * median(&times[1])),
            ratio: Some(ratio),
            goal: "≤ 1.1 × stop + start".to_owned(),
            reached: ratio <= 1.1,
            ..Row::default()
        }
    }

    /// Stops the container, starts one like it, and puts that back.
    fn stop_and_start(&self, create: &Request) -> f64 {
        let mut connection = self.connection();
        let old = self.container("c0");
        let old = old["Id"].as_str().expect("an id");
        let body = String::from_utf8_lossy(&create.body).replace("\"aishell.", "\"aibench.");
        let made = connection.ask("POST", "/containers/create", Some(body.as_bytes()));
        let made: Value = serde_json::from_slice(&made).expect("an id");
        let new = made["Id"].as_str().expect("an id");
        let began = Instant::now();
        connection.ask("POST", &format!("/containers/{old}/stop"), None);
        connection.ask("POST", &format!("/containers/{new}/start"), None);
        let took = began.elapsed().as_secs_f64();
        connection.ask("DELETE", &format!("/containers/{new}?force=1"), None);
        connection.ask("POST", &format!("/containers/{old}/start"), None);
        took
    }

    /// P11, the new one first: somebody connects to it by name twenty times a second meanwhile.
    pub fn probed(&self, rounds: usize) -> Row {
        eprintln!("replace: the new one first");
        let perl = |text: &str| json!(["perl", "-MIO::Socket::INET", "-e", text]);
        let server = perl(SERVER);
        let prober = perl(PROBER);
        let mode = |round: usize, prober: &str| {
            self.manifest(&format!(
                "  c0: {{ home: tmpfs, command: {server}, env: {{ MODE: m{round} }} }}\n{prober}"
            ));
        };
        // The server is there before anybody asks for it.
        mode(0, "");
        self.apply(0);
        let prober = format!("  prober: {{ home: tmpfs, command: {prober} }}\n");
        mode(0, &prober);
        self.apply(0);
        for round in 1..=rounds {
            mode(round, &prober);
            let seen = self.apply(0);
            assert!(
                found(&seen, "start").at < found(&seen, "stop").at,
                "the new one starts first"
            );
        }
        let id = self.container("prober");
        let path = format!("/containers/{}/logs?stdout=1", id["Id"].as_str().expect("an id"));
        let log = self.connection().ask("GET", &path, None);
        let log = String::from_utf8_lossy(&log).into_owned();
        let failed: Vec<&str> = log
            .lines()
            .filter_map(|line| Some(&line[line.find("failed: ")?..]))
            .collect();
        let worked = log.lines().filter(|line| line.ends_with("ok")).count();
        let mut notes = vec![format!("{worked} probes worked during {rounds} replacements")];
        notes.extend(failed.iter().take(3).map(|line| (*line).to_owned()));
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let value = failed.len() as f64;
        Row {
            case: "P11".to_owned(),
            what: "replace, the new one first: probes that failed, 20 a second".to_owned(),
            value,
            unit: "",
            goal: "0".to_owned(),
            reached: failed.is_empty() && worked > 20 * rounds,
            notes,
            ..Row::default()
        }
    }

    /// R4: for every way in which a new one can fail, the time from the verdict until the old one runs again.
    pub fn failing(&self, rounds: usize) -> Vec<Row> {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("an address").port();
        let no_shell = format!("image: \"{}\", command: [/sleeper], preStart: [echo]", self.image);
        let ways = [
            ("port taken", format!("command: [sleep, infinity], ports: [\"{port}:80\"]")),
            ("missing command", "command: [no-such-command]".to_owned()),
            ("exits at once", "command: [sh, -c, exit 3]".to_owned()),
            ("exits after 600 ms", "command: [sh, -c, 'sleep 0.6; exit 3']".to_owned()),
            (
                "never ready",
                "command: [sleep, infinity], ready: { exec: ['false'], startPeriod: 60s, interval: 500ms, timeout: 2s }"
                    .to_owned(),
            ),
            ("no shell for preStart", no_shell),
        ];
        let mut rows = Vec::new();
        for (order, home) in [("the old one first", "volume"), ("the new one first", "tmpfs")] {
            for (what, fields) in &ways {
                eprintln!("replace: {what}, {order}");
                let mut times = Vec::new();
                let mut down = Vec::new();
                for _ in 0..rounds {
                    self.manifest(&format!("  c0: {{ home: {home}, command: [sleep, infinity] }}\n"));
                    self.apply(0);
                    let before = self.container("c0");
                    self.manifest(&format!("  c0: {{ home: {home}, {fields} }}\n"));
                    let seen = self.apply(5);
                    let after = self.container("c0");
                    for field in ["Id", "Name"] {
                        assert_eq!(after[field], before[field], "{what}, {order}");
                    }
                    assert_eq!(after["State"]["Running"], true, "{what}, {order}");
                    let old = before["Id"].as_str().expect("an id");
                    if before["State"]["StartedAt"] == after["State"]["StartedAt"] {
                        continue;
                    }
                    times.push(back(&seen, old).as_secs_f64());
                    let (stop, start) = (act(&seen, "stop", old), act(&seen, "start", old));
                    down.push((start.answered - stop.at).as_secs_f64());
                }
                rows.push(row(&format!("{what}, {order}"), &times, &down));
            }
        }
        rows
    }
}

fn row(what: &str, times: &[f64], down: &[f64]) -> Row {
    let most = times.iter().copied().fold(0.0, f64::max);
    let notes = if times.is_empty() {
        "the old one never stopped".to_owned()
    } else {
        format!(
            "at most {:.0} ms; stopped for {:.1} s",
            1000.0 * most,
            median(down)
        )
    };
    Row {
        case: "R4".to_owned(),
        what: format!("{what}: verdict to running"),
        value: if times.is_empty() {
            0.0
        } else {
            1000.0 * median(times)
        },
        unit: "ms",
        goal: "≤ 2 s".to_owned(),
        reached: most <= 2.0,
        notes: vec![notes],
        ..Row::default()
    }
}

/// The first time that something is done to any container.
fn found<'s>(seen: &'s [Request], wanted: &str) -> &'s Request {
    let is = |request: &&Request| request.act().is_some_and(|(act, _)| act == wanted);
    seen.iter().find(is).unwrap_or_else(|| panic!("no {wanted}"))
}

/// The first time that something is done to a container.
fn act<'s>(seen: &'s [Request], wanted: &str, container: &str) -> &'s Request {
    let is = |request: &&Request| request.act() == Some((wanted, container));
    seen.iter().find(is).unwrap_or_else(|| panic!("no {wanted}"))
}

/// The time from the last answer that spoke of the new container until the old one was started again. That answer is
/// the verdict: what was seen of it, or that it could not be started.
fn back(seen: &[Request], old: &str) -> Duration {
    let started = act(seen, "start", old);
    let of_the_new = |request: &&Request| {
        let spoke = request.act().filter(|(_, container)| *container != old);
        request.at < started.at && spoke.is_some_and(|(act, _)| act == "json" || act == "start")
    };
    let verdict = seen.iter().rfind(of_the_new).expect("a verdict");
    started.answered - verdict.answered
}

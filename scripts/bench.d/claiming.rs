//! R5: how soon somebody else has the turn when whoever had it is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::engine::Connection;
use crate::measure::{Job, median};
use crate::proxy::{Proxy, Request};
use crate::table::Row;

/// The image that `scripts/engine base-image` makes available.
const BASE: &str = "debian:bookworm-slim";
/// How long whoever waits is left waiting before the other is killed.
const WAITS: Duration = Duration::from_millis(1500);
/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two that want to write, each through a proxy of its own.
pub struct Claiming<'a> {
    pub aishell: &'a Path,
    pub socket: &'a Path,
    pub directory: &'a Path,
    pub name: &'a str,
    pub proxies: [Proxy; 2],
}

impl Claiming<'_> {
    /// Kills whoever restarts a container that takes its time to stop, while another waits.
    pub fn takeover(&self, rounds: usize) -> Vec<Row> {
        // It hears no signal, so that there is time to kill whoever ends it.
        let text = format!(
            "apiVersion: aishell/v1\nname: {}\nfoundation: {{ image: \"{BASE}\" }}\ncontainers:\n  \
             c0: {{ command: [sh, -c, 'trap \"\" TERM; while :; do sleep 1; done'], stop: {{ timeout: 5s }} }}\n  \
             c1: {{ command: [sleep, infinity] }}\n",
            self.name
        );
        fs::write(self.directory.join("aishell.yaml"), text).expect("the directory can be written to");
        let places = ["r0", "r1"].map(|name| self.directory.join(name));
        for place in &places {
            fs::create_dir_all(place).expect("the directory can be written to");
        }
        [
            ("on the same host", &places[0]),
            ("through another socket, from elsewhere", &places[1]),
        ]
        .map(|(what, place)| {
            eprintln!("claims: {what}");
            let times: Vec<f64> = (0..rounds)
                .map(|_| self.round([&places[0], place]).as_secs_f64())
                .collect();
            row(what, &times)
        })
        .into()
    }

    /// Returns the time from the kill until the other one's claim was granted.
    fn round(&self, [first, second]: [&PathBuf; 2]) -> Duration {
        // The one that was killed left its container stopped.
        Job::new(self.aishell, &["apply"], self.directory).run();
        for proxy in &self.proxies {
            proxy.take();
        }
        let mut holder = self.begin(0, first, &["restart", "c0"]);
        let until = Instant::now() + PATIENCE;
        while !self.proxies[0].take().iter().any(is_claim) {
            assert!(Instant::now() < until, "it goes on");
            sleep(Duration::from_millis(5));
        }
        let mut waiting = self.begin(1, second, &["restart", "c1", "--lock-timeout", "60s"]);
        sleep(WAITS);
        assert!(waiting.try_wait().expect("a child").is_none(), "it waits");
        self.proxies[1].take();
        let killed = Instant::now();
        holder.kill().expect("a child");
        holder.wait().expect("an end");
        assert!(waiting.wait().expect("an end").success(), "the other one goes on");
        let seen = self.proxies[1].take();
        let granted = seen.iter().find(|request| is_claim(request)).expect("a claim");
        let took = granted.answered.saturating_duration_since(killed);
        self.stopped();
        took
    }

    fn begin(&self, way: usize, runtime: &Path, arguments: &[&str]) -> Child {
        Command::new(self.aishell)
            .args(arguments)
            .current_dir(self.directory)
            .env("DOCKER_HOST", self.proxies[way].address())
            .env("XDG_RUNTIME_DIR", runtime)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts")
    }

    /// Waits until the container that was to be restarted has ended.
    fn stopped(&self) {
        let mut connection = Connection::open(self.socket).expect("the engine listens");
        let filters = format!("%7B%22label%22%3A%5B%22aishell.manifest%3D{}%22%5D%7D", self.name);
        let path = format!("/containers/json?filters={filters}");
        let until = Instant::now() + PATIENCE;
        loop {
            let listing = connection.ask("GET", &path, None);
            let listing = String::from_utf8_lossy(&listing).into_owned();
            if !listing.contains("\"aishell.name\":\"c0\"") {
                return;
            }
            assert!(Instant::now() < until, "it ends");
            sleep(Duration::from_millis(50));
        }
    }
}

/// Says whether a request gives a container the name that all know.
fn is_claim(request: &Request) -> bool {
    let name = request.path.split("/rename?name=aishell-claim-").nth(1);
    name.is_some_and(|rest| rest.len() == 8)
}

fn row(what: &str, times: &[f64]) -> Row {
    let most = times.iter().copied().fold(0.0, f64::max);
    Row {
        case: "R5".to_owned(),
        what: format!("holder killed, {what}: until the next has the claim"),
        value: 1000.0 * median(times),
        unit: "ms",
        goal: "≤ 200 ms".to_owned(),
        reached: most <= 0.2,
        notes: vec![format!("at most {:.0} ms", 1000.0 * most)],
        ..Row::default()
    }
}

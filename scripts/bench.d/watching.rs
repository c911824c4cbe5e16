//! P9 and P10: how fast `aishell watch` reacts, and what it costs while nothing happens.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::engine::Connection;
use crate::proxy::Proxy;
use crate::table::Row;

/// How many containers are watched.
pub const COUNT: usize = 50;
/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ticks of a second in `/proc`, the same on every Linux.
const TICKS: f64 = 100.0;

/// A running watch, behind a proxy.
pub struct Watching {
    child: Child,
    events: Receiver<(Instant, Value)>,
    proxy: Proxy,
}

impl Watching {
    /// Begins, and waits until everything is as wanted.
    pub fn begin(aishell: &Path, directory: &Path, proxy: Proxy) -> Self {
        let mut child = Command::new(aishell)
            .args(["watch", "-o", "json", "--progress", "none"])
            .current_dir(directory)
            .env("DOCKER_HOST", proxy.address())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = child.stdout.take().expect("its output");
        let (sender, events) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("an event");
                if sender.send((Instant::now(), event)).is_err() {
                    break;
                }
            }
        });
        let watching = Self { child, events, proxy };
        watching.hears("converged", "");
        watching
    }

    /// Waits for an event, of a step for a container, and returns when it was told.
    fn hears(&self, event: &str, container: &str) -> Instant {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let (at, told) = self.events.recv_timeout(left).expect("it goes on");
            let named = container.is_empty() || told["resource"]["name"] == container;
            if told["event"] == event && named {
                return at;
            }
        }
    }

    /// P10: what it costs for so long while nothing happens.
    pub fn idle(&self, time: Duration) -> Vec<Row> {
        // What follows the first pass has come to its end by then.
        thread::sleep(Duration::from_secs(5));
        self.proxy.take();
        let (began, used) = (Instant::now(), self.processor());
        thread::sleep(time);
        let seconds = began.elapsed().as_secs_f64();
        let used = self.processor() - used;
        let requests = self.proxy.take().len();
        #[expect(clippy::cast_precision_loss, reason = "a few hundred requests")]
        let rate = requests as f64 / seconds;
        let what = |what: &str| format!("watch, idle, {COUNT} containers, {seconds:.0} s: {what}");
        let memory = self.memory();
        vec![
            row(
                "P10",
                what("memory (RSS)"),
                (memory, "MB"),
                ("≤ 20 MB", memory <= 20.0),
            ),
            row(
                "P10",
                what("processor"),
                (100.0 * used / seconds, "%"),
                ("≤ 0.1 % of a core", used / seconds <= 0.001),
            ),
            row(
                "P10",
                what("requests"),
                (rate, "/s"),
                ("≤ 1 a second", rate <= 1.0),
            ),
        ]
    }

    /// P9: from saving an edit to the first write, once for each container.
    pub fn saves(&self, directory: &Path, rounds: usize) -> Row {
        let file = directory.join("aishell.yaml");
        let text = fs::read_to_string(&file).expect("the manifest");
        let mut times = Vec::new();
        for index in 0..rounds {
            let edited = text.replace(
                &format!("  c{index}: {{}}\n"),
                &format!("  c{index}: {{ resources: {{ memory: 300MiB }} }}\n"),
            );
            assert_ne!(edited, text);
            self.proxy.take();
            let saved = Instant::now();
            fs::write(&file, edited).expect("the manifest can be written to");
            self.hears("converged", "");
            let seen = self.proxy.take();
            let first = seen
                .iter()
                .find(|request| request.method != "GET")
                .expect("a write");
            times.push((first.at - saved).as_secs_f64());
            fs::write(&file, &text).expect("the manifest can be written to");
            self.hears("converged", "");
        }
        distribution("save to first write", &times, 150.0)
    }

    /// P9: from killing or removing a container until it runs again, once for each.
    pub fn heals(&self, socket: &Path, names: &[String], method: &str, what: &str) -> Row {
        let mut connection = Connection::open(socket).expect("the engine listens");
        let mut times = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let path = match method {
                "POST" => format!("/containers/{name}/kill"),
                _ => format!("/containers/{name}?force=1"),
            };
            connection.ask(method, &path, None);
            let gone = Instant::now();
            let healed = self.hears("finished", &format!("c{index}"));
            times.push((healed - gone).as_secs_f64());
            self.hears("converged", "");
        }
        distribution(what, &times, 500.0)
    }

    /// The memory it holds, in megabytes.
    fn memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: f64 = line
            .and_then(|line| line.split_whitespace().next()?.parse().ok())
            .expect("its memory");
        kilobytes / 1024.0
    }

    /// The processor time it has used, in seconds.
    fn processor(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a process");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks = |index: usize| -> f64 {
            let field = fields.split_whitespace().nth(index);
            field.and_then(|field| field.parse().ok()).expect("ticks")
        };
        (ticks(11) + ticks(12)) / TICKS
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        // In order, so that nothing is left half done; whether it worked shows in the wait.
        let _ = Command::new("kill").arg(&pid).status();
        let _ = self.child.wait();
    }
}

fn row(case: &str, what: String, (value, unit): (f64, &'static str), (goal, reached): (&str, bool)) -> Row {
    Row {
        case: case.to_owned(),
        what,
        value: (value * 1000.0).round() / 1000.0,
        unit,
        goal: goal.to_owned(),
        reached,
        ..Row::default()
    }
}

/// Returns the 95th percentile as the figure, and the rest of the distribution beside it.
fn distribution(what: &str, times: &[f64], limit: f64) -> Row {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |hundredth: usize| 1000.0 * sorted[(sorted.len() * hundredth).div_ceil(100).max(1) - 1];
    let mut notes = String::new();
    let _ = write!(
        notes,
        "{} times: p50 {:.0} ms, p95 {:.0} ms, max {:.0} ms",
        sorted.len(),
        at(50),
        at(95),
        at(100)
    );
    Row {
        notes: vec![notes],
        ..row(
            "P9",
            format!("watch, {COUNT} containers: {what}, p95"),
            (at(95), "ms"),
            (&format!("≤ {limit} ms"), at(95) <= limit),
        )
    }
}

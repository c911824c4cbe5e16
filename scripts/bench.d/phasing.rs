//! P6 and P7: images built in phases, beside the same engine calls alone and beside a build of the equivalent Dockerfile.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

use serde_json::{Value, json};

use crate::engine::Connection;
use crate::measure::{Job, median, ratio};
use crate::table::Row;

/// The image that `scripts/engine base-image` makes available.
const BASE: &str = "debian:bookworm-slim";
/// Phases that can run a command each and leave a snapshot.
const PHASES: [&str; 10] = [
    "base", "users", "env", "workdir", "habitat", "files", "setup", "repos", "tools", "final",
];
/// The phase that is changed, and how many of them are done then.
const CHANGED: (&str, usize) = ("setup", 4);
/// How many phases of [`Phasing::silent`] leave a snapshot.
const SILENT: usize = 12;
/// The repository of what the floor and the build of the engine make.
const PEER: &str = "aibenchfloor";

/// Where phases are built.
pub struct Phasing {
    socket: PathBuf,
    aishell: PathBuf,
    directory: PathBuf,
    name: String,
}

impl Phasing {
    pub fn new(socket: &Path, aishell: &Path, directory: &Path, name: &str) -> Self {
        Self {
            socket: socket.to_owned(),
            aishell: aishell.to_owned(),
            directory: directory.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Measures everything, so many times in turns.
    pub fn rows(&self, rounds: usize, cached: usize) -> Vec<Row> {
        let mut times: [Vec<f64>; 5] = Default::default();
        let mut floors: [Vec<f64>; 5] = Default::default();
        let mut builds: [Vec<f64>; 5] = Default::default();
        for round in 1..=rounds {
            eprintln!("phases: round {round} of {rounds}");
            let word = word();
            self.ten(&word, "first");
            times[0].push(self.apply());
            floors[0].push(self.containers(PHASES.len()));
            builds[0].push(self.build());
            for _ in 0..cached {
                times[1].push(self.apply());
                builds[1].push(self.build());
            }
            self.ten(&word, "second");
            times[2].push(self.apply());
            floors[2].push(self.containers(CHANGED.1));
            builds[2].push(self.build());
            self.silent(&word);
            times[3].push(self.apply());
            floors[3].push(self.commits(SILENT));
            builds[3].push(self.build());
            self.files(&word);
            times[4].push(self.apply());
            builds[4].push(self.build());
            floors[4].push(self.copied());
        }
        let row = |index: usize, case: &str, what: &str, goal: &str| {
            let (value, build) = (median(&times[index]), median(&builds[index]));
            Row {
                case: case.to_owned(),
                what: what.to_owned(),
                value,
                unit: "s",
                floor: (!floors[index].is_empty()).then(|| median(&floors[index])),
                ratio: (!floors[index].is_empty()).then(|| ratio(&times[index], &floors[index])),
                goal: goal.to_owned(),
                notes: vec![format!("docker build: {build:.2} s")],
                ..Row::default()
            }
        };
        let ten = row(
            0,
            "P6",
            "ten phases that run `:`",
            "≤ 1.1 × (create, start, exec, commit, remove)",
        );
        let mut warm = row(1, "P6", "ten phases, all cached", "≤ 150 ms");
        (warm.value, warm.unit) = (1000.0 * warm.value, "ms");
        let silent = row(
            3,
            "P6",
            "twelve phases without a process",
            "≤ 1.2 × (create, commit, remove)",
        );
        let files = row(4, "P6", "1,000 files", "≤ 2 s");
        let mut changed = row(
            2,
            "P7",
            "one changed phase and three after it",
            "≤ 1 s more than floor a phase",
        );
        #[expect(clippy::cast_precision_loss, reason = "a number of phases")]
        let more = (changed.value - changed.floor.unwrap_or_default()) / CHANGED.1 as f64;
        changed
            .notes
            .push(format!("{more:.2} s more than the floor a phase"));
        let within = |row: &Row, limit: f64| row.ratio.is_some_and(|ratio| ratio <= limit);
        vec![
            Row {
                reached: warm.value <= 150.0,
                ..warm
            },
            Row {
                reached: within(&silent, 1.2),
                ..silent
            },
            Row {
                reached: within(&ten, 1.1),
                ..ten
            },
            Row {
                reached: files.value <= 2.0,
                ..files
            },
            Row {
                reached: more <= 1.0,
                ..changed
            },
        ]
    }

    /// Writes a manifest of ten phases that each run a command, and a Dockerfile of ten such instructions; the word makes
    /// all of them others, and `which` the seventh.
    fn ten(&self, word: &str, which: &str) {
        let (mut hooks, mut run) = (String::new(), String::new());
        for (index, phase) in PHASES.iter().enumerate() {
            let which = if *phase == CHANGED.0 { which } else { "" };
            let _ = write!(hooks, "{phase}: {{ after: [\": {word} {index} {which}\"] }}, ");
            let _ = writeln!(run, "RUN : {word} {index} {which}");
        }
        let phases = format!("base: {{ image: \"{BASE}\" }}, hooks: {{ {hooks} }}");
        self.write(&format!("foundation: {{ phases: {{ {phases} }} }}\n"), &run);
    }

    /// Writes a manifest of twelve phases of which none runs anything: six on six.
    fn silent(&self, word: &str) {
        let phases = |stage: &str, base: &str| {
            format!(
                "{{ {base} users: [{{ name: {stage}, home: /srv/{stage} }}], env: {{ WORD: \"{word}\", AT: /{stage} }}, \
                 workdir: {{ path: \"${{AT}}\" }}, habitat: {{ path: \"${{AT}}/habitat\", dirs: [system] }}, \
                 files: [{{ source: aishell.yaml, target: \"${{AT}}/file\" }}], final: {{ env: {{ STAGE: {stage} }} }} }}"
            )
        };
        let first = phases("one", &format!("base: {{ image: \"{BASE}\" }},"));
        let rest = format!(
            "foundation:\n  phases: {first}\nbase:\n  phases: {}\n",
            phases("two", "")
        );
        let mut run = format!("ENV WORD={word}\n");
        for stage in ["one", "two"] {
            let _ = writeln!(
                run,
                "COPY aishell.yaml /etc/{stage}\nENV AT=/{stage}\nWORKDIR /{stage}\nWORKDIR /{stage}/habitat/system\n\
                 COPY aishell.yaml /{stage}/file\nENV STAGE={stage}"
            );
        }
        self.write(&rest, &run);
    }

    /// Writes a manifest and a Dockerfile that copy a thousand files.
    fn files(&self, word: &str) {
        let directory = self.directory.join("files");
        fs::create_dir_all(&directory).expect("the directory can be written to");
        for index in 0..1000 {
            fs::write(directory.join(index.to_string()), format!("{word} {index}"))
                .expect("the directory can be written to");
        }
        let phases =
            format!("base: {{ image: \"{BASE}\" }}, files: [{{ source: files, target: /srv/files }}]");
        self.write(
            &format!("foundation: {{ phases: {{ {phases} }} }}\n"),
            "COPY files /srv/files\n",
        );
    }

    fn write(&self, foundation: &str, instructions: &str) {
        let manifest = format!(
            "apiVersion: aishell/v1\nname: {}\n{foundation}containers: {{}}\n",
            self.name
        );
        let dockerfile = format!("FROM {BASE}\n{instructions}");
        for (file, text) in [("aishell.yaml", manifest), ("Dockerfile", dockerfile)] {
            fs::write(self.directory.join(file), text).expect("the directory can be written to");
        }
    }

    fn apply(&self) -> f64 {
        let words = ["apply", "--progress", "none"];
        Job::new(&self.aishell, &words, &self.directory)
            .time()
            .as_secs_f64()
    }

    /// Times a build of the Dockerfile, asked for as the `docker` program does.
    fn build(&self) -> f64 {
        let began = Instant::now();
        let context = self.archive(".");
        let path = format!("/v1.41/build?version=2&t={PEER}:build");
        let answer = self.connection().upload("POST", &path, &context);
        let took = began.elapsed().as_secs_f64();
        assert!(
            !String::from_utf8_lossy(&answer).contains("\"error\""),
            "the build works"
        );
        took
    }

    /// Returns what is in a directory of the project, as an archive.
    fn archive(&self, path: &str) -> Vec<u8> {
        let mut tar = Command::new("tar");
        tar.args(["--exclude=./s", "-c", path])
            .current_dir(&self.directory);
        tar.output().expect("tar").stdout
    }

    fn connection(&self) -> Connection {
        Connection::open(&self.socket).expect("the engine listens")
    }

    /// Times the least that so many commands cost: a container for each, and an image of what it leaves.
    fn containers(&self, count: usize) -> f64 {
        self.chain(count, |connection, id| {
            connection.ask("POST", &format!("/v1.41/containers/{id}/start"), None);
            let body = json!({ "Cmd": ["/bin/sh", "-ec", ":"], "AttachStdout": true, "AttachStderr": true });
            let exec = connection.ask(
                "POST",
                &format!("/v1.41/containers/{id}/exec"),
                Some(&bytes(&body)),
            );
            // What it says comes until the connection ends.
            let path = format!("/v1.41/exec/{}/start", id_of(&exec));
            self.connection()
                .ask("POST", &path, Some(&bytes(&json!({ "Detach": false }))));
        })
    }

    /// Times the least that so many images cost of which only the configuration is another.
    fn commits(&self, count: usize) -> f64 {
        self.chain(count, |_, _| {})
    }

    /// Times the least that a copy of the files costs.
    fn copied(&self) -> f64 {
        let files = self.archive("files");
        self.chain(1, |connection, id| {
            connection.upload(
                "PUT",
                &format!("/v1.41/containers/{id}/archive?path=/srv"),
                &files,
            );
        })
    }

    /// Times so many containers one after the other, each on the image of the one before.
    fn chain(&self, count: usize, work: impl Fn(&mut Connection, &str)) -> f64 {
        let mut connection = self.connection();
        let mut from = BASE.to_owned();
        let began = Instant::now();
        for index in 0..count {
            let body = json!({
                "Image": from, "Entrypoint": ["sleep", "infinity"], "HostConfig": { "Init": true },
            });
            let made = connection.ask("POST", "/v1.41/containers/create", Some(&bytes(&body)));
            let id = id_of(&made);
            work(&mut connection, &id);
            let path = format!("/v1.41/commit?container={id}&repo={PEER}&tag=floor{index}&pause=false");
            let config = json!({ "Labels": { "floor": index.to_string() } });
            from = id_of(&connection.ask("POST", &path, Some(&bytes(&config))));
            connection.ask(
                "DELETE",
                &format!("/v1.41/containers/{id}?force=true&v=true"),
                None,
            );
        }
        began.elapsed().as_secs_f64()
    }
}

impl Drop for Phasing {
    fn drop(&mut self) {
        let mut connection = self.connection();
        for index in (0..SILENT).rev() {
            let _ = connection.send("DELETE", &format!("/v1.41/images/{PEER}:floor{index}"), None);
        }
        let _ = connection.send("DELETE", &format!("/v1.41/images/{PEER}:build"), None);
    }
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

fn id_of(answer: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(answer).expect("an id");
    answer["Id"].as_str().expect("an id").to_owned()
}

/// Returns a word that nothing was made with before.
fn word() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    format!("w{}", now.expect("a time").as_nanos())
}

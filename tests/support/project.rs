//! A project of one test: a directory, a manifest name nobody else has, and the built program run in it.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use crate::proxy::Proxy;
use crate::raw;
use crate::terminal::Terminal;

/// Whose files a project directory is, where it matters.
pub const OWNER: (u32, u32) = (4242, 4343);

/// A project. What the engine has of it is removed at the end, also when the test fails.
pub struct Project {
    directory: tempfile::TempDir,
    /// The name of the manifest.
    pub name: String,
    /// The foundation of its manifest.
    pub image: String,
    host: Option<String>,
    variables: Vec<(String, String)>,
    /// What runs the program, instead of that itself.
    by: &'static [&'static str],
}

/// How a run of the program ended.
pub struct Run {
    /// The exit code; `None` when it was killed.
    pub code: Option<i32>,
    /// The document it printed.
    pub json: Value,
    pub stdout: String,
    pub stderr: String,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            code,
            json,
            stdout,
            stderr,
        } = self;
        // What went wrong comes first: whoever reads this may have the beginning only.
        for step in json["steps"].as_array().into_iter().flatten() {
            if step["outcome"] == "failed" {
                writeln!(formatter, "{step:#}")?;
            }
        }
        write!(formatter, "exit code {code:?}\n{stderr}\n{stdout}")
    }
}

/// A running program that can be killed from elsewhere.
#[derive(Clone, Default)]
pub struct Victim(Arc<Mutex<Option<Child>>>);

impl Victim {
    /// Ends the program as the kernel does when nothing is left to say.
    pub fn kill(&self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(child) = child.as_mut() {
            let _ = child.kill();
        }
    }
}

/// Returns a word that nobody else has.
pub fn word() -> String {
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("random numbers");
    format!("{:010x}", u64::from_be_bytes(random) >> 24)
}

/// Returns a project whose foundation is the tiny image.
pub fn project() -> Project {
    Project::on(raw::tiny())
}

impl Project {
    pub fn on(image: String) -> Self {
        crate::support::tell_failures_at_once();
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        Self {
            directory,
            name: format!("t{}", word()),
            image,
            host: None,
            by: &[],
            variables: Vec::new(),
        }
    }

    /// Returns a second project with the same manifest name elsewhere.
    pub fn twin(&self) -> Self {
        let mut twin = Self::on(self.image.clone());
        twin.name.clone_from(&self.name);
        twin
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().expect("a path")
    }

    /// Gives the project directory to somebody. A container does it, so that the test need not be root.
    pub fn give_to(&self, (uid, gid): (u32, u32)) {
        let mount = format!("{}:/project", self.path().display());
        let options = serde_json::json!({
            "Image": raw::tiny(),
            "Cmd": ["chown", format!("{uid}:{gid}"), "/project"],
            "HostConfig": { "Binds": [mount], "NetworkMode": "none" },
            "Labels": { "aishelltest": self.name },
        });
        let made = raw::post("/containers/create", &options);
        let id = made["Id"].as_str().expect("an id").to_owned();
        raw::post(&format!("/containers/{id}/start"), &Value::Null);
        let ended = raw::post(&format!("/containers/{id}/wait"), &Value::Null);
        raw::delete(&format!("/containers/{id}?force=1"));
        assert_eq!(ended["StatusCode"], 0, "chown failed");
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        std::fs::write(path, text).expect("a file");
    }

    /// Writes the manifest: version, name and the tiny foundation take its first three lines.
    pub fn manifest(&self, text: &str) {
        let foundation = format!("{{ image: \"{}\" }}", self.image);
        self.manifest_on(&foundation, text);
    }

    /// Writes the manifest with a foundation of its own, in the third line.
    pub fn manifest_on(&self, foundation: &str, text: &str) {
        let text = format!(
            "apiVersion: aishell/v1\nname: {}\nfoundation: {foundation}\n{text}",
            self.name
        );
        self.write("aishell.yaml", &text);
    }

    /// Sends what comes from now on through a proxy.
    pub fn through(&mut self, proxy: &Proxy) {
        self.host = Some(proxy.host());
    }

    /// Talks to an engine at this address from now on; `None` is the engine of all tests.
    pub fn at(&mut self, host: Option<String>) {
        self.host = host;
    }

    /// Has the program run by another one, which gets it and its arguments as its last ones.
    pub fn by(&mut self, words: &'static [&'static str]) {
        self.by = words;
    }

    /// Sets a variable of the environment of what runs from now on.
    pub fn variable(&mut self, name: &str, value: &str) {
        self.variables.retain(|(other, _)| other != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Returns the label that what belongs to the manifest carries.
    pub fn label(&self) -> String {
        format!("aishell.manifest={}", self.name)
    }

    /// Returns the engine's name of an object of the project.
    pub fn object(&self, name: &str) -> String {
        let path = self.path();
        let digest = aishell::key::digest(path.display().to_string().as_bytes());
        format!("aishell-{}-{name}", &digest[..8])
    }

    /// Returns everything the engine says of a container of the manifest.
    pub fn container(&self, name: &str) -> Value {
        raw::container(&self.object(name)).unwrap_or_else(|| panic!("no container {name}"))
    }

    /// Returns the id of a container of the manifest.
    pub fn id(&self, name: &str) -> String {
        self.container(name)["Id"].as_str().expect("an id").to_owned()
    }

    /// Returns the names of the containers that carry the manifest's label, whoever's they are.
    pub fn containers(&self) -> Vec<String> {
        let mut names: Vec<String> = raw::containers(&self.label())
            .iter()
            .filter_map(|container| container["Names"][0].as_str())
            .map(|name| name.trim_start_matches('/').to_owned())
            .collect();
        names.sort();
        names
    }

    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut words = self.by.iter().copied().chain([env!("CARGO_BIN_EXE_aishell")]);
        let mut command = Command::new(words.next().expect("a program"));
        command
            .args(words)
            .args(arguments)
            .current_dir(self.directory.path())
            .env_remove("DOCKER_CONTEXT")
            .env_remove("AISHELL_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host);
        }
        command.envs(self.variables.iter().cloned());
        command
    }

    /// Starts the program in a terminal.
    pub fn in_terminal(&self, arguments: &[&str]) -> Terminal {
        Terminal::open(&self.command(arguments))
    }

    /// Starts the program with streams of the test's own.
    pub fn piped(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .expect("the program")
    }

    /// Starts the program and lets it run.
    pub fn begin(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the program")
    }

    /// Starts a shell command in which `$AISHELL` is the program.
    pub fn begin_shell(&self, script: &str) -> Child {
        let mut command = self.command(&[] as &[&str]);
        let program = command.get_program().to_owned();
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).env("AISHELL", program);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        command = shell;
        command
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().expect("a shell")
    }

    /// Runs the program as it is, without asking for JSON.
    pub fn plain(&self, arguments: &[&str]) -> Run {
        let victim = Victim::default();
        self.killable(&victim, arguments)
    }

    /// Runs a command of the program and reads its document.
    pub fn run(&self, arguments: &[&str]) -> Run {
        let mut run = self.plain(&[arguments, &["-o", "json"]].concat());
        run.json = serde_json::from_str(&run.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?} printed no document: {error}\n{run:#?}"));
        run
    }

    /// Runs the program so that it can be killed meanwhile.
    pub fn killable(&self, victim: &Victim, arguments: &[&str]) -> Run {
        let mut slot = victim.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = self.command(arguments).spawn().expect("the program");
        let (mut out, mut err) = (
            child.stdout.take().expect("stdout"),
            child.stderr.take().expect("stderr"),
        );
        *slot = Some(child);
        drop(slot);
        let talk = thread::spawn(move || {
            let mut text = String::new();
            err.read_to_string(&mut text).expect("text");
            text
        });
        let mut stdout = String::new();
        out.read_to_string(&mut stdout).expect("text");
        let stderr = talk.join().expect("text");
        let mut slot = victim.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = slot.take().expect("the program").wait().expect("an end");
        Run {
            code: ended.code(),
            json: Value::Null,
            stdout,
            stderr,
        }
    }

    /// Runs a command of the program in a directory of the project and reads its document.
    pub fn run_in(&self, directory: &str, arguments: &[&str]) -> Run {
        let ended = self
            .command(&[arguments, &["-o", "json"]].concat())
            .current_dir(self.path().join(directory))
            .output()
            .expect("the program");
        let stdout = String::from_utf8_lossy(&ended.stdout).into_owned();
        Run {
            code: ended.status.code(),
            json: serde_json::from_str(&stdout).unwrap_or_default(),
            stdout,
            stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
        }
    }

    /// Runs the program and tells it something on standard input.
    pub fn told(&self, input: &str, arguments: &[&str]) -> Run {
        use std::io::Write as _;
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the program");
        let mut stdin = child.stdin.take().expect("stdin");
        stdin.write_all(input.as_bytes()).expect("a reader");
        drop(stdin);
        let ended = child.wait_with_output().expect("an end");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Run {
            code: ended.status.code(),
            json: Value::Null,
            stdout: text(ended.stdout),
            stderr: text(ended.stderr),
        }
    }

    pub fn apply(&self) -> Run {
        self.run(&["apply"])
    }

    pub fn diff(&self) -> Run {
        self.run(&["diff"])
    }

    /// Applies and insists that everything is then as the manifest wants it.
    pub fn converge(&self) -> Run {
        let run = self.apply();
        assert_eq!(run.code, Some(0), "{run:#?}");
        assert_eq!(run.json["converged"], true, "{run:#?}");
        self.settled();
        run
    }

    /// Insists that nothing differs.
    pub fn settled(&self) {
        let diff = self.diff();
        assert_eq!(
            (diff.code, changes(&diff.json)),
            (Some(0), Vec::new()),
            "{:#}",
            diff.json
        );
    }

    /// Waits until nothing keeps others out: what a killed one did that with goes by itself, a little later.
    pub fn unclaimed(&self) {
        let label = self.label();
        raw::until("nothing is claimed", || {
            let all = [raw::containers(&label), raw::volumes(&label)].concat();
            let claims = all.iter().filter(|one| one["Labels"]["aishell.kind"] == "claim");
            (claims.count() == 0).then_some(())
        });
    }

    /// Insists that beside the named containers, and what holds their volumes, there is nothing.
    pub fn only(&self, containers: &[&str]) {
        let mut wanted: Vec<String> = containers.iter().map(|name| self.object(name)).collect();
        wanted.sort();
        let mut found = self.containers();
        found.retain(|name| !name.starts_with("aishell-receipt-"));
        assert_eq!(found, wanted);
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        raw::sweep(&self.label());
        raw::sweep(&format!("aishelltest={}", self.name));
    }
}

/// Returns what a plan or report lists, one line for each reason: `update container a: resources.memory 1 -> 2
/// (manifest, aishell.yaml:7)`.
pub fn changes(document: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for step in document["steps"].as_array().into_iter().flatten() {
        lines.extend(lines_of(step, ""));
    }
    for blocked in document["blocked"].as_array().into_iter().flatten() {
        let reason = format!(" blocked {}", text(&blocked["reason"]));
        lines.extend(lines_of(blocked, &reason));
    }
    lines
}

fn lines_of(step: &Value, suffix: &str) -> Vec<String> {
    let head = format!(
        "{} {} {}{suffix}",
        text(&step["action"]),
        text(&step["kind"]),
        text(&step["name"])
    );
    step["because"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|because| {
            let cause = text(&because["cause"]);
            let at = match &because["at"] {
                Value::Null => String::new(),
                at => format!(", {}:{}", text(&at["file"]), at["line"]),
            };
            match &because["field"] {
                Value::Null => format!("{head} ({cause}{at})"),
                field => format!(
                    "{head}: {} {} -> {} ({cause}{at})",
                    text(field),
                    because["from"],
                    because["to"]
                ),
            }
        })
        .collect()
}

/// Returns a text of a document.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Returns the steps of a report that did not succeed, as `outcome action kind name`.
pub fn failures(report: &Value) -> Vec<String> {
    let steps = report["steps"].as_array().into_iter().flatten();
    steps
        .filter(|step| step["outcome"] != "done")
        .map(|step| {
            format!(
                "{} {} {} {}",
                text(&step["outcome"]),
                text(&step["action"]),
                text(&step["kind"]),
                text(&step["name"])
            )
        })
        .collect()
}

/// Returns the step of a report for a resource.
pub fn step<'r>(report: &'r Value, kind: &str, name: &str) -> &'r Value {
    let steps = report["steps"].as_array().expect("steps");
    steps
        .iter()
        .find(|step| step["kind"] == kind && text(&step["name"]).contains(name))
        .unwrap_or_else(|| panic!("no step for {kind} {name}: {report:#}"))
}

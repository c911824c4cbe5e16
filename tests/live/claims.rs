//! One writer at a time, whoever it is and from wherever it comes: over two sockets, with lock files that do not see
//! each other, and when whoever holds the claim is killed.

use std::collections::BTreeSet;
use std::process::Child;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use serde_json::{Value, json};

use crate::project::{Project, changes, project, text};
use crate::proxy::{Proxy, Request, Verdict};
use crate::raw::{self, Events};

/// How many want to write at once.
const MANY: usize = 50;

/// A way to the engine and a place for lock files, as another machine has them.
struct Side {
    proxy: Proxy,
    runtime: tempfile::TempDir,
}

/// How a run of the program ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Side {
    fn new() -> Self {
        Self::ruled(|_| Verdict::Pass)
    }

    fn ruled(rule: impl FnMut(&Request) -> Verdict + Send + 'static) -> Self {
        Self {
            proxy: Proxy::ruled(rule),
            runtime: tempfile::tempdir().expect("a directory"),
        }
    }

    /// Makes a side where whoever is about to write something that is no claim stays there until it is killed.
    fn gated(reached: Sender<usize>, number: usize) -> (Self, Sender<()>) {
        let (open, closed) = channel::<()>();
        let closed = Mutex::new(closed);
        let side = Self::ruled(move |request| {
            if request.path == "/containers/create" && !request.names_claim() {
                reached.send(number).expect("a test");
                // Until the other end is dropped.
                let _ = closed.lock().expect("a gate").recv();
                return Verdict::Cut;
            }
            Verdict::Pass
        });
        (side, open)
    }

    /// Starts the program.
    fn begin(&self, project: &Project, arguments: &str) -> Child {
        self.begin_with(project, &self.runtime.path().display().to_string(), arguments)
    }

    /// Starts the program with another place for lock files.
    fn begin_with(&self, project: &Project, runtime: &str, arguments: &str) -> Child {
        let host = self.proxy.host();
        project.begin_shell(&format!(
            "DOCKER_HOST={host} XDG_RUNTIME_DIR={runtime} exec \"$AISHELL\" {arguments}"
        ))
    }

    fn run(&self, project: &Project, arguments: &str) -> Ended {
        ended(self.begin(project, arguments))
    }
}

fn ended(child: Child) -> Ended {
    let output = child.wait_with_output().expect("an end");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Ends a program as the kernel does when nothing is left to say.
fn kill(mut child: Child) {
    child.kill().expect("a process");
    child.wait().expect("an end");
}

/// Returns the name that claims what a project has.
fn claim(project: &Project) -> String {
    let of = format!("{}\0{}", project.path().display(), project.name);
    format!("aishell-claim-{}", &aishell::key::digest(of.as_bytes())[..8])
}

fn with(project: &Project, mode: &str) {
    project.manifest(&format!(
        "containers:\n  a: {{ env: {{ MODE: {mode} }}, stop: {{ timeout: 1s }} }}\n  b: {{ home: tmpfs }}\n"
    ));
}

/// Returns a project in which something is to be done, and an image is there to make a claim from.
fn changed() -> Project {
    let project = project();
    with(&project, "one");
    project.converge();
    with(&project, "two");
    project
}

/// The engine's events, up to where a test asks for them.
struct Log {
    containers: Events,
    volumes: Events,
}

impl Log {
    fn new() -> Self {
        Self {
            containers: Events::of("container"),
            volumes: Events::of("volume"),
        }
    }

    /// Waits until everything was told that happened before.
    fn up_to_now(&self, project: &Project) {
        let name = format!("aishelltest-{}-{}", project.name, crate::project::word());
        let labels = json!({ "aishelltest": project.name });
        let made = raw::post(
            &format!("/containers/create?name={name}"),
            &json!({ "Image": raw::tiny(), "Cmd": ["true"], "Labels": labels }),
        );
        raw::post("/volumes/create", &json!({ "Name": name, "Labels": labels }));
        let told = |events: &Events, id: &Value| {
            raw::until("the engine told of everything", || {
                let seen = events.seen();
                seen.iter().any(|event| event["Actor"]["ID"] == *id).then_some(())
            });
        };
        told(&self.containers, &made["Id"]);
        told(&self.volumes, &json!(name));
        raw::delete(&format!("/containers/{}", text(&made["Id"])));
        raw::delete(&format!("/volumes/{name}"));
    }

    /// Returns the ids of what claimed something, or was to.
    fn claims(&self) -> BTreeSet<String> {
        let created = |event: &&Value| {
            event["Action"] == "create" && event["Actor"]["Attributes"]["aishell.kind"] == "claim"
        };
        let seen = self.containers.seen();
        seen.iter()
            .filter(created)
            .map(|event| text(&event["Actor"]["ID"]).to_owned())
            .collect()
    }

    /// Returns how often each volume of a project was created.
    fn volumes(&self, project: &Project) -> Vec<String> {
        let prefix = project.object("");
        let seen = self.volumes.seen();
        let created = seen.iter().filter(|event| event["Action"] == "create");
        created
            .map(|event| text(&event["Actor"]["ID"]))
            .filter(|name| name.starts_with(&prefix))
            .map(|name| name.replace(&prefix, ""))
            .collect()
    }
}

/// Returns what was written on several sides, sorted, without what only keeps others out. Volumes are left to the
/// engine's events: a request does not say which one it makes.
fn writes<'s>(project: &Project, log: &Log, sides: impl IntoIterator<Item = &'s Side>) -> Vec<String> {
    log.up_to_now(project);
    let claims = log.claims();
    let mut all = Vec::new();
    for side in sides {
        for request in side.proxy.seen_from(0) {
            let Request {
                method, path, query, ..
            } = &request;
            let claims = request.names_claim() || claims.iter().any(|id| path.contains(id));
            // Others may want the same image at the same time: then they take turns, and what is done tells who did
            // it. Whether somebody works in a container is a question, however it is asked.
            let asks =
                path == "/containers/create" && query.contains("aishell-job-") || path.contains("/exec");
            if !request.is_write() || claims || asks || path == "/volumes/create" {
                continue;
            }
            let words: Vec<&str> = path.split('/').map(|word| plain(project, word)).collect();
            let name = query.strip_prefix("name=").unwrap_or_default();
            all.push(format!(
                "{method} {} {}",
                words.join("/"),
                name.replace(&project.object(""), "")
            ));
        }
    }
    all.sort();
    all
}

/// Returns a word of a path as it is in every project.
fn plain<'w>(project: &Project, word: &'w str) -> &'w str {
    let digits = word.strip_prefix("sha256:").unwrap_or(word);
    if digits.len() >= 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        "ID"
    } else if word.contains(&project.name) {
        "NAME"
    } else {
        word
    }
}

/// Insists that of many at once one writes, and that as much as whoever is alone.
fn one_of_many_writes(scene: fn() -> Project) {
    let alone = scene();
    let log = Log::new();
    let side = Side::new();
    let run = side.run(&alone, "apply");
    assert_eq!(run.code, Some(0), "{run:#?}");
    let wanted = (writes(&alone, &log, [&side]), log.volumes(&alone));
    assert_ne!(wanted.0, Vec::<String>::new());

    let project = scene();
    let log = Log::new();
    let sides = [Side::new(), Side::new()];
    let begun: Vec<(bool, Child)> = (0..MANY)
        .map(|number| {
            let patient = number % 4 < 2;
            let timeout = if patient { "5m" } else { "0" };
            let arguments = format!("apply -o json --lock-timeout {timeout}");
            (patient, sides[number % 2].begin(&project, &arguments))
        })
        .collect();
    // Whoever is not read from would wait for that.
    let runs: Vec<(bool, Ended)> = thread::scope(|scope| {
        let waiting: Vec<_> = begun
            .into_iter()
            .map(|(patient, child)| scope.spawn(move || (patient, ended(child))))
            .collect();
        waiting
            .into_iter()
            .map(|run| run.join().expect("a run"))
            .collect()
    });
    let mut writers = 0;
    for (patient, run) in &runs {
        if run.code == Some(7) && !patient {
            assert!(run.stdout.contains("`aishell apply` (process "), "{run:#?}");
            continue;
        }
        assert_eq!(run.code, Some(0), "{run:#?}");
        assert_eq!(run.json()["converged"], true, "{run:#?}");
        writers += usize::from(!changes(&run.json()).is_empty());
    }
    assert_eq!(writers, 1, "{runs:#?}");
    assert_eq!((writes(&project, &log, &sides), log.volumes(&project)), wanted);
    project.settled();
    project.unclaimed();
    project.only(&["a", "b"]);
}

#[test]
fn fifty_first_applies_from_two_sides_write_what_one_writes() {
    one_of_many_writes(|| {
        let project = project();
        with(&project, "one");
        project
    });
}

#[test]
fn fifty_changes_from_two_sides_write_what_one_writes() {
    one_of_many_writes(changed);
}

/// Waits until somebody is about to write, and returns who.
fn at_gate(reached: &Receiver<usize>) -> usize {
    raw::until("somebody writes", || reached.try_recv().ok())
}

#[test]
fn while_somebody_writes_others_learn_who_it_is_and_whoever_looks_does_not_wait() {
    let project = changed();
    let before = project.container("a");
    let (reached, reaches) = channel();
    let (mine, gate) = Side::gated(reached, 0);
    let holder = mine.begin(&project, "apply");
    at_gate(&reaches);
    let claimed = raw::container(&claim(&project)).expect("a claim");
    assert_eq!(claimed["State"]["Running"], true);

    let other = Side::new();
    let process = format!("`aishell apply` (process {} of ", holder.id());
    for arguments in
        ["apply", "delete --yes", "stop a", "restart a"].map(|words| format!("{words} --lock-timeout 0"))
    {
        let arguments = arguments.as_str();
        // Where the lock file is seen it tells, elsewhere the container does.
        let here = mine.runtime.path().display().to_string();
        for run in [
            other.run(&project, arguments),
            ended(other.begin_with(&project, &here, arguments)),
        ] {
            assert_eq!(run.code, Some(7), "{arguments}: {run:#?}");
            assert!(run.stderr.contains(&process), "{arguments}: {run:#?}");
            assert!(run.stderr.contains("--lock-timeout 60s"), "{arguments}: {run:#?}");
        }
    }
    let looks = Side {
        proxy: Proxy::read_only(),
        runtime: tempfile::tempdir().expect("a directory"),
    };
    for (arguments, code) in [("diff", 1), ("status", 1), ("ps", 0), ("apply --dry-run", 1)] {
        let run = looks.run(&project, arguments);
        assert_eq!(run.code, Some(code), "{arguments}: {run:#?}");
    }
    assert_eq!(looks.proxy.writes(), Vec::<String>::new());
    assert_eq!(
        std::fs::read_dir(looks.runtime.path()).expect("a list").count(),
        0
    );
    raw::same(&project.container("a"), &before);

    kill(holder);
    drop(gate);
    // Nobody else has to do anything about it.
    project.unclaimed();
    let run = other.run(&project, "apply");
    assert_eq!(run.code, Some(0), "{run:#?}");
    project.settled();
    project.unclaimed();
    project.only(&["a", "b"]);
}

#[test]
fn each_time_the_one_that_writes_is_killed_one_of_the_others_goes_on() {
    let project = changed();
    let (reached, reaches) = channel();
    let mut waiting: Vec<_> = (0..6)
        .map(|number| {
            let (side, gate) = Side::gated(reached.clone(), number);
            let child = side.begin(&project, "apply --lock-timeout 5m");
            Some((side, gate, child))
        })
        .collect();
    for _ in 0..waiting.len() {
        let writer = at_gate(&reaches);
        let (_side, gate, child) = waiting[writer].take().expect("one that was not killed");
        let holder = &raw::container(&claim(&project)).expect("a claim")["Config"]["Labels"]["aishell.pid"];
        assert_eq!(text(holder), child.id().to_string());
        assert!(reaches.try_recv().is_err(), "a second one writes");
        kill(child);
        drop(gate);
    }
    let run = Side::new().run(&project, "apply --lock-timeout 5m");
    assert_eq!(run.code, Some(0), "{run:#?}");
    project.settled();
    project.unclaimed();
    project.only(&["a", "b"]);
}

/// Refuses to make the container of a claim, as an engine without a fitting image does.
fn without_containers(reached: Sender<usize>) -> (Side, Sender<()>) {
    let (open, closed) = channel::<()>();
    let closed = Mutex::new(closed);
    let side = Side::ruled(move |request| {
        if request.path != "/containers/create" {
            return Verdict::Pass;
        }
        if !request.names_claim() {
            reached.send(0).expect("a test");
            let _ = closed.lock().expect("a gate").recv();
            return Verdict::Cut;
        }
        Verdict::Refuse
    });
    (side, open)
}

#[test]
fn where_no_container_can_be_made_a_volume_keeps_others_out_until_its_maker_is_gone() {
    let project = changed();
    let name = claim(&project);
    let (reached, reaches) = channel();
    let (mine, gate) = without_containers(reached);
    let holder = mine.begin(&project, "apply");
    at_gate(&reaches);
    let path = format!("/volumes/{name}");
    let volume = raw::get(&path);
    let other = Side::new();
    let run = other.run(&project, "apply");
    assert_eq!(run.code, Some(7), "{run:#?}");
    for words in [
        format!("`aishell apply` (process {} of ", holder.id()),
        format!("docker volume rm {name}"),
    ] {
        assert!(run.stderr.contains(&words), "{words}: {run:#?}");
    }
    kill(holder);
    drop(gate);

    // From where its lock cannot be looked at, nobody can tell whether it is gone; what a clock says is no reason.
    let mut labels = volume["Labels"].clone();
    let lock = text(&labels["aishell.lock"]).to_owned();
    let (boot, _) = lock.split_once(' ').expect("a lock");
    labels["aishell.lock"] = json!(lock.replace(boot, "another-boot"));
    for since in [
        "2001-01-01T00:00:00Z",
        "9999-12-31T00:00:00Z",
        "yesterday\u{1b}[2J",
    ] {
        raw::delete(&path);
        labels["aishell.since"] = json!(since);
        raw::post("/volumes/create", &json!({ "Name": name, "Labels": labels }));
        let run = other.run(&project, "apply");
        assert_eq!(run.code, Some(7), "{since}: {run:#?}");
        assert!(!run.stderr.contains('\u{1b}'), "{since}: {run:#?}");
        assert_eq!(raw::get(&path)["Labels"], labels);
    }
    raw::delete(&path);

    // On its own machine whoever comes next sees that its lock is free.
    raw::post(
        "/volumes/create",
        &json!({ "Name": name, "Labels": volume["Labels"] }),
    );
    let run = other.run(&project, "apply");
    assert_eq!(run.code, Some(0), "{run:#?}");
    project.settled();
    project.unclaimed();
    project.only(&["a", "b"]);
}

/// Makes a container under the name of a claim.
fn pretend(project: &Project, labels: &Value, runs: bool) -> String {
    let mut labels = labels.clone();
    labels["aishelltest"] = json!(project.name);
    let options = json!({ "Image": raw::tiny(), "Cmd": ["sleep", "1000"], "Labels": labels });
    let made = raw::post(&format!("/containers/create?name={}", claim(project)), &options);
    let id = text(&made["Id"]).to_owned();
    if runs {
        raw::post(&format!("/containers/{id}/start"), &Value::Null);
    }
    id
}

#[test]
fn whatever_else_has_the_name_of_a_claim_is_left_alone_and_what_its_labels_say_decides_nothing() {
    let project = changed();
    let before = project.container("a");
    let (reached, reaches) = channel();
    let (mine, gate) = Side::gated(reached, 0);
    let holder = mine.begin(&project, "apply");
    at_gate(&reaches);
    let labels = raw::container(&claim(&project)).expect("a claim")["Config"]["Labels"].clone();
    kill(holder);
    drop(gate);
    project.unclaimed();

    let other = Side::new();
    let mangled = |label: &str, value: &Value| {
        let mut labels = labels.clone();
        labels[label] = value.clone();
        if value.is_null() {
            labels.as_object_mut().expect("labels").remove(label);
        }
        labels
    };
    let strange = [
        json!({}),
        json!({ "aishell.kind": "claim" }),
        mangled("aishell.uid", &Value::Null),
        mangled("aishell.kind", &json!("claims")),
        mangled("aishell.manifest", &json!("another")),
        mangled("aishell.project", &json!("/elsewhere")),
    ];
    let claims = [
        mangled("aishell.pid", &json!("18446744073709551616")),
        mangled("aishell.command", &json!("\u{1b}[2J\u{7}")),
        mangled("aishell.since", &json!("9999-12-31T23:59:59Z")),
        mangled("aishell.since", &json!("-009999-01-02T01:59:59Z")),
        mangled("aishell.holder", &json!("x".repeat(9000))),
        mangled("aishell.lock", &json!("boot 1:1 /etc/passwd")),
        mangled("aishell.lock", &json!("")),
        mangled("aishell.lock", &Value::Null),
        mangled("aishell.nonce", &json!("\u{0}")),
        mangled("aishell.name", &json!("a")),
    ];
    let cases = strange.iter().map(|labels| (labels, 6));
    for (labels, code) in cases.chain(claims.iter().map(|labels| (labels, 7))) {
        let mut labels = labels.clone();
        let lock = text(&labels["aishell.lock"]).to_owned();
        if let Some((boot, _)) = lock.split_once(' ').filter(|_| code == 7) {
            // Else its holder is known to be gone.
            labels["aishell.lock"] = json!(lock.replace(boot, "another-boot"));
        }
        let id = pretend(&project, &labels, true);
        let pretender = raw::container(&id);
        let run = other.run(&project, "apply");
        assert_eq!(run.code, Some(code), "{labels:#}: {run:#?}");
        assert!(!run.stderr.contains(['\u{1b}', '\u{7}']), "{run:#?}");
        assert!(run.stderr.len() < 2000, "{run:#?}");
        raw::same(
            &raw::container(&id).expect("it is there"),
            &pretender.expect("it is there"),
        );
        raw::delete(&format!("/containers/{id}?force=1"));
    }
    raw::same(&project.container("a"), &before);

    // A copy has all labels, and they are those of its image.
    let id = pretend(&project, &labels, false);
    let image = format!("aishelltest-{}:copy", project.name);
    let (repository, tag) = image.split_once(':').expect("a tag");
    raw::post(
        &format!("/commit?container={id}&repo={repository}&tag={tag}"),
        &Value::Null,
    );
    raw::delete(&format!("/containers/{id}"));
    let copy = json!({ "Image": image, "Cmd": ["sleep", "1000"] });
    let made = raw::post(&format!("/containers/create?name={}", claim(&project)), &copy);
    let run = other.run(&project, "apply");
    assert_eq!(run.code, Some(6), "{run:#?}");
    let id = text(&made["Id"]);
    assert!(raw::container(id).is_some());
    raw::delete(&format!("/containers/{id}"));

    // One that does not run claims nothing.
    pretend(&project, &labels, false);
    let run = other.run(&project, "apply");
    assert_eq!(run.code, Some(0), "{run:#?}");
    project.settled();
    project.unclaimed();
    project.only(&["a", "b"]);
}

#[test]
fn without_a_place_for_lock_files_the_container_keeps_others_out() {
    let project = changed();
    let place = tempfile::tempdir().expect("a directory");
    let at = |name: &str| place.path().join(name).display().to_string();
    for name in ["file", "inside", "open", "full"] {
        std::fs::create_dir(at(name)).expect("a directory");
    }
    std::fs::write(at("file/aishell"), "").expect("a file");
    std::fs::create_dir(at("open/aishell")).expect("a directory");
    let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(at("open/aishell"), anybody).expect("a mode");
    let side = Side::new();
    for (round, runtime) in ["/dev/null".to_owned(), at("file"), at("open")]
        .iter()
        .enumerate()
    {
        with(&project, &format!("round{round}"));
        let run = ended(side.begin_with(&project, runtime, "-v apply"));
        assert_eq!(run.code, Some(0), "{runtime}: {run:#?}");
        assert!(run.stderr.contains("cannot be used"), "{runtime}: {run:#?}");
        project.settled();
    }
    // Not one more file fits.
    with(&project, "full");
    let full = at("full");
    let run = ended(project.begin_shell(&format!(
        "XDG_RUNTIME_DIR={full} exec unshare --map-root-user --mount sh -c \
         'mount -t tmpfs -o size=4k,nr_inodes=2 none {full} && mkdir -m 700 {full}/aishell && exec \"$AISHELL\" -v apply'"
    )));
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(run.stderr.contains("cannot be used"), "{run:#?}");
    project.settled();

    with(&project, "held");
    let (reached, reaches) = channel();
    let (mine, gate) = Side::gated(reached, 0);
    let holder = mine.begin_with(&project, "/dev/null", "apply");
    at_gate(&reaches);
    let run = ended(side.begin_with(&project, "/dev/null", "apply"));
    assert_eq!(run.code, Some(7), "{run:#?}");
    let process = format!("(process {} of ", holder.id());
    assert!(run.stderr.contains(&process), "{run:#?}");
    kill(holder);
    drop(gate);
    let run = ended(side.begin_with(&project, "/dev/null", "apply --lock-timeout 5m"));
    assert_eq!(run.code, Some(0), "{run:#?}");
    project.settled();
    project.unclaimed();
    project.only(&["a", "b"]);
}

#[test]
fn two_who_apply_and_one_who_watches_make_everything_once() {
    let scene = || {
        let project = project();
        with(&project, "one");
        project
    };
    let alone = scene();
    let log = Log::new();
    let side = Side::new();
    let run = side.run(&alone, "apply");
    assert_eq!(run.code, Some(0), "{run:#?}");
    let wanted = (writes(&alone, &log, [&side]), log.volumes(&alone));

    for changes in [false, true] {
        let project = scene();
        let wanted = if changes {
            project.converge();
            with(&project, "two");
            let alone = changed();
            let (log, side) = (Log::new(), Side::new());
            let run = side.run(&alone, "apply");
            assert_eq!(run.code, Some(0), "{run:#?}");
            (writes(&alone, &log, [&side]), log.volumes(&alone))
        } else {
            wanted.clone()
        };
        let log = Log::new();
        let sides = [Side::new(), Side::new(), Side::new()];
        let commands = [
            "apply -o json --lock-timeout 5m",
            "apply -o json --lock-timeout 5m",
            "watch --once-ready",
        ];
        let begun: Vec<Child> = sides
            .iter()
            .zip(commands)
            .map(|(side, command)| side.begin(&project, command))
            .collect();
        let runs: Vec<Ended> = thread::scope(|scope| {
            let waiting: Vec<_> = begun
                .into_iter()
                .map(|child| scope.spawn(move || ended(child)))
                .collect();
            waiting
                .into_iter()
                .map(|run| run.join().expect("a run"))
                .collect()
        });
        for run in &runs {
            assert_eq!(run.code, Some(0), "{runs:#?}");
        }
        for run in &runs[..2] {
            assert_eq!(run.json()["converged"], true, "{runs:#?}");
        }
        assert_eq!(
            (writes(&project, &log, &sides), log.volumes(&project)),
            wanted,
            "{runs:#?}"
        );
        project.settled();
        project.unclaimed();
        project.only(&["a", "b"]);
    }
}

//! The loop of `watch` against a real engine: edits, hands, lost events, engines that go away, ends.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::{Value, json};

use crate::project::{Project, changes, project, text};
use crate::proxy::{Proxy, Verdict};
use crate::raw;

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `aishell watch -o json`.
pub struct Watching {
    child: Child,
    events: Receiver<Value>,
    seen: Vec<Value>,
    talk: Option<thread::JoinHandle<String>>,
}

impl Watching {
    fn begin(project: &Project, options: &[&str]) -> Self {
        let words = [&["watch", "-o", "json"], options].concat();
        Self::of(project.begin(&words))
    }

    fn of(mut child: Child) -> Self {
        let out = child.stdout.take().expect("stdout");
        let mut err = child.stderr.take().expect("stderr");
        let (sender, events) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        let talk = thread::spawn(move || {
            let mut text = String::new();
            let _ = err.read_to_string(&mut text);
            text
        });
        Self {
            child,
            events,
            seen: Vec::new(),
            talk: Some(talk),
        }
    }

    /// Begins, and waits until everything is as wanted.
    pub fn converged(project: &Project, options: &[&str]) -> Self {
        let mut watching = Self::begin(project, options);
        watching.hears("converged");
        watching
    }

    /// Waits for an event that is told so, and returns it.
    pub fn hears(&mut self, wanted: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(event) = self.events.recv_timeout(left) else {
                let talk = self.end_talk();
                panic!("waited in vain for `{wanted}`: {:#?}\n{talk}", self.seen);
            };
            self.seen.push(event.clone());
            if told(&event) == wanted {
                return event;
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("kill").success());
    }

    fn end_talk(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.talk
            .take()
            .map_or_else(String::new, |talk| talk.join().expect("talk"))
    }

    /// Waits for the end, and returns code and talk.
    fn ends(mut self) -> (Option<i32>, String) {
        let ended = raw::until("the program ended", || self.child.try_wait().expect("a child"));
        (ended.code(), self.end_talk())
    }

    /// Ends it, and insists that it was well and everything is as wanted.
    pub fn ends_well(self, project: &Project) {
        self.signal("TERM");
        assert_eq!(self.ends().0, Some(143));
        project.settled();
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns what an event tells in a few words.
fn told(event: &Value) -> String {
    let resource = || {
        let resource = &event["resource"];
        format!("{} {}", text(&resource["kind"]), text(&resource["name"]))
    };
    match text(&event["event"]) {
        "finished" => format!(
            "{} {} {}",
            text(&event["outcome"]),
            text(&event["action"]),
            resource()
        ),
        "condition" => {
            let condition = &event["condition"];
            format!("{} {}", text(&condition["reason"]), text(&condition["status"]))
        }
        "blocked" => format!(
            "blocked {} {}",
            text(&event["blocked"]["name"]),
            text(&event["blocked"]["reason"])
        ),
        "waiting" => format!("waiting {}", resource()),
        other => other.to_owned(),
    }
}

/// Writes a manifest with one container that has so much memory: a change that takes milliseconds.
fn sized(project: &Project, mebibytes: u64) {
    project.manifest(&sizes(mebibytes));
}

fn sizes(mebibytes: u64) -> String {
    format!("containers:\n  a: {{ resources: {{ memory: {mebibytes}MiB }} }}\n")
}

fn memory(project: &Project) -> u64 {
    let bytes = project.container("a")["HostConfig"]["Memory"]
        .as_u64()
        .expect("a size");
    bytes >> 20
}

/// Returns the whole text of the manifest that [`sized`] writes.
fn whole(project: &Project, mebibytes: u64) -> String {
    format!(
        "apiVersion: aishell/v1\nname: {}\nfoundation: {{ image: \"{}\" }}\n{}",
        project.name,
        project.image,
        sizes(mebibytes)
    )
}

#[test]
fn every_way_of_saving_applies() {
    let project = project();
    sized(&project, 64);
    let mut watching = Watching::converged(&project, &[]);
    let file = project.path().join("aishell.yaml");
    let temporary = project.path().join(".aishell.yaml.swp");
    let text = |size| whole(&project, size);
    let mut applied = |size: u64, how: &str| {
        watching.hears("done update container a");
        watching.hears("converged");
        assert_eq!(memory(&project), size, "{how}");
    };
    fs::write(&file, text(65)).expect("a file");
    applied(65, "in place");
    fs::write(&temporary, text(66)).expect("a file");
    fs::rename(&temporary, &file).expect("a rename");
    applied(66, "by rename");
    fs::write(&file, "").expect("a file");
    fs::write(&file, text(67)).expect("a file");
    applied(67, "truncated and written");
    fs::remove_file(&file).expect("a removal");
    fs::write(&file, text(68)).expect("a file");
    applied(68, "deleted and restored");
    // Links, as those who distribute configuration do it: the file is a link through a directory that is one.
    let elsewhere = tempfile::tempdir().expect("a directory");
    let version = |size: u64| {
        let directory = elsewhere.path().join(size.to_string());
        fs::create_dir(&directory).expect("a directory");
        fs::write(directory.join("aishell.yaml"), text(size)).expect("a file");
        directory
    };
    let current = elsewhere.path().join("current");
    symlink(version(69), &current).expect("a link");
    fs::remove_file(&file).expect("a removal");
    symlink(current.join("aishell.yaml"), &file).expect("a link");
    applied(69, "replaced by a link");
    let next = elsewhere.path().join("next");
    symlink(version(70), &next).expect("a link");
    fs::rename(&next, &current).expect("a rename");
    applied(70, "by a link that was swapped on the way");
    fs::write(elsewhere.path().join("70/aishell.yaml"), text(71)).expect("a file");
    applied(71, "where the link leads");
    watching.ends_well(&project);
}

#[test]
fn a_manifest_in_a_directory_of_its_own_survives_the_loss_of_the_directory() {
    let project = project();
    let own = project.path().join(".aishell");
    fs::create_dir(&own).expect("a directory");
    fs::create_dir(project.path().join(".git")).expect("a directory");
    fs::write(own.join("manifest.yaml"), whole(&project, 64)).expect("a file");
    let mut watching = Watching::converged(&project, &[]);
    fs::remove_dir_all(&own).expect("a removal");
    watching.hears("InvalidManifest True");
    fs::create_dir(&own).expect("a directory");
    fs::write(own.join("manifest.yaml"), whole(&project, 65)).expect("a file");
    watching.hears("InvalidManifest False");
    watching.hears("converged");
    assert_eq!(memory(&project), 65);
    watching.ends_well(&project);
}

#[test]
fn everything_the_manifest_names_is_watched() {
    let project = project();
    project.write("team.yaml", "defaults: { resources: { memory: 64MiB } }\n");
    fs::create_dir_all(project.path().join("docker/files")).expect("directories");
    project.write(
        "docker/Dockerfile",
        &format!("FROM {}\nCOPY files /files\n", project.image),
    );
    project.write("docker/.dockerignore", "ignored\n");
    project.write("docker/files/one", "1");
    project.manifest_on(
        "{ dockerfile: docker/Dockerfile }",
        "extends: [team.yaml]\ncontainers: { a: {} }\n",
    );
    let mut watching = Watching::converged(&project, &[]);
    project.write("team.yaml", "defaults: { resources: { memory: 65MiB } }\n");
    watching.hears("done update container a");
    watching.hears("converged");
    project.write("docker/files/one", "2");
    watching.hears("done replace container a");
    watching.hears("converged");
    assert_eq!(raw::said(&project.object("a"), &["cat", "/files/one"]), "2");
    // A new directory, and a file in it.
    fs::create_dir(project.path().join("docker/files/new")).expect("a directory");
    project.write("docker/files/new/two", "3");
    // Both may be seen at once, or one after the other.
    loop {
        watching.hears("done replace container a");
        watching.hears("converged");
        if raw::exec(&project.object("a"), &["cat", "/files/new/two"]).text == "3" {
            break;
        }
    }
    watching.ends_well(&project);
}

#[test]
fn rubbish_changes_nothing_is_told_once_and_the_last_good_manifest_stays_in_force() {
    let project = project();
    // One for each, since what goes away again and again waits longer each time.
    let eight = "containers: { a: {}, b: {}, c: {}, d: {}, e: {}, f: {}, g: {}, h: {} }\n";
    project.manifest(eight);
    let mut watching = Watching::converged(&project, &[]);
    let file = project.path().join("aishell.yaml");
    let good = fs::read_to_string(&file).expect("the manifest");
    let clear = || {
        let _ = fs::remove_file(&file);
        let _ = fs::remove_dir(&file);
    };
    let rubbish: [(&str, &dyn Fn()); 8] = [
        ("unclosed bracket", &|| {
            fs::write(&file, format!("{good}bad: [\n")).expect("a file");
        }),
        ("is a directory", &|| fs::create_dir(&file).expect("a directory")),
        ("is a device, pipe or socket", &|| {
            assert!(
                Command::new("mkfifo")
                    .arg(&file)
                    .status()
                    .expect("mkfifo")
                    .success()
            );
        }),
        ("larger than", &|| {
            let huge = fs::File::create(&file).expect("a file");
            huge.set_len(64 << 30).expect("a size");
        }),
        ("not UTF-8", &|| {
            fs::write(&file, b"\xff\xfe\x00").expect("a file");
        }),
        ("is a device, pipe or socket", &|| {
            symlink("/dev/zero", &file).expect("a link");
        }),
        ("cannot be read", &|| {}),
        ("more than one manifest", &|| {
            fs::write(&file, &good).expect("a file");
            fs::create_dir_all(project.path().join(".sandbox")).expect("a directory");
            project.write(".sandbox/manifest.yaml", &good);
        }),
    ];
    for ((expected, put), name) in rubbish.into_iter().zip('a'..) {
        let name = name.to_string();
        clear();
        put();
        let event = loop {
            let event = watching.hears("InvalidManifest True");
            if event.to_string().contains(expected) {
                break event;
            }
        };
        assert!(event["problems"][0]["message"].is_string(), "{event:#}");
        raw::delete(&format!("/containers/{}?force=1", project.object(&name)));
        watching.hears(&format!("done create container {name}"));
    }
    let told_before = watching.seen.len();
    fs::remove_dir_all(project.path().join(".sandbox")).expect("a removal");
    watching.hears("InvalidManifest False");
    assert!(watching.seen.len() > told_before);
    assert_eq!(changes(&project.diff().json), [""; 0]);
    let lines: Vec<u64> = watching
        .seen
        .iter()
        .filter_map(|event| event["problems"][0]["at"]["line"].as_u64())
        .collect();
    assert_eq!(lines.first(), Some(&5), "the line of the bracket");
    watching.ends_well(&project);
}

#[test]
fn a_manifest_that_becomes_another_one_needs_a_new_watch() {
    let project = project();
    sized(&project, 64);
    let mut watching = Watching::converged(&project, &[]);
    let renamed = whole(&project, 65).replace(&project.name, &format!("{}x", project.name));
    project.write("aishell.yaml", &renamed);
    let event = watching.hears("RestartNeeded True");
    assert!(
        event["problems"][0]["hint"].to_string().contains("aishell watch"),
        "{event:#}"
    );
    assert_eq!(memory(&project), 64);
    sized(&project, 66);
    watching.hears("RestartNeeded False");
    watching.hears("done update container a");
    watching.hears("converged");
    watching.ends_well(&project);
}

#[test]
fn what_is_done_by_hand_is_undone_and_costs_requests_for_that_container_only() {
    let mut project = project();
    project.manifest("containers: { a: {}, b: {}, c: {}, d: {}, e: {}, f: {}, first: {} }\n");
    let proxy = Proxy::new();
    project.through(&proxy);
    let mut watching = Watching::converged(&project, &[]);
    let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(|name| project.object(name));
    let network = project.object(&project.name);
    let hands: [(&str, &dyn Fn()); 5] = [
        ("done create container a", &|| {
            raw::delete(&format!("/containers/{a}?force=1"));
        }),
        ("done start container b", &|| {
            raw::post(&format!("/containers/{b}/kill"), &Value::Null);
        }),
        ("done update container c", &|| {
            raw::post(&format!("/containers/{c}/update"), &json!({ "PidsLimit": 99 }));
        }),
        ("done rename container d", &|| {
            raw::post(&format!("/containers/{d}/rename?name={d}-x"), &Value::Null);
        }),
        ("done connect container e", &|| {
            let body = json!({ "Container": e });
            raw::post(&format!("/networks/{network}/disconnect"), &body);
        }),
    ];
    // Events come in their order: once this one has come, so have all that tell of how the containers were made.
    raw::post(
        &format!("/containers/{}/kill", project.object("first")),
        &Value::Null,
    );
    watching.hears("done start container first");
    watching.hears("converged");
    for (healed, hand) in hands {
        let before = proxy.requests();
        hand();
        watching.hears(healed);
        watching.hears("converged");
        let requests = proxy.seen_from(before);
        let listings: Vec<_> = requests
            .iter()
            .filter(|request| request.method == "GET" && request.path == "/containers/json")
            .collect();
        assert!(listings.is_empty(), "{healed}: {requests:#?}");
        let own = healed.rsplit(' ').next().expect("a name");
        // What was done to one before may still be looked at.
        let others = ["b", "c", "d", "e", "f"].into_iter().filter(|name| *name > own);
        let others: Vec<String> = others.map(|other| project.id(other)).collect();
        let about_others = requests
            .iter()
            .filter(|request| others.iter().any(|id| request.path.contains(id.as_str())));
        assert_eq!(about_others.count(), 0, "{healed}: {requests:#?}");
    }
    watching.ends_well(&project);
}

#[test]
fn when_all_events_are_lost_the_resync_finds_what_happened() {
    let mut project = project();
    sized(&project, 64);
    let proxy = Proxy::ruled(|request| {
        if request.path == "/events" {
            Verdict::Mute
        } else {
            Verdict::Pass
        }
    });
    project.through(&proxy);
    let mut watching = Watching::converged(&project, &["--resync", "2s"]);
    raw::delete(&format!("/containers/{}?force=1", project.object("a")));
    watching.hears("done create container a");
    watching.hears("converged");
    watching.ends_well(&project);
}

#[test]
fn while_the_engine_is_away_nothing_is_done_and_then_everything_is_looked_at() {
    let mut project = project();
    project.manifest("containers: { a: {}, b: {} }\n");
    let away = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&away);
    let proxy = Proxy::ruled(move |_| {
        if gone.load(Ordering::SeqCst) {
            Verdict::Cut
        } else {
            Verdict::Pass
        }
    });
    project.through(&proxy);
    let mut watching = Watching::converged(&project, &[]);
    let kept = project.id("b");
    let writes = proxy.writes().len();
    away.store(true, Ordering::SeqCst);
    proxy.disconnect();
    let event = watching.hears("EngineUnreachable True");
    assert_eq!(event["condition"]["type"], "Degraded");
    raw::delete(&format!("/containers/{}?force=1", project.object("a")));
    assert_eq!(proxy.writes().len(), writes);
    away.store(false, Ordering::SeqCst);
    watching.hears("EngineUnreachable False");
    watching.hears("done create container a");
    watching.hears("converged");
    assert_eq!(project.id("b"), kept);
    watching.ends_well(&project);
}

#[test]
fn a_container_in_use_is_changed_within_seconds_after_it_is_not_any_more() {
    let project = project();
    let with = |mode: &str| format!("containers:\n  a: {{ env: {{ MODE: {mode} }} }}\n");
    project.manifest(&with("one"));
    let mut watching = Watching::converged(&project, &[]);
    let before = project.id("a");
    let script = "while [ ! -e /tmp/end ]; do sleep 0.1; done";
    let session = raw::detached(&project.object("a"), &["sh", "-c", script], true);
    project.manifest(&with("two"));
    watching.hears("blocked a busy");
    assert_eq!(project.id("a"), before);
    raw::said(&project.object("a"), &["touch", "/tmp/end"]);
    raw::ended(&session);
    watching.hears("done replace container a");
    watching.hears("converged");
    watching.ends_well(&project);
}

#[test]
fn what_crashes_again_and_again_waits_longer_each_time_and_a_fix_applies_at_once() {
    let project = project();
    let with = |command: &str| {
        format!("containers:\n  a: {{ command: [sh, -c, {command:?}], restart: \"no\" }}\n  b: {{}}\n")
    };
    project.manifest(&with("exit 3"));
    let mut watching = Watching::begin(&project, &[]);
    let delays: Vec<f64> = (0..3)
        .map(|_| {
            watching.hears("waiting container a")["seconds"]
                .as_f64()
                .expect("a delay")
        })
        .collect();
    assert!(delays.windows(2).all(|pair| pair[0] < pair[1]), "{delays:?}");
    // The other one is not slowed.
    raw::delete(&format!("/containers/{}?force=1", project.object("b")));
    watching.hears("done create container b");
    project.manifest(&with("while :; do sleep 1; done"));
    watching.hears("converged");
    watching.ends_well(&project);
}

#[test]
fn a_signal_ends_it_in_order_and_the_code_says_which() {
    let project = project();
    sized(&project, 64);
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let watching = Watching::converged(&project, &[]);
        watching.signal(signal);
        assert_eq!(watching.ends().0, Some(code), "{signal}");
    }
    project.settled();
    // Whoever starts it so wants it to outlive the terminal.
    let mut watching = Watching::of(project.begin_shell("trap '' HUP; exec \"$AISHELL\" watch -o json"));
    watching.hears("converged");
    watching.signal("HUP");
    sized(&project, 65);
    watching.hears("done update container a");
    watching.ends_well(&project);
}

#[test]
fn the_step_in_hand_is_finished_before_the_end() {
    let mut project = project();
    let with = |mode: &str| format!("containers:\n  a: {{ env: {{ MODE: {mode} }} }}\n  b: {{}}\n");
    project.manifest(&with("one"));
    let victim: Arc<Mutex<Option<u32>>> = Arc::default();
    let target = Arc::clone(&victim);
    let proxy = Proxy::ruled(move |request| {
        let mut target = target.lock().expect("a process");
        if request.method == "POST"
            && request.path == "/containers/create"
            && !request.names_claim()
            && let Some(pid) = target.take()
        {
            let sent = Command::new("kill").arg(pid.to_string()).status();
            assert!(sent.expect("kill").success());
        }
        Verdict::Pass
    });
    project.through(&proxy);
    let watching = Watching::converged(&project, &[]);
    *victim.lock().expect("a process") = Some(watching.child.id());
    project.manifest(&with("two"));
    let (code, talk) = watching.ends();
    assert_eq!(code, Some(143), "{talk}");
    assert!(
        talk.contains("finishing what is under way: replace container a"),
        "{talk}"
    );
    project.settled();
    project.only(&["a", "b"]);
}

#[test]
fn when_nobody_reads_any_more_it_ends_quietly() {
    let project = project();
    sized(&project, 64);
    let mut child = project.begin(&["watch", "-o", "json"]);
    let mut reader = BufReader::new(child.stdout.take().expect("stdout"));
    let mut line = String::new();
    while !line.contains("\"converged\"") {
        line.clear();
        assert_ne!(reader.read_line(&mut line).expect("a line"), 0);
    }
    drop(reader);
    sized(&project, 65);
    let ended = raw::until("the program ended", || child.try_wait().expect("a child"));
    let mut talk = String::new();
    child
        .stderr
        .take()
        .expect("stderr")
        .read_to_string(&mut talk)
        .expect("text");
    assert_eq!(ended.code(), Some(0), "{talk}");
    assert!(!talk.contains("error"), "{talk}");
}

#[test]
fn two_watches_of_one_manifest_are_one_too_many_and_an_apply_beside_one_is_not() {
    let project = project();
    sized(&project, 64);
    let watching = Watching::converged(&project, &[]);
    let second = project.plain(&["watch"]);
    assert_eq!(second.code, Some(7), "{second:#?}");
    let pid = watching.child.id().to_string();
    assert!(second.stderr.contains(&pid), "{second:#?}");
    let run = project.run(&["apply", "--lock-timeout", "30s"]);
    assert_eq!(
        (run.code, &run.json["converged"]),
        (Some(0), &json!(true)),
        "{run:#?}"
    );
    watching.ends_well(&project);
    // The lock went with its holder.
    Watching::converged(&project, &[]).ends_well(&project);
}

#[test]
fn whoever_waits_for_it_to_be_ready_gets_a_code() {
    let project = project();
    sized(&project, 64);
    let run = project.plain(&["watch", "--once-ready"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(run.stdout.contains("converged"), "{run:#?}");
    project.settled();
}

#[test]
fn where_files_cannot_be_watched_they_are_read_from_time_to_time() {
    let project = project();
    sized(&project, 64);
    // A user namespace has limits of its own.
    for limit in ["max_inotify_instances", "max_inotify_watches"] {
        let script = format!(
            "exec unshare -Ur sh -c 'echo 0 >/proc/sys/user/{limit} && exec \"$AISHELL\" watch -o json'"
        );
        let mut watching = Watching::of(project.begin_shell(&script));
        let event = watching.hears("FilesUnwatched True");
        assert!(event.to_string().contains("fs.inotify"), "{event:#}");
        watching.hears("converged");
        sized(&project, memory(&project) + 1);
        watching.hears("done update container a");
        watching.hears("converged");
        watching.ends_well(&project);
    }
}

#[test]
fn what_cannot_be_watched_is_said_before_anything_is_done() {
    let project = project();
    sized(&project, 64);
    for (words, code) in [
        (vec!["watch", "-f", "-"], 2),
        (vec!["watch", "--resync", "1ms"], 2),
        (vec!["watch", "nowhere.yaml"], 3),
        (vec!["watch", "--host", "unix:///nowhere.sock"], 4),
    ] {
        let run = project.plain(&words);
        assert_eq!(run.code, Some(code), "{words:?} {run:#?}");
    }
    assert_eq!(project.containers(), [""; 0]);
    assert!(Path::new(&project.path()).exists());
}

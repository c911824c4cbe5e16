//! Things that look like ours and are not: none of them is touched by anything. 100 of them, or as many as
//! `AISHELL_DECOYS` says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};

use crate::apply::version;
use crate::project::{Project, failures, project, text, word};
use crate::raw;

/// How many are made or looked at at once.
const AT_ONCE: usize = 4;

/// What was made, by address. It is removed at the end, also when the test fails.
#[derive(Default)]
struct Decoys(Mutex<Vec<String>>);

impl Decoys {
    fn note(&self, address: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(address);
    }

    fn addresses(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn container(&self, name: &str, image: &str, labels: &Value, starts: bool) {
        let options = json!({
            "Image": image,
            "Cmd": ["sleep", "1000"],
            "Entrypoint": [],
            "Labels": labels,
            "HostConfig": { "NetworkMode": "none" },
        });
        let made = raw::post(&format!("/containers/create?name={name}"), &options);
        let id = text(&made["Id"]).to_owned();
        self.note(format!("/containers/{id}"));
        if starts {
            raw::post(&format!("/containers/{id}/start"), &Value::Null);
        }
    }

    fn volume(&self, name: &str, labels: &Value) {
        raw::post("/volumes/create", &json!({ "Name": name, "Labels": labels }));
        self.note(format!("/volumes/{name}"));
    }

    fn network(&self, name: &str, labels: &Value) {
        let made = raw::post("/networks/create", &json!({ "Name": name, "Labels": labels }));
        self.note(format!("/networks/{}", text(&made["Id"])));
    }

    /// Returns what the engine says of every one.
    fn look(&self) -> Value {
        let addresses = self.addresses();
        let found = Mutex::new(BTreeMap::new());
        at_once(addresses.len(), |index| {
            let address = &addresses[index];
            let json = if address.starts_with("/volumes") || address.starts_with("/networks") {
                raw::get(address)
            } else {
                raw::get(&format!("{address}/json"))
            };
            found
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(address.clone(), sorted(json));
        });
        json!(found.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The order of mounts and tags is another one each time.
fn sorted(mut object: Value) -> Value {
    for field in ["Mounts", "RepoTags"] {
        if let Some(list) = object[field].as_array_mut() {
            list.sort_by_key(ToString::to_string);
        }
    }
    object
}

impl Drop for Decoys {
    fn drop(&mut self) {
        // Containers go before what they are made of.
        for part in ["/containers", "/volumes", "/networks", "/images"] {
            let all = self.addresses();
            let all: Vec<&String> = all.iter().filter(|address| address.starts_with(part)).collect();
            at_once(all.len(), |index| {
                let force = if part == "/networks" { "" } else { "?force=1" };
                raw::ask("DELETE", &format!("{}{force}", all[index]), &Value::Null);
            });
        }
    }
}

fn at_once(count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    work(index);
                }
            });
        }
    });
}

/// Returns labels with some of them changed; `null` leaves one out.
fn changed(labels: &Value, changes: Value) -> Value {
    let mut labels = labels.clone();
    for (name, value) in changes.as_object().expect("changes") {
        let all = labels.as_object_mut().expect("labels");
        if value.is_null() {
            all.remove(name);
        } else {
            all.insert(name.clone(), value.clone());
        }
    }
    labels
}

/// Makes so many things that are like those of a project, which has a container `a`.
fn make(project: &Project, count: usize) -> Decoys {
    let decoys = Decoys::default();
    let ours = project.container("a");
    let (image, labels) = (text(&ours["Config"]["Image"]), &ours["Config"]["Labels"]);
    let other = changed(
        labels,
        json!({ "aishell.manifest": format!("other{}", project.name), "aishell.uid": word() }),
    );
    let elsewhere = changed(
        labels,
        json!({
            "aishell.project": "/somewhere/else", "aishell.project.hash": "01234567", "aishell.host": "another",
            "aishell.file": "/somewhere/else/aishell.yaml", "aishell.uid": word(),
        }),
    );
    let (copy, built) = (
        format!("aishelltest-{}:copy", project.name),
        format!("aishell-{}:mine", project.name),
    );
    let (repository, tag) = copy.split_once(':').expect("a tag");
    let from = project.object("a");
    raw::post(
        &format!("/commit?container={from}&repo={repository}&tag={tag}"),
        &json!({}),
    );
    raw::build(&built, image, "ENV MINE=1\n");
    let near = format!("aishell-{}x:sandbox-0123456789ab", project.name);
    raw::build(&near, image, "ENV MINE=2\n");
    for image in [&copy, &built, &near] {
        decoys.note(format!("/images/{image}"));
    }
    decoys.network(&project.object("other"), &json!({}));
    decoys.network(
        &format!("{}x", project.object(&project.name)),
        &changed(&other, json!({ "aishell.kind": "network" })),
    );
    let none = json!({});
    let kind = |labels: &Value, kind: &str| changed(labels, json!({ "aishell.kind": kind }));
    at_once(count - decoys.addresses().len(), |index| {
        let name = |name: &str| format!("{}{index}", project.object(name));
        let random = |prefix: &str| format!("{prefix}{index:012x}");
        let starts = index % 32 == 0;
        let container =
            |name: String, image: &str, labels: &Value| decoys.container(&name, image, labels, starts);
        match index % 16 {
            0 => container(name("a"), image, &none),
            1 => container(format!("x{}", name("a")), &project.image, &none),
            2 => container(name("a-other"), image, &other),
            3 => container(name("a-elsewhere"), image, &elsewhere),
            4 => container(
                name("a-half"),
                image,
                &changed(labels, json!({ "aishell.uid": null })),
            ),
            5 => container(name("a-odd"), image, &kind(labels, "nonsense")),
            6 => container(name("a.next"), &copy, &none),
            7 => container(name("a.prev"), &built, &none),
            8 => container(name("a-near"), &near, &none),
            9 => container(random("aishell-job-populate-"), image, &kind(&other, "job")),
            10 => container(random("aishell-receipt-"), image, &kind(&elsewhere, "receipt")),
            11 => decoys.volume(&name("a-home"), &none),
            12 => decoys.volume(&name("a-home-other"), &kind(&other, "volume")),
            13 => decoys.volume(&name("a-home-elsewhere"), &kind(&elsewhere, "volume")),
            14 => {
                let shared = changed(
                    &other,
                    json!({ "aishell.project": null, "aishell.kind": "harness" }),
                );
                decoys.volume(&format!("aishell-harness-{}{index}", word()), &shared);
            }
            _ => decoys.volume(&format!("aishell-hold-{}", name("a")), &none),
        }
    });
    decoys
}

#[test]
fn nothing_that_is_not_ours_is_touched_by_anything() {
    let count = std::env::var("AISHELL_DECOYS").ok();
    let count = count.map_or(100, |count| count.parse().expect("a number"));
    let mut project = project();
    project.variable(
        "npm_config_registry",
        &format!("http://registry.test/{}", version()),
    );
    let manifest = |project: &Project, containers: &str| {
        project.manifest(&format!(
            "harnesses:\n  tool: {{ npm: tool, version: latest, bin: [tool], runtime: image }}\ncontainers:\n{containers}"
        ));
    };
    let a = |fields: &str| format!("  a: {{ harness: tool, stop: {{ timeout: 1s }}, {fields} }}\n");
    let b = "  b: { home: tmpfs, stop: { timeout: 1s } }\n";
    manifest(&project, &a("env: { MODE: fast }"));
    project.converge();
    let decoys = make(&project, count);
    let before = decoys.look();
    assert_eq!(before.as_object().map(serde_json::Map::len), Some(count));
    let untouched = |what: &str| {
        eprintln!("{count} decoys: {what}");
        raw::same(&decoys.look(), &before);
    };

    project.settled();
    untouched("looked at");
    manifest(&project, &[&a("env: { MODE: fast }"), b].concat());
    project.converge();
    untouched("a container created");
    manifest(&project, &[&a("env: { MODE: safe }"), b].concat());
    project.converge();
    untouched("a container replaced");
    manifest(
        &project,
        &[&a("env: { MODE: safe }, resources: { memory: 64MiB }"), b].concat(),
    );
    project.converge();
    untouched("a container changed in place");
    manifest(&project, &[&a("command: [sh, -c, exit 3]"), b].concat());
    let run = project.apply();
    assert_eq!(
        (run.code, failures(&run.json)),
        (Some(5), vec!["failed replace container a".to_owned()])
    );
    untouched("a replacement taken back");

    manifest(&project, &a("env: { MODE: safe }"));
    project.variable(
        "npm_config_registry",
        &format!("http://registry.test/{}", version()),
    );
    let run = project.run(&["update"]);
    assert_eq!(
        (run.code, &run.json["written"]),
        (Some(0), &Value::Bool(true)),
        "{run:#?}"
    );
    untouched("pinned anew");
    project.converge();
    untouched("a container removed, and one given another set of harnesses");
    raw::post(&format!("/containers/{}/kill", project.object("a")), &Value::Null);
    let run = project.plain(&["watch", "--once-ready"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    untouched("watched");
    for data in [&[][..], &["--allow", "data-loss"]] {
        let run = project.run(&[&["delete", "--yes"], data].concat());
        assert_eq!(run.code, Some(0), "{run:#?}");
        untouched("deleted");
    }
    project.converge();
    untouched("made again");

    for verb in ["stop", "start", "restart"] {
        let run = project.plain(&[verb, "a"]);
        assert_eq!(run.code, Some(0), "{verb}: {run:#?}");
        untouched(verb);
    }
    let run = project.plain(&["exec", "a", "--", "sh", "-c", "true"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    for words in [
        &["apply", "--replace", "a"][..],
        &["update", "--check"],
        &["apply", "--only", "container/a"],
    ] {
        let run = project.run(words);
        assert!(matches!(run.code, Some(0 | 1)), "{words:?}: {run:#?}");
        untouched(&words.join(" "));
    }
    // Everything that may go does, the manifest's own last.
    let prune = [
        "prune",
        &project.name,
        "--yes",
        "--keep",
        "0",
        "--allow",
        "data-loss,interrupt",
    ];
    let run = project.run(&prune);
    assert_eq!(run.code, Some(0), "{run:#?}");
    untouched("pruned");
    project.settled();
    std::fs::remove_file(project.path().join("aishell.yaml")).expect("a manifest");
    let run = project.run(&prune);
    assert_eq!(run.code, Some(0), "{run:#?}");
    untouched("pruned, with the manifest gone");
    let gone = raw::container(&project.object("a"));
    assert_eq!(gone, None, "{run:#?}");
}

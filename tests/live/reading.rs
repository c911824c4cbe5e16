//! Commands that only look write nothing: not to the engine, whose writes are refused meanwhile, and not to the disk,
//! whatever state the world is in.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use serde_json::{Value, json};

use crate::apply::version;
use crate::project::{Project, Victim, project, text};
use crate::proxy::{Proxy, Request, Verdict};
use crate::raw;
use crate::surface;

/// How many worlds are looked at at once.
const AT_ONCE: usize = 4;

/// Two containers, one with a set of harnesses and a volume.
fn manifest(project: &Project, version: &str, mode: &str) {
    project.manifest(&format!(
        "harnesses:\n  tool: {{ npm: tool, version: {version}, bin: [tool], runtime: image }}\ncontainers:\n  \
         a: {{ harness: tool, env: {{ MODE: {mode} }}, resources: {{ memory: 64MiB }}, stop: {{ timeout: 1s }} }}\n  \
         b: {{ home: tmpfs, env: {{ MODE: {mode} }}, stop: {{ timeout: 1s }} }}\n"
    ));
}

/// What it wants is written down exactly: there is nothing to ask.
fn fresh() -> Project {
    let project = project();
    manifest(&project, &version(), "fast");
    project
}

/// What it wants has to be asked for, and was not yet.
fn unpinned() -> Project {
    let mut project = project();
    project.variable(
        "npm_config_registry",
        &format!("http://registry.test/{}", version()),
    );
    manifest(&project, "latest", "fast");
    project
}

fn converged() -> Project {
    let project = unpinned();
    project.converge();
    project
}

fn drifted() -> Project {
    let project = converged();
    let (a, b) = (project.id("a"), project.id("b"));
    let limits = json!({ "Memory": 96 << 20, "MemorySwap": 192 << 20 });
    raw::post(&format!("/containers/{a}/update"), &limits);
    let network = project.object(&project.name);
    raw::post(
        &format!("/networks/{network}/disconnect"),
        &json!({ "Container": a }),
    );
    raw::post(&format!("/containers/{b}/stop?t=0"), &Value::Null);
    raw::post(
        &format!("/containers/{b}/rename?name={}", project.object("other")),
        &Value::Null,
    );
    manifest(&project, "latest", "safe");
    project
}

/// Killed when the old one has made way and the new one has not started.
fn interrupted() -> Project {
    let mut project = converged();
    manifest(&project, "latest", "safe");
    let victim = Victim::default();
    let proxy = Proxy::ruled({
        let victim = victim.clone();
        move |request| {
            let renames = request.path.ends_with("/rename") && !request.names_claim();
            let promotes = renames && !request.query.contains(".prev");
            if promotes {
                victim.kill();
                Verdict::Cut
            } else {
                Verdict::Pass
            }
        }
    });
    project.through(&proxy);
    let run = project.killable(&victim, &["apply"]);
    assert_eq!(run.code, None, "{run:#?}");
    project.at(None);
    project.unclaimed();
    let names = project.containers();
    assert!(names.iter().any(|name| name.contains(".next")), "{names:#?}");
    project
}

/// Everything that has the harness volume is gone, and the volume too; homes are left.
fn without_the_harness_volume() -> Project {
    let project = converged();
    for container in raw::containers(&project.label()) {
        raw::delete(&format!("/containers/{}?force=1", text(&container["Id"])));
    }
    for volume in raw::volumes(&project.label()) {
        if volume["Labels"]["aishell.kind"] == "harness" {
            raw::delete(&format!("/volumes/{}", text(&volume["Name"])));
        }
    }
    project
}

/// The volume is there, and nobody vouches for it.
fn without_the_receipt() -> Project {
    let project = converged();
    for container in raw::containers(&project.label()) {
        if container["Labels"]["aishell.kind"] == "receipt" {
            raw::delete(&format!("/containers/{}", text(&container["Id"])));
        }
    }
    project
}

fn with_a_stranger_in_the_way() -> Project {
    let project = fresh();
    crate::strangers::stranger(&project, &project.object("a"), &project.image);
    project
}

/// A world, and whether a package manager has to be asked what is wanted there.
struct World(&'static str, fn() -> Project, bool);

const WORLDS: [World; 8] = [
    World("fresh", fresh, false),
    World("unpinned", unpinned, true),
    World("converged", converged, true),
    World("drifted", drifted, true),
    World("interrupted replacement", interrupted, true),
    World("missing harness volume", without_the_harness_volume, true),
    World("missing receipt", without_the_receipt, true),
    World("stranger in the way", with_a_stranger_in_the_way, false),
];

/// Returns everything the engine has of a project, and every file in its directory.
fn everything(project: &Project) -> Value {
    let label = project.label();
    let mut containers = BTreeMap::new();
    for filter in [label.clone(), format!("aishelltest={}", project.name)] {
        for container in raw::containers(&filter) {
            let id = text(&container["Id"]).to_owned();
            containers.insert(id.clone(), raw::container(&id));
        }
    }
    let named = |objects: Vec<Value>, field: &str| -> BTreeMap<String, Value> {
        let name = |object: Value| (text(&object[field]).to_owned(), object);
        objects.into_iter().map(name).collect()
    };
    json!({
        "containers": containers,
        "volumes": named(raw::volumes(&label), "Name"),
        "networks": named(raw::networks(&label), "Id"),
        "images": named(raw::images(&label), "Id"),
        "files": files(&project.path()),
    })
}

fn files(directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let content = std::fs::read(&path).expect("a file");
            found.insert(path.display().to_string(), aishell::key::digest(&content));
        }
    }
    found
}

/// Says whether a request has to do with a job that asks a package manager.
fn is_of_a_question(request: &Request) -> bool {
    if request.path == "/containers/create" {
        return request.query.contains("name=aishell-job-resolve-");
    }
    let id = request.path.split('/').nth(2).unwrap_or_default();
    request.path.starts_with("/containers/")
        && raw::container(id)
            .is_some_and(|container| text(&container["Name"]).starts_with("/aishell-job-resolve-"))
}

/// Returns what a line wrote, the ids left out.
fn verbs(proxy: &Proxy, first: usize) -> Vec<String> {
    let seen = proxy.seen_from(first);
    let writes = seen.iter().filter(|request| request.is_write());
    let id = |word: &str| word.len() == 64;
    let verb = |request: &Request| {
        let words: Vec<&str> = request.path.split('/').filter(|word| !id(word)).collect();
        format!("{} {}", request.method, words.join("/"))
    };
    writes.map(verb).collect()
}

/// What asking a package manager takes, and nothing besides: a job, what it is to ask, its start and its end.
const QUESTION: [&str; 4] = [
    "POST /containers/create",
    "PUT /containers/archive",
    "POST /containers/start",
    "DELETE /containers",
];

#[test]
fn commands_that_only_look_write_nothing_whatever_the_world_is_like() {
    let lines = surface::lines();
    let left = Mutex::new(WORLDS.iter());
    let next = || left.lock().expect("the worlds").next();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(world) = next() {
                    is_only_looked_at(world, &lines);
                }
            });
        }
    });
}

fn is_only_looked_at(World(what, world, asks): &World, lines: &[Vec<String>]) {
    let mut project = world();
    let before = everything(&project);
    let proxy = Proxy::ruled(|request| {
        if request.is_write() && !is_of_a_question(request) {
            Verdict::Refuse
        } else {
            Verdict::Pass
        }
    });
    project.through(&proxy);
    // What is told to people and to programs comes from one look: they take turns.
    for (line, form) in lines.iter().zip([&[][..], &["-o", "json"]].into_iter().cycle()) {
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        let first = proxy.requests();
        let run = project.plain(&[&words, form].concat());
        let told = format!("{what}: aishell {} {}", words.join(" "), form.join(" "));
        assert!(matches!(run.code, Some(0 | 1)), "{told}: {run:#?}");
        assert!(!run.stdout.is_empty(), "{told}");
        let expected: &[&str] = if words[0] == "update" && *asks {
            &QUESTION
        } else {
            &[]
        };
        assert_eq!(verbs(&proxy, first), expected, "{told}");
    }
    project.at(None);
    raw::same(&everything(&project), &before);
}

#[test]
fn whoever_may_be_at_work_is_asked_and_nothing_else_is_written() {
    let mut project = project();
    let manifest =
        |mode: &str, busy: &str| format!("containers:\n  a: {{ env: {{ MODE: {mode} }}{busy} }}\n");
    let busy = ", busy: { exec: [sh, -c, 'exit 1'] }";
    project.manifest(&manifest("fast", busy));
    project.converge();
    let before = everything_but_execs(&project);
    let question = ["POST /containers/exec", "POST /exec/start"];
    // Where nothing would interrupt it, it is left in peace. Else its own answer is asked for, or, where the engine
    // does not list processes, the list.
    for (what, edit, refused, expected) in [
        ("nothing to do", ("fast", busy), "", &[][..]),
        ("its own answer", ("safe", busy), "", &question),
        ("a list from inside", ("safe", ""), "/top", &question),
        ("both", ("safe", busy), "/top", &[question, question].concat()),
    ] {
        project.manifest(&manifest(edit.0, edit.1));
        let proxy = Proxy::ruled(move |request| {
            let exec = request.path.ends_with("/exec") || request.path.starts_with("/exec/");
            let lists = !refused.is_empty() && request.path.ends_with(refused);
            if lists || (request.is_write() && !exec) {
                Verdict::Refuse
            } else {
                Verdict::Pass
            }
        });
        project.through(&proxy);
        for command in [&["diff"][..], &["status"], &["apply", "--dry-run"]] {
            let first = proxy.requests();
            let run = project.run(command);
            assert_eq!(verbs(&proxy, first), expected, "{what}: {command:?}: {run:#?}");
        }
        project.at(None);
    }
    project.manifest(&manifest("fast", busy));
    raw::same(&everything_but_execs(&project), &before);
}

/// The engine lists commands that have ended for a while.
fn everything_but_execs(project: &Project) -> Value {
    let mut everything = everything(project);
    for container in everything["containers"]
        .as_object_mut()
        .expect("containers")
        .values_mut()
    {
        container["ExecIDs"] = Value::Null;
    }
    everything
}

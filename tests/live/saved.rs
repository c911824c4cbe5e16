//! Saved plans: carried out later as they were printed, or not at all.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use serde_json::{Value, json};

use crate::apply::version;
use crate::project::{Project, Run, changes, project, text};
use crate::proxy::{Proxy, Request, Verdict};
use crate::raw;

const PLAN: &str = "plan.json";

/// Writes a manifest of three containers: one that changes in place, one anew, one as it is.
fn manifest(project: &Project, memory: &str, mode: &str) {
    project.manifest(&format!(
        "containers:\n  live: {{ resources: {{ memory: {memory} }}, stop: {{ timeout: 1s }} }}\n  \
         anew: {{ env: {{ MODE: {mode} }}, stop: {{ timeout: 1s }} }}\n  \
         idle: {{ home: tmpfs, stop: {{ timeout: 1s }} }}\n"
    ));
}

/// Returns a project with a plan that was saved and not carried out.
fn planned() -> (Project, Run) {
    let project = project();
    manifest(&project, "64MiB", "fast");
    project.converge();
    manifest(&project, "96MiB", "safe");
    let diff = save(&project, &[]);
    (project, diff)
}

fn save(project: &Project, options: &[&str]) -> Run {
    let run = project.run(&[&["diff", "--out", PLAN], options].concat());
    assert_eq!(run.code, Some(1), "{run:#?}");
    run
}

/// Applies the plan behind a proxy that refuses writes, insists that nothing is tried, and returns what is said.
fn stale(project: &mut Project, what: &str) -> String {
    let proxy = Proxy::read_only();
    project.through(&proxy);
    let run = project.run(&["apply", "--plan", PLAN]);
    project.at(None);
    assert_eq!(
        (run.code, proxy.writes()),
        (Some(8), Vec::new()),
        "{what}: {run:#?}"
    );
    run.json["problems"].to_string()
}

#[test]
fn a_plan_is_carried_out_later_as_it_was_printed() {
    let (mut project, diff) = planned();
    let mode = fs::metadata(project.path().join(PLAN))
        .expect("a plan")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let (anew, idle) = (project.id("anew"), project.container("idle"));
    // What does not decide may change.
    raw::post(
        &format!("/containers/{}/restart?t=1", project.id("live")),
        &Value::Null,
    );
    let edited = fs::read_to_string(project.path().join("aishell.yaml")).expect("a manifest");
    project.write("aishell.yaml", &format!("# a remark\n\n{edited}"));
    let shown = project.run(&["apply", "--dry-run", "--plan", PLAN]);
    assert_eq!(shown.code, Some(1), "{shown:#?}");
    assert_eq!(shown.json["kind"], "Plan");
    let run = project.run(&["apply", "--plan", PLAN, "--wait=1m", "--lock-timeout", "1m"]);
    assert_eq!(
        (run.code, &run.json["converged"]),
        (Some(0), &json!(true)),
        "{run:#?}"
    );
    let without_lines = |document: &Value| -> Vec<String> {
        let lines = changes(document).into_iter();
        lines
            .map(|line| line.split(", aishell.yaml").next().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(without_lines(&run.json), without_lines(&diff.json));
    assert_ne!(project.id("anew"), anew);
    assert_eq!(project.id("idle"), idle["Id"]);
    project.settled();
    let again = stale(&mut project, "it was carried out");
    assert!(again.contains("is not needed any more"), "{again}");
    let again = project.run(&["apply", "--dry-run", "--plan", PLAN]);
    assert_eq!(again.code, Some(8), "{again:#?}");
    // A plan of nothing is done.
    let run = project.run(&["diff", "--out", PLAN]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let run = project.run(&["apply", "--plan", PLAN]);
    assert_eq!(run.code, Some(0), "{run:#?}");
}

#[test]
fn its_options_come_from_the_plan_and_from_nowhere_else() {
    let (project, _) = planned();
    let idle = project.id("idle");
    let diff = save(
        &project,
        &[
            "--only",
            "container/live",
            "--replace",
            "live",
            "--no-prune",
            "--allow",
            "interrupt",
        ],
    );
    for option in [
        &["--only", "container/live"][..],
        &["--replace", "live"],
        &["--no-prune"],
        &["--allow", "interrupt"],
    ] {
        let run = project.plain(&[&["apply", "--plan", PLAN], option].concat());
        assert_eq!(run.code, Some(2), "{run:#?}");
    }
    let run = project.run(&["apply", "--plan", PLAN]);
    assert_eq!(changes(&run.json), changes(&diff.json));
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(project.id("idle"), idle);
    // The rest is as it was.
    assert_eq!(changes(&project.diff().json).len(), 1);
}

/// Something that is done behind the plan's back.
type Deed = fn(&Project);

#[test]
fn whatever_changed_meanwhile_is_told_and_nothing_is_written() {
    let (mut project, _) = planned();
    let image = format!("aishelltest-{}:moved", project.name);
    raw::derive(&image, &format!("LABEL aishelltest={}\n", project.name));
    let elsewhere = project.image.clone();
    let cases: [(&str, Deed, Deed, &[&str]); 6] = [
        (
            "a limit changed by hand",
            |project| limit(project, 80),
            |project| limit(project, 64),
            &["container live: resources.memory is 80MiB now, and was 64MiB"],
        ),
        (
            "another value wanted",
            |project| manifest(project, "128MiB", "safe"),
            |project| manifest(project, "96MiB", "safe"),
            &["container live: resources.memory is to be 128MiB now, not 96MiB"],
        ),
        (
            "another variable wanted",
            |project| manifest(project, "96MiB", "slow"),
            |project| manifest(project, "96MiB", "safe"),
            &[r#"container anew: env.MODE is to be \"slow\" now, not \"safe\""#],
        ),
        (
            "an idle container stopped",
            |project| {
                raw::post(
                    &format!("/containers/{}/stop?t=0", project.id("idle")),
                    &Value::Null,
                );
            },
            |project| {
                raw::post(&format!("/containers/{}/start", project.id("idle")), &Value::Null);
            },
            &["container idle: `start` has come to be needed"],
        ),
        (
            "a container renamed",
            |project| rename(project, &project.id("idle"), "elsewhere"),
            |project| rename(project, &project.object("elsewhere"), "idle"),
            &["container idle: `rename` has come to be needed", "-idle is gone"],
        ),
        (
            "the manifest is for another project",
            |project| {
                fs::create_dir_all(project.path().join("sub")).expect("a directory");
                let text = fs::read_to_string(project.path().join("aishell.yaml")).expect("a manifest");
                project.write("aishell.yaml", &format!("{text}project: sub\n"));
            },
            |project| manifest(project, "96MiB", "safe"),
            &["it was made for the manifest"],
        ),
    ];
    for (what, deed, undo, said) in cases {
        deed(&project);
        let told = stale(&mut project, what);
        for words in said {
            assert!(told.contains(words), "{what}: {words} is not said: {told}");
        }
        undo(&project);
    }
    // Whatever was undone does not count.
    let shown = project.run(&["apply", "--dry-run", "--plan", PLAN]);
    assert_eq!(shown.code, Some(1), "{shown:#?}");
    // A tag that means another image.
    let tag = |from: &str, to: &str| {
        let (name, tag) = to.rsplit_once(':').expect("a tag");
        raw::post(&format!("/images/{from}/tag?repo={name}&tag={tag}"), &Value::Null);
    };
    let own = format!("aishelltest-{}:own", project.name);
    tag(&elsewhere, &own);
    project.image.clone_from(&own);
    manifest(&project, "96MiB", "safe");
    save(&project, &[]);
    tag(&image, &own);
    let told = stale(&mut project, "a tag was moved");
    assert!(told.contains(&format!("image {own} is another one")), "{told}");
    // Somebody opened a terminal in what is to be replaced.
    save(&project, &[]);
    let mut terminal = project.in_terminal(&["attach", "anew", "--", "sh", "-c", "echo ready; exec sh"]);
    terminal.shows("ready");
    let told = stale(&mut project, "somebody works there");
    assert!(
        told.contains("container anew: `replace` is blocked now (busy)"),
        "{told}"
    );
    terminal.press("exit\r");
    terminal.ends();
    // Another engine, though at the same address and with the same things.
    let proxy = Proxy::ruled(|request: &Request| match request.path.as_str() {
        "/info" => Verdict::OtherEngine,
        _ if request.is_write() => Verdict::Refuse,
        _ => Verdict::Pass,
    });
    project.through(&proxy);
    let run = project.run(&["apply", "--plan", PLAN]);
    project.at(None);
    assert_eq!((run.code, proxy.writes()), (Some(8), Vec::new()), "{run:#?}");
    let told = run.json["problems"].to_string();
    assert!(told.contains("it was made on the engine at unix:"), "{told}");
}

fn limit(project: &Project, mebibytes: u64) {
    let limits = json!({ "Memory": mebibytes << 20, "MemorySwap": mebibytes << 21 });
    raw::post(&format!("/containers/{}/update", project.id("live")), &limits);
}

fn rename(project: &Project, container: &str, name: &str) {
    raw::post(
        &format!("/containers/{container}/rename?name={}", project.object(name)),
        &Value::Null,
    );
}

#[test]
fn a_plan_holds_nothing_that_is_unknown_and_no_secret() {
    let mut project = project();
    let version = version();
    project.variable("npm_config_registry", &format!("http://registry.test/{version}"));
    let canary = "canary-4711-secret";
    project.variable("TOKEN", canary);
    project.manifest(
        "harnesses:\n  tool: { npm: tool, version: latest, bin: [tool], runtime: image }\ncontainers:\n  \
         a: { harness: tool, env: { TOKEN: { fromEnv: TOKEN, expose: container } } }\n",
    );
    let run = project.run(&["diff", "--out", PLAN]);
    assert_eq!(run.code, Some(3), "{run:#?}");
    let problems = &run.json["problems"];
    assert!(problems.to_string().contains("`aishell update`"), "{run:#?}");
    assert!(!project.path().join(PLAN).exists());
    let run = project.run(&["update"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    save(&project, &[]);
    let text = fs::read_to_string(project.path().join(PLAN)).expect("a plan");
    assert!(
        !text.contains(canary) && !text.contains(&aishell::key::digest(canary.as_bytes())),
        "{text}"
    );
    let lock = fs::read_to_string(project.path().join("aishell.lock")).expect("a lock");
    let run = project.run(&["apply", "--plan", PLAN]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    // Nothing is pinned by it.
    assert_eq!(
        fs::read_to_string(project.path().join("aishell.lock")).expect("a lock"),
        lock
    );
    assert_eq!(run.json["pinned"], json!([]));
}

#[test]
fn what_is_no_plan_is_told_and_nothing_is_asked_of_the_engine() {
    let (mut project, _) = planned();
    let path = project.path();
    let plan = fs::read_to_string(path.join(PLAN)).expect("a plan");
    let printed = project.diff().stdout;
    let huge = fs::File::create(path.join("huge")).expect("a file");
    huge.set_len(aishell::saved::LARGEST + 1).expect("a hole");
    fs::create_dir(path.join("directory")).expect("a directory");
    let fifo = std::process::Command::new("mkfifo")
        .arg(path.join("fifo"))
        .status();
    assert!(fifo.expect("mkfifo").success());
    for (name, text) in [
        ("empty", ""),
        ("text", "not JSON"),
        ("printed", printed.as_str()),
        ("truncated", &plan[..plan.len() / 2]),
        ("edited", &plan.replace("\"prune\": true", "\"prune\": false")),
        (
            "other-version",
            &plan.replace(env!("CARGO_PKG_VERSION"), "99.1.2"),
        ),
        (
            "manifest.json",
            "{\"apiVersion\": \"aishell/v1\", \"name\": \"x\"}",
        ),
    ] {
        project.write(name, text);
    }
    let proxy = Proxy::new();
    project.through(&proxy);
    for (name, code, said) in [
        ("missing", 3, "cannot be read"),
        ("empty", 3, "it is not JSON"),
        ("text", 3, "it is not JSON"),
        ("printed", 3, "it is no saved plan but of kind Plan"),
        ("truncated", 3, "it is not JSON"),
        ("edited", 3, "it was edited since it was saved"),
        (
            "other-version",
            8,
            "it was written by aishell 99.1.2, and this is",
        ),
        ("manifest.json", 3, "it is no saved plan"),
        ("aishell.yaml", 3, "it is not JSON"),
        ("huge", 3, "it is larger than 128 MiB"),
        ("directory", 3, "is a directory, not a file"),
        ("fifo", 3, "is a device, pipe or socket, not a file"),
        ("/dev/zero", 3, "is a device, pipe or socket, not a file"),
    ] {
        let run = project.run(&["apply", "--plan", name]);
        assert_eq!(run.code, Some(code), "{name}: {run:#?}");
        let problem = &run.json["problems"][0];
        assert!(text_of(problem).contains(said), "{name}: {run:#?}");
        assert!(problem["hint"].is_string(), "{name}: {run:#?}");
    }
    assert_eq!(proxy.requests(), 0);
    project.at(None);
    // From standard input.
    let run = project.told(&plan, &["apply", "--plan", "-", "-f", "-"]);
    assert_eq!(run.code, Some(2), "{run:#?}");
    let run = project.told("", &["apply", "--plan", "-"]);
    assert_eq!(run.code, Some(3), "{run:#?}");
    let run = project.told(&plan, &["apply", "--plan", "-"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    project.settled();
    // Nothing but a plan gives way to one.
    manifest(&project, "64MiB", "safe");
    for (name, code) in [
        ("-", 2),
        ("aishell.yaml", 2),
        ("directory", 2),
        ("fifo", 2),
        ("printed", 2),
        ("no/such/directory", 5),
        ("edited", 1),
        ("other-version", 1),
        ("empty", 1),
        ("fresh", 1),
    ] {
        let is_file = path.join(name).is_file();
        let before = is_file.then(|| fs::read(path.join(name)).expect("a file"));
        let run = project.run(&["diff", "--out", name]);
        assert_eq!(run.code, Some(code), "{name}: {run:#?}");
        if let Some(before) = before.filter(|_| code != 1) {
            assert_eq!(fs::read(path.join(name)).ok(), Some(before), "{name}");
        }
    }
    let left: Vec<_> = fs::read_dir(&path).expect("a directory").flatten().collect();
    let drafts = left
        .iter()
        .filter(|entry| entry.file_name().to_string_lossy().contains(".aishell.plan"));
    assert_eq!(drafts.count(), 0);
}

fn text_of(problem: &Value) -> &str {
    text(&problem["message"])
}

#[test]
fn of_many_who_carry_out_one_plan_one_does() {
    let (project, _) = planned();
    let runs: Vec<Run> = thread::scope(|scope| {
        let run = || project.run(&["apply", "--plan", PLAN, "--lock-timeout", "5m"]);
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        runs.into_iter().map(|run| run.join().expect("a run")).collect()
    });
    let mut codes: Vec<_> = runs.iter().map(|run| run.code).collect();
    codes.sort();
    assert_eq!(codes, [Some(0), Some(8), Some(8), Some(8)], "{runs:#?}");
    project.settled();
}

#[test]
fn the_answer_ends_with_how_to_carry_it_out() {
    let (project, _) = planned();
    let run = project.plain(&["diff", "--out", PLAN]);
    let last = run.stdout.lines().last().unwrap_or_default();
    assert_eq!(
        last, "saved; carry out exactly this with: aishell apply --plan plan.json",
        "{run:#?}"
    );
    let address = format!("unix://{}", raw::socket().display());
    let run = project.plain(&["diff", "--out", PLAN, "--host", &address]);
    let last = run.stdout.lines().last().unwrap_or_default();
    let (_, words) = last.split_once("aishell ").expect("a command");
    let words: Vec<&str> = words.split(' ').collect();
    let run = project.plain(&words);
    assert_eq!(run.code, Some(0), "{words:?}: {run:#?}");
    project.settled();
}

//! `aishell.lock`: pinned once, the same everywhere, moved only when asked.

use aishell::catalogue::RUNTIME_VERSION;
use serde_json::Value;

use crate::apply::version;
use crate::project::{Project, Run, Victim, project, step, text};
use crate::proxy::Proxy;
use crate::raw;
use crate::registry::Registry;

/// Asks for a version of the `tool` package.
fn wants(requirement: &str) -> String {
    format!(
        "harnesses:\n  tool: {{ npm: tool, version: \"{requirement}\", bin: [tool], runtime: image }}\ncontainers:\n  a: {{ harness: tool }}\n"
    )
}

fn lock(project: &Project) -> String {
    std::fs::read_to_string(project.path().join("aishell.lock")).unwrap_or_default()
}

fn problems(run: &Run) -> String {
    run.json["problems"].to_string()
}

fn unknown(run: &Run) -> Vec<String> {
    let unknown = run.json["unknown"].as_array().into_iter().flatten();
    unknown.map(|one| text(&one["name"]).to_owned()).collect()
}

/// Returns the jobs that asked a package manager and are still there.
fn jobs(project: &Project) -> Vec<String> {
    let mut names = project.containers();
    names.retain(|name| name.contains("-job-resolve-"));
    names
}

#[test]
fn a_range_is_unknown_until_it_is_pinned_and_then_means_the_same_everywhere() {
    let mut here = project();
    let version = version();
    here.manifest(&wants(&format!("^{version}")));
    let diff = here.diff();
    assert_eq!(
        (diff.code, unknown(&diff)),
        (Some(1), vec!["harnesses".to_owned(), "a".to_owned()])
    );
    assert!(
        diff.json["steps"].to_string().contains("a-home"),
        "the rest is planned: {diff:#?}"
    );
    let locked = here.run(&["apply", "--locked"]);
    assert_eq!(locked.code, Some(3), "{locked:#?}");
    assert!(problems(&locked).contains("harness `tool` (^1.0."), "{locked:#?}");
    here.only(&[]);
    assert_eq!(lock(&here), "");

    let run = here.converge();
    assert_eq!(run.json["pinned"][0]["to"], Value::from(version.as_str()));
    assert_eq!(raw::said(&here.object("a"), &["tool"]), version);
    assert_eq!(jobs(&here), Vec::<String>::new());
    let pinned = lock(&here);
    assert!(pinned.contains(&format!("version: {version}")), "{pinned}");

    // Nothing is asked again, and nothing is written.
    let proxy = Proxy::new();
    here.through(&proxy);
    let again = here.run(&["apply", "--locked"]);
    assert_eq!((again.code, proxy.writes()), (Some(0), Vec::new()));
    here.at(None);

    // The next machine: the same manifest and lock, another project.
    let mut there = here.twin();
    there.manifest(&wants(&format!("^{version}")));
    there.write("aishell.lock", &pinned);
    let proxy = Proxy::new();
    there.through(&proxy);
    let run = there.apply();
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(run.json["pinned"], Value::Array(Vec::new()));
    let writes = proxy.writes().join("\n");
    assert!(!writes.contains("job"), "{writes}");
    let volume = |project: &Project| project.container("a")["HostConfig"]["Mounts"].to_string();
    let set = |project: &Project| {
        let mounts = volume(project);
        let start = mounts.find("aishell-harness-").expect("a set");
        mounts[start..start + 28].to_owned()
    };
    assert_eq!(set(&there), set(&here));
}

#[test]
fn what_cannot_be_pinned_touches_nothing() {
    let project = project();
    for (package, requirement, code, expected) in [
        ("unknown", "latest", 3, "npm knows no package `unknown`"),
        ("tool", "^99", 3, "no version of `tool` matches `^99`"),
        ("offline", "^1", 5, "ECONNREFUSED"),
    ] {
        project.manifest(&format!(
            "harnesses:\n  tool: {{ npm: {package}, version: {requirement}, runtime: image }}\ncontainers:\n  a: {{ harness: tool }}\n"
        ));
        let run = project.apply();
        assert_eq!(
            (run.code, text(&run.json["kind"])),
            (Some(code), "Error"),
            "{run:#?}"
        );
        assert!(problems(&run).contains(expected), "{expected}: {run:#?}");
        assert_eq!(run.json["problems"][0]["at"]["line"], 5, "{run:#?}");
        project.only(&[]);
        assert_eq!((lock(&project).as_str(), jobs(&project)), ("", Vec::new()));
    }
}

#[test]
fn versions_are_asked_for_however_the_foundation_comes_about() {
    let [built, named, phased] = [(); 3].map(|()| project());
    let version = version();
    let instructions = format!("FROM {}\nRUN echo {} >/shared\n", built.image, built.name);
    for project in [&built, &named] {
        project.write("Dockerfile", &instructions);
        project.manifest_on("{ dockerfile: Dockerfile }", &wants(&format!("^{version}")));
    }
    let phases = format!(
        "{{ phases: {{ base: {{ image: \"{}\" }}, setup: {{ root: [\"echo {} >/made\"] }} }} }}",
        phased.image, phased.name
    );
    phased.manifest_on(&phases, &wants(&format!("^{version}")));
    for (project, action) in [(&built, "build"), (&named, "tag"), (&phased, "snapshot")] {
        let run = project.converge();
        assert!(lock(project).contains(&version), "{action}: {run:#?}");
    }
}

#[test]
fn the_latest_version_stays_what_it_was_when_it_was_pinned() {
    let mut project = project();
    let (old, new) = (version(), version());
    project.manifest(&wants("latest"));
    project.variable("npm_config_registry", &format!("http://registry.test/{old}"));
    project.converge();
    let pinned = lock(&project);
    project.variable("npm_config_registry", &format!("http://registry.test/{new}"));
    project.converge();
    assert_eq!(raw::said(&project.object("a"), &["tool"]), old);
    assert_eq!(lock(&project), pinned);

    // Another requirement is another question.
    project.manifest(&wants(&format!("^{new}")));
    let run = project.converge();
    assert_eq!(run.json["pinned"][0]["from"], Value::from(old.as_str()));
    assert_eq!(raw::said(&project.object("a"), &["tool"]), new);
}

#[test]
fn an_update_moves_what_is_named_and_a_check_only_tells() {
    let mut project = project();
    let (old, new) = (version(), version());
    project.manifest(&wants("latest"));
    let registry = |version: &str| format!("http://registry.test/{version}");
    project.variable("npm_config_registry", &registry(&old));
    project.converge();
    let pinned = lock(&project);

    assert_eq!(project.run(&["update", "--check"]).code, Some(0));
    project.variable("npm_config_registry", &registry(&new));
    let check = project.run(&["update", "--check"]);
    assert_eq!(check.code, Some(1), "{check:#?}");
    let change = &check.json["changes"][0];
    assert_eq!(
        (
            text(&change["kind"]),
            text(&change["name"]),
            text(&change["from"]),
            text(&change["to"])
        ),
        ("harness", "tool", old.as_str(), new.as_str())
    );
    assert_eq!(
        (&check.json["written"], lock(&project)),
        (&Value::Bool(false), pinned.clone())
    );
    let wrong = project.run(&["update", "tol"]);
    assert_eq!(wrong.code, Some(2), "{wrong:#?}");
    assert!(problems(&wrong).contains("did you mean `tool`?"), "{wrong:#?}");
    assert_eq!(
        project.run(&["update", "builtin"]).json["changes"],
        Value::Array(Vec::new())
    );
    assert_eq!(lock(&project), pinned);

    // The lock moves, and then what it says is brought about.
    let update = project.run(&["update", "tool"]);
    assert_eq!(
        (update.code, &update.json["written"]),
        (Some(0), &Value::Bool(true)),
        "{update:#?}"
    );
    assert_eq!(raw::said(&project.object("a"), &["tool"]), old);
    let diff = project.diff();
    assert!(
        unknown(&diff).is_empty() && diff.json.to_string().contains(&new),
        "{diff:#?}"
    );
    project.converge();
    assert_eq!(raw::said(&project.object("a"), &["tool"]), new);
    assert_eq!(jobs(&project), Vec::<String>::new());
}

#[test]
fn a_lock_that_is_none_is_told_with_its_place_and_touches_nothing() {
    let mut project = project();
    project.manifest(&wants(&format!("^{}", version())));
    project.converge();
    let before = project.container("a");
    let proxy = Proxy::new();
    project.through(&proxy);
    for (nonsense, line, expected) in [
        ("version: 1\nharnesses: [\n", 2, ""),
        ("version: 7\n", 1, "newer than this aishell"),
        ("version: 1\nimages:\n  debian: latest\n", 3, "is not a digest"),
        (
            "version: 1\n<<<<<<< HEAD\n",
            2,
            "a merge of two locks was not finished here",
        ),
        ("version: 1\nbuiltin: 99\n", 2, "not known to this aishell"),
        ("", 1, "a lock is a map"),
    ] {
        project.write("aishell.lock", nonsense);
        for command in [&["apply"][..], &["diff"], &["status"], &["update"]] {
            let run = project.run(command);
            assert_eq!(
                (run.code, text(&run.json["kind"])),
                (Some(3), "Error"),
                "{nonsense:?}: {run:#?}"
            );
            let problem = &run.json["problems"][0];
            assert_eq!(
                (&problem["at"]["file"], &problem["at"]["line"]),
                (&Value::from("aishell.lock"), &Value::from(line)),
                "{nonsense:?}: {run:#?}"
            );
            assert!(
                problem["hint"].is_string() && text(&problem["message"]).contains(expected),
                "{run:#?}"
            );
        }
        assert_eq!(lock(&project), nonsense);
    }
    let path = project.path().join("aishell.lock");
    std::fs::remove_file(&path).expect("gone");
    std::fs::create_dir(&path).expect("a directory");
    let run = project.apply();
    assert_eq!(run.code, Some(3), "{run:#?}");
    assert!(problems(&run).contains("is a directory, not a file"), "{run:#?}");
    std::fs::remove_dir(&path).expect("gone");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("mkfifo").success());
    let run = project.apply();
    assert_eq!(run.code, Some(3), "{run:#?}");
    assert!(
        problems(&run).contains("is a device, pipe or socket, not a file"),
        "{run:#?}"
    );
    assert_eq!(proxy.requests(), 0);
    raw::same(&project.container("a"), &before);
}

/// Two containers on images of a registry: a sandbox and a sidecar.
fn on_images(project: &Project, base: &str, side: &str) {
    project.manifest_on(
        &format!("{{ image: \"{base}\" }}"),
        &format!(
            "containers:\n  a: {{ command: [sleep, \"1000\"] }}\n  side: {{ image: \"{side}\", user: image, workspace: none, \
             command: [sleep, \"1000\"] }}\n"
        ),
    );
}

fn mark(project: &Project, name: &str) -> String {
    raw::said(&project.object(name), &["sh", "-c", "echo $MARK"])
}

#[test]
fn a_tag_that_moved_changes_nothing_until_it_is_updated() {
    let mut registry = Registry::start();
    let (base, side) = (
        registry.publish("base:1", "one"),
        registry.publish("side:1", "one"),
    );
    let here = project();
    on_images(&here, &base, &side);
    let diff = here.diff();
    assert_eq!(diff.code, Some(1), "{diff:#?}");
    let run = here.converge();
    let pins = run.json["pinned"].as_array().expect("pins");
    assert_eq!(pins.len(), 2, "{run:#?}");
    assert!(text(&pins[0]["to"]).starts_with("sha256:"), "{run:#?}");
    assert_eq!(
        (mark(&here, "a"), mark(&here, "side")),
        ("one".to_owned(), "one".to_owned())
    );
    let (pinned, a, side_id) = (lock(&here), here.id("a"), here.id("side"));

    // An earlier aishell had no lock and pulled by tag: pinning what is there replaces nothing.
    for image in [&base, &side] {
        raw::pull(image);
    }
    std::fs::remove_file(here.path().join("aishell.lock")).expect("gone");
    here.settled();
    assert_eq!(here.run(&["apply", "--locked"]).code, Some(3));
    here.converge();
    assert_eq!(
        (lock(&here), here.id("a"), here.id("side")),
        (pinned.clone(), a.clone(), side_id)
    );

    registry.publish("base:1", "two");
    registry.forget("side:1");
    here.converge();
    assert_eq!((lock(&here), here.id("a")), (pinned.clone(), a));

    // The next machine has neither image, and gets what the lock says.
    let there = Project::on(here.image.clone());
    on_images(&there, &base, &side);
    there.write("aishell.lock", &pinned);
    let run = there.run(&["apply", "--locked"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(mark(&there, "a"), "one");

    let check = here.run(&["update", "--check"]);
    assert_eq!(check.code, Some(1), "{check:#?}");
    assert_eq!(
        (text(&check.json["changes"][0]["name"]), lock(&here)),
        (base.as_str(), pinned.clone())
    );
    assert_eq!(here.run(&["update", &side, "--check"]).code, Some(0));
    assert_eq!(here.run(&["update", &base]).code, Some(0));
    assert_ne!(lock(&here), pinned);
    here.converge();
    assert_eq!(
        (mark(&here, "a"), mark(&here, "side")),
        ("two".to_owned(), "one".to_owned())
    );

    // What is pinned needs no registry, and what is to be pinned anew does.
    registry.stop();
    here.converge();
    let update = here.run(&["update"]);
    assert_eq!(update.code, Some(5), "{update:#?}");
    assert!(
        problems(&update).contains("its registry does not say what it means"),
        "{update:#?}"
    );
}

#[test]
fn a_killed_inquiry_leaves_what_the_next_apply_clears_away() {
    let project = project();
    let hangs = "harnesses:\n  tool: { npm: hang, version: latest, runtime: image }\ncontainers:\n  a: { harness: tool }\n";
    project.manifest(hangs);
    let victim = Victim::default();
    std::thread::scope(|scope| {
        let (victim, project) = (&victim, &project);
        scope.spawn(move || project.killable(victim, &["apply"]));
        raw::until("npm is asked", || {
            let jobs = jobs(project);
            let running =
                |name: &String| raw::container(name).is_some_and(|one| one["State"]["Running"] == true);
            jobs.iter().any(running).then_some(())
        });
        victim.kill();
    });
    let left = jobs(&project);
    assert_eq!(left.len(), 1);
    assert_eq!(lock(&project), "");
    raw::post(&format!("/containers/{}/kill", left[0]), &Value::Null);
    raw::until("it has ended", || {
        raw::container(&left[0]).filter(|one| one["State"]["Running"] == false)
    });
    project.manifest(&wants(&format!("^{}", version())));
    project.converge();
    assert_eq!(jobs(&project), Vec::<String>::new());
}

#[test]
fn a_manifest_from_standard_input_has_no_lock_beside_it() {
    let project = project();
    let version = version();
    let text = |requirement: &str| {
        format!(
            "apiVersion: aishell/v1\nname: {}\nfoundation: {{ image: \"{}\" }}\n{}",
            project.name,
            project.image,
            wants(requirement)
        )
    };
    let run = project.told(&text(&format!("^{version}")), &["apply", "-f", "-", "-o", "json"]);
    assert_eq!(run.code, Some(3), "{run:#?}");
    assert!(
        run.stdout
            .contains("a manifest from standard input has no lock beside it"),
        "{run:#?}"
    );
    project.only(&[]);
    let run = project.told(&text(&version), &["apply", "-f", "-", "-o", "json"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(
        project.plain(&["update", "-f", "-"]).code,
        Some(3),
        "nothing is told"
    );
    assert_eq!(lock(&project), "");
}

#[test]
fn a_package_that_is_made_of_something_else_is_not_used() {
    let project = project();
    let manifest = wants(&format!("^{}", version()))
        .replace("npm: tool", "npm: sealed")
        .replace("[tool]", "[sealed]")
        .replace(", runtime: image", "");
    project.manifest(&manifest);
    project.converge();
    let (pinned, before) = (lock(&project), project.container("a"));
    assert!(pinned.contains("integrity: sha512-8C4H1"), "{pinned}");
    // What harnesses run on has an entry too, and nobody was asked about it.
    assert!(
        pinned.contains(&format!(
            "npm: node\n  requirement: latest\n  version: {RUNTIME_VERSION}\n"
        )),
        "{pinned}"
    );
    project.write("aishell.lock", &pinned.replace("sha512-8C4H1", "sha512-9D5I2"));
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let error = &step(&run.json, "volume", "aishell-harness-")["error"];
    assert!(
        text(&error["message"]).contains("not made of what the lock says"),
        "{error:#}"
    );
    assert!(
        error["log"].to_string().contains("in the lock:     sha512-9D5I2"),
        "{error:#}"
    );
    raw::same(&project.container("a"), &before);
    project.write("aishell.lock", &pinned);
    project.converge();
    raw::same(&project.container("a"), &before);
}

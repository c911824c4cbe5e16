//! `aishell.lock`: pinned once, the same everywhere, moved only when asked.

use serde_json::Value;

use crate::apply::version;
use crate::project::{Project, Run, project, text};
use crate::proxy::Proxy;
use crate::raw;

/// Asks for a version of the `tool` package.
fn wants(requirement: &str) -> String {
    format!(
        "harnesses:\n  tool: {{ npm: tool, version: \"{requirement}\", bin: [tool] }}\ncontainers:\n  a: {{ harness: tool }}\n"
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
            "harnesses:\n  tool: {{ npm: {package}, version: {requirement} }}\ncontainers:\n  a: {{ harness: tool }}\n"
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

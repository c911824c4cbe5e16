//! One stage: what it is made of, why it is made anew, and when it is not.

use crate::project::{Project, changes, project};
use crate::raw;

/// Writes a manifest of one stage, whose context is a directory of its own.
fn one(project: &Project, dockerfile: &str, more: &str) {
    let _ = std::fs::create_dir(project.path().join("image"));
    let tiny = &project.image;
    project.write("image/Dockerfile", &format!("FROM {tiny}\n{dockerfile}"));
    project.manifest_on(
        &format!("{{ dockerfile: image/Dockerfile{more} }}"),
        "containers:\n  a: { }\n",
    );
}

/// Returns what the plan says of the stage.
fn because(project: &Project) -> Vec<String> {
    let diff = project.diff();
    let steps = diff.json["steps"].as_array().cloned().unwrap_or_default();
    let stage = steps.iter().find(|step| {
        let name = step["name"].as_str().unwrap_or_default();
        name.contains(":foundation-")
    });
    let because = stage.map(|step| step["because"].as_array().cloned().unwrap_or_default());
    because
        .unwrap_or_default()
        .iter()
        .map(|because| {
            format!(
                "{} {} {} {} {}:{}",
                because["cause"].as_str().unwrap_or_default(),
                because["field"].as_str().unwrap_or_default(),
                because["from"],
                because["to"],
                because["at"]["file"].as_str().unwrap_or_default(),
                because["at"]["line"],
            )
        })
        .collect()
}

#[test]
fn what_changed_a_stage_is_named_with_its_line() {
    let project = project();
    let dockerfile = "ARG MODE\nCOPY app /app\nCOPY other /other\nRUN echo $MODE >/mode\n";
    one(&project, dockerfile, ", args: { MODE: fast }");
    project.write("image/app", "1");
    project.write("image/other", "1");
    project.converge();
    project.settled();

    project.write("image/other", "2");
    let told = because(&project);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(
        told[0].starts_with("stale context/other \"") && told[0].ends_with(" image/Dockerfile:4"),
        "{told:#?}"
    );
    project.write("image/other", "1");
    one(&project, dockerfile, ", args: { MODE: safe }");
    assert_eq!(
        because(&project),
        ["manifest args.MODE \"fast\" \"safe\" aishell.yaml:3"]
    );
    one(
        &project,
        &dockerfile.replace("/mode", "/way"),
        ", args: { MODE: fast }",
    );
    assert_eq!(
        because(&project),
        ["stale dockerfile \"another line\" \"RUN echo $MODE >/way\" image/Dockerfile:5"]
    );
    one(&project, dockerfile, ", args: { MODE: fast }");
    project.settled();
}

#[test]
fn a_stage_is_built_anew_for_the_asking_once_and_whatever_is_made_on_it() {
    let project = project();
    one(&project, "RUN cat /proc/sys/kernel/random/uuid >/made\n", "");
    project.converge();
    let made = || raw::said(&project.object("a"), &["cat", "/made"]);
    let before = made();
    let diff = project.run(&["diff", "--rebuild=foundation"]);
    assert_eq!(diff.code, Some(1), "{diff:#?}");
    let lines = changes(&diff.json);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].contains("(requested,"), "{lines:#?}");
    let run = project.run(&["apply", "--rebuild=foundation"]);
    assert_eq!((run.code, changes(&run.json)), (Some(0), lines), "{run:#?}");
    let after = made();
    assert_ne!(after, before);
    project.settled();
    let run = project.run(&["apply", "--rebuild"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_ne!(made(), after);
    project.settled();

    let wrong = project.run(&["diff", "--rebuild=base"]);
    assert_eq!(wrong.code, Some(2), "{wrong:#?}");
    assert_eq!(
        wrong.json["problems"][0]["hint"], "there are: foundation",
        "{wrong:#?}"
    );
}

//! A set of harnesses half installed by who was killed, and many applies at once.

use std::thread;

use serde_json::Value;

use crate::apply::version;
use crate::project::{Project, Victim, project, text};
use crate::raw::{self, Events};

fn with_a_harness() -> Project {
    let project = project();
    project.manifest(&format!(
        "harnesses:\n  tool: {{ npm: tool, version: {}, bin: [tool] }}\ncontainers:\n  a: {{ harness: tool }}\n",
        version()
    ));
    project
}

/// Begins an apply that is killed while its installer is half done, and returns the name of the harness volume.
fn killed_while_populating(project: &Project) -> String {
    project.manifest(&format!(
        "harnesses:\n  slow: {{ npm: slow, version: {}, bin: [slow] }}\ncontainers:\n  a: {{ harness: slow }}\n  b: {{ }}\n",
        version()
    ));
    let victim = Victim::default();
    let volume = thread::scope(|scope| {
        let run = scope.spawn(|| project.killable(&victim, &["apply", "-o", "json"]));
        let volume = raw::until("the installer is at work", || {
            let job = job(project)?;
            let id = text(&job["Id"]).to_owned();
            if job["State"] != "running" {
                return None;
            }
            let half = raw::exec(&id, &["sh", "-c", "cat /tools/m/*/half"]);
            let mut mounts = job["Mounts"].as_array().into_iter().flatten();
            let tools = mounts.find(|mount| mount["Destination"] == "/tools")?;
            (half.text == "half").then(|| text(&tools["Name"]).to_owned())
        });
        victim.kill();
        assert_eq!(run.join().expect("a run").code, None);
        volume
    });
    // Nobody who would use the set was made.
    for name in ["a", "b"] {
        assert!(raw::container(&project.object(name)).is_none(), "{name}");
    }
    volume
}

fn job(project: &Project) -> Option<Value> {
    raw::containers(&project.label())
        .into_iter()
        .find(|container| text(&container["Names"][0]).contains("aishell-job-populate"))
}

/// Insists that whoever mounted the volume before its receipt was there was a job.
fn only_jobs_saw_it_half_filled(project: &Project, volume: &str, events: &Events) {
    let sandboxes: Vec<String> = ["a", "b"].iter().map(|name| project.id(name)).collect();
    let receipt = raw::containers(&project.label())
        .into_iter()
        .find(|container| text(&container["Labels"]["aishell.kind"]) == "receipt")
        .expect("a receipt");
    let receipt_id = text(&receipt["Id"]);
    let receipt = raw::container(receipt_id).expect("a receipt");
    let vouched = text(&receipt["Created"]).to_owned();
    let mounts: Vec<(String, String)> = events
        .seen()
        .iter()
        .filter(|event| event["Action"] == "mount" && event["Actor"]["ID"] == volume)
        .map(|event| {
            let nano = event["timeNano"].as_i64().expect("a time");
            let time = jiff::Timestamp::from_nanosecond(i128::from(nano)).expect("a time");
            (
                text(&event["Actor"]["Attributes"]["container"]).to_owned(),
                time.to_string(),
            )
        })
        .collect();
    assert!(mounts.iter().any(|(id, _)| sandboxes.contains(id)), "{mounts:#?}");
    let vouched: jiff::Timestamp = vouched.parse().expect("a time");
    for (id, time) in &mounts {
        let time: jiff::Timestamp = time.parse().expect("a time");
        assert!(
            time > vouched || !sandboxes.contains(id),
            "{id} mounted {volume} at {time}, before {vouched}"
        );
    }
}

#[test]
fn a_harness_set_half_installed_by_a_killed_apply_is_finished_by_the_next() {
    let project = project();
    let events = Events::of("volume");
    let volume = killed_while_populating(&project);
    // The installer goes on alone; the next apply waits for it, and is not asked to be patient for long.
    let id = text(&job(&project).expect("the job")["Id"]).to_owned();
    assert_eq!(project.diff().code, Some(1));
    let run = thread::scope(|scope| {
        let run = scope.spawn(|| project.apply());
        raw::put(&id, "/tools", "go", b"");
        run.join().expect("a run")
    });
    assert_eq!(run.code, Some(0), "{run:#?}");
    project.settled();
    project.only(&["a", "b"]);
    only_jobs_saw_it_half_filled(&project, &volume, &events);
}

#[test]
fn a_harness_set_half_installed_when_everything_died_is_installed_again() {
    let project = project();
    let events = Events::of("volume");
    let volume = killed_while_populating(&project);
    // As after a power cut: the installer died too, in the middle of it.
    let id = text(&job(&project).expect("the job")["Id"]).to_owned();
    raw::post(&format!("/containers/{id}/kill"), &Value::Null);
    raw::put(&id, "/tools", "go", b"");
    let run = project.apply();
    assert_eq!(run.code, Some(0), "{run:#?}");
    project.settled();
    project.only(&["a", "b"]);
    assert!(raw::container(&id).is_none(), "the dead job is still there");
    only_jobs_saw_it_half_filled(&project, &volume, &events);
}

#[test]
fn many_applies_at_once_make_one_of_everything() {
    let project = with_a_harness();
    let runs: Vec<_> = thread::scope(|scope| {
        let begun: Vec<_> = (0..5).map(|_| scope.spawn(|| project.apply())).collect();
        begun.into_iter().map(|run| run.join().expect("a run")).collect()
    });
    // Whoever finds another at work says who, and touches nothing.
    for run in &runs {
        let told = run.code == Some(7) && run.stdout.contains("`aishell apply` (process ");
        assert!(run.code == Some(0) || told, "{runs:#?}");
    }
    assert!(runs.iter().any(|run| run.code == Some(0)), "{runs:#?}");
    project.settled();
    project.only(&["a"]);
}

#[test]
fn whoever_is_patient_applies_after_the_other() {
    let project = with_a_harness();
    let runs: Vec<_> = thread::scope(|scope| {
        let patient = || project.run(&["apply", "--lock-timeout", "5m"]);
        let begun: Vec<_> = (0..3).map(|_| scope.spawn(patient)).collect();
        begun.into_iter().map(|run| run.join().expect("a run")).collect()
    });
    for run in &runs {
        assert_eq!(run.code, Some(0), "{runs:#?}");
    }
    // One has written; the others found its work done when it was their turn.
    let writers = runs
        .iter()
        .filter(|run| run.json["steps"] != serde_json::json!([]));
    assert_eq!(writers.count(), 1, "{runs:#?}");
    project.only(&["a"]);
}

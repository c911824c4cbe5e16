//! Killed anywhere, the next apply converges in one run and nothing is left lying about.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use crate::apply::version;
use crate::project::{Project, Victim, project, text};
use crate::proxy::{Proxy, Verdict};
use crate::raw::{self, Events};

/// How many worlds are swept at once.
const AT_ONCE: usize = 4;

/// What is done at the request that is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The program is killed before the engine hears of the request.
    Before,
    /// The program is killed when the engine has the request, and never hears the answer.
    During,
}

/// Applies and kills the program at a write. Returns whether there was such a write.
fn apply_killed_at(project: &mut Project, write: usize, cut: Cut) -> bool {
    let victim = Victim::default();
    let reached = Arc::new(AtomicBool::new(false));
    let proxy = Proxy::ruled({
        let (victim, reached) = (victim.clone(), Arc::clone(&reached));
        move |request| {
            if !request.is_write() || request.writes < write {
                return if reached.load(Ordering::SeqCst) {
                    Verdict::Cut
                } else {
                    Verdict::Pass
                };
            }
            let first = !reached.swap(true, Ordering::SeqCst);
            victim.kill();
            if first && cut == Cut::During {
                Verdict::CutAfter
            } else {
                Verdict::Cut
            }
        }
    });
    project.through(&proxy);
    let run = project.killable(&victim, &["apply", "-o", "json"]);
    project.at(None);
    let reached = reached.load(Ordering::SeqCst);
    assert_eq!(run.code.is_none(), reached, "{run:#?}");
    reached
}

/// Makes a world for every write and cuts there, several worlds at once; ends where there is no further write.
/// Returns how many writes there were.
fn sweep(cut: Cut, world: impl Fn() -> Project + Sync, check: impl Fn(&Project, usize) + Sync) -> usize {
    let next = Mutex::new(1);
    let last = Mutex::new(usize::MAX);
    let lock = |mutex: &Mutex<usize>| *mutex.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let write = {
                        let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                        *next += 1;
                        *next - 1
                    };
                    if write >= lock(&last) {
                        return;
                    }
                    let mut project = world();
                    if !apply_killed_at(&mut project, write, cut) {
                        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                        *last = write.min(*last);
                        return;
                    }
                    check(&project, write);
                }
            });
        }
    });
    lock(&last) - 1
}

fn with_a_harness() -> Project {
    let project = project();
    project.manifest(&format!(
        "harnesses:\n  tool: {{ npm: tool, version: {}, bin: [tool] }}\ncontainers:\n  a: {{ harness: tool }}\n",
        version()
    ));
    project
}

/// Insists that one apply makes everything good, and that it is exactly what an apply that was not cut makes.
fn heals(project: &Project, write: usize) {
    let run = project.apply();
    assert_eq!(
        (run.code, &run.json["converged"]),
        (Some(0), &Value::Bool(true)),
        "cut at write {write}: {run:#?}"
    );
    project.settled();
    project.only(&["a"]);
    let kinds = |kind: &str| {
        let label = format!("aishell.kind={kind}");
        let all = raw::volumes(&project.label());
        all.iter()
            .filter(|volume| format!("aishell.kind={}", text(&volume["Labels"]["aishell.kind"])) == label)
            .count()
    };
    assert_eq!(
        (kinds("harness"), kinds("volume")),
        (1, 1),
        "cut at write {write}"
    );
    assert_eq!(raw::networks(&project.label()).len(), 1, "cut at write {write}");
    let tool = raw::said(&project.object("a"), &["tool"]);
    assert!(tool.starts_with("1.0."), "{tool}");
}

#[test]
fn a_first_apply_killed_before_any_write_heals() {
    let writes = sweep(Cut::Before, with_a_harness, heals);
    assert!(writes >= 12, "only {writes} writes were cut");
}

#[test]
fn a_first_apply_killed_in_the_middle_of_any_write_heals() {
    let writes = sweep(Cut::During, with_a_harness, heals);
    assert!(writes >= 12, "only {writes} writes were cut");
}

#[test]
fn a_replacement_killed_anywhere_heals() {
    let replaced = || {
        let project = project();
        project.manifest("containers:\n  a: { env: { MODE: fast } }\n");
        project.converge();
        raw::said(&project.object("a"), &["sh", "-c", "echo kept > ~/note"]);
        project.manifest("containers:\n  a: { env: { MODE: safe } }\n");
        project
    };
    for cut in [Cut::Before, Cut::During] {
        let writes = sweep(cut, replaced, |project, write| {
            // Whatever happened, the container that worked or the one to take its place is there.
            let running = raw::containers(&project.label())
                .iter()
                .any(|container| text(&container["Labels"]["aishell.name"]) == "a");
            assert!(running, "cut at write {write}: neither old nor new is there");
            let run = project.apply();
            assert_eq!(run.code, Some(0), "{cut:?} write {write}: {run:#?}");
            project.settled();
            project.only(&["a"]);
            assert_eq!(
                raw::said(&project.object("a"), &["sh", "-c", "cat ~/note; echo $MODE"]),
                "kept\nsafe"
            );
        });
        assert!(writes >= 5, "only {writes} writes were cut");
    }
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
            (half.text == "half").then(|| text(&job["Mounts"][0]["Name"]).to_owned())
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

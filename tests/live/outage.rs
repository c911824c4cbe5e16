//! An engine that goes away while something is carried out, and containers of which some are broken.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::project::{Project, changes, failures, project, step, text};
use crate::proxy::{Proxy, Request, Verdict};
use crate::raw;

const QUICK: &str = "stop: { timeout: 0 }";

fn running(project: &Project, name: &str) -> bool {
    raw::container(&project.object(name)).is_some_and(|one| one["State"]["Running"] == json!(true))
}

#[test]
fn of_eight_containers_three_are_broken_and_the_others_run() {
    let project = project();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let missing = format!("aishelltest-{}/missing:1", project.name);
    let manifest = |port: &str, image: &str, program: &str| {
        format!(
            "containers:\n  \
             a: {{ home: tmpfs, {QUICK} }}\n  \
             b: {{ home: tmpfs, {QUICK} }}\n  \
             c: {{ mounts: [{{ volume: data, target: /data }}], {QUICK} }}\n  \
             d: {{ network: none, home: tmpfs, dependsOn: [a], {QUICK} }}\n  \
             port: {{ home: tmpfs, ports: ['{port}:80'], {QUICK} }}\n  \
             image: {{ image: '{image}', command: [sleep, '1000'], home: tmpfs, {QUICK} }}\n  \
             program: {{ command: ['{program}', '1000'], home: tmpfs, {QUICK} }}\n  \
             after: {{ home: tmpfs, dependsOn: [port], {QUICK} }}\n"
        )
    };
    project.manifest(&manifest(&port.to_string(), &missing, "/no/such/program"));
    for _ in 0..2 {
        let run = project.apply();
        assert_eq!(run.code, Some(5), "{run:#?}");
        assert_eq!(run.json["converged"], false);
        for name in ["a", "b", "c", "d"] {
            assert!(running(&project, name), "{name}: {run:#?}");
        }
        for name in ["port", "after"] {
            assert!(!running(&project, name), "{name}: {run:#?}");
        }
        let failed = failures(&run.json).join("\n");
        for name in ["port", "after"] {
            assert!(failed.contains(&format!("container {name}")), "{failed}");
        }
        // It was started, and ends: that there is no such program is known to nobody but its init.
        raw::until("the init has ended", || {
            let program = raw::container(&project.object("program"))?;
            (program["State"]["ExitCode"] == 127).then_some(())
        });
        let left = changes(&project.diff().json).join("\n");
        assert!(left.contains("start container program"), "{left}");
        assert!(failed.contains(&missing), "{failed}");
    }
    let run = project.apply();
    let after = step(&run.json, "container", "after");
    assert_eq!(after["outcome"], "skipped", "{run:#?}");
    assert!(
        text(&after["error"]["message"]).contains("container port"),
        "{after:#}"
    );

    // What was broken is mended, and nobody else is touched.
    let kept: Vec<Value> = ["a", "b", "c", "d"].map(|name| project.container(name)).into();
    drop(taken);
    project.manifest(&manifest("0", &project.image, "sleep").replace("ports: ['0:80'], ", ""));
    project.converge();
    for (name, before) in ["a", "b", "c", "d"].iter().zip(&kept) {
        raw::same(&project.container(name), before);
    }
}

/// Lets an engine be away for a while, from a write of a number on.
fn away(from: usize, time: Duration) -> (Proxy, Arc<AtomicUsize>) {
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let mut since: Option<Instant> = None;
    let proxy = Proxy::ruled(move |request: &Request| {
        let begins = request.is_write() && request.writes == from && !request.names_claim();
        if begins && since.is_none() {
            since = Some(Instant::now());
        }
        if since.is_some_and(|since| since.elapsed() < time) {
            count.fetch_add(1, Ordering::SeqCst);
            Verdict::Cut
        } else {
            Verdict::Pass
        }
    });
    (proxy, refused)
}

/// Three containers, which take a dozen writes.
const THREE: &str = "containers:\n  a: { stop: { timeout: 0 } }\n  b: { home: tmpfs, stop: { timeout: 0 } }\n  c: { network: none, home: tmpfs, stop: { timeout: 0 } }\n";

#[test]
fn a_short_outage_is_waited_for_and_said() {
    let mut project = project();
    project.manifest(THREE);
    let (proxy, refused) = away(8, Duration::from_secs(3));
    project.through(&proxy);
    let run = project.plain(&["apply", "-v"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(refused.load(Ordering::SeqCst) > 1, "{run:#?}");
    assert!(run.stdout.contains("engine asked again"), "{run:#?}");
    for words in [
        "trying again",
        "waiting for the engine: ",
        "the engine answers again after",
    ] {
        assert!(run.stderr.contains(words), "{words}: {run:#?}");
    }
    project.at(None);
    project.settled();
    project.unclaimed();
    project.only(&["a", "b", "c"]);
}

#[test]
fn whoever_is_interrupted_while_it_waits_ends_at_once() {
    let mut project = project();
    project.manifest(THREE);
    let (proxy, refused) = away(8, Duration::from_secs(3600));
    project.through(&proxy);
    let child = project.begin(&["apply"]);
    raw::until("the engine is away", || {
        (refused.load(Ordering::SeqCst) > 3).then_some(())
    });
    let killed = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(killed.expect("kill").success());
    let ended = child.wait_with_output().expect("an end");
    let talk = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{talk}");
    project.at(None);
    project.converge();
    project.unclaimed();
    project.only(&["a", "b", "c"]);
}

#[test]
fn an_outage_that_does_not_end_leaves_what_the_next_apply_completes() {
    let mut project = project();
    project.manifest(THREE);
    let (proxy, _) = away(8, Duration::from_secs(3600));
    project.through(&proxy);
    let run = project.apply();
    assert_eq!(
        (run.code, &run.json["converged"]),
        (Some(5), &json!(false)),
        "{run:#?}"
    );
    let steps = run.json["steps"].as_array().expect("steps");
    let again = steps.iter().filter_map(|step| step["retries"]["times"].as_u64());
    assert!(again.sum::<u64>() > 5, "{run:#?}");
    let lost = |condition: &Value| condition["reason"] == "EngineUnreachable";
    assert!(
        run.json["conditions"]
            .as_array()
            .expect("conditions")
            .iter()
            .any(lost),
        "{run:#?}"
    );
    project.at(None);
    project.converge();
    project.unclaimed();
    project.only(&["a", "b", "c"]);
}

/// A container that is changed by being replaced, one beside the other where that can be, and two that stay.
fn manifest(mode: &str) -> String {
    format!(
        "containers:\n  a: {{ env: {{ MODE: {mode} }}, {QUICK} }}\n  \
         b: {{ env: {{ MODE: {mode} }}, home: tmpfs, {QUICK} }}\n  \
         c: {{ network: none, home: tmpfs, {QUICK} }}\n"
    )
}

/// Returns the volumes of ours that the engine has and that bear no label.
fn half_made(daemon: &Daemon) -> Vec<String> {
    let all = daemon.docker(&["volume", "ls", "--format", "{{.Name}} {{.Labels}}"]);
    let bare = all.lines().map(str::trim).filter(|line| !line.contains(' '));
    bare.filter(|name| name.starts_with("aishell-"))
        .map(str::to_owned)
        .collect()
}

/// Runs a command on an engine of its own that is started anew at a write. Says whether it came that far.
fn restarted(project: &mut Project, daemon: &mut Daemon, at: usize, command: &[&str]) -> bool {
    let (sender, restarts) = std::sync::mpsc::channel();
    let (mut sent, mut writes) = (false, 0);
    let proxy = Proxy::before(daemon.socket(), move |request: &Request| {
        // An engine that is stopped while it makes a volume may leave it without labels, for a person to remove.
        writes += usize::from(request.is_write() && request.path != "/volumes/create");
        if writes == at && !sent {
            sent = true;
            sender.send(()).expect("somebody who listens");
        }
        Verdict::Pass
    });
    project.through(&proxy);
    let child = project.begin(command);
    let ended = std::thread::spawn(move || child.wait_with_output().expect("an end"));
    // Whoever ends before takes the sender along with the proxy only then.
    let reached = loop {
        match restarts.recv_timeout(Duration::from_millis(20)) {
            Ok(()) => break true,
            Err(_) if ended.is_finished() => break restarts.try_recv().is_ok(),
            Err(_) => {}
        }
    };
    if reached {
        daemon.restart(&[]);
    }
    let ended = ended.join().expect("an end");
    let told = format!(
        "{command:?} at {at}\n{}\n{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    project.at(Some(daemon.host()));
    match ended.status.code() {
        Some(0) => {}
        // It was not even its turn, or the engine gave a verdict on its way out: the next one completes it.
        Some(4..=6) => {
            eprintln!("{told}");
            let mut again = project.plain(command);
            // The engine was stopped while it made a volume, and has forgotten whose that is.
            if again.code == Some(6) {
                for volume in half_made(daemon) {
                    eprintln!("{volume} was half made: {again:#?}");
                    assert!(
                        again.stderr.contains(&volume) || again.stdout.contains(&volume),
                        "{again:#?}"
                    );
                    daemon.docker(&["volume", "rm", &volume]);
                }
                again = project.plain(command);
            }
            assert_eq!(again.code, Some(0), "{told}\n{again:#?}");
        }
        _ => panic!("{told}"),
    }
    reached
}

#[test]
#[ignore = "takes an engine of its own, and root: cargo test --test live outage:: -- --ignored"]
fn an_engine_that_is_started_anew_at_any_write_is_waited_for_or_the_next_apply_completes() {
    let mut daemon = Daemon::new(&[], &raw::tiny());
    let mut restarts = 0;
    let mut reached = true;
    for at in 1.. {
        if !std::mem::take(&mut reached) {
            break;
        }
        let mut project = project();
        for mode in ["fast", "safe"] {
            project.manifest(&manifest(mode));
            let came = restarted(&mut project, &mut daemon, at, &["apply"]);
            reached |= came;
            restarts += usize::from(came);
            project.settled();
        }
        let came = restarted(
            &mut project,
            &mut daemon,
            at,
            &["delete", "--yes", "--allow", "data-loss"],
        );
        reached |= came;
        restarts += usize::from(came);
    }
    eprintln!("{restarts} restarts");
}

/// A stage in phases, a harness set and a container on both.
fn made_of(version: &str) -> String {
    format!(
        "extension:\n  phases:\n    setup: {{ root: ['echo {version} >/round'] }}\n    test: ['cat /round']\n\
         harnesses: {{ tool: {{ npm: tool, version: {version}, bin: [tool], runtime: image }} }}\n\
         containers:\n  a: {{ harness: tool, {QUICK} }}\n"
    )
}

#[test]
#[ignore = "takes an engine of its own, and root: cargo test --test live outage:: -- --ignored"]
fn an_engine_that_is_started_anew_while_images_and_sets_are_made_and_pruned_is_no_end_of_them() {
    let mut daemon = Daemon::new(&[], &raw::tiny());
    let mut restarts = 0;
    let mut reached = true;
    for at in 1.. {
        if !std::mem::take(&mut reached) {
            break;
        }
        let mut project = project();
        let prune: &[&str] = &["prune", "--yes", "--keep", "0"];
        for version in ["1.0.0", "1.0.1"] {
            project.manifest(&made_of(&format!("{version}-{at}")));
            let came = restarted(&mut project, &mut daemon, at, &["apply"]);
            reached |= came;
            restarts += usize::from(came);
            project.settled();
        }
        let came = restarted(&mut project, &mut daemon, at, prune);
        reached |= came;
        restarts += usize::from(came);
        project.settled();
        let left = project.run(&["prune", "--keep", "0"]);
        assert_eq!(left.json["items"], json!([]), "{at}: {left:#?}");
        let ended = project.plain(&["delete", "--yes", "--allow", "data-loss"]);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
    }
    eprintln!("{restarts} restarts");
}

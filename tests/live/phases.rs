//! Images that are built in phases, each of which leaves a snapshot.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::{Value, json};

use crate::project::{Project, project, text};
use crate::raw;

/// Writes a manifest of phases, and what they put into the image.
pub fn write(project: &Project, phases: &Value, rest: &str) {
    project.manifest_on(&format!("{{ phases: {phases} }}"), rest);
}

fn files(project: &Project) {
    let root = project.path();
    for directory in ["layer/deep", "copied/empty"] {
        fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    project.write("layer/deep/file", "layer");
    project.write("copied/file", "copied\n");
    project.write("single", "single");
    let script = format!(
        "#!/bin/sh\n# {}\ntest \"$WHO\" = dev && cat $WORKDIR/made\n",
        project.name
    );
    project.write("smoke.sh", &script);
    let _ = symlink("file", root.join("copied/link"));
}

/// Every phase there is, on the tiny image. The name of the project makes it nobody else's.
fn phases(project: &Project) -> Value {
    json!({
        "base": { "image": project.image },
        "users": [{ "name": "dev", "uid": 1234, "groups": ["sudo", project.name], "shell": "/bin/sh" }],
        "env": { "WORKDIR": "/w", "WHO": "dev", "NOBODY": "", "PATH": "${WORKDIR}/bin:${PATH}" },
        "workdir": { "path": "${WORKDIR}", "owner": "dev" },
        "habitat": {
            "path": "${WORKDIR}/habitat", "dirs": ["system", "local"], "layers": { "local": "layer" }, "owner": "dev",
        },
        "files": [
            { "source": "single", "target": "~dev/.single", "owner": "dev", "mode": "0640" },
            { "source": "copied", "target": "/opt/copied" },
        ],
        "setup": { "root": ["echo root >/root-was-here"], "user": ["echo $WHO >made"] },
        "verify": { "files": ["${WORKDIR}/made", { "path": "~dev/.single", "mode": "0640", "owner": "dev" }] },
        "test": [{ "file": "smoke.sh" }, "test -d $WORKDIR"],
        "final": { "user": "dev", "workdir": "${WORKDIR}/habitat", "env": { "LAST": "${WHO}" } },
        "hooks": {
            "files": { "before": ["echo before >/before"] },
            "setup": { "after": [{ "run": "echo after >after", "user": "dev", "workdir": "${WORKDIR}", "timeout": "1m" }] },
        },
    })
}

/// Returns the phases of the steps of a document that were done or would be.
pub fn done(document: &Value) -> Vec<String> {
    let steps = document["steps"].as_array().into_iter().flatten();
    let snapshots = steps.filter(|step| step["action"] == "snapshot");
    snapshots
        .map(|step| {
            let (_, rest) = text(&step["detail"]).split_once("] ").expect("a phase");
            rest.split(':').next().expect("a phase").to_owned()
        })
        .collect()
}

const ALL: [&str; 9] = [
    "2-users",
    "3-env",
    "4-workdir",
    "5-habitat",
    "6-files",
    "7-setup",
    "10-verify",
    "11-test",
    "12-final",
];

/// Runs a command in a fresh container of the image.
pub fn within(project: &Project, words: &[&str]) -> String {
    within_image(project, &format!("aishell-{}:foundation", project.name), words)
}

pub fn within_image(project: &Project, image: &str, words: &[&str]) -> String {
    let label = json!({ "aishelltest": project.name });
    let options = json!({ "Image": image, "Entrypoint": ["sleep"], "Cmd": ["1000"], "Labels": label });
    let made = raw::post("/containers/create", &options);
    let id = text(&made["Id"]);
    raw::post(&format!("/containers/{id}/start"), &Value::Null);
    let said = raw::said(id, words);
    raw::delete(&format!("/containers/{id}?force=true"));
    said
}

#[test]
fn an_image_is_what_its_phases_say_and_a_container_runs_on_it_as_declared() {
    let project = project();
    files(&project);
    let rest = "containers:\n  a: { home: tmpfs, user: '1234:1234', workdir: /w/habitat, workspace: none }\n";
    write(&project, &phases(&project), rest);
    assert_eq!(done(&project.diff().json), ALL);
    let run = project.converge();
    assert_eq!(done(&run.json), ALL, "{run:#?}");
    let look = "id -u; cat /w/made /w/after /before /root-was-here /opt/copied/link; echo $LAST $PWD $PATH; \
                for f in /w /w/habitat/local/deep/file /home/dev /home/dev/.single /opt /opt/copied/empty /w/made; do \
                find $f -maxdepth 0 -printf '%p %U:%G %m\\n'; done; test -e /.aishell-test || echo clean";
    let said = within(&project, &["sh", "-c", look]);
    assert_eq!(
        said,
        "1234\ndev\nafter\nbefore\nroot\ncopied\ndev /w/habitat /w/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         /w 1234:1234 755\n/w/habitat/local/deep/file 1234:1234 644\n/home/dev 1234:1234 755\n\
         /home/dev/.single 1234:1234 640\n/opt 0:0 755\n/opt/copied/empty 0:0 755\n/w/made 1234:1234 644\nclean"
    );
    assert_eq!(
        raw::said(&project.object("a"), &["sh", "-c", "id -u; pwd"]),
        "1234\n/w/habitat"
    );
    let image = raw::get(&format!("/images/aishell-{}:foundation/json", project.name));
    let config = &image["Config"];
    assert!(
        config["Entrypoint"].as_array().is_none_or(Vec::is_empty),
        "{config:#}"
    );
    assert_eq!(text(&config["Labels"]["aishell.tested"]), "true");
    for phase in ["users", "setup", "test", "final"] {
        let hash = &config["Labels"][format!("aishell.phase.{phase}.hash")];
        assert_eq!(text(hash).len(), 64, "{phase}");
    }
}

type Edit = fn(&mut Value, &Project);

/// Every input of every phase, and the first phase that it changes.
const INPUTS: &[(&str, Option<&str>, Edit)] = &[
    ("nothing", None, |_, _| {}),
    ("a user", Some("2-users"), |phases, _| {
        phases["users"][0]["uid"] = json!(1235);
    }),
    ("a group", Some("2-users"), |phases, project| {
        phases["users"][0]["groups"] = json!([project.name]);
    }),
    ("a shell", Some("2-users"), |phases, _| {
        phases["users"][0]["shell"] = json!("/bin/bash");
    }),
    ("a second user", Some("2-users"), |phases, _| {
        phases["users"]
            .as_array_mut()
            .expect("users")
            .push(json!({ "name": "two" }));
    }),
    ("a variable that is used", Some("3-env"), |phases, _| {
        phases["env"]["WORKDIR"] = json!("/v");
    }),
    ("a variable that is not used", Some("3-env"), |phases, _| {
        phases["env"]["NOBODY"] = json!("x");
    }),
    ("a variable to the same value", None, |phases, _| {
        phases["env"]["WORKDIR"] = json!("${NONE:-/w}");
    }),
    ("the path", Some("3-env"), |phases, _| {
        phases["env"]["PATH"] = json!("/x:${PATH}");
    }),
    ("the owner of the directory", Some("4-workdir"), |phases, _| {
        phases["workdir"]["owner"] = json!("dev:sudo");
    }),
    ("a directory of a layer", Some("5-habitat"), |phases, _| {
        phases["habitat"]["dirs"] = json!(["system", "local", "more"]);
    }),
    ("a file of a layer", Some("5-habitat"), |_, project| {
        project.write("layer/deep/file", "other");
    }),
    ("an added file of a layer", Some("5-habitat"), |_, project| {
        project.write("layer/more", "more");
    }),
    ("the content of a file", Some("6-files"), |_, project| {
        project.write("copied/file", "other");
    }),
    ("the time of a file", None, |_, project| {
        project.write("copied/file", "copied\n");
    }),
    ("the mode of a file", Some("6-files"), |_, project| {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(project.path().join("copied/file"), mode).expect("a mode");
    }),
    ("a mode that is overridden", None, |phases, project| {
        // What a file has on this machine is asked for nowhere if its mode is written.
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(project.path().join("single"), mode).expect("a mode");
        phases["files"][0]["mode"] = json!("0640");
    }),
    ("a link", Some("6-files"), |_, project| {
        fs::remove_file(project.path().join("copied/link")).expect("a link");
        symlink("empty", project.path().join("copied/link")).expect("a link");
    }),
    ("an added directory", Some("6-files"), |_, project| {
        fs::create_dir(project.path().join("copied/more")).expect("a directory");
    }),
    ("the target of a file", Some("6-files"), |phases, _| {
        phases["files"][1]["target"] = json!("/opt/other");
    }),
    ("the owner of a file", Some("6-files"), |phases, _| {
        phases["files"][1]["owner"] = json!("dev");
    }),
    ("the written mode of a file", Some("6-files"), |phases, _| {
        phases["files"][1]["mode"] = json!("0700");
    }),
    ("a hook before", Some("6-files"), |phases, _| {
        phases["hooks"]["files"]["before"] = json!(["echo sooner >/before"]);
    }),
    ("a command of root", Some("7-setup"), |phases, _| {
        phases["setup"]["root"] = json!(["echo ruth >/root-was-here"]);
    }),
    ("a command of the user", Some("7-setup"), |phases, _| {
        phases["setup"]["user"] = json!(["echo dev >made"]);
    }),
    ("a hook after", Some("7-setup"), |phases, _| {
        phases["hooks"]["setup"]["after"] = json!(["true"]);
    }),
    ("the user of a hook", Some("7-setup"), |phases, _| {
        phases["hooks"]["setup"]["after"][0]["user"] = json!("root");
    }),
    ("the directory of a hook", Some("7-setup"), |phases, _| {
        phases["hooks"]["setup"]["after"][0]["workdir"] = json!("/home/dev");
    }),
    ("how long a hook may take", None, |phases, _| {
        phases["hooks"]["setup"]["after"][0]["timeout"] = json!("2m");
    }),
    ("what must be there", Some("10-verify"), |phases, _| {
        phases["verify"]["files"] = json!(["/w"]);
    }),
    ("a test", Some("11-test"), |phases, _| {
        phases["test"][1] = json!("test -d /home");
    }),
    ("the text of a test", Some("11-test"), |_, project| {
        project.write("smoke.sh", "#!/bin/sh\ntrue\n");
    }),
    ("the last directory", Some("12-final"), |phases, _| {
        phases["final"]["workdir"] = json!("/");
    }),
    ("the last variable", Some("12-final"), |phases, _| {
        phases["final"]["env"]["LAST"] = json!("x");
    }),
    ("the command", Some("12-final"), |phases, _| {
        phases["final"]["command"] = json!(["sleep", "1"]);
    }),
    ("the entrypoint", Some("12-final"), |phases, _| {
        phases["final"]["entrypoint"] = json!(["sh"]);
    }),
];

#[test]
fn every_input_of_every_phase_changes_it_and_what_follows_and_nothing_else() {
    let project = project();
    files(&project);
    write(&project, &phases(&project), "containers: {}\n");
    project.converge();
    for (what, first, edit) in INPUTS {
        let mut changed = phases(&project);
        edit(&mut changed, &project);
        write(&project, &changed, "containers: {}\n");
        let expected = match first {
            None => &ALL[ALL.len()..],
            Some(first) => &ALL[ALL.iter().position(|phase| phase == first).expect("a phase")..],
        };
        let diff = project.diff();
        assert_eq!(done(&diff.json), expected, "{what}: {diff:#?}");
        let run = project.apply();
        assert_eq!(
            (run.code, done(&run.json)),
            (Some(0), expected.iter().map(ToString::to_string).collect()),
            "{what}: {run:#?}"
        );
        if let Some(first) = first {
            // The first one says what it was, with the line.
            let step = &diff.json["steps"][0];
            let because = &step["because"][0];
            assert!(text(&step["detail"]).contains(first), "{what}: {step:#}");
            assert_ne!(because["cause"], "dependency", "{what}: {step:#}");
        }
        for path in ["layer", "copied", "single", "smoke.sh"] {
            let path = project.path().join(path);
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
        files(&project);
        write(&project, &phases(&project), "containers: {}\n");
        // Back to what was there costs nothing.
        let back = project.diff();
        assert_eq!(done(&back.json), [""; 0], "back from {what}: {back:#?}");
    }
}

#[test]
fn a_phase_that_fails_says_where_and_leaves_a_shell_and_what_was_before() {
    let project = project();
    files(&project);
    let mut broken = phases(&project);
    broken["setup"]["user"] =
        json!(["echo on stdout; echo on stderr >&2; echo kept >/w/kept; (sleep 1000 &) ; exit 7"]);
    write(&project, &broken, "containers: {}\n");
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let told = run.json["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .find(|step| step["outcome"] == "failed")
        .expect("one");
    let error = &told["error"];
    assert!(
        text(&error["message"]).starts_with("phase 7-setup: `echo on stdout;"),
        "{error:#}"
    );
    assert!(
        text(&error["message"]).ends_with("(setup.user.0) ended with 7"),
        "{error:#}"
    );
    // Both streams are told, each in its own order.
    let mut log: Vec<&str> = error["log"].as_array().expect("lines").iter().map(text).collect();
    log.sort_unstable();
    assert_eq!(log, ["on stderr", "on stdout"]);
    // Nothing of it runs on; a shell can be opened in what it left.
    let name = format!("aishell-failed-{}-7-setup", project.name);
    let kept = raw::container(&name).expect("the container that failed");
    assert_eq!(kept["State"]["Running"], false);
    assert!(text(&error["hint"]).contains(&format!(
        "docker start {name} && docker exec -it -u dev {name} /bin/sh"
    )));
    raw::post(&format!("/containers/{name}/start"), &Value::Null);
    assert_eq!(raw::said(&name, &["cat", "/w/kept"]), "kept");
    // The next one goes on from there.
    write(&project, &phases(&project), "containers: {}\n");
    assert_eq!(done(&project.diff().json), ALL[5..]);
    project.converge();
    assert!(raw::container(&name).is_none());
}

#[test]
fn what_takes_too_long_is_ended_inside() {
    let project = project();
    let phases = json!({
        "base": { "image": project.image },
        "setup": { "root": [{ "run": "sleep 1000 & sleep 1000", "timeout": "1s" }] },
    });
    write(&project, &phases, "containers: {}\n");
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    assert!(
        run.json.to_string().contains("did not end in its time"),
        "{run:#?}"
    );
    let kept = raw::container(&format!("aishell-failed-{}-7-setup", project.name)).expect("what failed");
    assert_eq!(kept["State"]["Running"], false);
}

#[test]
fn what_cannot_be_done_is_told_with_its_place_and_nothing_else_is_touched() {
    let project = project();
    files(&project);
    let edits: &[(&str, Edit)] = &[
        ("the image has no user `nobody-here`", |phases, _| {
            phases["workdir"]["owner"] = json!("nobody-here");
        }),
        ("the image has no user `ghost` with a home", |phases, _| {
            phases["files"][0]["target"] = json!("~ghost/x");
        }),
        ("is a directory in the image", |phases, _| {
            phases["files"][0]["target"] = json!("/usr");
        }),
        ("is a file in the image", |phases, _| {
            phases["files"][1]["target"] = json!("/usr/bin/cat");
        }),
        ("/gone is not there", |phases, _| {
            phases["verify"]["files"] = json!(["/gone"]);
        }),
        ("must belong to root", |phases, _| {
            phases["verify"]["files"] = json!([{ "path": "/w/made", "owner": "root" }]);
        }),
        ("phase 11-test: `exit 3` (test.0) ended with 3", |phases, _| {
            phases["test"] = json!(["exit 3"]);
        }),
        ("no matching entries in passwd file", |phases, _| {
            phases["hooks"]["setup"]["after"][0]["user"] = json!("ghost");
        }),
        ("/bin/fish", |phases, _| {
            phases["setup"]["root"] = json!([{ "run": "true", "shell": "/bin/fish" }]);
        }),
    ];
    for (told, edit) in edits {
        let mut changed = phases(&project);
        edit(&mut changed, &project);
        write(&project, &changed, "containers: {}\n");
        let run = project.apply();
        assert_eq!(run.code, Some(5), "{told}: {run:#?}");
        assert!(run.json.to_string().contains(told), "{told}: {run:#?}");
    }
    write(&project, &phases(&project), "containers: {}\n");
    project.converge();
}

#[test]
fn whoever_interrupts_a_phase_ends_what_runs_in_it() {
    let project = project();
    let phases = json!({
        "base": { "image": project.image },
        "setup": { "root": ["echo begun; sleep 1000"] },
    });
    write(&project, &phases, "containers: {}\n");
    let child = project.begin(&["apply", "--progress", "plain"]);
    let job = raw::until("the command runs", || {
        let all = raw::containers(&project.label());
        let job = all
            .iter()
            .find(|one| one["Labels"]["aishell.kind"] == "job" && one["State"] == "running")?;
        let id = text(&job["Id"]).to_owned();
        let execs = raw::container(&id)?["ExecIDs"].as_array().map_or(0, Vec::len);
        (execs > 0).then_some(id)
    });
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).expect("a signal");
    let ended = child.wait_with_output().expect("an end");
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert!(raw::container(&job).is_none());
}

#[test]
fn commands_have_certificates_that_are_in_no_image() {
    let project = project();
    project.write("ca.pem", "-----BEGIN CERTIFICATE-----\n");
    let phases = json!({
        "base": { "image": project.image },
        "setup": { "root": [format!("cat \"$SSL_CERT_FILE\" >/seen; echo {} >>/seen", project.name)] },
        "test": ["cat $SSL_CERT_FILE"],
    });
    write(&project, &phases, "certificates: [ca.pem]\ncontainers: {}\n");
    project.converge();
    assert!(within(&project, &["cat", "/seen"]).starts_with("-----BEGIN CERTIFICATE"));
    let left = within(
        &project,
        &["sh", "-c", "ls -a / | cat; echo ${SSL_CERT_FILE:-none}"],
    );
    assert!(!left.contains("certificates") && left.ends_with("none"), "{left}");
}

/// Returns the states of all phases, as `phases` tells them.
fn standing(project: &Project) -> Vec<(String, Value)> {
    let run = project.run(&["phases"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let phases = run.json["stages"][0]["phases"].as_array().expect("phases");
    assert_eq!(phases.len(), 13);
    let done = phases.iter().filter(|phase| phase["state"] != "empty");
    done.map(|phase| {
        let name = format!("{}-{}", phase["id"], text(&phase["name"]));
        (name, phase.clone())
    })
    .collect()
}

#[test]
fn every_phase_says_how_it_stands() {
    let project = project();
    files(&project);
    write(&project, &phases(&project), "containers: {}\n");
    for (name, phase) in standing(&project) {
        let state = if name == "1-base" { "cached" } else { "missing" };
        assert_eq!(phase["state"], state, "{phase:#}");
    }
    project.converge();
    let mut size = 0;
    for (name, phase) in standing(&project) {
        assert_eq!(phase["state"], "cached", "{phase:#}");
        let snapshot = match &name[..] {
            "1-base" => continue,
            "10-verify" | "11-test" => None,
            _ => Some(text(&phase["snapshot"])),
        };
        let Some(snapshot) = snapshot else {
            assert_eq!(
                (&phase["snapshot"], &phase["createdAt"], &phase["bytes"]),
                (&Value::Null, &Value::Null, &Value::Null)
            );
            continue;
        };
        assert!(
            snapshot.starts_with(&format!("aishell-{}:{name}-", project.name)),
            "{snapshot}"
        );
        let image = raw::get(&format!("/images/{snapshot}/json"));
        assert_eq!(phase["bytes"], image["Size"], "{phase:#}");
        assert!(phase["bytes"].as_u64() >= Some(size), "{phase:#}");
        size = phase["bytes"].as_u64().expect("a size");
        let created: jiff::Timestamp = text(&phase["createdAt"]).parse().expect("a time");
        assert!(
            text(&image["Created"])
                .parse::<jiff::Timestamp>()
                .expect("a time")
                >= created
        );
    }
    // What fails says how to go on, and what was not tried says what differs.
    let mut broken = phases(&project);
    broken["setup"]["root"] = json!(["exit 3"]);
    write(&project, &broken, "containers: {}\n");
    let stale = standing(&project);
    assert_eq!(stale[6].1["state"], "stale", "{stale:#?}");
    assert_eq!(stale[6].1["because"][0]["field"], "setup.root.0", "{stale:#?}");
    assert_eq!(
        stale[6].1["because"][0]["at"]["file"], "aishell.yaml",
        "{stale:#?}"
    );
    assert_eq!(project.apply().code, Some(5));
    let failed = standing(&project);
    assert_eq!(failed[5].1["state"], "cached", "{failed:#?}");
    let left = &failed[6].1["failed"];
    let container = format!("aishell-failed-{}-7-setup", project.name);
    assert_eq!(left["container"], container, "{failed:#?}");
    assert_eq!(left["resume"], "aishell apply", "{failed:#?}");
    assert_eq!(failed[7].1["state"], "stale", "{failed:#?}");
    let told = project.plain(&["phases"]).stdout;
    let line = |word: &str| told.lines().find(|line| line.contains(word)).map(str::to_owned);
    let users = line(" users ").expect("a line");
    assert!(users.contains("cached") && users.contains(" dev"), "{told}");
    assert!(line(" dockerfile ").expect("a line").contains("empty"), "{told}");
    let how = format!("docker start {container} && docker exec -it -u 0 {container} /bin/sh");
    assert!(line("7-setup failed").expect("a line").contains(&how), "{told}");
}

#[test]
fn how_phases_come_along_is_told() {
    let project = project();
    files(&project);
    write(&project, &phases(&project), "containers: {}\n");
    let name = &project.name;
    // What differs is how long it takes.
    let untimed = |line: &str| match line.split_once(" … ") {
        Some((start, rest)) => {
            let (took, end) = rest
                .split_once(" → ")
                .map_or((rest, None), |(took, end)| (took, Some(end)));
            assert!(took.ends_with(" s"), "{line}");
            let end = end.map(|end| format!(" → {end}"));
            format!("{start} …{}", end.unwrap_or_default())
        }
        None => line.to_owned(),
    };
    let told = |run: &crate::project::Run| -> Vec<String> {
        let lines = run.stderr.lines();
        let is_one = |line: &&str| line.contains(" → ") || line.contains(" … ") || line.contains("ready in");
        lines.filter(is_one).map(untimed).collect()
    };
    let done = |phase: &str| {
        let id = phase.split('-').next().expect("a number");
        let left = format!(" → aishell-{name}:{phase}");
        let left = if ["10-verify", "11-test"].contains(&phase) {
            ""
        } else {
            &left
        };
        format!("[{id}/12] {phase} …{left}")
    };
    let run = project.plain(&["apply", "--progress", "plain"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let mut first = told(&run);
    let ready = first.pop().expect("a last line");
    assert!(ready.starts_with("ready in ") && !ready.contains('('), "{ready}");
    assert_eq!(first, ALL.map(done), "{run:#?}");
    assert!(run.stderr.contains("\n[7/12] 7-setup\n"), "{run:#?}");
    // What is there is told with what it left.
    let mut changed = phases(&project);
    changed["setup"]["root"] = json!(["echo ruth >/root-was-here"]);
    write(&project, &changed, "containers: {}\n");
    let run = project.plain(&["apply", "--progress", "plain"]);
    let mut second = told(&run);
    let ready = second.pop().expect("a last line");
    assert!(
        ready.starts_with("ready in ") && ready.ends_with(" s (phases 2-6 from cache)"),
        "{ready}"
    );
    let cached = ALL[..5].iter().map(|phase| {
        let id = phase.split('-').next().expect("a number");
        format!("[{id}/12] {phase} cached → aishell-{name}:{phase}")
    });
    let expected: Vec<String> = cached.chain(ALL[5..].iter().map(|phase| done(phase))).collect();
    assert_eq!(second, expected, "{run:#?}");
    // Programs are told the same.
    changed["test"] = json!(["true"]);
    write(&project, &changed, "containers: {}\n");
    let run = project.plain(&["apply", "--progress", "json"]);
    let events: Vec<Value> = run
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .filter(|event: &Value| event.get("phase").is_some())
        .map(|event| {
            let phase = &event["phase"];
            json!([event["event"], phase["id"], phase["snapshot"], event["cached"]])
        })
        .collect();
    let tag = |phase: &str| format!("aishell-{name}:{phase}");
    let expected = [
        json!(["cached", 2, tag("2-users"), null]),
        json!(["cached", 3, tag("3-env"), null]),
        json!(["cached", 4, tag("4-workdir"), null]),
        json!(["cached", 5, tag("5-habitat"), null]),
        json!(["cached", 6, tag("6-files"), null]),
        json!(["cached", 7, tag("7-setup"), null]),
        json!(["started", 11, null, null]),
        json!(["finished", 11, null, null]),
        json!(["started", 12, tag("12-final"), null]),
        json!(["finished", 12, tag("12-final"), null]),
        json!(["ready", null, null, [2, 3, 4, 5, 6, 7]]),
    ];
    let steps = events.iter().filter(|event| event[0] != "line");
    assert_eq!(steps.cloned().collect::<Vec<_>>(), expected, "{run:#?}");
    let again = project.plain(&["apply", "--progress", "plain"]);
    assert_eq!(told(&again), [""; 0], "{again:#?}");
}

/// Phases that start from a Dockerfile.
fn built(project: &Project) -> Value {
    fs::create_dir_all(project.path().join("docker")).expect("a directory");
    project.write(
        "docker/Dockerfile",
        &format!(
            "FROM {}\nARG WORD\nCOPY inner /inner\nRUN echo $WORD {} >/word\n",
            project.image, project.name
        ),
    );
    project.write("docker/inner", "inner");
    json!({
        "dockerfile": { "path": "docker/Dockerfile", "args": { "WORD": "hello" } },
        "env": { "WHO": "dev" },
        "setup": { "root": ["cat /word /inner >/both"] },
    })
}

/// Returns what the steps of a document make or would: a build, and phases.
fn made(document: &Value) -> Vec<String> {
    let steps = document["steps"].as_array().into_iter().flatten();
    let builds = steps
        .filter(|step| step["action"] == "build")
        .map(|_| "build".to_owned());
    builds.chain(done(document)).collect()
}

/// Every input of a Dockerfile that phases start from, and what it changes first.
const BUILT: &[(&str, Option<&str>, Edit)] = &[
    ("nothing", None, |_, _| {}),
    ("an instruction", Some("0-dockerfile"), |_, project| {
        let text = format!(
            "FROM {}\nARG WORD\nCOPY inner /inner\nRUN echo $WORD other {} >/word\n",
            project.image, project.name
        );
        project.write("docker/Dockerfile", &text);
    }),
    ("a file of the context", Some("0-dockerfile"), |_, project| {
        project.write("docker/inner", "other");
    }),
    (
        "the mode of a file of the context",
        Some("0-dockerfile"),
        |_, project| {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(project.path().join("docker/inner"), mode).expect("a mode");
        },
    ),
    ("a file of the context that nothing takes", None, |_, project| {
        project.write("docker/unused", "more");
    }),
    ("another context", Some("0-dockerfile"), |phases, project| {
        fs::create_dir_all(project.path().join("docker/more")).expect("a directory");
        project.write("docker/more/inner", "elsewhere");
        phases["dockerfile"]["context"] = json!("docker/more");
    }),
    ("an argument", Some("0-dockerfile"), |phases, _| {
        phases["dockerfile"]["args"]["WORD"] = json!("bye");
    }),
    ("an argument that nothing declares", None, |phases, _| {
        phases["dockerfile"]["args"]["UNUSED"] = json!("x");
    }),
    ("a variable", Some("3-env"), |phases, _| {
        phases["env"]["WHO"] = json!("somebody");
    }),
    ("a command", Some("7-setup"), |phases, _| {
        phases["setup"]["root"] = json!(["cat /inner /word >/both"]);
    }),
];

#[test]
fn phases_start_from_a_dockerfile_whose_every_input_counts() {
    let project = project();
    let phases = built(&project);
    write(&project, &phases, "containers: {}\n");
    let run = project.converge();
    assert_eq!(done(&run.json), ["3-env", "7-setup", "12-final"], "{run:#?}");
    assert_eq!(
        within(&project, &["cat", "/both"]),
        format!("hello {}\ninner", project.name)
    );
    let standing = standing(&project);
    assert_eq!(standing[0].0, "0-dockerfile", "{standing:#?}");
    assert_eq!(standing[0].1["state"], "cached", "{standing:#?}");
    let tag = text(&standing[0].1["snapshot"]);
    assert!(
        tag.starts_with(&format!("aishell-{}:0-dockerfile-", project.name)),
        "{tag}"
    );
    for (what, first, edit) in BUILT {
        let mut changed = built(&project);
        edit(&mut changed, &project);
        write(&project, &changed, "containers: {}\n");
        let expected = match first {
            None => &[][..],
            Some("0-dockerfile") => &["build", "3-env", "7-setup", "12-final"],
            Some("3-env") => &["3-env", "7-setup", "12-final"],
            Some(_) => &["7-setup", "12-final"],
        };
        let diff = project.diff();
        assert_eq!(made(&diff.json), expected, "{what}: {diff:#?}");
        let run = project.apply();
        let (code, made) = (run.code, made(&run.json));
        assert_eq!(
            (code, &made[..]),
            (
                Some(0),
                &expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..]
            ),
            "{what}: {run:#?}"
        );
        if first.is_some() {
            let because = &diff.json["steps"][0]["because"][0];
            assert!(because["at"]["line"].is_u64(), "{what}: {because:#}");
            assert_ne!(because["cause"], "dependency", "{what}: {because:#}");
        }
        let _ = fs::remove_dir_all(project.path().join("docker"));
        write(&project, &built(&project), "containers: {}\n");
        let back = project.diff();
        assert_eq!(back.json["steps"], json!([]), "back from {what}: {back:#?}");
    }
    let phases = built(&project);
    write(&project, &phases, "containers: {}\n");
    assert_eq!(project.diff().json["steps"], json!([]));
    // What it makes can be asked for anew, and what is made on it follows.
    for (target, anew) in [("0", true), ("foundation", true), ("setup", false)] {
        let run = project.run(&["apply", &format!("--rebuild={target}")]);
        assert_eq!(run.code, Some(0), "{target}: {run:#?}");
        let builds = run.json["steps"].as_array().expect("steps").iter();
        let builds = builds.filter(|step| step["action"] == "build").count();
        assert_eq!(builds, usize::from(anew), "{target}: {run:#?}");
        assert_eq!(
            done(&run.json).len(),
            if anew { 3 } else { 2 },
            "{target}: {run:#?}"
        );
        project.settled();
    }
}

#[test]
fn a_home_begins_with_what_the_image_has_for_homes() {
    let project = project();
    fs::create_dir_all(project.path().join("docker/skel/.config")).expect("a directory");
    let dockerfile = format!(
        "FROM {}\nCOPY skel /etc/skel\nRUN mkdir -p /home/there\n",
        project.image
    );
    project.write("docker/Dockerfile", &dockerfile);
    project.write("docker/skel/.config/one", &project.name);
    symlink(".config/one", project.path().join("docker/skel/.link")).expect("a link");
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(project.path().join("docker/skel/.config/one"), mode).expect("a mode");
    let phases = json!({
        "dockerfile": { "path": "docker/Dockerfile" },
        "users": [
            { "name": "dev", "uid": 1234, "gid": 1235 },
            { "name": "two", "uid": 1300, "home": "/srv/homes/two" },
            { "name": "there", "uid": 1400 },
        ],
    });
    write(&project, &phases, "containers: {}\n");
    project.converge();
    let look = "cat /home/dev/.link; find /home/dev /srv /home/there /etc/skel | sort | \
                while read f; do find $f -maxdepth 0 -printf '%p %U:%G %m\\n'; done";
    let expected = [
        "/etc/skel 0:0 755",
        "/etc/skel/.config 0:0 755",
        "/etc/skel/.config/one 0:0 640",
        "/etc/skel/.link 0:0 777",
        "/home/dev 1234:1235 755",
        "/home/dev/.config 1234:1235 755",
        "/home/dev/.config/one 1234:1235 640",
        "/home/dev/.link 1234:1235 777",
        "/home/there 0:0 755",
        "/srv 0:0 755",
        "/srv/homes 0:0 755",
        "/srv/homes/two 1300:1300 755",
        "/srv/homes/two/.config 1300:1300 755",
        "/srv/homes/two/.config/one 1300:1300 640",
        "/srv/homes/two/.link 1300:1300 777",
    ];
    let said = within(&project, &["sh", "-c", look]);
    assert_eq!(said, format!("{}{}", project.name, expected.join("\n")));
}

#[test]
fn an_extension_in_phases_can_start_from_a_dockerfile_on_the_stage_before() {
    let project = project();
    fs::create_dir_all(project.path().join("ext")).expect("a directory");
    project.write(
        "ext/Dockerfile",
        "FROM aishell:foundation\nRUN cat /first >/second\n",
    );
    let foundation = json!({ "base": { "image": project.image }, "setup": { "root": [format!("echo {} >/first", project.name)] } });
    let extension =
        json!({ "dockerfile": { "path": "ext/Dockerfile" }, "setup": { "root": ["cat /second >/third"] } });
    project.manifest_on(
        &format!("{{ phases: {foundation} }}\nextension: {{ phases: {extension} }}"),
        "containers: {}\n",
    );
    project.converge();
    let image = format!("aishell-{}:extension", project.name);
    assert_eq!(
        raw::get(&format!("/images/{image}/json"))["Config"]["Labels"]["aishell.phase"],
        "12-final"
    );
    let changed = json!({ "base": { "image": project.image }, "setup": { "root": [format!("echo other {} >/first", project.name)] } });
    project.manifest_on(
        &format!("{{ phases: {changed} }}\nextension: {{ phases: {extension} }}"),
        "containers: {}\n",
    );
    let run = project.converge();
    assert_eq!(done(&run.json).len(), 4, "{run:#?}");
}

#[test]
fn a_poisoned_cache_is_never_used() {
    let project = project();
    files(&project);
    write(&project, &phases(&project), "containers: {}\n");
    project.converge();
    let standing = standing(&project);
    let setup = standing
        .iter()
        .find(|(name, _)| name == "7-setup")
        .expect("a phase");
    let tag = text(&setup.1["snapshot"]).to_owned();
    // What is made from it has its labels, and is given its tag by hand.
    raw::build(&tag, &tag, "RUN echo evil >/evil");
    assert_eq!(within_image(&project, &tag, &["cat", "/evil"]), "evil");
    let mut changed = phases(&project);
    changed["final"]["env"]["LAST"] = json!("x");
    write(&project, &changed, "containers: {}\n");
    project.converge();
    assert_eq!(
        within(&project, &["sh", "-c", "test -e /evil || echo clean"]),
        "clean"
    );
}

#[test]
fn images_that_phases_start_from_may_lack_nearly_everything() {
    let project = project();
    let base = |name: &str, instructions: &str| {
        let tag = format!("{}:{name}", project.name);
        raw::build(
            &tag,
            &project.image,
            &format!("{instructions}\nLABEL aishelltest={}", project.name),
        );
        tag
    };
    let from = |image: &str, setup: Value| json!({ "base": { "image": image }, "setup": { "root": setup } });
    // Whoever runs by default, and what, makes no difference while phases are done.
    let other = base("other", "USER 1234\nENTRYPOINT [\"sh\", \"-c\", \"exit 3\"]");
    write(
        &project,
        &from(&other, json!(["id -u >/who"])),
        "containers: {}\n",
    );
    project.converge();
    assert_eq!(within(&project, &["cat", "/who"]), "0");
    let image = raw::get(&format!("/images/aishell-{}:foundation/json", project.name));
    assert_eq!(image["Config"]["Entrypoint"], json!(["sh", "-c", "exit 3"]));
    // Files need no program at all.
    project.write("single", &project.name);
    let bare = base("bare", "RUN rm /usr/bin/sleep /usr/bin/cat");
    let files = json!({ "base": { "image": bare }, "files": [{ "source": "single", "target": "/single" }] });
    write(&project, &files, "containers: {}\n");
    project.converge();
    let failing = [
        (
            from(&bare, json!(["true"])),
            // How soon the engine notices that nothing runs there decides which of its errors is told.
            "phase 7-setup: ",
        ),
        (
            from(&base("shellless", "RUN rm /usr/bin/sh"), json!(["true"])),
            "/bin/sh",
        ),
        (
            from(&project.image, json!([{ "run": "true", "shell": "/bin/bash" }])),
            "/bin/bash",
        ),
    ];
    for (phases, told) in failing {
        write(&project, &phases, "containers: {}\n");
        let run = project.apply();
        assert_eq!(run.code, Some(5), "{told}: {run:#?}");
        let steps = run.json["steps"].as_array().expect("steps");
        let failed = steps
            .iter()
            .find(|step| step["outcome"] == "failed")
            .expect("a failure");
        assert!(
            text(&failed["error"]["message"]).starts_with("phase 7-setup: "),
            "{failed:#}"
        );
        assert!(failed["error"].to_string().contains(told), "{told}: {failed:#}");
    }
    // What only says something, and fails, is told with what it said.
    let tested = json!({ "base": { "image": project.image }, "test": ["echo only this; exit 4"] });
    write(&project, &tested, "containers: {}\n");
    let run = project.apply();
    let steps = run.json["steps"].as_array().expect("steps");
    let failed = steps
        .iter()
        .find(|step| step["outcome"] == "failed")
        .expect("a failure");
    assert_eq!(failed["error"]["log"], json!(["only this"]), "{failed:#}");
    assert!(
        text(&failed["error"]["message"]).ends_with("(test.0) ended with 4"),
        "{failed:#}"
    );
}

#[test]
fn a_disk_that_is_full_when_a_phase_is_kept_is_told_and_what_was_before_stays() {
    let mut project = project();
    files(&project);
    write(&project, &phases(&project), "containers: {}\n");
    // The engine cannot make an image of the setup: the sixth commit.
    let commits = std::sync::atomic::AtomicUsize::new(0);
    let proxy = crate::proxy::Proxy::ruled(move |request| {
        if request.path == "/commit" && commits.fetch_add(1, std::sync::atomic::Ordering::SeqCst) >= 5 {
            crate::proxy::Verdict::Refuse
        } else {
            crate::proxy::Verdict::Pass
        }
    });
    project.through(&proxy);
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let steps = run.json["steps"].as_array().expect("steps");
    let failed = steps
        .iter()
        .find(|step| step["outcome"] == "failed")
        .expect("a failure");
    assert!(
        text(&failed["error"]["message"]).starts_with("phase 7-setup: "),
        "{failed:#}"
    );
    project.at(None);
    assert_eq!(done(&project.diff().json), ALL[5..]);
    project.converge();
    assert!(raw::container(&format!("aishell-failed-{}-7-setup", project.name)).is_none());
}

#[test]
fn tables_and_skeletons_that_are_copied_count_from_then_on() {
    let project = project();
    let passwd = "root:x:0:0::/root:/bin/sh\nzed:x:4321:4321::/home/zed:/bin/sh\n";
    project.write(
        "passwd",
        &format!("{passwd}{}:x:4322:4322::/:/bin/sh\n", project.name),
    );
    project.write("rc", "from the skeleton\n");
    let first = json!({
        "base": { "image": project.image },
        "users": [{ "name": "one" }],
        "files": [
            { "source": "passwd", "target": "/etc/passwd" },
            { "source": "rc", "target": "/etc/skel/.rc" },
            { "source": "rc", "target": "/here", "owner": "zed" },
        ],
    });
    let second = json!({
        "users": [{ "name": "two" }],
        "workdir": { "path": "/work", "owner": "zed" },
        "verify": { "files": [
            "/home/two/.rc", { "path": "/work", "owner": "4321" }, { "path": "/here", "owner": "4321" },
        ] },
    });
    write(
        &project,
        &first,
        &format!("base: {{ phases: {second} }}\ncontainers: {{}}\n"),
    );
    project.converge();
}

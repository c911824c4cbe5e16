//! Images that are built in phases, each of which leaves a snapshot.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::{Value, json};

use crate::project::{Project, project, text};
use crate::raw;

/// Writes a manifest of phases, and what they put into the image.
fn write(project: &Project, phases: &Value, rest: &str) {
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
fn done(document: &Value) -> Vec<String> {
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
fn within(project: &Project, words: &[&str]) -> String {
    let image = format!("aishell-{}:foundation", project.name);
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

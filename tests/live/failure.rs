//! Bad input and bad luck: each is a clear error or a failed step with its log, the right exit code, and nothing
//! lost.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::apply::version;
use crate::project::{failures, project, step, text};
use crate::proxy::{Proxy, Verdict};
use crate::raw;

fn problems(json: &Value) -> String {
    json["problems"].to_string()
}

#[test]
fn an_engine_that_nobody_answers_for_is_code_4() {
    let mut project = project();
    project.manifest("containers:\n  a: { }\n");
    project.at(Some("unix:///nowhere/docker.sock".to_owned()));
    for command in [
        &["apply"][..],
        &["diff"],
        &["status"],
        &["ps"],
        &["delete", "--yes"],
    ] {
        let run = project.run(command);
        assert_eq!(
            (run.code, text(&run.json["kind"])),
            (Some(4), "Error"),
            "{run:#?}"
        );
        assert!(problems(&run.json).contains("/nowhere/docker.sock"), "{run:#?}");
    }
    // Looking at the manifest needs none.
    assert_eq!(project.run(&["validate"]).code, Some(0));
}

#[test]
fn a_version_that_does_not_exist_fails_with_the_installers_words_and_nothing_is_lost() {
    let project = project();
    let version = version();
    let manifest = |package: &str, mode: &str| {
        format!(
            "harnesses:\n  tool: {{ npm: {package}, version: {version}, bin: [tool] }}\ncontainers:\n  \
             a: {{ harness: tool }}\n  b: {{ image: {}, command: [sleep, \"1000\"], env: {{ MODE: {mode} }} }}\n",
            project.image
        )
    };
    project.manifest(&manifest("tool", "fast"));
    project.converge();
    let a = project.container("a");

    project.manifest(&manifest("missing", "safe"));
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let populate = step(&run.json, "volume", "aishell-harness-");
    assert_eq!(
        (text(&populate["action"]), text(&populate["outcome"])),
        ("populate", "failed")
    );
    let error = &populate["error"];
    assert!(!text(&error["message"]).is_empty());
    assert!(
        error["log"]
            .to_string()
            .contains("No matching version found for missing@"),
        "{error:#}"
    );
    // The others were carried out, and what needed it was not touched.
    assert_eq!(step(&run.json, "container", "a")["outcome"], "skipped");
    assert_eq!(step(&run.json, "container", "b")["outcome"], "done");
    assert_eq!(
        raw::said(&project.object("b"), &["sh", "-c", "echo $MODE"]),
        "safe"
    );
    raw::same(&project.container("a"), &a);
    assert_eq!(raw::said(&project.object("a"), &["tool"]), version);
    // What failed can be looked at.
    let failed = format!("aishell-failed-{}-populate", project.name);
    let kept = raw::container(&failed).expect("the failed job is kept");
    let log = project.plain(&["logs", "--job"]);
    assert!(log.code == Some(0) && log.stderr.contains("npm"), "{log:#?}");
    assert_eq!(kept["State"]["Status"], "exited");

    // Once more: the newer failure takes the place of the older.
    assert_eq!(project.apply().code, Some(5));
    let again = raw::container(&failed).expect("the failed job is kept");
    assert_ne!(again["Id"], kept["Id"]);

    project.manifest(&manifest("tool", "safe"));
    project.converge();
    assert_eq!(project.id("a"), text(&a["Id"]));
}

#[test]
fn a_base_image_that_cannot_be_had_is_a_failed_pull() {
    let project = project();
    project.manifest_on("{ image: \"127.0.0.1:1/nothing:1\" }", "containers:\n  a: { }\n");
    let diff = project.diff();
    assert_eq!(diff.code, Some(1), "{diff:#?}");
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    assert_eq!(failures(&run.json), ["failed pull image 127.0.0.1:1/nothing:1"]);
    let error = &step(&run.json, "image", "nothing")["error"];
    assert!(text(&error["message"]).contains("127.0.0.1:1"), "{error:#}");
    project.only(&[]);
}

#[test]
fn a_dockerfile_that_fails_shows_the_end_of_its_output() {
    let project = project();
    project.write(
        "Dockerfile",
        &format!(
            "FROM {}\nRUN [\"sh\", \"-c\", \"echo this one went wrong; exit 3\"]\n",
            project.image
        ),
    );
    project.manifest_on("{ dockerfile: Dockerfile }", "containers:\n  a: { }\n");
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let build = step(&run.json, "image", ":foundation-");
    assert_eq!(
        (text(&build["action"]), text(&build["outcome"])),
        ("build", "failed")
    );
    let error = &build["error"];
    assert!(
        error["log"].to_string().contains("this one went wrong"),
        "{error:#}"
    );
    assert!(text(&error["message"]).contains("exit code: 3"), "{error:#}");
    project.only(&[]);

    project.write("Dockerfile", &format!("FROM {}\nENV FIXED=1\n", project.image));
    project.converge();
    assert_eq!(raw::said(&project.object("a"), &["sh", "-c", "echo $FIXED"]), "1");
}

#[test]
fn an_engine_that_dies_half_way_leaves_a_report() {
    let mut project = project();
    project.manifest("containers:\n  a: { }\n  b: { }\n");
    let mut dead = false;
    let proxy = Proxy::ruled(move |request| {
        dead |= request.path == "/containers/create" && !request.names_claim();
        if dead { Verdict::Cut } else { Verdict::Pass }
    });
    project.through(&proxy);
    let run = project.apply();
    assert_eq!(
        (run.code, text(&run.json["kind"])),
        (Some(5), "Report"),
        "{run:#?}"
    );
    assert_eq!(run.json["converged"], false);
    assert!(!failures(&run.json).is_empty());
    assert!(
        run.json["conditions"].to_string().contains("EngineUnreachable"),
        "{run:#?}"
    );
    project.at(None);
    project.converge();
    project.unclaimed();
    project.only(&["a", "b"]);
}

#[test]
fn an_engine_that_dies_before_the_first_write_is_code_4_and_untouched() {
    let mut project = project();
    project.manifest("containers:\n  a: { }\n");
    let mut reads = 0;
    let proxy = Proxy::ruled(move |_| {
        reads += 1;
        if reads > 3 { Verdict::Cut } else { Verdict::Pass }
    });
    project.through(&proxy);
    let run = project.apply();
    assert_eq!(
        (run.code, text(&run.json["kind"])),
        (Some(4), "Error"),
        "{run:#?}"
    );
    assert_eq!(proxy.writes(), Vec::<String>::new());
}

#[test]
fn a_full_disk_is_called_one() {
    let mut project = project();
    let version = version();
    let manifest = |package: &str| {
        format!(
            "harnesses:\n  tool: {{ npm: {package}, version: {version}, bin: [tool] }}\ncontainers:\n  a: {{ harness: tool }}\n"
        )
    };
    project.manifest(&manifest("large"));
    // The volume as aishell makes it, on a disk that is small.
    let proxy = Proxy::ruled(|request| {
        let job = request.path == "/containers/create" && request.query.contains("aishell-job-populate");
        if job { Verdict::Refuse } else { Verdict::Pass }
    });
    project.through(&proxy);
    assert_eq!(project.apply().code, Some(5));
    project.at(None);
    let volume = raw::volumes(&project.label())
        .into_iter()
        .find(|volume| text(&volume["Labels"]["aishell.kind"]) == "harness")
        .expect("the volume");
    let name = text(&volume["Name"]);
    raw::delete(&format!("/volumes/{name}"));
    let small = json!({
        "Name": name,
        "Labels": volume["Labels"],
        "Driver": "local",
        "DriverOpts": { "type": "tmpfs", "device": "tmpfs", "o": "size=4m,uid=64044,gid=64044" },
    });
    raw::post("/volumes/create", &small);

    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let populate = step(&run.json, "volume", "aishell-harness-");
    assert_eq!(
        populate["error"]["message"], "the disk of the engine is full",
        "{populate:#}"
    );
    assert!(raw::container(&project.object("a")).is_none());
    project.manifest(&manifest("tool"));
    project.converge();
}

#[test]
fn a_port_that_is_taken_fails_its_container_alone() {
    let project = project();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    project.manifest(&format!(
        "containers:\n  a: {{ ports: [\"{port}:80\"] }}\n  b: {{ }}\n"
    ));
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    assert_eq!(failures(&run.json), ["failed create container a"]);
    let message = text(&step(&run.json, "container", "a")["error"]["message"]).to_owned();
    assert!(message.contains(&port.to_string()), "{message}");
    assert_eq!(project.container("b")["State"]["Status"], "running");
    drop(taken);
    project.converge();
    assert_eq!(
        project.container("a")["NetworkSettings"]["Ports"]["80/tcp"][0]["HostIp"],
        "127.0.0.1"
    );
}

#[test]
fn a_command_that_does_not_exist_is_no_success() {
    let project = project();
    project.manifest("containers:\n  a: { command: [/no/such/program] }\n  b: { }\n");
    // A pass may have looked at it while it was still on its way to its end: then it is started by the next one.
    raw::until("it has ended before a pass looks again", || {
        (project.apply().code == Some(5)).then_some(())
    });
    assert_eq!(project.container("b")["State"]["Status"], "running");
    let status = project.run(&["status"]);
    assert_eq!(status.code, Some(1));
    assert!(status.stdout.contains("127"), "{status:#?}");
    project.manifest("containers:\n  a: { command: [sleep, \"1000\"] }\n  b: { }\n");
    project.converge();
}

#[test]
fn a_manifest_that_is_wrong_touches_nothing() {
    let mut project = project();
    project.manifest("containers:\n  a: { }\n");
    project.converge();
    let before = project.container("a");
    let proxy = Proxy::new();
    project.through(&proxy);
    for (text, expected) in [
        ("containers:\n  a: { colour: red }\n", "colour"),
        ("containers:\n  a: { harness: nobody }\n", "nobody"),
        ("containers:\n  a: { ports: [\"99999:1\"] }\n", "99999"),
        (
            "containers:\n  a: { mounts: [/no/such/place] }\n",
            "/no/such/place",
        ),
        ("containers:\n\ta: { }\n", "tab"),
    ] {
        project.manifest(text);
        let run = project.apply();
        assert_eq!(
            (run.code, text_of(&run.json)),
            (Some(3), "Error"),
            "{text:?}: {run:#?}"
        );
        assert!(
            problems(&run.json).to_lowercase().contains(expected),
            "{text:?}: {run:#?}"
        );
    }
    project.write("aishell.yaml", "");
    let run = project.apply();
    assert_eq!(run.code, Some(3), "{run:#?}");
    assert_eq!(proxy.requests(), 0);
    project.at(None);
    raw::same(&project.container("a"), &before);
}

#[test]
fn a_manifest_that_lost_its_containers_removes_none() {
    let project = project();
    project.manifest("containers:\n  a: { }\n");
    project.converge();
    let before = project.container("a");
    for text in ["", "containers: { }\n"] {
        project.manifest(text);
        let run = project.apply();
        assert_eq!((run.code, &run.json["steps"]), (Some(0), &json!([])), "{run:#?}");
        assert!(
            run.json["notes"]
                .to_string()
                .contains("container a is not in the manifest and is kept"),
            "{run:#?}"
        );
    }
    raw::same(&project.container("a"), &before);
    assert_eq!(raw::networks(&project.label()).len(), 1);
}

fn text_of(json: &Value) -> &str {
    text(&json["kind"])
}

#[test]
fn an_image_that_may_not_be_pulled_needs_a_person() {
    let project = project();
    project.manifest_on(
        "{ image: \"127.0.0.1:1/nothing:1\", pull: never }",
        "containers:\n  a: { }\n",
    );
    let run = project.apply();
    assert_eq!(run.code, Some(6), "{run:#?}");
    assert_eq!(
        run.json["blocked"][0]["unblock"],
        "docker pull 127.0.0.1:1/nothing:1"
    );
}

/// Keeps a port busy for as long as it lives.
pub fn busy_port() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

/// Returns a port that nobody has at the moment.
pub fn free_port() -> u16 {
    busy_port().1
}

#[test]
fn a_missing_program_in_a_harness_is_named() {
    let project = project();
    project.manifest(&format!(
        "harnesses:\n  tool: {{ npm: tool, version: {}, bin: [tool, other] }}\ncontainers:\n  a: {{ harness: tool }}\n",
        version()
    ));
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let error = &step(&run.json, "volume", "aishell-harness-")["error"];
    assert!(text(&error["message"]).contains("program"), "{error:#}");
    assert!(
        error["log"].to_string().contains("other: not installed"),
        "{error:#}"
    );
}

#[test]
fn a_container_that_ends_at_once_is_told_with_what_it_said_last() {
    let project = project();
    project.manifest(
        "containers:\n  a: { network: none, command: [sh, -c, 'echo broken on purpose >&2; exit 3'] }\n  \
         b: { network: none, command: [sh, -c, 'exit 4'] }\n",
    );
    // A pass may have looked at them while they still ran: then they are started by the next one.
    let told = raw::until("both have ended before a pass looks again", || {
        let run = project.apply();
        let steps = run.json["steps"].as_array().map_or(0, Vec::len);
        let left = run.json["notes"].as_array().cloned().unwrap_or_default();
        let again = left
            .iter()
            .filter(|note| text(note).contains("still has to be done: start"));
        (run.code == Some(5) && steps > 0 && again.count() == 2).then_some(left)
    });
    let notes: Vec<&str> = told.iter().map(text).collect();
    let last = "container a exited (3); it said last: broken on purpose";
    assert!(notes.contains(&last), "{notes:#?}");
    assert!(
        !notes.iter().any(|note| note.contains("b exited")),
        "it said nothing: {notes:#?}"
    );
}

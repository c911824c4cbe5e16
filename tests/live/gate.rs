//! Secrets that commands of phases are given: in nothing that is left, however they are written there.

use aishell::secret::Secret;
use aishell::secret::search::Needles;
use serde_json::{Value, json};

use crate::project::{Project, Run, project, text};
use crate::raw;

/// How a command may leave what it was given, as `$TOKEN`; everything else is as it must be.
const PLANTED: &[(&str, &str)] = &[
    ("a file", r#"echo "$TOKEN" >/srv/plain"#),
    ("a file that was there", r#"echo "$TOKEN" >>/etc/profile"#),
    (
        "a file without permissions",
        r#"echo "$TOKEN" >/srv/closed; chmod 000 /srv/closed"#,
    ),
    (
        "the middle of a large file",
        r#"head -c 3000001 /dev/zero >/srv/large; printf %s "$TOKEN" >>/srv/large; head -c 90000 /dev/zero >>/srv/large"#,
    ),
    (
        "a configuration of git",
        r#"mkdir -p /srv/a/.git; perl -e 'printf "[remote]\nurl = https://x:%s@host/a.git\n", join "", map { /[\w.~-]/ ? $_ : sprintf "%%%02X", ord } split //, $ENV{TOKEN}' >/srv/a/.git/config"#,
    ),
    (
        "a configuration of npm",
        r#"echo "//registry.test/:_authToken=$TOKEN" >/root/.npmrc"#,
    ),
    ("the name of a file", r#"touch "/srv/$TOKEN""#),
    ("the name of a directory", r#"mkdir -p "/srv/$TOKEN/empty""#),
    ("a link", r#"ln -s "$TOKEN" /srv/link"#),
    (
        "a second name of a file",
        r#"echo "$TOKEN" >/srv/first; ln /srv/first /srv/second; rm /srv/first"#,
    ),
    ("base 64", r#"printf %s "$TOKEN" | base64 >/srv/encoded"#),
    (
        "base 64 behind a name",
        r#"printf 'user:%s' "$TOKEN" | base64 >/srv/encoded"#,
    ),
    (
        "base 64 in short lines",
        r#"printf 'xy:%s' "$TOKEN" | base64 -w 9 >/srv/encoded"#,
    ),
    (
        "base 64 for addresses",
        r#"printf %s "$TOKEN" | base64 | tr +/ -_ >/srv/encoded"#,
    ),
    (
        "hexadecimal digits",
        r#"perl -e 'print unpack "H*", $ENV{TOKEN}' >/srv/encoded"#,
    ),
    (
        "capital hexadecimal digits",
        r#"perl -e 'print uc unpack "H*", $ENV{TOKEN}' >/srv/encoded"#,
    ),
    (
        "an address",
        r#"perl -e 'print "?token=", join "", map { /[\w.~-]/ ? $_ : sprintf "%%%02x", ord } split //, $ENV{TOKEN}' >/srv/encoded"#,
    ),
    (
        "JSON",
        r#"perl -e '$_ = $ENV{TOKEN}; s/(["\\])/\\$1/g; print qq({"auth":"$_"})' >/srv/encoded"#,
    ),
    (
        "a script",
        r#"bash -c 'printf "export TOKEN=%q\n" "$TOKEN"' >/srv/encoded"#,
    ),
    (
        "UTF-16",
        r#"printf %s "$TOKEN" | iconv -t UTF-16LE >/srv/encoded"#,
    ),
    (
        "an archive",
        r#"echo "$TOKEN" >/srv/inner; tar -C /srv -cf /srv/archive inner; rm /srv/inner"#,
    ),
    (
        "backwards",
        r"perl -e 'print scalar reverse $ENV{TOKEN}' >/srv/encoded",
    ),
    (
        "what is left running",
        r#"(while :; do echo "$TOKEN" >/srv/new; mv /srv/new /srv/late; done) & while ! test -s /srv/late; do :; done"#,
    ),
    (
        "many files",
        r#"mkdir /srv/many; for i in $(seq 200); do echo $i >/srv/many/$i; done; echo "$TOKEN" >/srv/many/137"#,
    ),
    (
        "the home of a user",
        r#"echo "$TOKEN" >/home/dev/.history; chown dev /home/dev/.history"#,
    ),
];

fn value(project: &Project) -> String {
    format!("s3cr3t+{}=\"x\" y&z\\", project.name)
}

fn write(project: &Project, setup: &Value, rest: Value) {
    let mut phases = json!({
        "base": { "image": "debian:bookworm-slim" },
        "users": [{ "name": "dev", "groups": [project.name] }],
        "setup": setup,
    });
    let all = phases.as_object_mut().expect("phases");
    for (name, value) in rest.as_object().cloned().unwrap_or_default() {
        all.insert(name, value);
    }
    project.manifest_on(&format!("{{ phases: {phases} }}"), "containers: {}\n");
}

fn given(command: &str) -> Value {
    json!({ "root": [{ "run": command, "env": ["TOKEN"] }] })
}

/// Insists that nobody is shown what nobody may see.
fn is_silent(project: &Project, run: &Run) {
    let value = value(project);
    let secret = Secret::of_text("TOKEN", value).expect("a secret");
    let needles = Needles::of([("TOKEN", &secret)]).expect("something to look for");
    for said in [&run.stdout, &run.stderr] {
        assert_eq!(needles.find(said.as_bytes()), None, "{said}");
    }
}

/// Insists that no image of a project has it in any layer, label, history or configuration.
fn is_nowhere(project: &Project) {
    let value = value(project);
    let secret = Secret::of_text("TOKEN", value).expect("a secret");
    let needles = Needles::of([("TOKEN", &secret)]).expect("something to look for");
    let images = raw::images(&project.label());
    for image in &images {
        let id = text(&image["Id"]);
        let mut search = needles.search();
        let saved = raw::save(id);
        let hit = saved.chunks(1 << 20).find_map(|piece| search.push(piece));
        assert_eq!(hit, None, "{image:#}");
        for about in ["json", "history"] {
            let about = raw::get(&format!("/images/{id}/{about}"));
            assert_eq!(needles.find(about.to_string().as_bytes()), None, "{about:#}");
        }
    }
}

fn secretive() -> Project {
    let mut project = project();
    project.variable("TOKEN", &value(&project));
    project
}

#[test]
fn what_a_command_was_given_is_in_nothing_that_it_leaves() {
    let project = secretive();
    assert!(PLANTED.len() >= 20);
    for (what, command) in PLANTED {
        write(&project, &given(command), json!({}));
        let run = project.run(&["apply", "-vv", "--progress", "plain"]);
        assert_eq!(run.code, Some(5), "{what}: {run:#?}");
        is_silent(&project, &run);
        let steps = run.json["steps"].as_array().expect("steps");
        let failed: Vec<&Value> = steps.iter().filter(|step| step["outcome"] == "failed").collect();
        let message = text(&failed[0]["error"]["message"]);
        assert!(
            message.starts_with("phase 7-setup: it leaves the secret TOKEN of setup.root.0 in "),
            "{what}: {message}"
        );
        let tags: Vec<String> = raw::images(&project.label())
            .iter()
            .flat_map(|image| image["RepoTags"].as_array().cloned().unwrap_or_default())
            .map(|tag| text(&tag).to_owned())
            .collect();
        assert!(
            !tags
                .iter()
                .any(|tag| tag.contains("setup") || tag.contains("making")),
            "{what}: {tags:?}"
        );
        assert_eq!(raw::containers(&project.label()), [Value::Null; 0], "{what}");
    }
    is_nowhere(&project);
}

#[test]
fn what_a_command_was_given_and_took_away_again_is_no_obstacle() {
    let project = secretive();
    let command = r#"printf %s "$TOKEN" | sha256sum >/digest; echo "$TOKEN" >/root/.netrc; rm /root/.netrc; test "$PLAIN" = seen"#;
    let env = json!({ "TOKEN": { "fromEnv": "TOKEN" }, "PLAIN": "seen" });
    let setup = json!({
        "root": [{ "run": command, "env": env }],
        "user": ["test -z \"$TOKEN\""],
    });
    let test = json!([{ "run": "test -n \"$TOKEN\"", "env": ["TOKEN"] }]);
    write(&project, &setup, json!({ "test": test }));
    let run = project.run(&["apply", "-vv", "--progress", "plain"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    is_silent(&project, &run);
    is_nowhere(&project);
    // Another value changes nothing of what there is.
    let mut project = project;
    project.variable("TOKEN", "another-value");
    assert_eq!(project.diff().json["steps"], json!([]));
}

#[test]
fn what_a_command_prints_of_it_is_not_shown_and_not_kept() {
    let project = secretive();
    let command = r#"echo "token $TOKEN"; printf %s "$TOKEN" | base64 >&2; exit 3"#;
    write(&project, &given(command), json!({}));
    let run = project.run(&["apply", "-vv", "--progress", "plain"]);
    assert_eq!(run.code, Some(5), "{run:#?}");
    is_silent(&project, &run);
    assert!(run.stdout.contains("token (secret)"), "{run:#?}");
    let log = project.plain(&["logs", "--job"]);
    assert!(log.stdout.contains("token (secret)"), "{log:#?}");
    is_silent(&project, &log);
    let kept = raw::container(&format!("aishell-failed-{}-7-setup", project.name)).expect("what failed");
    assert!(!kept.to_string().contains("s3cr3t"), "{kept:#}");
}

#[test]
fn a_configuration_that_has_it_is_no_image() {
    let project = secretive();
    let copied = json!({ "env": { "COPY": value(&project) } });
    write(&project, &given("true"), copied);
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    assert!(
        run.json
            .to_string()
            .contains("in the configuration of the image ("),
        "{run:#?}"
    );
    let images = raw::images(&project.label());
    let named = |image: &Value| image["RepoTags"].to_string().contains("setup");
    assert!(!images.iter().any(named), "{images:#?}");
}

#[test]
fn a_secret_that_is_missing_blocks_its_phase_and_says_what_is_missing() {
    let mut project = project();
    write(&project, &given("true"), json!({}));
    let run = project.apply();
    assert_eq!(run.code, Some(6), "{run:#?}");
    let blocked = &run.json["blocked"][0];
    assert_eq!(
        text(&blocked["detail"]),
        "its secret TOKEN cannot be had: $TOKEN is not set here"
    );
    assert_eq!(blocked["reason"], "unsupported");
    project.variable("TOKEN", "long-enough");
    project.converge();
}

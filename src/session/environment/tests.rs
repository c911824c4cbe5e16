#![expect(
    clippy::disallowed_methods,
    reason = "files that secrets are in are made here"
)]

use std::fs;

use super::*;
use crate::desired::{Desired, ImageChoice};
use crate::label::{Labels, Owner};
use crate::manifest::container::{OnChange, OnDrift};
use crate::session::consent::give;
use crate::spec::ContainerSpec;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

fn host(directory: &Path) -> Host {
    Host {
        home: directory.to_path_buf(),
        uid: 1000,
        gid: 1000,
        user: "me".to_owned(),
        directory: directory.to_path_buf(),
        environment: [
            ("PATH", "/usr/bin:/bin"),
            ("TZ", "Europe/Berlin"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("TOKEN", "canary-token"),
            ("ANTHROPIC_API_KEY", "canary-key"),
            ("EMPTY", ""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        machine: String::new(),
        hostname: "box".to_owned(),
        accounts: Vec::new(),
    }
}

fn container(session: Session) -> Container {
    Container {
        engine_name: "aishell-0-a".to_owned(),
        image: ImageChoice::Stage("foundation".to_owned()),
        spec: ContainerSpec::default(),
        harness: false,
        opens: None,
        completes: false,
        patience: LONG,
        shells: BTreeMap::new(),
        depends_on: [].into(),
        volumes: [].into(),
        busy: None,
        on_change: OnChange::default(),
        on_drift: OnDrift::default(),
        grants: [].into(),
        lacks: [].into(),
        session: Session {
            name: "a".to_owned(),
            ..session
        },
    }
}

fn shown(environment: &Environment) -> String {
    let words: Vec<String> = environment
        .iter()
        .map(|(name, value)| format!("{name}={}", value.expose()))
        .collect();
    words.join("\n")
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn origin(source: Source) -> Origin {
    Origin { source, place: None }
}

fn command(words: &[&str]) -> Source {
    Source::Command {
        words: words.iter().map(|word| (*word).to_owned()).collect(),
    }
}

fn variable(name: &str, optional: bool) -> Source {
    Source::Variable {
        name: name.to_owned(),
        optional,
    }
}

#[tokio::test]
async fn a_session_has_what_its_harness_needs_and_what_the_manifest_asks_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pw");
    fs::write(&file, "line 1\nline 2\n").unwrap();
    let mut container = container(Session {
        set: texts(&[("DISABLE_AUTOUPDATER", "1"), ("MODE", "theirs")]),
        passed: ["ANTHROPIC_API_KEY", "EMPTY", "ABSENT"].map(str::to_owned).into(),
        secrets: [
            ("A", variable("TOKEN", false)),
            ("B", variable("ABSENT", true)),
            (
                "C",
                Source::File {
                    path: file,
                    leads: None,
                },
            ),
            ("D", command(&["printf", "%s\n", "from a command"])),
        ]
        .map(|(name, source)| (name.to_owned(), origin(source)))
        .into(),
        project: Some("/srv/demo".to_owned()),
        ..Session::default()
    });
    container.spec.env = texts(&[("MODE", "mine")]);
    let environment = gather(&container, &host(directory.path()), &Given::Everything)
        .await
        .unwrap();
    insta::assert_snapshot!(shown(&environment), @r"
    A=canary-token
    ANTHROPIC_API_KEY=canary-key
    C=line 1
    line 2
    D=from a command
    DISABLE_AUTOUPDATER=1
    GIT_CONFIG_COUNT=1
    GIT_CONFIG_KEY_0=safe.directory
    GIT_CONFIG_VALUE_0=/srv/demo
    IS_SANDBOX=1
    TZ=Europe/Berlin
    ");
    assert!(!format!("{environment:?} {environment}").contains("canary"));
}

#[tokio::test]
async fn every_secret_that_cannot_be_had_is_told_and_nothing_of_what_it_holds() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    fs::write(place("binary"), b"canary\xff").unwrap();
    fs::write(place("nul"), b"canary\0").unwrap();
    fs::write(place("large"), vec![b'a'; 200_000]).unwrap();
    fs::write(place("empty"), "").unwrap();
    std::os::unix::net::UnixListener::bind(place("socket")).unwrap();
    std::process::Command::new("mkfifo")
        .arg(place("pipe"))
        .status()
        .unwrap();
    std::os::unix::fs::symlink(place("large"), place("link")).unwrap();
    let file = |name: &str| Source::File {
        path: place(name),
        leads: None,
    };
    let secrets: BTreeMap<String, Origin> = [
        ("A", variable("ABSENT", false)),
        ("B", variable("EMPTY", false)),
        ("C", file("absent")),
        ("D", file("")),
        ("E", file("pipe")),
        ("F", file("socket")),
        ("G", file("binary")),
        ("H", file("nul")),
        ("I", file("large")),
        ("J", file("empty")),
        ("K", command(&["sh", "-c", "echo $TOKEN; exit 3"])),
        ("L", command(&["no-such-command"])),
        ("M", command(&["true"])),
        ("N", command(&["cat", "/dev/zero"])),
        (
            "O",
            Source::File {
                path: place("link"),
                leads: Some(place("binary")),
            },
        ),
    ]
    .map(|(name, source)| (name.to_owned(), origin(source)))
    .into();
    let container = container(Session {
        secrets,
        ..Session::default()
    });
    let error = gather(&container, &host(directory.path()), &Given::Everything)
        .await
        .unwrap_err();
    let EnvironmentError::Secrets { problems, .. } = error else {
        panic!("{error}");
    };
    let told: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
    let told = told
        .join("\n")
        .replace(&directory.path().display().to_string(), "/d");
    assert!(!told.contains("canary"), "{told}");
    insta::assert_snapshot!(told, @r"
    secret A of container a: $ABSENT is not set here
    secret B of container a: $EMPTY is not set here
    secret C of container a: /d/absent cannot be read: No such file or directory (os error 2)
    secret D of container a: /d/ is a directory
    secret E of container a: /d/pipe is no regular file
    secret F of container a: /d/socket cannot be read: No such device or address (os error 6)
    secret G of container a: /d/binary: it is not UTF-8 text
    secret H of container a: /d/nul: it holds a NUL character, which a variable cannot
    secret I of container a: /d/large: it is longer than 128 KiB, the most that a variable can hold
    secret J of container a: /d/empty: it is empty
    secret K of container a: `sh -c echo $TOKEN; exit 3` failed: exit status: 3
    secret L of container a: `no-such-command` cannot be run: No such file or directory (os error 2)
    secret M of container a: `true`: it is empty
    secret N of container a: `cat /dev/zero`: it is longer than 128 KiB, the most that a variable can hold
    secret O of container a: /d/link leads to /d/large by now
    ");
}

#[tokio::test]
async fn a_command_that_hangs_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let hangs = find("X", &command(&["sleep", "1000"]), &host(directory.path()), SHORT).await;
    assert_eq!(hangs.unwrap_err().to_string(), "`sleep 1000` took more than 0 s");
    // Nobody can answer it, so it must not wait for an answer.
    let asks = find("X", &command(&["cat"]), &host(directory.path()), LONG).await;
    assert_eq!(asks.unwrap_err().to_string(), "`cat`: it is empty");
}

#[tokio::test]
async fn a_command_finds_nothing_that_a_sandbox_could_have_left() {
    let directory = tempfile::tempdir().unwrap();
    let place = find("X", &command(&["pwd"]), &host(directory.path()), LONG).await;
    let home = directory.path().canonicalize().unwrap();
    assert_eq!(place.unwrap().unwrap().expose(), home.display().to_string());
}

#[tokio::test]
async fn nobody_gets_a_secret_that_no_person_gave() {
    let directory = tempfile::tempdir().unwrap();
    let mut host = host(directory.path());
    host.environment
        .insert("XDG_STATE_HOME".to_owned(), "relative".to_owned());
    let said = directory.path().join("said");
    let ran = command(&["touch", &said.display().to_string()]);
    let secret = |source: &Source| Grant::Secret {
        variable: "X".to_owned(),
        source: source.display(),
    };
    let owner = Owner {
        project: "/srv/demo".to_owned(),
        manifest: "demo".to_owned(),
        host: String::new(),
        file: String::new(),
        formerly: Vec::new(),
    };
    let mut container = container(Session {
        secrets: [("X".to_owned(), origin(ran.clone()))].into(),
        ..Session::default()
    });
    container.grants = [secret(&ran), Grant::Networked].into();
    let given = || Given::so_far(&host, &owner, "a", None);
    let error = gather(&container, &host, &given()).await.unwrap_err();
    assert_eq!(
        error
            .to_string()
            .replace(&directory.path().display().to_string(), "/d"),
        "sessions in container a would get secret X from `touch /d/said`, which nobody has consented to"
    );
    assert!(!said.exists());

    // What the container was made with, and what somebody has given since.
    let labels: Labels = [(
        crate::label::GRANTED.to_owned(),
        serde_json::to_string(&[secret(&ran)]).unwrap(),
    )]
    .into();
    assert_eq!(
        Given::so_far(&host, &owner, "a", Some(&labels)).lacks(&container),
        [] as [&Grant; 0]
    );
    let desired = Desired {
        owner: owner.clone(),
        containers: [("a".to_owned(), container.clone())].into(),
        ..nothing()
    };
    give(&host, &desired).unwrap();
    assert_eq!(given().lacks(&container), [] as [&Grant; 0]);
    let other = Given::so_far(&host, &owner, "b", None);
    assert_eq!(other.lacks(&container), [&secret(&ran)]);
    let file = directory.path().join(".local/state/aishell/given");
    let file = fs::read_dir(file).unwrap().next().unwrap().unwrap().path();
    fs::write(file, "{").unwrap();
    assert_eq!(given().lacks(&container), [&secret(&ran)]);
}

fn nothing() -> Desired {
    Desired {
        owner: Owner {
            project: String::new(),
            manifest: String::new(),
            host: String::new(),
            file: String::new(),
            formerly: Vec::new(),
        },
        key: crate::key::Key::of(crate::key::KeyKind::Manifest, &()),
        stages: [].into(),
        identities: [].into(),
        harness: None,
        fallback: None,
        network: None,
        volumes: [].into(),
        containers: [].into(),
        grants: [].into(),
        notes: Vec::new(),
    }
}

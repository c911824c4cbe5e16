//! Secrets: where they are, and that they are nowhere else.

use serde_json::Value;

use crate::project::{Project, Run, changes, project, text, word};
use crate::raw;

/// Secrets of one test that nobody else has, by where they come from.
struct Canaries {
    /// What a file holds.
    file: String,
    /// What a variable of the host holds.
    variable: String,
    /// What a variable of the host holds that only sessions have.
    session: String,
    /// What a command prints that only sessions have.
    command: String,
    /// A directory that no sandbox sees.
    outside: tempfile::TempDir,
}

fn canaries(project: &mut Project) -> Canaries {
    let canary = |what: &str| format!("canary-{what}-{}", word());
    let canaries = Canaries {
        file: canary("file"),
        variable: canary("variable"),
        session: canary("session"),
        command: canary("command"),
        outside: tempfile::tempdir().expect("a directory"),
    };
    project.write("pw", &format!("{}\n", canaries.file));
    // What a command has to do with must not be in the project.
    let said = canaries.outside.path().join("said");
    std::fs::write(&said, &canaries.command).expect("a file");
    project.variable("XDG_STATE_HOME", &canaries.outside.path().display().to_string());
    project.variable("CANARY_VARIABLE", &canaries.variable);
    project.variable("CANARY_SESSION", &canaries.session);
    project.manifest(&format!(
        "containers:\n  a:\n    command: [sleep, \"1000\"]\n    env:\n      MODE: fast\n      \
         PW: {{ fromFile: ./pw, expose: container }}\n      \
         KEY: {{ fromEnv: CANARY_VARIABLE, expose: container }}\n      \
         MAYBE: {{ fromEnv: CANARY_ABSENT, optional: true, expose: container }}\n      \
         CANARY_SESSION: {{ fromEnv: CANARY_SESSION }}\n      \
         SAID: {{ fromCommand: [cat, {}] }}\n",
        said.display()
    ));
    canaries
}

impl Canaries {
    fn all(&self) -> [&str; 4] {
        [&self.file, &self.variable, &self.session, &self.command]
    }

    /// Insists that a text holds none of them.
    fn absent(&self, what: &str, text: &str) {
        for canary in self.all() {
            assert!(!text.contains(canary), "{canary} is in {what}: {text}");
        }
    }

    fn absent_from(&self, what: &str, run: &Run) {
        self.absent(&format!("the answer of {what}"), &run.stdout);
        self.absent(&format!("the talk of {what}"), &run.stderr);
    }
}

/// Returns the variables a container is configured with.
fn environment(project: &Project, name: &str) -> Vec<String> {
    let container = project.container(name);
    let env = container["Config"]["Env"].as_array().expect("variables").iter();
    env.map(|variable| text(variable).to_owned()).collect()
}

#[test]
fn a_secret_is_in_the_container_that_asks_for_it_and_nowhere_else() {
    let mut project = project();
    let canaries = canaries(&mut project);
    for arguments in [
        &["diff"][..],
        &["diff", "-o", "json"],
        &["apply", "-vv"],
        &["status"],
        &["ps"],
    ] {
        canaries.absent_from(&arguments.join(" "), &project.plain(arguments));
    }
    for arguments in [&["diff"][..], &["status"], &["ps"], &["apply"], &["validate"]] {
        let arguments = [arguments, &["-o", "json", "-vv"]].concat();
        canaries.absent_from(&arguments.join(" "), &project.plain(&arguments));
    }
    project.settled();
    let env = environment(&project, "a");
    assert!(env.contains(&format!("PW={}", canaries.file)), "{env:?}");
    assert!(env.contains(&format!("KEY={}", canaries.variable)), "{env:?}");
    let names: Vec<&str> = env.iter().filter_map(|one| one.split('=').next()).collect();
    for absent in ["CANARY_SESSION", "SAID", "MAYBE"] {
        assert!(!names.contains(&absent), "{names:?}");
    }

    // Everything of ours that the engine knows, that place aside.
    let mut container = project.container("a");
    container["Config"]["Env"] = Value::Null;
    canaries.absent("the container", &container.to_string());
    for image in raw::images(&project.label()) {
        let image = raw::get(&format!("/images/{}/json", text(&image["Id"])));
        canaries.absent("an image", &image.to_string());
        let history = raw::get(&format!("/images/{}/history", text(&image["Id"])));
        canaries.absent("the history of an image", &history.to_string());
    }
    for listed in [raw::containers, raw::images, raw::volumes, raw::networks] {
        canaries.absent("a listing", &Value::from(listed(&project.label())).to_string());
    }

    let notes = project.diff().json["notes"].to_string();
    assert!(
        notes.contains("container a is weaker than strict: secrets in its configuration: KEY MAYBE PW"),
        "{notes}"
    );
    let entrypoint = raw::said(&project.object("a"), &["sh", "-c", "echo $PW"]);
    assert_eq!(entrypoint, canaries.file);
}

#[test]
fn a_secret_that_changed_replaces_the_container_and_is_not_shown() {
    let mut project = project();
    let canaries = canaries(&mut project);
    project.converge();
    let old = project.id("a");

    let other = format!("canary-other-{}", word());
    project.write("pw", &other);
    let diff = project.diff();
    assert_eq!(diff.code, Some(1));
    assert_eq!(
        changes(&diff.json),
        ["replace container a: env.PW \"(secret)\" -> \"(secret)\" (manifest, aishell.yaml:9)"]
    );
    let run = project.apply();
    assert_eq!(run.code, Some(0), "{run:#?}");
    canaries.absent_from("apply", &run);
    assert!(!format!("{run:#?}{diff:#?}").contains(&other));
    assert!(environment(&project, "a").contains(&format!("PW={other}")));
    assert_ne!(project.id("a"), old);
    project.settled();
}

#[test]
fn a_secret_that_is_not_known_here_leaves_its_container_alone() {
    let mut project = project();
    let canaries = canaries(&mut project);
    project.converge();
    let old = project.container("a");

    project.variable("CANARY_VARIABLE", "");
    let diff = project.diff();
    assert_eq!(
        (diff.code, changes(&diff.json)),
        (Some(0), Vec::new()),
        "{diff:#?}"
    );
    assert!(
        diff.json["notes"]
            .to_string()
            .contains("container a keeps the secret KEY that it has: $CANARY_VARIABLE is not set here"),
        "{diff:#?}"
    );

    // A new container needs it.
    let manifest = std::fs::read_to_string(project.path().join("aishell.yaml")).expect("the manifest");
    project.write("aishell.yaml", &manifest.replace("MODE: fast", "MODE: safe"));
    let run = project.apply();
    assert_eq!(run.code, Some(6), "{run:#?}");
    let blocked = &run.json["blocked"][0];
    assert_eq!(
        (text(&blocked["reason"]), text(&blocked["detail"])),
        (
            "unsupported",
            "its secret KEY cannot be had: $CANARY_VARIABLE is not set here"
        )
    );
    raw::same(&project.container("a"), &old);

    project.variable("CANARY_VARIABLE", &canaries.variable);
    project.converge();
    assert!(environment(&project, "a").contains(&format!("KEY={}", canaries.variable)));
}

/// Returns the argument lists of everything that runs on this host.
fn arguments() -> String {
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    let lists = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lists
        .map(|list| String::from_utf8_lossy(&list).replace('\0', " ") + "\n")
        .collect()
}

#[test]
fn sessions_have_the_secrets_they_were_given_and_nobody_else_sees_them() {
    let mut project = project();
    project.variable("TZ", "Europe/Berlin");
    let canaries = canaries(&mut project);
    let run = project.converge();
    let notes = run.json["notes"].to_string();
    assert!(
        notes.contains("sessions in container a get CANARY_SESSION from $CANARY_SESSION, SAID from `cat "),
        "{notes}"
    );

    let said = project.plain(&[
        "exec",
        "a",
        "--",
        "sh",
        "-c",
        "echo $PW $KEY $CANARY_SESSION $SAID",
    ]);
    assert_eq!(
        said.stdout.trim(),
        [
            &*canaries.file,
            &canaries.variable,
            &canaries.session,
            &canaries.command
        ]
        .join(" "),
        "{said:#?}"
    );
    let said = project.plain(&[
        "exec",
        "a",
        "--",
        "sh",
        "-c",
        "echo $IS_SANDBOX $TZ $GIT_CONFIG_VALUE_0",
    ]);
    assert_eq!(
        said.stdout.trim(),
        format!("1 Europe/Berlin {}", project.path().display())
    );
    // What is typed counts more.
    let said = project.plain(&["exec", "-e", "SAID=typed", "a", "--", "sh", "-c", "echo $SAID"]);
    assert_eq!(said.stdout.trim(), "typed");

    // While somebody works there.
    let mut session = project.begin(&[
        "exec",
        "-vv",
        "a",
        "--",
        "sh",
        "-c",
        "echo begun; exec sleep 1000",
    ]);
    let mut output = std::io::BufReader::new(session.stdout.take().expect("stdout"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).expect("a line");
    assert_eq!(line, "begun\n");
    canaries.absent("an argument list", &arguments());
    let mut container = project.container("a");
    let execs = container["ExecIDs"].as_array().expect("sessions").clone();
    assert!(!execs.is_empty());
    for exec in execs {
        let exec = raw::get(&format!("/exec/{}/json", text(&exec)));
        canaries.absent("an exec", &exec.to_string());
    }
    container["Config"]["Env"] = Value::Null;
    canaries.absent("the container", &container.to_string());
    for arguments in [&["status"][..], &["ps"], &["diff"], &["logs", "a"]] {
        canaries.absent_from(&arguments.join(" "), &project.plain(arguments));
    }
    session.kill().expect("an end");
    let mut talk = String::new();
    std::io::Read::read_to_string(&mut session.stderr.take().expect("stderr"), &mut talk).expect("text");
    session.wait().expect("an end");
    canaries.absent("the log of a session", &talk);
    for entry in std::fs::read_dir(canaries.outside.path().join("aishell/given")).expect("a directory") {
        let given = std::fs::read_to_string(entry.expect("a file").path()).expect("a text");
        canaries.absent("what is written down", &given);
    }
}

#[test]
fn a_session_is_not_opened_without_its_secrets_and_says_which_are_missing() {
    let mut project = project();
    let state = tempfile::tempdir().expect("a directory");
    project.variable("XDG_STATE_HOME", &state.path().display().to_string());
    project.write("lines", "one\ntwo\n");
    project.manifest(
        "containers:\n  a:\n    command: [sleep, \"1000\"]\n    env:\n      LINES_: { fromFile: lines }\n      \
         KEY: { fromEnv: CANARY_ABSENT }\n",
    );
    project.converge();
    let run = project.plain(&["exec", "a", "--", "true"]);
    assert_eq!(run.code, Some(125), "{run:#?}");
    assert!(
        run.stderr
            .contains("secret KEY of container a: $CANARY_ABSENT is not set here")
            && run.stderr.contains("aishell.yaml:9:"),
        "{run:#?}"
    );
    project.variable("CANARY_ABSENT", "here");
    let run = project.plain(&["exec", "a", "--", "sh", "-c", "echo \"$LINES_\"; echo $KEY"]);
    assert_eq!(run.stdout, "one\ntwo\nhere\n", "{run:#?}");
    std::fs::remove_file(project.path().join("lines")).expect("no file");
    let run = project.plain(&["exec", "a", "--", "true"]);
    assert_eq!(run.code, Some(125), "{run:#?}");
    assert!(run.stderr.contains("cannot be read"), "{run:#?}");
    // That is nothing to a container.
    project.settled();
}

#[test]
fn what_a_sandbox_adds_to_the_manifest_is_neither_run_nor_given() {
    let mut project = project();
    let state = tempfile::tempdir().expect("a directory");
    project.variable("XDG_STATE_HOME", &state.path().display().to_string());
    project.variable("CANARY_HOST", "canary-host");
    let marker = state.path().join("ran");
    let manifest = |env: &str| {
        project.manifest(&format!(
            "containers:\n  a:\n    command: [sleep, \"1000\"]\n    env: {{ {env} }}\n"
        ));
    };
    manifest("MODE: fast");
    project.converge();
    let command = format!("X: {{ fromCommand: [touch, {}] }}", marker.display());
    for added in [
        &command,
        "X: { fromEnv: CANARY_HOST }",
        "X: { fromFile: /etc/hostname }",
    ] {
        manifest(&format!("MODE: fast, {added}"));
        for looking in [
            project.plain(&["validate"]),
            project.diff(),
            project.plain(&["status"]),
        ] {
            assert_eq!(looking.code, Some(0), "{looking:#?}");
        }
        let run = project.plain(&["exec", "a", "--", "env"]);
        assert_ne!(run.code, Some(0), "{run:#?}");
        assert!(run.stderr.contains("which nobody has consented to"), "{run:#?}");
        assert!(!marker.exists() && !run.stdout.contains("canary-host"));
    }
    // What is run, and what it reads, must not be what a sandbox can write.
    project.write("tool", "#!/bin/sh\ntouch ran\n");
    for words in ["[./tool]", "[sh, PROJECT/tool]"] {
        let words = words.replace("PROJECT", &project.path().display().to_string());
        manifest(&format!("X: {{ fromCommand: {words} }}"));
        let run = project.plain(&["validate"]);
        assert_eq!(run.code, Some(3), "{run:#?}");
        assert!(
            run.stderr
                .contains("lies in the project, where sandboxes can write to it"),
            "{run:#?}"
        );
    }
    // A file of the project is given; it does not become another one by a link.
    project.write("own", "mine");
    manifest("MODE: fast, X: { fromFile: own }");
    project.converge();
    assert_eq!(
        project.plain(&["exec", "a", "--", "sh", "-c", "echo $X"]).stdout,
        "mine\n"
    );
    std::fs::remove_file(project.path().join("own")).expect("no file");
    std::os::unix::fs::symlink("/etc/hostname", project.path().join("own")).expect("a link");
    let run = project.plain(&["exec", "a", "--", "sh", "-c", "echo $X"]);
    assert_ne!(run.code, Some(0), "{run:#?}");
    assert!(run.stderr.contains("secret X from /etc/hostname"), "{run:#?}");
}

#[test]
fn sessions_use_the_ssh_agent_of_whoever_opens_them_and_nobody_else_does() {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    let mut project = Project::on(crate::support::BASE.to_owned());
    let home = tempfile::tempdir().expect("a directory");
    let socket = home.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let agent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody");
        let mut asked = [0; 5];
        stream.read_exact(&mut asked).expect("a question");
        stream.write_all(b"keys\n").expect("an answer");
        asked
    });
    project.variable("XDG_STATE_HOME", &home.path().display().to_string());
    project.manifest("containers:\n  a: { sshAgent: true }\n  b: {}\n");
    project.converge();
    let ask = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) or die $!; \
               print $s \"list\\n\"; $s->flush; print scalar <$s>;";
    let without = project.plain(&["exec", "a", "--", "sh", "-c", "echo ${SSH_AUTH_SOCK-none}"]);
    assert_eq!(without.stdout, "none\n", "there is no agent here: {without:#?}");
    project.variable("SSH_AUTH_SOCK", &socket.display().to_string());
    let other = project.plain(&["exec", "b", "--", "sh", "-c", "echo ${SSH_AUTH_SOCK-none}"]);
    assert_eq!(other.stdout, "none\n", "its manifest says nothing: {other:#?}");
    let asked = project.plain(&["exec", "a", "--", "perl", "-e", ask]);
    assert_eq!(
        (asked.code, asked.stdout.as_str()),
        (Some(0), "keys\n"),
        "{asked:#?}"
    );
    assert_eq!(&agent.join().expect("an agent"), b"list\n");
    let left = project.plain(&[
        "exec",
        "a",
        "--",
        "sh",
        "-c",
        "ls /run/ssh-agent; touch /run/ssh-agent/x || echo no",
    ]);
    assert_eq!(
        left.stdout.lines().count(),
        2,
        "its own socket, and nothing can be put there: {left:#?}"
    );
    let diff = project.diff();
    assert_eq!(diff.code, Some(0), "{diff:#?}");
}

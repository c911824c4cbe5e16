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
}

fn canaries(project: &mut Project) -> Canaries {
    let canary = |what: &str| format!("canary-{what}-{}", word());
    let canaries = Canaries {
        file: canary("file"),
        variable: canary("variable"),
        session: canary("session"),
        command: canary("command"),
    };
    project.write("pw", &format!("{}\n", canaries.file));
    // Commands are run in the home, not in the project.
    let said = project.path().join("said");
    project.write("said", &canaries.command);
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

//! The whole thing, with a real distribution, a real package manager and a real agent harness.

use std::os::unix::fs::PermissionsExt as _;

use crate::project::{OWNER, Project, changes, failures, project, step, text, word};
use crate::proxy::Proxy;
use crate::raw;

/// Two versions of the harness that run on the Node.js of bookworm.
const OLD: &str = "2.0.21";
const NEW: &str = "2.0.22";

const DOCKERFILE: &str = "FROM debian:bookworm-slim\nRUN apt-get update \\\n && apt-get install -y --no-install-recommends nodejs npm \\\n && rm -rf /var/lib/apt/lists/*\n";

struct Edit {
    version: &'static str,
    memory: &'static str,
    mode: &'static str,
    third: bool,
}

/// Returns the manifest; the second harness makes the set this test's alone.
fn manifest(marker: &str, edit: &Edit) -> String {
    let Edit {
        version,
        memory,
        mode,
        third,
    } = edit;
    let third = if *third {
        "  watcher: { command: [sleep, infinity], network: none }\n"
    } else {
        ""
    };
    format!(
        "certificates: host\nharnesses:\n  claude: {version}\n  {marker}: {{ npm: cowsay, version: 1.6.0, bin: [cowsay] }}\n\
         containers:\n  reviewer:\n    harness: claude\n    resources: {{ memory: {memory} }}\n  builder:\n    \
         command: [sleep, infinity]\n    env: {{ MODE: {mode} }}\n{third}"
    )
}

fn harness_runs(project: &Project, names: &[&str], (uid, gid): (u32, u32), version: &str) {
    for name in names {
        let container = project.object(name);
        assert_eq!(
            raw::said(&container, &["sh", "-c", "id -u; id -g"]),
            format!("{uid}\n{gid}")
        );
        let shells: [&[&str]; 5] = [
            &["claude", "--version"],
            &["sh", "-c", "claude --version"],
            &["sh", "-lc", "claude --version"],
            &["bash", "-lc", "claude --version"],
            &["env", "-i", "bash", "-lc", "claude --version"],
        ];
        for shell in shells {
            let said = raw::said(&container, shell);
            assert!(said.contains(version), "{name}: {shell:?}: {said}");
        }
        for place in ["/tools", "/etc"] {
            let denied = raw::exec(&container, &["touch", &format!("{place}/x")]);
            assert!(
                denied.code != 0 && denied.text.contains("Read-only"),
                "{denied:?}"
            );
        }
        raw::said(&container, &["bash", "-lc", "touch ~/writable"]);
    }
}

#[test]
fn a_real_harness_on_a_real_distribution_lives_through_an_edit() {
    raw::engine();
    let marker = format!("m{}", word());
    let mut project = Project::on(raw::tiny());
    project.give_to(OWNER);
    project.write("Dockerfile", DOCKERFILE);
    let write = |project: &Project, edit: Edit| {
        project.manifest_on("{ dockerfile: Dockerfile }", &manifest(&marker, &edit));
    };
    write(
        &project,
        Edit {
            version: OLD,
            memory: "256MiB",
            mode: "fast",
            third: true,
        },
    );
    project.converge();
    let all = ["builder", "reviewer", "watcher"];
    project.only(&all);
    harness_runs(&project, &all, OWNER, OLD);
    raw::said(&project.object("builder"), &["sh", "-c", "echo kept > ~/note"]);

    let proxy = Proxy::new();
    project.through(&proxy);
    assert_eq!(project.apply().code, Some(0));
    assert_eq!(proxy.writes(), Vec::<String>::new());
    project.at(None);

    // A version that nobody has published: npm's own words, and everything goes on as it was.
    let before = project.container("reviewer");
    write(
        &project,
        Edit {
            version: "2.0.99999",
            memory: "256MiB",
            mode: "fast",
            third: true,
        },
    );
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let error = &step(&run.json, "volume", "aishell-harness-")["error"];
    assert!(error["log"].to_string().contains("notarget"), "{error:#}");
    assert!(
        failures(&run.json).contains(&"skipped replace container reviewer".to_owned()),
        "{run:#?}"
    );
    raw::same(&project.container("reviewer"), &before);

    // More memory, at once and unnoticed.
    write(
        &project,
        Edit {
            version: OLD,
            memory: "384MiB",
            mode: "fast",
            third: true,
        },
    );
    let run = project.converge();
    assert_eq!(
        changes(&run.json),
        [
            "update container reviewer: resources.memory 268435456 -> 402653184 (manifest, aishell.yaml:11)"
                .to_owned(),
            // What showed why the installation failed has served.
            format!(
                "remove container aishell-failed-{}-populate (orphan)",
                project.name
            ),
        ]
    );
    let after = project.container("reviewer");
    assert_eq!(
        (&after["Id"], &after["State"]["StartedAt"]),
        (&before["Id"], &before["State"]["StartedAt"])
    );

    // The edit of the day.
    write(
        &project,
        Edit {
            version: NEW,
            memory: "384MiB",
            mode: "safe",
            third: false,
        },
    );
    let diff = project.diff();
    assert_eq!(diff.code, Some(1));
    let volume = text(&diff.json["steps"][0]["name"]);
    let node = format!("node {}", aishell::catalogue::RUNTIME_VERSION);
    let because = format!(
        "harness \"claude {OLD}, {marker} 1.6.0, {node}\" -> \"claude {NEW}, {marker} 1.6.0, {node}\" (dependency, aishell.yaml:"
    );
    let planned = changes(&diff.json);
    let expected = [
        format!(
            "populate volume {volume}: harnesses.claude \"{OLD}\" -> \"{NEW}\" (manifest, aishell.yaml:6)"
        ),
        "remove container watcher (orphan)".to_owned(),
        "replace container builder: env.MODE \"fast\" -> \"safe\" (manifest, aishell.yaml:14)".to_owned(),
        format!("replace container builder: {because}12)"),
        format!("replace container reviewer: {because}10)"),
    ];
    assert_eq!(planned, expected);
    let run = project.converge();
    assert_eq!(changes(&run.json), planned);
    project.only(&["builder", "reviewer"]);
    harness_runs(&project, &["builder", "reviewer"], OWNER, NEW);
    assert_eq!(
        raw::said(
            &project.object("builder"),
            &["sh", "-c", "cat ~/note; echo $MODE"]
        ),
        "kept\nsafe"
    );

    // The same for root's project: the image and the set are there already.
    let root = project.twin();
    root.give_to((0, 0));
    root.write("Dockerfile", DOCKERFILE);
    write(
        &root,
        Edit {
            version: NEW,
            memory: "384MiB",
            mode: "safe",
            third: false,
        },
    );
    root.converge();
    harness_runs(&root, &["builder", "reviewer"], (0, 0), NEW);
}

#[test]
fn where_a_harness_keeps_its_configuration_is_made_when_it_is_mounted_and_missing() {
    let mut project = project();
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path().canonicalize().expect("a path");
    project.variable("HOME", &home.display().to_string());
    std::fs::create_dir(home.join(".gemini")).expect("a directory");
    std::fs::write(home.join(".gemini/settings.json"), "").expect("a file");
    project.manifest(&format!(
        "harnesses:\n  claude: 2.0.22\n  gemini: 1.0.0\n  \
         bot: {{ npm: bot, version: 1.0.0, config: [~/.bot, ~/.bot.json] }}\n\
         containers:\n  a:\n    image: {}\n    workspace: none\n    network: none\n    command: [sleep, \"1000\"]\n    \
         mounts: [~/.claude, ~/.claude.json, ~/.gemini, ~/.bot, ~/.bot.json]\n",
        project.image
    ));
    let mode = |name: &str| {
        home.join(name)
            .metadata()
            .map(|found| found.permissions().mode() & 0o777)
    };
    let text = |name: &str| std::fs::read_to_string(home.join(name)).expect("a file");
    for looking in [project.plain(&["validate"]), project.diff()] {
        assert_ne!(looking.code, Some(3), "{looking:#?}");
        assert!(mode(".claude").is_err() && text(".gemini/settings.json").is_empty());
    }
    project.converge();
    for directory in [".claude", ".bot"] {
        assert_eq!(mode(directory).ok(), Some(0o700), "{directory}");
    }
    for file in [".claude.json", ".bot.json"] {
        assert_eq!(mode(file).ok(), Some(0o600), "{file}");
        assert_eq!(text(file), "{}\n");
    }
    assert_eq!(text(".gemini/settings.json"), "{}\n");

    // What is there is whoever's it is.
    std::fs::write(home.join(".claude.json"), "{ \"mine\": 1 }").expect("a file");
    project.converge();
    assert_eq!(text(".claude.json"), "{ \"mine\": 1 }");
}

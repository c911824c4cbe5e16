//! Every input of the phases that fetch, and the phases that it changes.

use serde_json::{Value, json};

use crate::git::GitServer;
use crate::phases::{done, write};
use crate::project::{Project, text};
use crate::repos::apart;
use crate::tools::packed;

/// What a row works on.
struct World {
    project: Project,
    server: GitServer,
    /// Digests of the archive, and of one that is packed otherwise.
    digests: [String; 2],
}

impl World {
    fn new() -> Self {
        let (project, server) = (apart(), GitServer::start());
        server.repository("a");
        server.repository("b");
        server.git("a", &["tag", "v1", "main"]);
        server.git("a", &["branch", "same", "main"]);
        server.commit("a", "other", &[("README", "other\n")]);
        let tool = |name: &str| {
            let files = [
                ("x/rg", "#!/bin/sh\necho rg\n"),
                ("x/fd", "#!/bin/sh\necho fd\n"),
                (name, ""),
            ];
            server.file(&format!("{name}.tar.gz"), &packed(&files)).1
        };
        let digests = [tool("1"), tool("2")];
        server.file("plain-1", b"#!/bin/sh\n");
        server.file("copy-1", b"#!/bin/sh\n");
        Self {
            project,
            server,
            digests,
        }
    }

    fn phases(&self) -> Value {
        json!({
            "base": { "image": self.project.image },
            "users": [{ "name": "dev", "uid": 1234, "groups": [self.project.name] }],
            "env": { "WORKDIR": "/w" },
            "setup": { "root": ["mkdir /w"] },
            "repos": [
                { "url": self.server.url("a"), "path": "${WORKDIR}/a", "branch": "main", "owner": "dev" },
                { "url": self.server.url("a"), "path": "${WORKDIR}/tagged", "tag": "v1", "depth": 1 },
            ],
            "tools": [
                { "name": "rg", "url": self.server.address("files/{version}.tar.gz"), "version": "1", "sha256": self.digests[0] },
                { "name": "plain", "url": self.server.address("files/plain-1") },
            ],
            "test": ["rg"],
            "hooks": { "repos": { "after": [{ "run": "cat README >/dev/null", "workdir": "/w/a", "user": "dev" }] } },
        })
    }

    /// Puts back whatever rows move.
    fn restore(&self) {
        self.server.git("a", &["update-ref", "refs/heads/main", "same"]);
        self.server.git("a", &["tag", "--force", "v1", "same"]);
        self.server.file("plain-1", b"#!/bin/sh\n");
    }

    fn update(&self) {
        let update = self.project.run(&["update"]);
        assert_eq!(update.code, Some(0), "{update:#?}");
    }
}

const ALL: [&str; 7] = [
    "2-users", "3-env", "7-setup", "8-repos", "9-tools", "11-test", "12-final",
];

type Edit = fn(&mut Value, &World);

/// Every input, and the first phase that it changes.
const INPUTS: &[(&str, Option<&str>, Edit)] = &[
    ("nothing", None, |_, _| {}),
    ("an update of what has not moved", None, |_, world| world.update()),
    ("a branch that has moved, before an update", None, |_, world| {
        world.server.commit("a", "main", &[("more", "1")]);
    }),
    ("a branch, after an update", Some("8-repos"), |_, world| {
        world.server.commit("a", "main", &[("more", "2")]);
        world.update();
    }),
    ("a tag, after an update", Some("8-repos"), |_, world| {
        world.server.git("a", &["tag", "--force", "v1", "other"]);
        world.update();
    }),
    (
        "another branch of the same commit",
        Some("8-repos"),
        |phases, _| {
            phases["repos"][0]["branch"] = json!("same");
        },
    ),
    ("another branch", Some("8-repos"), |phases, _| {
        phases["repos"][0]["branch"] = json!("other");
    }),
    ("another tag", Some("8-repos"), |phases, world| {
        world.server.git("a", &["tag", "v2", "other"]);
        phases["repos"][1]["tag"] = json!("v2");
    }),
    (
        "a commit instead of its branch",
        Some("8-repos"),
        |phases, world| {
            let repo = phases["repos"][0].as_object_mut().expect("a map");
            repo.remove("branch");
            repo.insert(
                "commit".to_owned(),
                json!(world.server.git("a", &["rev-parse", "same"])),
            );
        },
    ),
    ("a path", Some("8-repos"), |phases, _| {
        phases["repos"][1]["path"] = json!("/w/elsewhere");
    }),
    ("a path that comes to the same", None, |phases, _| {
        phases["repos"][1]["path"] = json!("/w/./tagged/".replace("/./", "//"));
    }),
    ("an owner", Some("8-repos"), |phases, _| {
        phases["repos"][1]["owner"] = json!("dev");
    }),
    ("a depth", Some("8-repos"), |phases, _| {
        phases["repos"][1]["depth"] = json!(2);
    }),
    ("a url", Some("8-repos"), |phases, world| {
        phases["repos"][1] = json!({ "url": world.server.url("b"), "path": "/w/tagged", "branch": "main" });
    }),
    ("one repository less", Some("8-repos"), |phases, _| {
        phases["repos"].as_array_mut().expect("repositories").pop();
    }),
    ("a hook", Some("8-repos"), |phases, _| {
        phases["hooks"]["repos"]["after"][0]["run"] = json!("test -e README");
    }),
    ("a sha256", Some("9-tools"), |phases, world| {
        phases["tools"][0]["sha256"] = json!(world.digests[1]);
        phases["tools"][0]["version"] = json!("2");
    }),
    ("the same bytes from elsewhere", None, |phases, world| {
        phases["tools"][1]["url"] = json!(world.server.address("files/copy-1"));
    }),
    ("a download, after an update", Some("9-tools"), |_, world| {
        world.server.file("plain-1", b"#!/bin/sh\ntrue\n");
        world.update();
    }),
    ("the file in the archive", Some("9-tools"), |phases, _| {
        phases["tools"][0]["bin"] = json!("x/rg");
    }),
    ("the name of a tool", Some("9-tools"), |phases, _| {
        phases["tools"][1]["name"] = json!("simple");
    }),
    ("one tool more", Some("9-tools"), |phases, world| {
        let tool = json!({
            "name": "fd", "url": world.server.address("files/1.tar.gz"), "sha256": world.digests[0],
        });
        phases["tools"].as_array_mut().expect("tools").push(tool);
    }),
    ("a variable that a path uses", Some("3-env"), |phases, _| {
        phases["env"]["WORKDIR"] = json!("/w/sub/..".replace("/sub/..", "/v"));
        phases["hooks"] = json!({});
    }),
];

#[test]
fn every_input_of_what_is_fetched_changes_its_phase_and_what_follows_and_nothing_else() {
    let world = World::new();
    let World { project, .. } = &world;
    write(project, &world.phases(), "containers: {}\n");
    project.converge();
    let pinned = std::fs::read_to_string(project.path().join("aishell.lock")).expect("a lock");
    for (what, first, edit) in INPUTS {
        let mut changed = world.phases();
        edit(&mut changed, &world);
        write(project, &changed, "containers: {}\n");
        let expected = match first {
            None => &ALL[ALL.len()..],
            Some(first) => &ALL[ALL.iter().position(|phase| phase == first).expect("a phase")..],
        };
        // What means something is asked first, as a person would do who wants to see it.
        if project.diff().json["unknown"] != json!([]) {
            world.update();
        }
        let diff = project.diff();
        assert_eq!(done(&diff.json), expected, "{what}: {diff:#?}");
        let run = project.apply();
        assert_eq!(
            (run.code, done(&run.json)),
            (Some(0), expected.iter().map(ToString::to_string).collect()),
            "{what}: {run:#?}"
        );
        if let Some(first) = first {
            let step = &diff.json["steps"][0];
            let because = &step["because"][0];
            assert!(text(&step["detail"]).contains(first), "{what}: {step:#}");
            assert_ne!(because["cause"], "dependency", "{what}: {step:#}");
            assert_eq!(because["at"]["line"], 3, "{what}: {step:#}");
        }
        // Back to what was there costs nothing.
        world.restore();
        project.write("aishell.lock", &pinned);
        write(project, &world.phases(), "containers: {}\n");
        let back = project.diff();
        assert_eq!(done(&back.json), [""; 0], "back from {what}: {back:#?}");
    }
}

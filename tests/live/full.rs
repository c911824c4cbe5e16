//! A disk that is full: what needs room says so, and leaves nothing behind. It takes root, and `dockerd` here.

use crate::daemon::Daemon;
use crate::project::{Project, project, text};
use crate::raw;

/// The room that the engine has, in MiB: enough for its tiny image and what runs on that.
const ROOM: u32 = 48;

/// Writes files that no compression makes small: of random bytes, a number of MiB.
fn much(project: &Project, name: &str, size: usize) {
    let mut bytes = vec![0; size << 20];
    getrandom::fill(&mut bytes).expect("random bytes");
    std::fs::write(project.path().join(name), bytes).expect("a file");
}

/// Returns everything that an engine has, as its own client lists it.
fn everything(daemon: &Daemon) -> [String; 4] {
    [
        &["ps", "-aq"][..],
        &["images", "-aq"],
        &["volume", "ls", "-q"],
        &["network", "ls", "-q"],
    ]
    .map(|words| daemon.docker(words))
}

#[test]
fn what_has_no_room_is_told_and_leaves_nothing() {
    let daemon = Daemon::small(ROOM, &raw::tiny());
    let before = everything(&daemon);
    let mut project = project();
    project.at(Some(daemon.host()));
    let tiny = project.image.clone();
    let rest = "containers:\n  a: { home: tmpfs, network: none, stop: { timeout: 1s } }\n";
    std::fs::create_dir(project.path().join("image")).expect("a directory");
    much(&project, "image/much", 64);
    let stages: [(&str, String); 3] = [
        (
            "FROM TINY\nCOPY much /much\n",
            "{ dockerfile: image/Dockerfile }".to_owned(),
        ),
        (
            "FROM TINY\nRUN cat /dev/urandom >/much\n",
            "{ dockerfile: image/Dockerfile }".to_owned(),
        ),
        (
            "",
            format!(
                "{{ phases: {{ base: {{ image: \"{tiny}\" }}, files: [{{ source: image/much, target: /much }}] }} }}"
            ),
        ),
    ];
    for (dockerfile, foundation) in stages {
        project.write("image/Dockerfile", &dockerfile.replace("TINY", &tiny));
        // What a step writes that is not part of the context needs none.
        if dockerfile.contains("RUN") {
            project.write("image/.dockerignore", "much\n");
        }
        project.manifest_on(&foundation, rest);
        let run = project.apply();
        assert_eq!(run.code, Some(5), "{run:#?}");
        let failed = run.json["steps"].as_array().into_iter().flatten();
        let error = failed
            .map(|step| &step["error"])
            .find(|error| !error.is_null())
            .expect("an error");
        let said = format!("{} {}", text(&error["message"]), error["log"]).to_lowercase();
        assert!(said.contains("no space left on device"), "{error:#}");
        assert!(text(&error["hint"]).contains("docker system df"), "{error:#}");
        // A phase that failed keeps what it has, to be looked at, until it is done or not wanted.
        project.manifest_on(&format!("{{ image: \"{tiny}\" }}"), "containers: {}\n");
        let run = project.apply();
        assert_eq!(run.code, Some(0), "{run:#?}");
        let mut prune = project.run(&["prune", "--yes", "--keep", "0"]);
        assert_eq!(prune.code.take(), Some(0), "{prune:#?}");
        assert_eq!(everything(&daemon), before, "{foundation}");
        // What builders keep for the next time is theirs.
        daemon.docker(&["builder", "prune", "--all", "--force"]);
    }
}

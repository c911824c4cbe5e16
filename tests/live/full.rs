//! A disk that is full: what needs room says so, and leaves nothing behind. It takes root, and `dockerd` here.

use serde_json::json;

use crate::daemon::Daemon;
use crate::git::GitServer;
use crate::packages::Index;
use crate::project::{Project, project, step, text, word};
use crate::raw;
use crate::registries::BOTH;

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

/// Takes a harness volume away, with whoever has it, and makes it anew with no more room than this many MiB, or as it
/// was.
fn renew(project: &Project, name: &str, room: Option<u32>) {
    let labels = raw::get(&format!("/volumes/{name}"))["Labels"].clone();
    for container in raw::containers(&project.label()) {
        raw::delete(&format!("/containers/{}?force=1", text(&container["Id"])));
    }
    raw::delete(&format!("/volumes/{name}"));
    let Some(room) = room else { return };
    // Whoever installs owns it: what is done to it while nothing runs is lost with the mount.
    let options = format!("size={room}m,uid=64044,gid=64044,mode=755");
    let driver = json!({ "type": "tmpfs", "device": "tmpfs", "o": options });
    raw::post(
        "/volumes/create",
        &json!({ "Name": name, "Labels": labels, "DriverOpts": driver }),
    );
}

#[test]
fn a_harness_that_has_no_room_is_told_wherever_it_comes_from() {
    let (index, server) = (Index::start(), GitServer::start());
    raw::engine();
    let mut project = Project::on(raw::tiny());
    project.write("Dockerfile", BOTH);
    project.variable("npm_config_registry", &index.address("npm/"));
    project.variable("PIP_INDEX_URL", &index.address("simple"));
    project.variable("PIP_TRUSTED_HOST", &index.host());
    let (npm, pypi) = (format!("n{}", word()), format!("p{}", word()));
    let much = "x".repeat(4 << 20);
    index.wheels(
        &pypi,
        &[("1.0", &format!("# {much}\ndef main():\n    print('1.0')\n"))],
    );
    let files = [("run.sh", "#!/bin/sh\necho 1.0\n"), ("much", much.as_str())];
    index.package(&npm, "1.0.0", &files, &json!({ "bin": { &npm: "run.sh" } }));
    let (url, digest) = server.file(
        "tool",
        format!("#!/bin/sh\necho 1.0\nexit\n# {much}\n").as_bytes(),
    );
    for (program, harness) in [
        (
            &npm,
            format!("npm: {npm}, version: 1.0.0, bin: [{npm}], runtime: image"),
        ),
        (&pypi, format!("pypi: {pypi}, version: \"1.0\", bin: [{pypi}]")),
        (
            &"tool".to_owned(),
            format!("url: \"{url}\", sha256: {digest}, bin: [tool]"),
        ),
    ] {
        project.manifest_on(
            "{ dockerfile: Dockerfile }",
            &format!(
                "harnesses:\n  one: {{ {harness} }}\ncontainers:\n  \
                 a: {{ command: [sleep, \"1000\"], network: none, stop: {{ timeout: 0 }} }}\n"
            ),
        );
        project.converge();
        assert_eq!(raw::said(&project.object("a"), &["sh", "-lc", program]), "1.0");
        let container = project.container("a");
        let mut mounts = container["Mounts"].as_array().into_iter().flatten();
        let tools = mounts.find(|mount| mount["Destination"] == "/tools");
        let volume = text(&tools.expect("a harness set")["Name"]).to_owned();

        renew(&project, &volume, Some(1));
        let run = project.apply();
        assert_eq!(run.code, Some(5), "{program}: {run:#?}");
        let error = &step(&run.json, "volume", &volume)["error"];
        assert_eq!(
            text(&error["message"]),
            "the disk of the engine is full",
            "{program}: {error:#}"
        );
        assert!(
            text(&error["hint"]).contains("docker system df"),
            "{program}: {error:#}"
        );
        assert_eq!(raw::container(&project.object("a")), None, "{program}");
        let receipt = volume.replace("aishell-harness-", "aishell-receipt-");
        assert_eq!(raw::container(&receipt), None, "{program}");

        renew(&project, &volume, None);
        project.converge();
        assert_eq!(raw::said(&project.object("a"), &["sh", "-lc", program]), "1.0");
        project.only(&["a"]);
    }
}

#[test]
fn a_set_is_told_to_have_no_room_at_whichever_member_that_ends() {
    let index = Index::start();
    raw::engine();
    let mut project = Project::on(raw::tiny());
    project.write("Dockerfile", BOTH);
    project.variable("npm_config_registry", &index.address("npm/"));
    let much = &"x".repeat(1 << 20);
    let names: Vec<String> = (0..3).map(|_| format!("n{}", word())).collect();
    for name in &names {
        let files = [("run.sh", "#!/bin/sh\necho 1.0.0\n"), ("much", much)];
        index.package(name, "1.0.0", &files, &json!({ "bin": { name: "run.sh" } }));
    }
    let members: String = names
        .iter()
        .map(|name| format!("  {name}: {{ npm: {name}, version: 1.0.0, bin: [{name}], runtime: image }}\n"))
        .collect();
    project.manifest_on(
        "{ dockerfile: Dockerfile }",
        &format!(
            "harnesses:\n{members}containers:\n  a: {{ command: [sleep, \"1000\"], network: none, stop: {{ timeout: 0 }} }}\n"
        ),
    );
    project.converge();
    let container = project.container("a");
    let mut mounts = container["Mounts"].as_array().into_iter().flatten();
    let tools = mounts.find(|mount| mount["Destination"] == "/tools");
    let volume = text(&tools.expect("a harness set")["Name"]).to_owned();
    let receipt = volume.replace("aishell-harness-", "aishell-receipt-");
    // Room for none, for one, for two of them.
    for room in 1..=3 {
        renew(&project, &volume, Some(room));
        let run = project.apply();
        assert_eq!(run.code, Some(5), "{room} MiB: {run:#?}");
        let error = &step(&run.json, "volume", &volume)["error"];
        assert_eq!(
            text(&error["message"]),
            "the disk of the engine is full",
            "{room} MiB: {error:#}"
        );
        for name in [&project.object("a"), &receipt] {
            assert_eq!(raw::container(name), None, "{room} MiB");
        }
    }
    renew(&project, &volume, None);
    project.converge();
    for name in &names {
        assert_eq!(raw::said(&project.object("a"), &["sh", "-lc", name]), "1.0.0");
    }
    project.only(&["a"]);
    project.settled();
}

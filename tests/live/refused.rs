//! Images that sandboxes cannot run on: told with the line that asks for them, before anything is made of them.

use std::path::Path;

use crate::project::{Project, Run, project, step, text};
use crate::raw;

/// A platform that no engine of these tests runs.
const ELSEWHERE: &str = "linux/mips64le";

/// Makes an image for another platform; removed with the project.
fn made_elsewhere(project: &Project) -> String {
    let tag = format!("aishelltest-{}:elsewhere", project.name);
    let instructions = format!("LABEL aishelltest={}\nCOPY Dockerfile /\n", project.name);
    raw::build_for(&tag, ELSEWHERE, "scratch", &instructions);
    tag
}

/// Makes an image with one program and nothing else; removed with the project.
fn without_a_shell(project: &Project) -> String {
    let tag = format!("aishelltest-{}:bare", project.name);
    let programs = "COPY --from=whole /usr/bin/sleep /usr/bin/npm /usr/bin/\nCOPY --from=whole /usr/lib /usr/lib\n\
                    COPY --from=whole /usr/lib64 /usr/lib64\nCOPY --from=whole /lib /lib\nCOPY --from=whole /lib64 /lib64\n";
    let instructions = format!("FROM scratch\nLABEL aishelltest={}\n{programs}", project.name);
    raw::build(&tag, &format!("{} AS whole", raw::tiny()), &instructions);
    tag
}

/// Insists that the engine has nothing of a project, images aside.
fn nothing_is_there(project: &Project) {
    let label = project.label();
    let found = [
        raw::containers(&label),
        raw::volumes(&label),
        raw::networks(&label),
    ];
    assert_eq!(found.concat(), Vec::<serde_json::Value>::new());
}

/// Returns what blocks an image, as `line: detail`.
fn blocked(run: &Run) -> Vec<String> {
    let blocked = run.json["blocked"].as_array().into_iter().flatten();
    blocked
        .map(|one| format!("{}: {}", one["because"][0]["at"]["line"], text(&one["detail"])))
        .collect()
}

const HARNESS: &str = "harnesses:\n  tool: { npm: tool, version: 1.0.0, bin: [tool], runtime: image }\ncontainers:\n  \
                       a: { harness: tool, network: none, stop: { timeout: 0 } }\n";

/// What shows a program which processors are emulated on a machine that hides it.
const SHOWN: [&str; 5] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc && exec \"$0\" \"$@\"",
];

/// What hides that from a program on a machine that shows it.
const HIDDEN: [&str; 6] = [
    "unshare",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    "mount -t tmpfs none /proc/sys/fs/binfmt_misc && exec \"$0\" \"$@\"",
];

/// Says whether this machine hides which processors are emulated on it.
fn is_hidden() -> bool {
    let list = Path::new("/proc/sys/fs/binfmt_misc");
    list.is_dir() && !list.join("status").exists()
}

/// Returns a project whose runs can see what is emulated.
fn seeing() -> Project {
    let mut project = project();
    if is_hidden() {
        project.by(&SHOWN);
    }
    project
}

#[test]
fn where_nobody_knows_what_is_emulated_it_is_tried() {
    let mut project = project();
    if !is_hidden() {
        project.by(&HIDDEN);
    }
    let image = made_elsewhere(&project);
    project.manifest_on(
        &format!("{{ image: \"{image}\" }}"),
        "containers:\n  a: { network: none, user: image, command: [/Dockerfile] }\n",
    );
    let run = project.apply();
    assert_eq!(blocked(&run), Vec::<String>::new(), "{run:#?}");
    raw::until("it was started and has ended", || {
        let state = &project.container("a")["State"];
        (state["Status"] == "exited" && state["ExitCode"] != 0).then_some(())
    });
}

#[test]
fn an_image_that_is_made_for_another_machine_is_refused_before_anything_is_made() {
    let project = seeing();
    let image = made_elsewhere(&project);
    project.manifest_on(&format!("{{ image: \"{image}\" }}"), HARNESS);
    let platform = raw::get("/version");
    let own = format!("{}/{}", text(&platform["Os"]), text(&platform["Arch"]));
    let why = format!(
        "the image is made for {ELSEWHERE}, and the engine runs {own}: nothing of it would run there"
    );
    let diff = project.diff();
    assert_eq!(
        (diff.code, blocked(&diff)),
        (Some(1), vec![format!("3: {why}")]),
        "{diff:#?}"
    );
    let run = project.apply();
    assert_eq!(
        (run.code, blocked(&run)),
        (Some(6), vec![format!("3: {why}")]),
        "{run:#?}"
    );
    nothing_is_there(&project);

    // A sidecar's is that one's trouble alone.
    project.manifest(&format!(
        "containers:\n  a: {{ network: none, stop: {{ timeout: 0 }} }}\n  b: {{ image: \"{image}\", network: none }}\n"
    ));
    let run = project.apply();
    assert_eq!(
        (run.code, blocked(&run)),
        (Some(6), vec![format!("6: {why}")]),
        "{run:#?}"
    );
    project.only(&["a"]);

    // One that is built shows what it is when it is looked at for the first time.
    let project = seeing();
    let image = made_elsewhere(&project);
    let dockerfile = format!("FROM --platform={ELSEWHERE} {image}\nENV A=1\n");
    project.write("Dockerfile", &dockerfile);
    project.manifest_on("{ dockerfile: Dockerfile }", HARNESS);
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let error = &step(&run.json, "image", ":sandbox-")["error"];
    assert_eq!(
        (text(&error["message"]), &error["at"]["line"]),
        (why.as_str(), &3.into()),
        "{run:#?}"
    );
    assert_eq!(
        step(&run.json, "volume", "aishell-harness-")["outcome"],
        "skipped",
        "{run:#?}"
    );
    let sets = raw::volumes(&project.label());
    assert!(
        sets.iter().all(|one| one["Labels"]["aishell.kind"] != "harness"),
        "{sets:#?}"
    );
}

#[test]
fn an_image_without_a_shell_is_refused_where_one_is_needed_and_runs_where_it_is_not() {
    let project = project();
    let image = without_a_shell(&project);
    let on = |rest: &str| project.manifest_on(&format!("{{ image: \"{image}\" }}"), rest);
    for (rest, line) in [
        (HARNESS, 7),
        (
            "containers:\n  a: { network: none, command: [sleep, \"1000\"], preStart: [\":\"] }\n",
            5,
        ),
    ] {
        on(rest);
        for _ in 0..2 {
            let run = project.apply();
            assert_eq!(run.code, Some(5), "{run:#?}");
            let error = &step(&run.json, "image", ":sandbox-")["error"];
            assert_eq!(
                (text(&error["message"]), &error["at"]["line"]),
                (
                    "the image has no /bin/sh, and container a needs one",
                    &line.into()
                ),
                "{rest}: {run:#?}"
            );
            project.only(&[]);
            let sets = raw::volumes(&project.label());
            assert!(
                sets.iter().all(|one| one["Labels"]["aishell.kind"] != "harness"),
                "{sets:#?}"
            );
        }
    }
    for own in ["", "command: [sleep, \"1000\"], "] {
        on(&format!(
            "containers:\n  a: {{ network: none, {own}stop: {{ timeout: 0 }} }}\n"
        ));
        project.converge();
        assert_eq!(project.container("a")["State"]["Status"], "running");
    }

    // Who has an image for everybody's user, or runs on it as it is, is seen when he is made: whoever is there goes on.
    for user in ["", "user: image, "] {
        let with = |more: &str| {
            on(&format!(
                "containers:\n  a: {{ network: none, {user}command: [sleep, \"1000\"], {more}stop: {{ timeout: 0 }} }}\n"
            ));
        };
        with("");
        project.converge();
        let before = project.container("a");
        with("preStart: [\":\"], ");
        let run = project.apply();
        assert_eq!(run.code, Some(5), "{user}: {run:#?}");
        let error = &step(&run.json, "container", "a")["error"];
        assert_eq!(
            (text(&error["message"]), &error["at"]["line"]),
            ("the image has no /bin/sh, and container a needs one", &5.into()),
            "{user}: {run:#?}"
        );
        raw::same(&project.container("a"), &before);
        project.only(&["a"]);
    }
}

//! What is in harness volumes: whatever became of it behind everybody's back is found, named and made right.

use std::collections::BTreeSet;
use std::thread;

use serde_json::{Value, json};

use crate::apply::version;
use crate::project::{Project, changes, project, step, text};
use crate::proxy::Proxy;
use crate::raw;

/// Runs until a file appears.
const WORK: [&str; 3] = ["sh", "-c", "while [ ! -e /tmp/end ]; do sleep 0.1; done"];

/// Writes a manifest of two harnesses.
fn two(project: &Project, version: &str) {
    project.manifest(&format!(
        "harnesses:\n  tool: {{ npm: tool, version: {version}, bin: [tool], runtime: image }}\n  \
         talker: {{ npm: talker, version: {version}, bin: [talker], runtime: image }}\ncontainers:\n  \
         a: {{ harness: tool, stop: {{ timeout: 0 }} }}\n"
    ));
}

fn converged() -> (Project, String) {
    let project = project();
    let version = version();
    two(&project, &version);
    project.converge();
    (project, version)
}

/// Returns the volume of the harness set of a container.
fn volume(project: &Project) -> String {
    let container = project.container("a");
    let mut mounts = container["Mounts"].as_array().into_iter().flatten();
    let tools = mounts.find(|mount| mount["Destination"] == "/tools");
    text(&tools.expect("a harness set")["Name"]).to_owned()
}

/// Does something to a harness volume.
fn damage(project: &Project, script: &str) {
    raw::beside(&volume(project), &project.name, &["sh", "-c", script]);
}

/// Returns the reasons of a document, without what digests and versions differ in.
fn reasons(document: &Value) -> Vec<String> {
    let lines = changes(document).into_iter();
    let fields = lines.filter_map(|line| line.split_once(": ").map(|(_, reason)| reason.to_owned()));
    fields.collect()
}

/// Returns when a program of a harness was last written to.
fn written(project: &Project, program: &str) -> String {
    let script = format!("stat -L -c %.9Y /tools/bin/{program}");
    raw::said(&project.object("a"), &["sh", "-c", &script])
}

/// Insists that a deep look finds what was done, with these reasons, and that it is made right.
fn found_and_repaired(project: &Project, version: &str, script: &str, expected: &[&str]) {
    damage(project, script);
    // What the engine tells is as before, but for engines that tell when the root of a volume changed.
    let told = reasons(&project.diff().json);
    assert!(
        told.iter().all(|reason| reason.starts_with("receipt ")),
        "{script}: {told:#?}"
    );
    let diff = project.run(&["diff", "--deep"]);
    assert_eq!(diff.code, Some(1), "{script}: {diff:#?}");
    let reasons = reasons(&diff.json);
    for expected in expected {
        assert!(
            reasons.iter().any(|reason| reason.starts_with(expected)),
            "{script}: {expected}: {reasons:#?}"
        );
    }
    assert_eq!(reasons.len(), expected.len(), "{script}: {reasons:#?}");
    let run = project.run(&["apply", "--deep"]);
    assert_eq!(run.code, Some(0), "{script}: {run:#?}");
    assert_eq!(changes(&run.json), changes(&diff.json), "{script}");
    let again = project.run(&["diff", "--deep"]);
    assert_eq!(again.code, Some(0), "{script}: {again:#?}");
    for program in ["tool", "talker"] {
        let said = raw::said(&project.object("a"), &[program, "--version"]);
        assert_eq!(said, version, "{script}: {program}");
    }
    project.settled();
}

#[test]
fn what_became_of_a_member_is_found_and_only_that_one_is_made_anew() {
    let (project, version) = converged();
    let whole = project.run(&["diff", "--deep"]);
    assert_eq!(whole.code, Some(0), "{whole:#?}");
    let notes = whole.json["notes"].to_string();
    assert!(notes.contains("has what was installed"), "{whole:#?}");
    let untouched = written(&project, "talker");
    for (script, expected) in [
        (
            "for file in /v/m/tool-*/bin/tool; do echo '# more' >>$file; done",
            &["harnesses.tool: bin/tool \"sha256:"][..],
        ),
        (
            "rm /v/m/tool-*/.installed",
            &["harnesses.tool: .installed null -> "],
        ),
        (
            "for one in /v/m/tool-*; do echo more >$one/more; done",
            &["harnesses.tool: more "],
        ),
        (
            "chmod 4711 /v/m/tool-*/bin/tool",
            &["harnesses.tool: bin/tool \"mode 4711\" -> \"mode 755\""],
        ),
        (
            "chmod 0 /v/m/tool-*",
            &["harnesses.tool: . \"directory, mode 0\" -> \"directory, mode 755\""],
        ),
        (
            "chown 0 /v/m/tool-*/bin",
            &["harnesses.tool: bin \"owner 0\" -> "],
        ),
    ] {
        found_and_repaired(&project, &version, script, expected);
        assert_eq!(written(&project, "talker"), untouched, "{script}");
    }
}

#[test]
fn what_belongs_to_no_member_is_found_and_put_in_order() {
    let (project, version) = converged();
    let before = written(&project, "tool");
    for (script, expected) in [
        (
            "rm /v/bin/tool; ln -s /bin/false /v/bin/tool; ln -s /bin/sh /v/bin/more",
            &["harnesses: bin/more ", "harnesses: bin/tool "][..],
        ),
        (
            "mkdir -p /v/more/x /v/m/more; echo x >/v/m/more/x; echo x >/v/.hidden",
            &["harnesses: .hidden ", "harnesses: m/more ", "harnesses: more "],
        ),
        (
            "chmod 700 /v /v/bin; chown 0 /v/m",
            &["harnesses: . ", "harnesses: bin ", "harnesses: m "],
        ),
        (
            "rm /v/.aishell/receipt.json",
            &["harnesses: .aishell/receipt.json null -> "],
        ),
        (
            "echo garbage >/v/.aishell/receipt.json",
            &["harnesses: .aishell/receipt.json \"sha256:"],
        ),
    ] {
        found_and_repaired(&project, &version, script, expected);
        assert_eq!(written(&project, "tool"), before, "{script}");
    }
}

#[test]
fn records_that_fit_what_was_changed_are_not_believed() {
    let (project, version) = converged();
    let script = "cd /v && for one in m/tool-*; do echo '# more' >>$one/bin/tool; record=.aishell/members/${one#m/}; \
                  new=$(sha256sum $one/bin/tool); while IFS= read -r line; do case $line in *\"  $one/bin/tool\") \
                  echo \"$new\" ;; *) echo \"$line\" ;; esac; done <$record >.aishell/x; cat .aishell/x >$record; done";
    found_and_repaired(&project, &version, script, &["harnesses: .aishell/members "]);
}

#[test]
fn people_read_which_file_of_which_harness_it_is_and_looking_writes_nothing() {
    let (mut project, _) = converged();
    damage(
        &project,
        "for file in /v/m/tool-*/bin/tool; do echo '# more' >>$file; done; rm /v/m/talker-*/.installed",
    );
    let proxy = Proxy::new();
    project.through(&proxy);
    let run = project.plain(&["diff", "--deep"]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    for (field, text) in [("tool: bin/tool", "changed"), ("talker: .installed", "deleted")] {
        let told = run
            .stdout
            .lines()
            .any(|line| line.contains(field) && line.contains(text));
        assert!(told, "{field} {text}: {run:#?}");
    }
    assert_eq!(proxy.writes(), Vec::<String>::new());
    project.at(None);
    // A plan of a deep look is carried out as it was seen.
    let run = project.run(&["diff", "--deep", "--out", "plan.json"]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    let run = project.run(&["apply", "--plan", "plan.json"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(project.run(&["diff", "--deep"]).code, Some(0));
}

#[test]
fn nothing_is_repaired_where_anybody_works_with_it() {
    let (project, version) = converged();
    let other = project.twin();
    two(&other, &version);
    other.converge();
    assert_eq!(volume(&other), volume(&project));
    for (busy, evidence) in [
        (&project, "container a: 1 terminal session".to_owned()),
        (
            &other,
            format!("container {}: 1 terminal session", other.object("a")),
        ),
    ] {
        damage(
            &project,
            "for file in /v/m/tool-*/bin/tool; do echo '# more' >>$file; done",
        );
        let shell = raw::detached(&busy.object("a"), &WORK, true);
        let run = project.run(&["apply", "--deep"]);
        assert_eq!(run.code, Some(6), "{run:#?}");
        let blocked = &run.json["blocked"][0];
        assert_eq!(
            (
                text(&blocked["reason"]),
                text(&blocked["detail"]),
                text(&blocked["unblock"]),
            ),
            (
                "busy",
                evidence.as_str(),
                "aishell apply --deep --allow interrupt"
            ),
            "{run:#?}"
        );
        raw::said(&busy.object("a"), &["sh", "-c", "touch /tmp/end"]);
        raw::ended(&shell);
        let run = project.run(&["apply", "--deep"]);
        assert_eq!(run.code, Some(0), "{run:#?}");
        raw::said(&busy.object("a"), &["rm", "/tmp/end"]);
    }
    let broken = project.run(&["diff", "--deep"]);
    assert_eq!(broken.code, Some(0), "{broken:#?}");
}

#[test]
fn a_set_that_was_emptied_or_made_anew_by_hand_is_filled_again() {
    let (project, version) = converged();
    damage(&project, "rm -rf /v/m /v/bin /v/.aishell");
    let run = project.run(&["apply", "--deep"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(project.run(&["diff", "--deep"]).code, Some(0));
    assert_eq!(raw::said(&project.object("a"), &["tool"]), version);

    let name = volume(&project);
    let labels = raw::get(&format!("/volumes/{name}"))["Labels"].clone();
    for container in raw::containers(&project.label()) {
        raw::delete(&format!("/containers/{}?force=1", text(&container["Id"])));
    }
    raw::delete(&format!("/volumes/{name}"));
    raw::post("/volumes/create", &json!({ "Name": name, "Labels": labels }));
    project.converge();
    assert_eq!(project.run(&["diff", "--deep"]).code, Some(0));
    assert_eq!(raw::said(&project.object("a"), &["tool"]), version);
}

#[test]
fn what_is_empty_and_unused_makes_way_for_a_set_and_nothing_else_does() {
    let project = project();
    let version = version();
    two(&project, &version);
    let diff = project.diff();
    let name = text(&step(&diff.json, "volume", "aishell-harness-")["name"]).to_owned();
    let label = json!({ "aishelltest": project.name });
    raw::post("/volumes/create", &json!({ "Name": name, "Labels": label }));

    // Somebody has it.
    let options = json!({
        "Image": project.image,
        "Cmd": ["sleep", "1000"],
        "Labels": label,
        "HostConfig": { "Binds": [format!("{name}:/v")], "NetworkMode": "none" },
    });
    let user = project.object("user");
    raw::post(&format!("/containers/create?name={user}"), &options);
    let run = project.apply();
    assert_eq!(run.code, Some(6), "{run:#?}");
    assert!(run.json["blocked"].to_string().contains(&user), "{run:#?}");
    raw::delete(&format!("/containers/{user}?force=1"));

    // Something is in it; of nothing but a name the engine says that it takes no room.
    for (fill, code, told) in [
        ("echo x >/v/x", 6, "with 2 bytes in it"),
        (": >/v/x", 5, "has x in it"),
    ] {
        raw::beside(&name, &project.name, &["sh", "-c", fill]);
        let run = project.apply();
        assert_eq!(run.code, Some(code), "{fill}: {run:#?}");
        assert!(run.stdout.contains(told), "{fill}: {run:#?}");
        raw::beside(&name, &project.name, &["rm", "/v/x"]);
    }
    project.converge();
    assert_eq!(raw::said(&project.object("a"), &["tool"]), version);
    project.settled();
}

#[test]
fn whoever_runs_with_a_set_uses_it_whoever_made_him() {
    let (project, version) = converged();
    let name = volume(&project);
    let options = json!({
        "Image": project.image,
        "Cmd": ["sh", "-c", "while [ ! -e /end ]; do sleep 0.1; done"],
        "Labels": { "aishelltest": project.name },
        "HostConfig": { "Binds": [format!("{name}:/tools:ro")], "NetworkMode": "none" },
    });
    let user = project.object("user");
    raw::post(&format!("/containers/create?name={user}"), &options);
    raw::post(&format!("/containers/{user}/start"), &json!(null));

    // What is broken stays as it is, whatever shows that.
    let breaking = "for file in /v/m/tool-*/bin/tool; do echo '# more' >>$file; done";
    damage(&project, breaking);
    let receipt = name.replace("aishell-harness-", "aishell-receipt-");
    let busy = |arguments: &[&str]| {
        let run = project.run(arguments);
        assert_eq!(run.code, Some(6), "{run:#?}");
        let blocked = &run.json["blocked"][0];
        let detail = format!("container {user}: aishell did not make it, and it runs with these programs");
        assert_eq!(
            (text(&blocked["reason"]), text(&blocked["detail"])),
            ("busy", detail.as_str()),
            "{run:#?}"
        );
    };
    busy(&["apply", "--deep"]);
    raw::delete(&format!("/containers/{receipt}"));
    busy(&["apply"]);
    assert!(raw::said(&user, &["sh", "-c", "cat /tools/m/tool-*/bin/tool"]).ends_with("# more"));

    // Nobody of ours has it any more, and it is not garbage.
    project.manifest("containers:\n  b: { network: none, home: tmpfs, stop: { timeout: 0 } }\n");
    project.converge();
    let prune = project.run(&["prune", "--yes", "--keep", "0", &project.name]);
    assert_eq!(prune.code, Some(0), "{prune:#?}");
    assert!(!prune.json.to_string().contains(&name), "{prune:#?}");
    assert!(raw::said(&user, &["sh", "-c", "cat /tools/m/tool-*/bin/tool"]).ends_with("# more"));

    // Once it has ended it is as if it had not been.
    raw::said(&user, &["touch", "/end"]);
    raw::until("it has ended", || {
        let user = raw::container(&user)?;
        (user["State"]["Running"] == false).then_some(())
    });
    two(&project, &version);
    project.converge();
    assert_eq!(project.run(&["diff", "--deep"]).code, Some(0));
    assert_eq!(raw::said(&project.object("a"), &["tool"]), version);
}

#[test]
fn those_who_meet_the_same_empty_volume_make_way_together() {
    let project = project();
    let projects = [project.twin(), project.twin(), project];
    for _ in 0..3 {
        let version = version();
        for project in &projects {
            two(project, &version);
        }
        let diff = projects[0].diff();
        let name = text(&step(&diff.json, "volume", "aishell-harness-")["name"]).to_owned();
        let label = json!({ "aishelltest": projects[0].name });
        raw::post("/volumes/create", &json!({ "Name": name, "Labels": label }));
        let runs: Vec<_> = thread::scope(|scope| {
            let begun: Vec<_> = projects
                .iter()
                .map(|project| scope.spawn(|| project.apply()))
                .collect();
            begun.into_iter().map(|run| run.join().expect("a run")).collect()
        });
        for (project, run) in projects.iter().zip(&runs) {
            assert_eq!(run.code, Some(0), "{runs:#?}");
            assert_eq!(raw::said(&project.object("a"), &["tool"]), version);
            assert_eq!(volume(project), name);
        }
        projects[0].settled();
    }
}

#[test]
fn who_has_the_name_of_what_vouches_is_named_and_left_alone() {
    let (project, version) = converged();
    let receipt = volume(&project).replace("aishell-harness-", "aishell-receipt-");
    let labels = raw::container(&receipt).expect("a receipt")["Config"]["Labels"].clone();
    let mut older = labels.clone();
    older.as_object_mut().expect("labels").remove("aishell.key");
    for (labels, who) in [
        (json!({ "aishelltest": project.name }), "aishell did not make"),
        (older, "an older aishell made"),
    ] {
        raw::delete(&format!("/containers/{receipt}"));
        let options = json!({ "Image": project.image, "Cmd": ["true"], "Labels": labels });
        raw::post(&format!("/containers/create?name={receipt}"), &options);
        let run = project.run(&["apply", "--deep"]);
        assert_eq!(run.code, Some(6), "{run:#?}");
        assert!(run.json["blocked"].to_string().contains(who), "{run:#?}");
    }
    raw::delete(&format!("/containers/{receipt}"));
    project.converge();
    assert_eq!(raw::said(&project.object("a"), &["tool"]), version);
}

#[test]
fn a_session_keeps_its_program_through_upgrade_way_back_and_prune() {
    let (project, old) = converged();
    let work = "while [ ! -e /tmp/end ]; do sleep 0.1; done; tool --version >/tmp/said";
    let shell = raw::detached(&project.object("a"), &["sh", "-c", work], true);
    let first = volume(&project);
    let new = version();
    two(&project, &new);
    let run = project.apply();
    assert_eq!(run.code, Some(6), "{run:#?}");
    assert_eq!(text(&run.json["blocked"][0]["reason"]), "busy", "{run:#?}");
    let prune = project.run(&["prune", &project.name, "--yes", "--keep", "0"]);
    assert_eq!(prune.code, Some(0), "{prune:#?}");
    assert_eq!(
        (volume(&project), raw::said(&project.object("a"), &["tool"])),
        (first.clone(), old.clone())
    );
    // Back, and on again: what it has is what is wanted.
    two(&project, &old);
    project.settled();
    two(&project, &new);
    let run = project.apply();
    assert_eq!(run.code, Some(6), "{run:#?}");
    raw::said(&project.object("a"), &["touch", "/tmp/end"]);
    raw::ended(&shell);
    assert_eq!(raw::said(&project.object("a"), &["cat", "/tmp/said"]), old);
    project.converge();
    assert_eq!(raw::said(&project.object("a"), &["tool"]), new);
    // The way back takes no installer: the former set is kept.
    two(&project, &old);
    let diff = project.diff();
    assert!(!changes(&diff.json).concat().contains("populate"), "{diff:#?}");
    project.converge();
    assert_eq!(volume(&project), first);
    assert_eq!(raw::said(&project.object("a"), &["tool"]), old);
}

#[test]
fn of_ten_manifests_that_want_one_set_at_once_one_installs_it() {
    let version = version();
    let projects: Vec<Project> = (0..10).map(|_| project()).collect();
    let words = ["tool", "talker"].map(|name| {
        format!("  {name}: {{ npm: {name}, version: {version}, bin: [{name}], runtime: image }}\n")
    });
    for (number, project) in projects.iter().enumerate() {
        let [one, two] = &words;
        let set = if number % 2 == 0 {
            format!("{one}{two}")
        } else {
            format!("{two}{one}")
        };
        project.manifest(&format!(
            "harnesses:\n{set}containers:\n  a: {{ harness: tool, network: none, home: tmpfs, stop: {{ timeout: 0 }} }}\n"
        ));
    }
    let runs: Vec<_> = thread::scope(|scope| {
        let begun: Vec<_> = projects.iter().map(|one| scope.spawn(|| one.apply())).collect();
        begun.into_iter().map(|run| run.join().expect("a run")).collect()
    });
    for run in &runs {
        assert_eq!(run.code, Some(0), "{run:#?}");
    }
    let sets: BTreeSet<String> = projects.iter().map(volume).collect();
    assert_eq!(sets.len(), 1);
    // Whatever was installed twice would be of another time.
    let times: BTreeSet<String> = projects.iter().map(|one| written(one, "tool")).collect();
    assert_eq!(times.len(), 1);
    for project in &projects {
        project.settled();
    }
    // Whoever made the set could not be rid of it while others had it.
    let labels: Vec<String> = projects.iter().map(Project::label).collect();
    drop(projects);
    for label in labels {
        raw::sweep(&label);
    }
}

#[test]
fn doctor_and_status_say_how_the_set_is() {
    let (project, version) = converged();
    let well = project.run(&["doctor", "--deep"]);
    assert_eq!(
        (well.code, &well.json["well"]),
        (Some(0), &json!(true)),
        "{well:#?}"
    );
    let status = project.run(&["status", "--deep"]);
    assert_eq!(status.code, Some(0), "{status:#?}");
    let of_set = |status: &Value| {
        let resources = status["resources"].as_array().expect("resources");
        let set = resources.iter().find_map(|one| one.get("harnessSet"));
        set.expect("a harness set").clone()
    };
    let set = of_set(&status.json);
    assert_eq!(set["users"], json!(["a"]), "{set:#}");
    assert_eq!(
        set["members"],
        json!([{ "name": "talker", "version": version }, { "name": "tool", "version": version }])
    );
    assert!(set["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{set:#}");
    let quick = project.run(&["status"]);
    assert_eq!(of_set(&quick.json)["bytes"], Value::Null, "{quick:#?}");

    damage(&project, "rm /v/m/tool-*/.installed");
    let quick = project.plain(&["doctor"]);
    assert_eq!(quick.code, Some(0), "{quick:#?}");
    // What it did not look at is said, and how to look.
    assert!(
        quick
            .stdout
            .contains("`aishell doctor --deep` reads what is in it"),
        "{quick:#?}"
    );
    let ill = project.run(&["doctor", "--deep"]);
    assert_eq!(ill.code, Some(1), "{ill:#?}");
    let told = ill.json.to_string();
    assert!(
        told.contains("harnesses.tool: .installed") && told.contains("aishell apply --deep"),
        "{ill:#?}"
    );
    let text = project.plain(&["doctor", "--deep"]);
    assert!(text.stdout.contains("1 bad,"), "{text:#?}");

    // What keeps others from working is a finding here.
    project.manifest("containers: { a: { comand: [x] } }\n");
    let wrong = project.run(&["doctor"]);
    assert_eq!(wrong.code, Some(1), "{wrong:#?}");
    assert_eq!(wrong.json["findings"][0]["check"], "manifest", "{wrong:#?}");
    assert_eq!(wrong.json["findings"][0]["level"], "bad", "{wrong:#?}");
    let nowhere = project.run(&["doctor", "--host", "unix:///nowhere.sock"]);
    assert_eq!(nowhere.code, Some(1), "{nowhere:#?}");
}

#[test]
fn what_weakens_a_sandbox_is_told_by_doctor() {
    let project = project();
    project.manifest("containers:\n  a: { security: { capAdd: [NET_RAW] } }\n");
    let run = project.run(&["doctor"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let findings = run.json["findings"].as_array().expect("findings");
    let weak = findings
        .iter()
        .find(|one| one["level"] == "warning" && one["check"] == "security");
    let message = text(&weak.expect("a warning")["message"]);
    assert!(
        message.contains("container a has") && message.contains("NET_RAW"),
        "{run:#?}"
    );
}

//! What `apply` makes, and that it makes nothing twice.

use serde_json::Value;

use crate::project::{OWNER, Project, Run, project, text, word};
use crate::proxy::Proxy;
use crate::raw;

/// Returns a version of the `tool` package that no other test installs, so that its volume is this test's alone.
pub fn version() -> String {
    let digits: u32 = u32::from_str_radix(&word()[..7], 16).expect("digits");
    format!("1.0.{digits}")
}

/// Returns a manifest with a harness set and three containers.
fn three(version: &str) -> String {
    format!(
        "harnesses:\n  tool: {{ npm: tool, version: {version}, bin: [tool] }}\ncontainers:\n  \
         a: {{ harness: tool }}\n  b: {{ command: [sleep, \"1000\"], env: {{ MODE: fast }} }}\n  c: {{ network: none }}\n"
    )
}

/// Insists that a sandbox is what it promises to be, for the project's owner.
fn is_a_sandbox(project: &Project, name: &str, (uid, gid): (u32, u32), home: &str, version: &str) {
    let container = project.object(name);
    let said = |command: &[&str]| raw::said(&container, command);
    assert_eq!(said(&["id", "-u"]), uid.to_string());
    assert_eq!(said(&["id", "-g"]), gid.to_string());
    assert_eq!(said(&["sh", "-c", "echo $HOME"]), home);
    for shell in ["-c", "-lc"] {
        assert_eq!(said(&["sh", shell, "tool"]), version, "sh {shell}");
    }
    for place in ["/tools", "/etc", "/usr"] {
        let denied = raw::exec(
            &container,
            &["sh", "-c", &format!(": > {place}/x; test -e {place}/x")],
        );
        assert_ne!(denied.code, 0, "{place} is writable");
        assert!(denied.text.contains("Read-only file system"), "{}", denied.text);
    }
    said(&["sh", "-c", "echo kept > ~/note && cat ~/note"]);
    for place in ["/tmp", "/var/tmp", "/run"] {
        said(&["sh", "-c", &format!("echo here > {place}/note")]);
    }
    // The project is there, at its own path, and it is where one begins.
    assert_eq!(said(&["sh", "-c", "pwd"]), project.path().display().to_string());
    said(&["sh", "-c", &format!("echo {name} > from-{name}")]);
    let state = project.container(name);
    assert_eq!(state["HostConfig"]["Privileged"], false);
    assert_eq!(state["HostConfig"]["CapDrop"], serde_json::json!(["ALL"]));
    assert_eq!(state["HostConfig"]["PidsLimit"], 512);
}

#[test]
fn sandboxes_on_an_image_from_scratch_belong_to_the_projects_owner() {
    let project = project();
    project.give_to(OWNER);
    let version = version();
    project.manifest(&three(&version));
    project.converge();
    project.only(&["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        is_a_sandbox(&project, name, OWNER, "/home/agent", &version);
    }
    assert_eq!(
        raw::said(&project.object("a"), &["sh", "-c", "id -un; id -gn; ls from-a"]),
        "agent\nagent\nfrom-a"
    );
    assert_eq!(
        project.container("b")["Config"]["Cmd"],
        serde_json::json!(["sleep", "1000"])
    );
    assert_eq!(project.container("c")["HostConfig"]["NetworkMode"], "none");
}

#[test]
fn a_project_of_root_gets_sandboxes_without_the_powers_of_root() {
    let project = project();
    project.give_to((0, 0));
    let version = version();
    project.manifest(&three(&version));
    project.converge();
    for name in ["a", "b"] {
        is_a_sandbox(&project, name, (0, 0), "/root", &version);
    }
    let status = raw::said(&project.object("a"), &["cat", "/proc/self/status"]);
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.contains(line), "{status}");
    }
}

#[test]
fn a_second_apply_sends_no_write_request() {
    let mut project = project();
    project.manifest(&three(&version()));
    let proxy = Proxy::new();
    project.through(&proxy);
    project.converge();
    let before = proxy.writes();
    assert!(
        before.contains(&"POST /containers/create".to_owned()),
        "the proxy sees writes: {before:#?}"
    );
    let requests = proxy.requests();
    let run = project.apply();
    assert_eq!((run.code, &run.json["steps"]), (Some(0), &serde_json::json!([])));
    assert_eq!(proxy.writes(), before);
    assert!(proxy.requests() > requests);
}

#[test]
fn commands_that_only_look_work_where_writing_is_refused() {
    let mut project = project();
    project.manifest(&three(&version()));
    let proxy = Proxy::read_only();
    project.through(&proxy);
    // Before anything exists ...
    assert_eq!(project.diff().code, Some(1));
    assert_eq!(project.run(&["status"]).code, Some(1));
    assert_eq!(project.run(&["ps"]).code, Some(0));
    assert_eq!(project.run(&["validate"]).code, Some(0));
    assert_eq!(proxy.writes(), Vec::<String>::new());
    // ... an apply is refused, which shows that refusing works ...
    let refused = project.apply();
    assert_eq!(refused.code, Some(5), "{refused:#?}");
    assert_ne!(proxy.writes(), Vec::<String>::new());
    // ... and after one there is nothing left to write.
    project.at(None);
    project.converge();
    let proxy = Proxy::read_only();
    project.through(&proxy);
    let looks: [(&[&str], &str); 5] = [
        (&["diff"], "Plan"),
        (&["status"], "Status"),
        (&["ps"], "ContainerList"),
        (&["validate"], "Validation"),
        (&["apply"], "Report"),
    ];
    for (command, kind) in looks {
        let Run { code, json, .. } = project.run(command);
        assert_eq!((code, text(&json["kind"])), (Some(0), kind), "{json:#}");
        assert_eq!(json["apiVersion"], "aishell/v1");
    }
    assert_eq!(proxy.writes(), Vec::<String>::new());
}

#[test]
fn ps_shows_what_runs() {
    let project = project();
    let version = version();
    project.manifest(&three(&version));
    project.converge();
    let ps = project.run(&["ps"]);
    let items = ps.json["items"].as_array().expect("items");
    let names: Vec<&str> = items.iter().map(|item| text(&item["name"])).collect();
    assert_eq!(names, ["a", "b", "c"], "{:#}", ps.json);
    assert_eq!(items[0]["harness"], "tool");
    assert_ne!(items[0]["state"], Value::Null);
    let status = project.run(&["status"]);
    assert_eq!(status.code, Some(0), "{:#}", status.json);
}

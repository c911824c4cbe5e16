//! Tools in phases: downloaded on the host, known by their digest, one file of each in the image.

use std::fs;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::git::GitServer;
use crate::phases::{done, within, write};
use crate::project::{Project, text};
use crate::raw;
use crate::repos::apart;

/// A program that says something.
fn script(says: &str) -> String {
    format!("#!/bin/sh\necho {says}\n")
}

/// Returns an archive of files, as releases come.
pub fn packed(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        builder
            .append_data(&mut header, path, text.as_bytes())
            .expect("an entry");
    }
    let encoder = builder.into_inner().expect("an archive");
    encoder.finish().expect("an archive")
}

fn phases(project: &Project, tools: &Value) -> Value {
    json!({
        "base": { "image": project.image },
        "users": [{ "name": "dev", "uid": 1234, "groups": [project.name] }],
        "tools": tools,
        "final": { "user": "dev" },
    })
}

fn wants(project: &Project, tools: &Value) {
    write(project, &phases(project, tools), "containers: {}\n");
}

#[test]
fn a_tool_is_the_file_of_its_download_whoever_has_it() {
    let (project, server) = (apart(), GitServer::start());
    let archive = packed(&[("rg-14/doc/rg.1", "manual"), ("rg-14/rg", &script("fourteen"))]);
    let (_, digest) = server.file("rg-14.tar.gz", &archive);
    let (plain, _) = server.file("plain", script("plain").as_bytes());
    wants(
        &project,
        &json!([
            { "name": "rg", "url": server.address("moved/rg-{version}.tar.gz"), "version": "14", "sha256": digest },
            { "name": "plain", "url": plain },
        ]),
    );
    let run = project.converge();
    let pinned = run.json["pinned"].as_array().expect("pins");
    assert_eq!(
        (pinned.len(), text(&pinned[0]["name"])),
        (1, plain.as_str()),
        "{run:#?}"
    );
    let look = "rg; plain; find /usr/local/bin/rg /usr/local/bin/plain -printf '%p %U:%G %m %y\\n'";
    assert_eq!(
        within(&project, &["sh", "-c", look]),
        "fourteen\nplain\n/usr/local/bin/rg 0:0 755 f\n/usr/local/bin/plain 0:0 755 f"
    );
    // Everything is there: nobody is asked, also where it is made anew.
    let asked = server.asked();
    let run = project.run(&["apply", "--rebuild=tools"]);
    assert_eq!((run.code, server.asked()), (Some(0), asked), "{run:#?}");

    // What lies there becomes another: an update says so, and then it is done.
    server.file("plain", script("other").as_bytes());
    project.settled();
    assert_eq!(project.run(&["update", "--check"]).code, Some(1));
    let update = project.run(&["update", "plain"]);
    assert_eq!(update.json["written"], true, "{update:#?}");
    let diff = project.diff();
    assert_eq!(done(&diff.json), ["9-tools", "12-final"], "{diff:#?}");
    let because = &diff.json["steps"][0]["because"][0];
    assert_eq!(
        (text(&because["field"]), &because["at"]["line"]),
        ("tools.1.sha256", &json!(3)),
        "{diff:#?}"
    );
    project.converge();
    assert_eq!(within(&project, &["plain"]), "other");
}

#[test]
fn another_download_than_the_one_written_down_is_not_used() {
    let (project, server) = (apart(), GitServer::start());
    let (url, right) = server.file("tool", script("right").as_bytes());
    let (_, wrong) = server.file("tool", script("wrong").as_bytes());
    for locked in [false, true] {
        if locked {
            wants(&project, &json!([{ "name": "tool", "url": url }]));
            let lock = format!("version: 1\ntools:\n  \"{url}\": {right}\n");
            project.write("aishell.lock", &lock);
        } else {
            wants(
                &project,
                &json!([{ "name": "tool", "url": url, "sha256": right }]),
            );
        }
        let run = project.apply();
        assert_eq!(run.code, Some(5), "{run:#?}");
        let steps = run.json["steps"].as_array().expect("steps");
        let error = &steps
            .iter()
            .find(|step| step["outcome"] == "failed")
            .expect("one")["error"];
        let message = text(&error["message"]);
        assert!(message.starts_with("phase 9-tools: "), "{error:#}");
        assert!(message.contains(&right) && message.contains(&wrong), "{error:#}");
        assert_eq!(error["at"]["line"], 3, "{error:#}");
        // What was before stays, and nothing of it is kept.
        assert_eq!(done(&project.diff().json), ["9-tools", "12-final"]);
        let kept = fs::read_dir(project.path().join(".cache/aishell/downloads"))
            .expect("a cache")
            .flatten();
        assert_eq!(
            kept.filter(|entry| !entry.file_name().to_string_lossy().ends_with(".lock"))
                .count(),
            0
        );
    }
    server.file("tool", script("right").as_bytes());
    project.converge();
    assert_eq!(within(&project, &["tool"]), "right");
    // A cache that is damaged is no answer.
    let kept = project.path().join(".cache/aishell/downloads").join(&right);
    fs::write(&kept, "garbage").expect("a file");
    let run = project.run(&["apply", "--rebuild=tools"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(within(&project, &["tool"]), "right");
    assert_eq!(fs::read_to_string(&kept).expect("a file"), script("right"));
}

#[test]
fn what_cannot_be_downloaded_is_told_with_its_line() {
    let (project, server) = (apart(), GitServer::start());
    let (url, digest) = server.file("tool.tar.gz", &packed(&[("a/one", "x"), ("b/one", "y")]));
    for (address, told) in [
        (server.address("files/none"), "127.0.0.1 answers 404 Not Found"),
        (server.address("away/x"), "leads to file:///etc/passwd"),
        ("http://127.0.0.1:1/x".to_owned(), "127.0.0.1:1 cannot be reached"),
    ] {
        wants(&project, &json!([{ "name": "tool", "url": address }]));
        let run = project.apply();
        assert_eq!(run.code, Some(5), "{told}: {run:#?}");
        let problem = &run.json["problems"][0];
        assert!(text(&problem["message"]).contains(told), "{told}: {run:#?}");
        assert_eq!(problem["at"]["line"], 3, "{told}: {run:#?}");
        wants(
            &project,
            &json!([{ "name": "tool", "url": address, "sha256": digest }]),
        );
        let run = project.apply();
        assert_eq!(run.code, Some(5), "{told}: {run:#?}");
        assert!(run.json["steps"].to_string().contains(told), "{told}: {run:#?}");
    }
    for (bin, told) in [
        ("none", "there is no file `none` in it; it has a/one, b/one"),
        ("one", "there are several files `one` in it"),
    ] {
        wants(&project, &json!([{ "name": "tool", "url": url, "bin": bin }]));
        let run = project.apply();
        assert_eq!(run.code, Some(5), "{told}: {run:#?}");
        assert!(run.json["steps"].to_string().contains(told), "{told}: {run:#?}");
    }
    // What can be seen without asking anybody is said at once.
    wants(
        &project,
        &json!([
            { "name": "../x", "url": url },
            { "name": "x", "url": "ftp://example.org/x" },
            { "name": "y", "url": "http://example.org/{version}" },
            { "name": "z", "url": url, "bin": "../z" },
        ]),
    );
    let problems = project.run(&["validate"]).json["problems"].to_string();
    for told in [
        "`../x` is no name of a command",
        "`ftp://example.org/x` is no address of a download",
        "which is missing",
        "`../z` is no path in an archive",
    ] {
        assert!(problems.contains(told), "{told}: {problems}");
    }
}

#[test]
fn whoever_ends_a_download_ends_it_and_leaves_nothing_half() {
    let (project, server) = (apart(), GitServer::start());
    let (url, digest) = server.file("tool", script("whole").as_bytes());
    for pinned in [true, false] {
        let tool = if pinned {
            json!({ "name": "tool", "url": url, "sha256": digest })
        } else {
            json!({ "name": "tool", "url": url })
        };
        wants(&project, &json!([tool]));
        for signal in [rustix::process::Signal::INT, rustix::process::Signal::KILL] {
            server.stall(true);
            let child = project.begin(&["apply", "--progress", "plain"]);
            raw::until("the download waits", || (server.waiting() > 0).then_some(()));
            let process = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(process, signal).expect("a signal");
            let ended = child.wait_with_output().expect("an end");
            if signal == rustix::process::Signal::INT {
                assert_eq!(ended.status.code(), Some(130), "{ended:?}");
            }
            project.unclaimed();
            server.stall(false);
        }
    }
    project.converge();
    assert_eq!(within(&project, &["tool"]), "whole");
    let left = fs::read_dir(project.path().join(".cache/aishell/work")).expect("a directory");
    assert_eq!(left.count(), 0);
    let mut partly = fs::File::create(project.path().join(".cache/aishell/downloads/half")).expect("a file");
    partly.write_all(b"nobody looks at this").expect("a file");
    project.converge();
}

#[test]
fn whom_nobody_trusts_and_what_nobody_can_unpack_is_told_with_its_line() {
    use crate::packages::Index;
    let (mut project, server) = (apart(), GitServer::start());
    // A server with a certificate that nobody has vouched for: refused where it is pinned, and where it is fetched.
    let index = Index::sealed(&project.path());
    let url = index.address("tool");
    for tool in [
        json!({ "name": "tool", "url": url }),
        json!({ "name": "tool", "url": url, "sha256": "12".repeat(32) }),
    ] {
        wants(&project, &json!([tool]));
        let run = project.apply();
        assert_eq!(run.code, Some(5), "{run:#?}");
        let said = if tool["sha256"].is_null() {
            run.json["problems"][0].clone()
        } else {
            let mut steps = run.json["steps"].as_array().expect("steps").iter();
            steps.find(|step| step["outcome"] == "failed").expect("one")["error"].clone()
        };
        assert!(
            text(&said["message"]).contains("invalid peer certificate"),
            "{said:#}"
        );
        assert!(text(&said["hint"]).contains("certificate"), "{said:#}");
        assert_eq!(said["at"]["line"], 3, "{said:#}");
    }
    // What only another program can unpack that is not here.
    let (packed, _) = server.file("tool.tar.xz", b"\xfd7zXZ\0\0 whatever it is");
    wants(&project, &json!([{ "name": "tool", "url": packed }]));
    assert_eq!(project.run(&["update"]).code, Some(0));
    let empty = tempfile::tempdir().expect("a directory");
    project.variable("PATH", &empty.path().display().to_string());
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let mut steps = run.json["steps"].as_array().expect("steps").iter();
    let error = &steps.find(|step| step["outcome"] == "failed").expect("one")["error"];
    assert!(
        text(&error["message"]).contains("it is packed with xz, which is not on this host"),
        "{error:#}"
    );
    assert!(text(&error["hint"]).contains("xz-utils"), "{error:#}");
    assert_eq!(error["at"]["line"], 3, "{error:#}");
}

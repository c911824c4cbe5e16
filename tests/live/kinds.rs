//! Harnesses of every kind: from npm, from the Python package index, and downloads.

use serde_json::{Value, json};

use crate::git::GitServer;
use crate::packages::Index;
use crate::project::{OWNER, Project, step, text, word};
use crate::raw;
use crate::support::BASE;
use crate::tools::packed;

/// A foundation with a Python that can make virtual environments.
const PYTHON: &str = "FROM debian:bookworm-slim\nRUN apt-get update \\\n && apt-get install -y --no-install-recommends python3-venv zsh \\\n && rm -rf /var/lib/apt/lists/*\n";

/// Returns a project whose foundation has Python, and that asks an index for packages.
fn python(index: &Index) -> Project {
    raw::engine();
    let mut project = Project::on(raw::tiny());
    project.write("Dockerfile", PYTHON);
    project.variable("PIP_INDEX_URL", &index.address("simple"));
    project.variable("PIP_TRUSTED_HOST", &index.host());
    project
}

fn write(project: &Project, harnesses: &str) {
    project.manifest_on(
        "{ dockerfile: Dockerfile }",
        &format!("certificates: host\nharnesses:\n{harnesses}containers:\n  a: {{ harness: tool, stop: {{ timeout: 0 }} }}\n"),
    );
}

fn lock(project: &Project) -> String {
    std::fs::read_to_string(project.path().join("aishell.lock")).unwrap_or_default()
}

fn receipt(project: &Project) -> Value {
    let said = raw::said(&project.object("a"), &["cat", "/tools/.aishell/receipt.json"]);
    serde_json::from_str(&said).expect("a receipt")
}

/// Returns why the set could not be made, and what the installers said.
fn refused(project: &Project) -> (String, String) {
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let error = &step(&run.json, "volume", "aishell-harness-")["error"];
    (text(&error["message"]).to_owned(), error["log"].to_string())
}

#[test]
fn a_harness_from_the_python_package_index_is_pinned_installed_and_runs() {
    let (index, name) = (Index::start(), format!("p{}", word()));
    let digests = index.wheels(&name, &[("1.0", ""), ("1.2", ""), ("2.0rc1", "")]);
    let project = python(&index);
    let wants = |requirement: &str| {
        write(
            &project,
            &format!("  tool: {{ pypi: {name}, version: \"{requirement}\", bin: [{name}] }}\n"),
        );
    };
    wants("~=1.0");
    let diff = project.diff();
    assert!(
        diff.json.to_string().contains("not known until pinned"),
        "{diff:#?}"
    );
    project.converge();
    let container = project.object("a");
    for shell in [
        ["sh", "-c"],
        ["sh", "-lc"],
        ["bash", "-c"],
        ["bash", "-lc"],
        ["zsh", "-c"],
        ["zsh", "-lc"],
    ] {
        assert_eq!(
            raw::said(&container, &[shell[0], shell[1], &name]),
            "1.2",
            "{shell:?}"
        );
    }
    let sealed = |digest: &str| {
        let digest: aishell::remote::Sha256 = digest.parse().expect("a digest");
        digest.integrity()
    };
    let pinned = lock(&project);
    let entry = format!(
        "  tool:\n    pypi: {name}\n    requirement: \"~=1.0\"\n    version: \"1.2\"\n    integrity: {}\n",
        sealed(&digests[1])
    );
    assert!(pinned.contains(&entry), "{entry}\n{pinned}");
    let member = &receipt(&project)["members"][0];
    assert_eq!(
        member,
        &json!({ "name": "tool", "version": "1.2", "pypi": name, "integrity": sealed(&digests[1]) })
    );

    // Nobody is asked again, and what is pinned is what the next machine gets.
    let asked = index.asked().len();
    project.settled();
    assert_eq!(index.asked().len(), asked);
    wants("1.0");
    project.converge();
    assert_eq!(raw::said(&project.object("a"), &[&name]), "1.0");

    // A wheel of the same name that is made of something else is not used.
    wants("~=1.0");
    project.write(
        "aishell.lock",
        &pinned.replace(&sealed(&digests[1]), &sealed(&digests[0])),
    );
    let before = project.container("a");
    let (message, log) = refused(&project);
    assert!(
        message.contains("not made of what the lock says"),
        "{message}\n{log}"
    );
    assert!(log.contains(&digests[1]), "{log}");
    raw::same(&project.container("a"), &before);
    project.write("aishell.lock", &pinned);
    project.converge();
    project.settled();
}

#[test]
fn what_a_python_package_needs_is_locked_with_it() {
    let index = Index::start();
    let (name, need, deep) = (
        format!("p{}", word()),
        format!("q{}", word()),
        format!("r{}", word()),
    );
    let says =
        format!("import {need}, {deep}\ndef main():\n    print('1.0', {need}.VERSION, {deep}.VERSION)\n");
    let constant = |version: &str| format!("VERSION = '{version}'\ndef main():\n    print(VERSION)\n");
    let publish = |versions: &[&str]| {
        for (package, needs) in [(&need, vec![deep.as_str()]), (&deep, vec![])] {
            let texts: Vec<String> = versions.iter().map(|version| constant(version)).collect();
            let all: Vec<_> = versions
                .iter()
                .copied()
                .zip(texts.iter().map(String::as_str))
                .collect();
            index.wheels_that_need(package, &all, &needs);
        }
    };
    publish(&["1.0"]);
    index.wheels_that_need(&name, &[("1.0", &says)], &[&format!("{need}>=1")]);
    let one = python(&index);
    let wants = |project: &Project| {
        let words = format!("  tool: {{ pypi: {name}, version: latest, bin: [{name}] }}\n");
        write(project, &words);
    };
    let said = |project: &Project| raw::said(&project.object("a"), &["sh", "-lc", &name]);
    wants(&one);
    one.converge();
    assert_eq!(said(&one), "1.0 1.0 1.0");
    let pinned = lock(&one);
    for package in [&name, &need, &deep] {
        let part = format!(
            "      {package}:\n        version: \"1.0\"\n        file: {package}-1.0-py3-none-any.whl\n        integrity: sha256-"
        );
        assert!(pinned.contains(&part), "{part}\n{pinned}");
    }

    // Newer ones are there by now: whoever has the lock has what was pinned, also where nothing of it is left.
    publish(&["1.0", "1.1"]);
    // What Python makes of them when they are installed has times in it.
    let files = "cd /tools/m/*/lib/python*/site-packages && find . -name '*.py' -o -name METADATA | sort | xargs sha256sum";
    let made_of = |project: &Project| raw::said(&project.object("a"), &["sh", "-c", files]);
    let (digests, name_of_set) = (made_of(&one), set(&one));
    let emptied = raw::containers(&one.label());
    for container in &emptied {
        raw::delete(&format!("/containers/{}?force=1", text(&container["Id"])));
    }
    raw::delete(&format!("/volumes/{name_of_set}"));
    one.converge();
    assert_eq!(
        (said(&one), set(&one)),
        ("1.0 1.0 1.0".to_owned(), name_of_set.clone())
    );
    assert_eq!(made_of(&one), digests);
    assert_eq!(lock(&one), pinned);

    // Of a machine for which there are other files nobody has written down what they are made of.
    let elsewhere = |lock: &str, package: &str, tags: &str| {
        let (before, after) = lock.split_once(&format!("file: {package}-1.0-")).expect("a file");
        let (_, after) = after.split_once("integrity: sha256-").expect("an integrity");
        let (_, after) = after.split_once('\n').expect("a line");
        let other = "A".repeat(43);
        format!("{before}file: {package}-1.0-{tags}.whl\n        integrity: sha256-{other}=\n{after}")
    };
    one.write("aishell.lock", &elsewhere(&pinned, &deep, "cp39-cp39-linux_mips"));
    one.converge();
    assert_eq!(said(&one), "1.0 1.0 1.0");
    assert_ne!(set(&one), name_of_set);
    one.write("aishell.lock", &elsewhere(&pinned, &deep, "py3-none-any"));
    let (message, log) = refused(&one);
    assert!(
        message.contains("not made of what the lock says"),
        "{message}\n{log}"
    );
    // The same where another one of them is for another machine.
    let mixed = elsewhere(&pinned, &need, "cp39-cp39-linux_mips");
    one.write("aishell.lock", &elsewhere(&mixed, &deep, "py3-none-any"));
    let (message, log) = refused(&one);
    assert!(
        message.contains("not made of what the lock says"),
        "{message}\n{log}"
    );
    assert!(log.contains(&format!("{deep} 1.0 in the lock")), "{log}");

    // What there is by now is what whoever asks gets.
    one.write("aishell.lock", &pinned);
    let check = one.run(&["update", "--check"]);
    assert_eq!(check.code, Some(1), "{check:#?}");
    let told = check.json.to_string();
    assert!(
        told.contains(&format!("1.0 with {need} 1.1, {deep} 1.1")),
        "{check:#?}"
    );
    let update = one.run(&["update", "tool"]);
    assert_eq!(update.code, Some(0), "{update:#?}");
    // The member and its version are what they were, so it is the volumes that tell.
    let diff = one.run(&["diff"]);
    for (kind, name) in [("volume", "aishell-harness-"), ("container", "a")] {
        let because = &step(&diff.json, kind, name)["because"][0];
        for side in ["from", "to"] {
            assert!(
                text(&because[side]).starts_with("aishell-harness-"),
                "{because:#}"
            );
        }
        assert_ne!(because["from"], because["to"], "{because:#}");
    }
    one.converge();
    assert_eq!(said(&one), "1.0 1.1 1.1");
    assert_eq!(
        lock(&one).matches("version: \"1.1\"").count(),
        2,
        "{}",
        lock(&one)
    );
    one.settled();
}

/// Returns the volume of the harness set.
fn set(project: &Project) -> String {
    let container = project.container("a");
    let mut mounts = container["Mounts"].as_array().into_iter().flatten();
    let tools = mounts.find(|mount| mount["Destination"] == "/tools");
    text(&tools.expect("a harness set")["Name"]).to_owned()
}

#[test]
fn a_download_is_a_harness_by_its_digest() {
    let server = GitServer::start();
    let name = word();
    let script = |says: &str| format!("#!/bin/sh\n[ \"${{1-}}\" = --version ] && echo {says} {name}\n:\n");
    let archive = packed(&[
        ("tool-3/bin/tool", &script("three")),
        ("tool-3/bin/other", &script("other")),
    ]);
    let (_, digest) = server.file("tool-3.0.tar.gz", &archive);
    let (plain, plain_digest) = server.file("plain", script("plain").as_bytes());
    let project = crate::project::project();
    let write = |digest: &str| {
        project.manifest(&format!(
            "harnesses:\n  tool: {{ url: \"{}\", version: 3.0, sha256: {digest}, bin: [tool, other] }}\n  \
             plain: {{ url: \"{plain}\", sha256: {plain_digest} }}\n\
             containers:\n  a: {{ harness: tool, stop: {{ timeout: 0 }} }}\n",
            server.address("files/tool-{version}.tar.gz"),
        ));
    };
    write(&digest);
    project.converge();
    let container = project.object("a");
    for (program, says) in [("tool", "three"), ("other", "other"), ("plain", "plain")] {
        assert_eq!(
            raw::said(&container, &["sh", "-lc", &format!("{program} --version")]),
            format!("{says} {name}")
        );
    }
    let receipt = receipt(&project);
    assert_eq!(text(&receipt["members"][1]["version"]), "3.0");
    assert_eq!(text(&receipt["members"][0]["url"]), plain);
    assert_eq!(lock(&project), "", "what is downloaded is in the manifest");
    project.settled();

    // Nothing of what is something else is used.
    let before = project.container("a");
    let wrong = digest.replace(['0', '1', '2'], "3");
    write(&wrong);
    let (message, _) = refused(&project);
    assert!(
        message.contains(&format!("has sha256 {digest}, and {wrong} is wanted")),
        "{message}"
    );
    raw::same(&project.container("a"), &before);
}

/// Returns a project on the built-in foundation that asks an index for npm packages.
fn npm(index: &Index) -> Project {
    raw::engine();
    let mut project = Project::on(raw::tiny());
    project.variable("npm_config_registry", &index.address("npm/"));
    project
}

fn wants(project: &Project, name: &str, more: &str) {
    project.manifest_on(
        "{ builtin: {} }",
        &format!(
            "certificates: host\nharnesses:\n  tool: {{ npm: {name}, version: 1.0.0, bin: [{name}], runtime: image{more} }}\n\
             containers:\n  a: {{ harness: tool, stop: {{ timeout: 0 }} }}\n"
        ),
    );
}

/// What a package has whose program says its version.
fn program(name: &str, script: &str) -> (Value, String) {
    let more = json!({ "bin": { name: "run.sh" }, "scripts": { "postinstall": script } });
    (more, "#!/bin/sh\necho 1.0.0\n".to_owned())
}

#[test]
fn what_an_install_script_does_wrong_is_told_and_nothing_uses_it() {
    let index = Index::start();
    let project = npm(&index);
    for (script, more, message, said) in [
        (
            "echo went wrong here; exit 3",
            "",
            "npm could not install a harness",
            "went wrong here",
        ),
        // Somebody who is not there: without a network it is the same.
        (
            "curl --silent --show-error http://127.0.0.1:9/",
            "",
            "npm could not install a harness",
            "Failed to connect to 127.0.0.1 port 9",
        ),
        (
            "echo x >/etc/passwd",
            "",
            "npm could not install a harness",
            "Permission denied",
        ),
        // However far it came: what was at work is named.
        (
            "sleep 7531",
            ", timeout: 10s",
            "a harness is not installed in time",
            "not installed within 10 s",
        ),
    ] {
        let name = format!("n{}", word());
        let (manifest, text) = program(&name, script);
        index.package(&name, "1.0.0", &[("run.sh", &text)], &manifest);
        wants(&project, &name, more);
        let (found, log) = refused(&project);
        assert!(found.contains(message), "{script}: {found}\n{log}");
        assert!(log.contains(said), "{script}: {log}");
        assert_eq!(raw::container(&project.object("a")), None, "{script}");
        // Who looks later finds the same.
        let kept = project.plain(&["logs", "--job"]);
        let kept = kept.stdout + &kept.stderr;
        assert!(kept.contains(said), "{script}: {kept}");
    }
}

#[test]
fn a_download_that_breaks_off_is_begun_again() {
    let index = Index::start();
    let project = npm(&index);
    let name = format!("n{}", word());
    let (manifest, text) = program(&name, "true");
    index.package(&name, "1.0.0", &[("run.sh", &text)], &manifest);
    let tarball = format!("npm/{name}/-/{name}-1.0.0.tgz");
    index.break_off(&tarball);
    wants(&project, &name, "");
    let run = project.plain(&["apply"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let asked = index.asked();
    assert_eq!(
        asked.iter().filter(|path| path.ends_with(&tarball)).count(),
        2,
        "{asked:?}"
    );
    assert_eq!(raw::said(&project.object("a"), &[&name, "--version"]), "1.0.0");
}

#[test]
fn a_package_that_is_not_what_the_manifest_says_is_told() {
    let index = Index::start();
    let project = npm(&index);
    let name = format!("n{}", word());
    let more = json!({ "bin": { "other": "run.sh" } });
    index.package(&name, "1.0.0", &[("run.sh", "#!/bin/sh\n")], &more);
    wants(&project, &name, "");
    let (message, log) = refused(&project);
    assert!(
        message.contains("does not bring a program that it declares"),
        "{message}"
    );
    assert!(log.contains(&format!("{name}: not installed")), "{log}");

    // The version is gone from the registry.
    index.forget(&format!("npm/{name}"));
    index.package(&name, "2.0.0", &[], &more);
    let (message, log) = refused(&project);
    assert!(
        message.contains("npm could not install a harness") && log.contains("notarget"),
        "{message}\n{log}"
    );
}

#[test]
fn what_pip_cannot_resolve_or_install_is_told() {
    let (index, name) = (Index::start(), format!("p{}", word()));
    index.wheels(
        &name,
        &[("1.0", "def main():\n    raise SystemExit('broken on purpose')\n")],
    );
    let mut project = python(&index);
    let wants = |project: &Project, package: &str, requirement: &str| {
        write(
            project,
            &format!("  tool: {{ pypi: {package}, version: \"{requirement}\", bin: [{name}] }}\n"),
        );
    };
    for (package, requirement, code, expected) in [
        (
            "surely-unknown",
            "latest",
            3,
            "pip knows no package `surely-unknown`",
        ),
        (&name, ">=99", 3, "no version of"),
    ] {
        wants(&project, package, requirement);
        let run = project.apply();
        assert_eq!(run.code, Some(code), "{run:#?}");
        let problems = run.json["problems"].to_string();
        assert!(problems.contains(expected), "{problems}");
        project.only(&[]);
    }
    wants(&project, &name, "latest");
    let (message, log) = refused(&project);
    assert!(message.contains("or the program does not run"), "{message}");
    assert!(log.contains("broken on purpose"), "{log}");

    // An index that is not there, and an image without Python.
    project.variable("PIP_INDEX_URL", "http://127.0.0.1:9/simple");
    project.variable("PIP_TRUSTED_HOST", "127.0.0.1");
    wants(&project, &name, "~=1.0");
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    assert!(
        run.json["problems"].to_string().contains("connection broken by"),
        "{run:#?}"
    );
    project.manifest(&format!(
        "harnesses:\n  tool: {{ pypi: {name}, version: \"1.0\" }}\ncontainers:\n  a: {{ harness: tool }}\n"
    ));
    let (message, _) = refused(&project);
    assert!(
        message.contains("has no python3") && message.contains("python3-venv"),
        "{message}"
    );
}

#[test]
fn an_image_with_another_c_library_is_refused() {
    raw::engine();
    let project = Project::on(raw::tiny());
    // What such images are like: a busybox, and the loader of that library.
    project.write(
        "Dockerfile",
        "FROM debian:bookworm-slim AS made\nRUN apt-get update && apt-get install -y --no-install-recommends busybox-static \\\n \
         && mkdir -p /out/bin /out/lib && cp /bin/busybox /out/bin/ && touch /out/lib/ld-musl-x86_64.so.1 \\\n \
         && for name in $(busybox --list); do [ -e /out/bin/$name ] || ln -s busybox /out/bin/$name; done\n\
         FROM scratch\nCOPY --from=made /out/ /\n",
    );
    project.manifest_on(
        "{ dockerfile: Dockerfile }",
        "harnesses:\n  tool: { npm: tool, version: 1.0.0 }\ncontainers:\n  a: { harness: tool }\n",
    );
    let (message, _) = refused(&project);
    assert!(
        message.contains("has musl") && message.contains("runtime: image"),
        "{message}"
    );
}

#[test]
fn harnesses_of_every_kind_are_one_set_where_the_image_has_python_and_no_npm() {
    let (index, server) = (Index::start(), GitServer::start());
    let (name, other) = (format!("p{}", word()), format!("n{}", word()));
    index.wheels(&name, &[("1.0", "")]);
    let (manifest, text) = program(&other, "true");
    index.package(&other, "1.0.0", &[("run.sh", &text)], &manifest);
    let (plain, digest) = server.file("plain", b"#!/bin/sh\necho plain\n");
    let mut project = python(&index);
    project.variable("npm_config_registry", &index.address("npm/"));
    write(
        &project,
        &format!(
            "  tool: {{ pypi: {name}, version: \"1.0\", bin: [{name}] }}\n  \
             other: {{ npm: {other}, version: latest, bin: [{other}], runtime: image }}\n  \
             plain: {{ url: \"{plain}\", sha256: {digest} }}\n"
        ),
    );
    project.converge();
    let container = project.object("a");
    for (program, says) in [
        (name.as_str(), "1.0"),
        (other.as_str(), "1.0.0"),
        ("plain", "plain"),
    ] {
        assert_eq!(raw::said(&container, &["sh", "-lc", program]), says);
    }
    project.settled();
}

#[test]
fn programs_are_found_in_every_shell_of_images_that_set_a_path_of_their_own() {
    let (index, server) = (Index::start(), GitServer::start());
    let (name, other) = (format!("p{}", word()), format!("n{}", word()));
    index.wheels(&name, &[("1.0", "")]);
    let (manifest, text) = program(&other, "true");
    index.package(&other, "1.0.0", &[("run.sh", &text)], &manifest);
    let (plain, digest) = server.file("plain", b"#!/bin/sh\necho plain\n");
    let mut project = python(&index);
    project.give_to(OWNER);
    project.variable("npm_config_registry", &index.address("npm/"));
    // What the image sets, what its login shells set, and what hides a program of that name.
    project.write(
        "Dockerfile.extension",
        "FROM aishell:foundation\nENV PATH=/opt/own/bin:/usr/bin:/bin\nRUN mkdir -p /opt/own/bin \\\n \
         && printf '#!/bin/sh\\necho own\\n' >/opt/own/bin/own && chmod 755 /opt/own/bin/own \\\n \
         && echo 'export PATH=/opt/own/bin:/usr/bin:/bin' >/etc/profile.d/path.sh\n",
    );
    project.manifest_on(
        "{ dockerfile: Dockerfile }",
        &format!(
            "extension: {{ dockerfile: Dockerfile.extension }}\ncertificates: host\nharnesses:\n  \
             tool: {{ pypi: {name}, version: \"1.0\", bin: [{name}] }}\n  \
             other: {{ npm: {other}, version: 1.0.0, bin: [{other}] }}\n  \
             plain: {{ url: \"{plain}\", sha256: {digest} }}\n\
             containers:\n  a: {{ harness: tool, stop: {{ timeout: 0 }} }}\n"
        ),
    );
    project.converge();
    let container = project.object("a");
    let node = format!("v{}", aishell::catalogue::RUNTIME_VERSION);
    for (program, says) in [
        (name.as_str(), "1.0"),
        (other.as_str(), "1.0.0"),
        ("plain", "plain"),
        ("own", "own"),
        ("node --version", node.as_str()),
        ("id -u", "4242"),
    ] {
        for shell in ["bash", "sh", "zsh"] {
            for how in ["-c", "-lc", "-ic", "-lic"] {
                let said = raw::said(&container, &[shell, how, program]);
                // One that is interactive and has no terminal says that, too.
                let is_said = said.lines().any(|line| line == says);
                assert!(is_said, "{shell} {how} {program}: {said}");
            }
        }
    }
    project.settled();
}

#[test]
fn a_download_that_is_made_for_another_processor_is_told_as_what_it_is() {
    raw::engine();
    let server = GitServer::start();
    let project = Project::on(BASE.to_owned());
    let mut elf = std::fs::read("/proc/self/exe").expect("a program");
    elf.truncate(4096);
    // A processor that nobody has.
    elf[18..20].copy_from_slice(&[0xfe, 0xca]);
    let (foreign, digest) = server.file("foreign", &elf);
    project.manifest(&format!(
        "harnesses:\n  tool: {{ url: \"{foreign}\", sha256: {digest}, bin: [tool] }}\n\
         containers:\n  a: {{ harness: tool, network: none, stop: {{ timeout: 0 }} }}\n"
    ));
    let (message, log) = refused(&project);
    assert!(
        message.contains("made for another processor than the engine's"),
        "{message}\n{log}"
    );
    assert!(log.contains("tool: made for another processor"), "{log}");
    assert_eq!(raw::container(&project.object("a")), None);
}

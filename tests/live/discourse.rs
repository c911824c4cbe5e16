//! A whole project in phases, as somebody would write it: a forum with its repository, a plugin, a tool, and tests.

use std::fs;

use serde_json::json;

use crate::git::GitServer;
use crate::phases::done;
use crate::project::{Project, text};
use crate::raw;
use crate::repos::apart_on;
use crate::tools::packed;

/// The manifest; the addresses are those of this test's server.
fn manifest(project: &Project, server: &GitServer, digest: &str) -> String {
    format!(
        r#"phases:
    base: {{ image: "debian:bookworm-slim" }}
    users: [{{ name: discourse, uid: 1000, groups: [sudo, {name}], shell: /bin/bash }}]
    env:
      WORKDIR: /workspace
      HABITAT_PATH: "${{WORKDIR}}/habitat"
      FORUM: "${{WORKDIR}}/discourse"
      RAILS_ENV: development
      PATH: "${{HABITAT_PATH}}/local/bin:${{PATH}}"
    workdir: {{ path: "${{WORKDIR}}", owner: discourse }}
    habitat:
      path: "${{HABITAT_PATH}}"
      dirs: [system, shared, local]
      layers: {{ shared: shared, local: local }}
      owner: discourse
    files: [{{ source: shared/gitconfig, target: "~discourse/.gitconfig", owner: discourse, mode: "0644" }}]
    setup:
      root: ["mkdir -p /var/lib/forum && chown discourse: /var/lib/forum"]
      user: ["echo 'development:' >database.yml"]
    repos:
      - {{ url: "{forum}", path: "${{FORUM}}", branch: main, depth: 1, owner: discourse }}
      - {{ url: "{plugin}", path: "${{FORUM}}/plugins/solved", tag: v1.0, owner: discourse }}
    tools: [{{ name: rg, url: "{tool}", version: 14.1.1, sha256: {digest}, bin: rg }}]
    verify:
      files:
        - "${{FORUM}}/.git/config"
        - {{ path: "${{FORUM}}/README", owner: discourse, mode: "0644" }}
        - "${{FORUM}}/plugins/solved/plugin.rb"
        - {{ path: "${{HABITAT_PATH}}/local/bin/forum", mode: "0755", owner: discourse }}
        - {{ path: /usr/local/bin/rg, mode: "0755", owner: root }}
    test: [{{ file: tests/forum.sh }}, "rg --version | grep -q 14.1.1", "test \"$(id -un)\" = discourse"]
    final: {{ user: discourse, workdir: "${{FORUM}}", env: {{ LANG: C.UTF-8 }}, command: [sleep, infinity] }}
    hooks:
      repos:
        before: ["test ! -e /workspace/discourse"]
        after: [{{ run: "cp /workspace/database.yml config/", user: discourse, workdir: /workspace/discourse, timeout: 1m }}]
"#,
        name = project.name,
        forum = server.url("forum"),
        plugin = server.url("solved"),
        tool = server.address("files/rg-{version}.tar.gz"),
    )
}

#[test]
fn a_forum_is_built_verified_tested_and_run_as_its_user() {
    let (project, server) = (apart_on("debian:bookworm-slim".to_owned()), GitServer::start());
    server.repository("forum");
    server.commit(
        "forum",
        "main",
        &[
            ("bin/boot*", "#!/bin/sh\n"),
            ("config/.keep", ""),
            ("Gemfile", "gem\n"),
        ],
    );
    server.repository("solved");
    server.commit("solved", "main", &[("plugin.rb", "# name: solved\n")]);
    server.git("solved", &["tag", "-a", "-m", "1.0", "v1.0", "main"]);
    let tool = packed(&[
        ("rg-14.1.1/rg", "#!/bin/sh\necho ripgrep 14.1.1\n"),
        ("rg-14.1.1/LICENSE", "MIT"),
    ]);
    let (_, digest) = server.file("rg-14.1.1.tar.gz", &tool);
    for directory in ["shared", "local/bin", "tests"] {
        fs::create_dir_all(project.path().join(directory)).expect("a directory");
    }
    project.write("shared/gitconfig", "[init]\n\tdefaultBranch = main\n");
    project.write(
        "local/bin/forum",
        "#!/bin/sh\ncat \"$FORUM/config/database.yml\"\n",
    );
    project.write(
        "tests/forum.sh",
        "#!/bin/sh\nset -e\ncd \"$FORUM\"\nforum | grep -q development\ntest -x bin/boot\n",
    );
    let forum = project.path().join("local/bin/forum");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(forum, mode).expect("a mode");
    let containers = "containers:\n  forum: { user: image, workspace: none, workdir: /workspace/discourse, home: tmpfs }\n";
    let phases = manifest(&project, &server, &digest);
    project.manifest_on(&format!("\n  {phases}"), containers);
    let run = project.converge();
    let all = [
        "2-users",
        "3-env",
        "4-workdir",
        "5-habitat",
        "6-files",
        "7-setup",
        "8-repos",
        "9-tools",
        "10-verify",
        "11-test",
        "12-final",
    ];
    assert_eq!(done(&run.json), all, "{run:#?}");
    let said = raw::said(
        &project.object("forum"),
        &["sh", "-c", "id -un; pwd; cat README; rg; forum; cat .git/HEAD"],
    );
    assert_eq!(
        said,
        "discourse\n/workspace/discourse\nforum\nripgrep 14.1.1\ndevelopment:\nref: refs/heads/main"
    );
    let image = raw::get(&format!("/images/aishell-{}:foundation/json", project.name));
    for label in ["aishell.verified", "aishell.tested"] {
        assert_eq!(text(&image["Config"]["Labels"][label]), "true");
    }
    assert_eq!(image["Config"]["Cmd"], json!(["sleep", "infinity"]));

    // The forum moves on: only what comes after is done again, and the container is replaced.
    server.commit("forum", "main", &[("README", "second\n")]);
    assert_eq!(project.run(&["update", &server.url("forum")]).code, Some(0));
    let run = project.converge();
    assert_eq!(done(&run.json), all[6..], "{run:#?}");
    assert_eq!(raw::said(&project.object("forum"), &["cat", "README"]), "second");
}

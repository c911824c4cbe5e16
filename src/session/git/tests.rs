use super::*;

struct Home {
    directory: tempfile::TempDir,
    host: Host,
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().canonicalize().unwrap();
        let host = Host {
            directory: home.clone(),
            environment: [("GIT_CONFIG_NOSYSTEM".to_owned(), "1".to_owned())].into(),
            home,
            uid: 0,
            gid: 0,
            user: "me".to_owned(),
            machine: String::new(),
            hostname: "box".to_owned(),
            accounts: Vec::new(),
        };
        Self { directory, host }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.host.home.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn identity(&self, project: &str) -> String {
        let project = self.host.home.join(project);
        let identity = identity(&self.host, Some(&project), None);
        let words: Vec<String> = identity
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        words.join("\n")
    }
}

#[test]
fn who_commits_is_read_from_where_git_reads_it() {
    let home = Home::new();
    assert_eq!(home.identity("work"), "");
    home.write(
        ".config/git/config",
        "[user]\n\tname = Somebody Else\n\temail = else@example.org\n",
    );
    home.write(
        ".gitconfig",
        "# mine\n[core]\n\tpager = less\n[User]\n\tName = \"A  B\" ; comment\n[committer]\nname=Robot\n",
    );
    insta::assert_snapshot!(home.identity("work"), @r"
    GIT_AUTHOR_EMAIL=else@example.org
    GIT_AUTHOR_NAME=A  B
    GIT_COMMITTER_EMAIL=else@example.org
    GIT_COMMITTER_NAME=Robot
    ");
}

#[test]
fn what_holds_for_some_directories_holds_there_only() {
    let home = Home::new();
    home.write(
        ".gitconfig",
        "[user]\n\temail = me@home\n[includeIf \"gitdir:~/work/\"]\n\tpath = .gitconfig-work\n[includeIf \"onbranch:main\"]\n\tpath = nowhere\n",
    );
    home.write(".gitconfig-work", "[user]\n\temail = me@work\n");
    home.write("work/a/.git/config", "[core]\n");
    home.write("play/a/.git/config", "[core]\n");
    assert!(home.identity("work/a").contains("me@work"));
    assert!(home.identity("work/a/b").contains("me@work"));
    assert!(home.identity("play/a").contains("me@home"));
}

#[test]
fn a_repository_says_who_commits_there_and_makes_nobody_read_anything_else() {
    let home = Home::new();
    home.write(".gitconfig", "[user]\n\temail = me@home\n");
    home.write("secret", "[user]\n\temail = secret\n");
    home.write(
        "a/.git/config",
        "[user]\n\tname = Local\n[include]\n\tpath = ../../secret\n",
    );
    insta::assert_snapshot!(home.identity("a"), @r"
    GIT_AUTHOR_EMAIL=me@home
    GIT_AUTHOR_NAME=Local
    GIT_COMMITTER_EMAIL=me@home
    GIT_COMMITTER_NAME=Local
    ");
    home.write("b/.git/HEAD", "");
    std::os::unix::fs::symlink(
        home.host.home.join("secret"),
        home.host.home.join("b/.git/config"),
    )
    .unwrap();
    assert!(!home.identity("b").contains("secret"));
    drop(home.directory);
}

#[test]
fn files_that_include_each_other_and_garbage_are_no_obstacle() {
    let home = Home::new();
    home.write(
        ".gitconfig",
        "[user]\nname = a\\\nb\n[include]\npath = .gitconfig\n[user \"x\"]\nname = not this\n[broken\n",
    );
    assert!(home.identity("work").contains("GIT_AUTHOR_NAME=ab"));
    for text in [
        "[",
        "[\"",
        "[a \"\\",
        "=",
        "[user]\nname",
        "[user]\nname = \"",
        "\\",
        "\u{feff}[user]name=x",
    ] {
        entries(text);
    }
}

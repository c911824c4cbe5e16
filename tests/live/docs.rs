//! Every command in README and `docs/` runs and prints what stands there.
//!
//! A page is one session in a fresh project: a fenced block with a title is written to the file it names, lines
//! that begin with `$ ` in a `console` block are run, and what follows them is what they print. `# ends with N` at the
//! end of a command is its exit code, `…` stands for any number of lines. What differs from one run to the next
//! (identifiers, times) is compared as such, and what depends on what the engine has already is not compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Pages whose commands build and populate take their turns, so that what they share is made once.
const PAGES: [&str; 8] = [
    "README.md",
    "docs/tutorial.md",
    "docs/manifest.md",
    "docs/phases.md",
    "docs/commands.md",
    "docs/operations.md",
    "docs/sessions.md",
    "docs/secrets.md",
];

/// What may stand in `sh` blocks, which are not run here: these are run by themselves, or cost too much.
const ELSEWHERE: [&str; 5] = ["git clone ", "cargo ", "scripts/", "cd ", "#"];

#[derive(Debug, PartialEq)]
enum Part {
    File {
        name: String,
        text: String,
    },
    Command {
        line: usize,
        text: String,
        code: i32,
        output: Vec<String>,
    },
}

/// Takes a page apart.
fn parse(page: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut lines = page.lines().enumerate().peekable();
    while let Some((_, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let mut block = Vec::new();
        for (number, line) in lines.by_ref() {
            if line.starts_with("```") {
                break;
            }
            block.push((number + 1, line));
        }
        if let Some((_, title)) = info.split_once("title=\"") {
            let text: String = block.iter().map(|(_, line)| format!("{line}\n")).collect();
            let name = title.trim_end_matches('"').to_owned();
            parts.push(Part::File { name, text });
        } else if info == "console" {
            parts.extend(commands(&block));
        } else if info == "sh" {
            for (number, line) in block {
                assert!(
                    ELSEWHERE.iter().any(|start| line.starts_with(start)),
                    "line {number}: nothing runs `{line}`; make it a console block"
                );
            }
        }
    }
    parts
}

fn commands(block: &[(usize, &str)]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (number, line) in block {
        if let Some(command) = line.strip_prefix("$ ") {
            let (text, code) = match command.split_once("# ends with ") {
                Some((text, code)) => (text.trim_end(), code.trim().parse().expect("an exit code")),
                None => (command, 0),
            };
            parts.push(Part::Command {
                line: *number,
                text: text.to_owned(),
                code,
                output: Vec::new(),
            });
        } else if let Some(Part::Command { output, .. }) = parts.last_mut() {
            output.push((*line).to_owned());
        }
    }
    parts
}

/// Returns a line without what differs from one run to the next.
fn plain(line: &str, directory: &str) -> String {
    let line = line.replace(directory, "/home/me/demo");
    let words = line.split_whitespace().map(|word| {
        let (word, end) = word
            .strip_suffix([',', ')', ':'])
            .map_or((word, ""), |start| (start, &word[start.len()..]));
        format!("{}{end}", value(word))
    });
    words
        .collect::<Vec<_>>()
        .join(" ")
        .replace("just now", "TIME ago")
}

/// Returns a word, or what it stands for.
fn value(word: &str) -> String {
    let is_hex = |text: &str| text.chars().all(|letter| letter.is_ascii_hexdigit());
    let is_time = |text: &str| {
        text.starts_with(|letter: char| letter.is_ascii_digit())
            && text.ends_with(['s', 'm', 'h'])
            && text
                .chars()
                .all(|letter| letter.is_ascii_digit() || "hms.".contains(letter))
    };
    if is_time(word) {
        return "TIME".to_owned();
    }
    let parts: Vec<String> = word
        .split('-')
        .map(|part| match part.len() {
            8 | 12 | 64 if is_hex(part) => "ID".to_owned(),
            _ => part.to_owned(),
        })
        .collect();
    parts.join("-")
}

/// Tells whether a line depends on what the engine has: images and harness sets that others may have made, where the
/// base image came from, who runs the tests, and how many of all these there are.
fn is_shared(line: &str) -> bool {
    ["aishell-harness-", ":foundation-", " user ", "is not pinned"]
        .iter()
        .any(|part| line.contains(part))
        || line.starts_with("+ image")
        || line.starts_with("user ")
        || line
            .split(' ')
            .nth(1)
            .is_some_and(|word| word == "to" && line.starts_with(|letter: char| letter.is_ascii_digit()))
}

/// Compares what was printed with what stands in the page. Steps that run at the same time end in any order.
fn same(written: &[String], printed: &str, directory: &str) -> Result<(), String> {
    let all = |lines: &mut dyn Iterator<Item = &str>| {
        let mut lines: Vec<String> = lines
            .map(|line| plain(line, directory))
            .filter(|line| !line.is_empty() && !is_shared(line))
            .collect();
        lines.sort();
        lines
    };
    let open = written.iter().any(|line| line.trim() == "…");
    let wanted = all(&mut written
        .iter()
        .map(String::as_str)
        .filter(|line| line.trim() != "…"));
    let found = all(&mut printed.lines());
    let missing: Vec<&String> = wanted.iter().filter(|line| !found.contains(line)).collect();
    let new: Vec<&String> = found.iter().filter(|line| !wanted.contains(line)).collect();
    if missing.is_empty() && (open || new.is_empty()) {
        Ok(())
    } else {
        Err(format!(
            "not printed: {missing:#?}\nprinted, but not written: {new:#?}"
        ))
    }
}

/// A project in which a page is played, and what it leaves in the engine.
struct Session {
    directory: tempfile::TempDir,
    path: PathBuf,
}

impl Session {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().canonicalize().expect("a path").join("demo");
        fs::create_dir(&path).expect("a directory");
        Self { directory, path }
    }

    fn run(&self, command: &str) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_aishell"));
        let mut search = vec![program.parent().expect("a directory").to_owned()];
        search.extend(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        ));
        Command::new("bash")
            .args(["-euo", "pipefail", "-c", command])
            .current_dir(&self.path)
            .env("PATH", std::env::join_paths(search).expect("a path"))
            // What people see is UTF-8, wherever this runs.
            .env("LC_ALL", "C.UTF-8")
            .env("COLUMNS", "200")
            .env("XDG_STATE_HOME", self.directory.path().join("state"))
            .env_remove("DOCKER_CONTEXT")
            .env_remove("AISHELL_LOG")
            .stdin(Stdio::null())
            .output()
            .expect("bash runs")
    }

    fn play(&self, page: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        for part in parse(page) {
            match part {
                Part::File { name, text } => {
                    let path = self.path.join(name);
                    fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
                    fs::write(path, text).expect("a file");
                }
                Part::Command {
                    line,
                    text,
                    code,
                    output,
                } => {
                    let run = self.run(&text);
                    // Progress goes to stderr and is not part of the pages; what went wrong is.
                    let mut printed = String::from_utf8_lossy(&run.stdout).into_owned();
                    let talk = String::from_utf8_lossy(&run.stderr);
                    if code != 0 {
                        printed.push_str(&talk);
                    }
                    if run.status.code() != Some(code) {
                        wrong.push(format!(
                            "line {line}: `{text}` ended with {}\n{printed}\n{talk}",
                            run.status
                        ));
                        break;
                    }
                    let directory = self.path.display().to_string();
                    if !output.is_empty()
                        && let Err(difference) = same(&output, &printed, &directory)
                    {
                        wrong.push(format!("line {line}: `{text}`\n{difference}\n{printed}"));
                    }
                }
            }
        }
        wrong
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // By label and directory, so that it works whatever the page left of its manifest.
        let remove = format!(
            "ours=$(docker ps -aq --filter 'label=aishell.project={0}')\n\
             [ -z \"$ours\" ] || docker rm -f $ours\n\
             for kind in network volume; do\n\
             ours=$(docker $kind ls -q --filter 'label=aishell.project={0}')\n\
             [ -z \"$ours\" ] || docker $kind rm $ours\n\
             done\n\
             # What phases left would be used again the next time, and a page says what is made.\n\
             for round in 1 2; do\n\
             docker images -aq --filter label=aishell.phase --filter 'reference=aishell-shop' |\n\
             sort -u | xargs -r docker rmi -f >/dev/null 2>&1 || true\n\
             done",
            self.path.display()
        );
        let removed = self.run(&remove);
        if !removed.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&removed.stderr));
        }
        assert!(self.directory.path().exists());
    }
}

#[test]
fn the_commands_in_readme_and_docs_do_what_they_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    for page in PAGES {
        let text = fs::read_to_string(root.join(page)).expect("a page");
        let session = Session::new();
        let found = session.play(&text);
        wrong.extend(found.into_iter().map(|text| format!("{page}, {text}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_page_is_files_and_commands_with_their_output() {
    let page = "# T\n```yaml title=\"a.yaml\"\nx: 1\n```\ntext\n```console\n$ aishell diff   # ends with 1\none\n\ntwo\n$ true\n```\n";
    assert_eq!(
        parse(page),
        [
            Part::File {
                name: "a.yaml".to_owned(),
                text: "x: 1\n".to_owned()
            },
            Part::Command {
                line: 7,
                text: "aishell diff".to_owned(),
                code: 1,
                output: vec!["one".to_owned(), String::new(), "two".to_owned()]
            },
            Part::Command {
                line: 11,
                text: "true".to_owned(),
                code: 0,
                output: Vec::new()
            },
        ]
    );
}

#[test]
fn only_identifiers_and_times_may_differ_from_a_page() {
    let written = [
        "  ✓   0.4s  + volume  aishell-84a8cd7d-a-home  create".to_owned(),
        "b".to_owned(),
    ];
    let printed =
        "b\n  ✓  1m17s  + volume   aishell-00000000-a-home   create\n".replace("00000000", "0badc0de");
    assert_eq!(same(&written, &printed, "/x"), Ok(()));
    assert!(same(&written, &printed.replace("create", "remove"), "/x").is_err());
    assert!(same(&written[..1], &printed, "/x").is_err());
    let open = [written[0].clone(), "…".to_owned()];
    assert_eq!(same(&open, &printed, "/x"), Ok(()));
}

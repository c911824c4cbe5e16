use super::*;
use crate::call::FileStatus;
use crate::desired::MemberSource;
use crate::key::{Key, KeyKind};

fn member(name: &str) -> Member {
    Member {
        name: name.to_owned(),
        source: MemberSource::Npm { npm: name.to_owned() },
        version: "1.0.0".to_owned(),
        integrity: None,
        bin: vec![name.to_owned()],
        timeout: std::time::Duration::from_secs(1),
    }
}

fn set() -> HarnessSet {
    HarnessSet {
        key: Key::of(KeyKind::Harness, &1),
        members: vec![member("one"), member("two")],
        stage: "foundation".to_owned(),
        certificates: None,
        proxies: BTreeMap::new(),
        installer: BTreeMap::new(),
        store: std::sync::Arc::default(),
        place: None,
    }
}

fn record(kind: &'static str, mode: u32) -> FileRecord {
    FileRecord {
        status: FileStatus {
            kind,
            uid: workplace::USER,
            gid: workplace::USER,
            mode,
            target: None,
        },
        ..FileRecord::default()
    }
}

fn file(text: &str) -> FileRecord {
    FileRecord {
        bytes: text.len() as u64,
        digest: Some(digest(text.as_bytes())),
        content: Some(text.as_bytes().to_vec()),
        ..record("file", 0o644)
    }
}

fn link(target: &str) -> FileRecord {
    let mut link = record("link", 0o777);
    link.status.target = Some(target.to_owned());
    link
}

/// Writes down what is there, as an installer does, and returns the digest of the receipt.
fn sign(set: &HarnessSet, stock: &mut Stock) -> String {
    let mut all = Vec::new();
    for member in &set.members {
        let directory = directory(member);
        let mut lines: Vec<Line> = lines(&directory, stock).into_keys().collect();
        lines.sort_by_key(|line| (!is_of_file(line.as_bytes()), line.clone()));
        let text = lines.concat_lines();
        all.extend(lines);
        stock.insert(format!(".aishell/members/{directory}"), file(&text));
    }
    all.sort_unstable();
    let total = |of_files: bool| {
        let lines: Vec<Line> = all
            .iter()
            .filter(|line| is_of_file(line.as_bytes()) == of_files)
            .cloned()
            .collect();
        digest(lines.concat_lines().as_bytes())
    };
    let receipt = serde_json::json!({
        "schema": 1, "key": set.key, "members": [], "files": 4, "digest": total(true), "shape": total(false),
    });
    let receipt = receipt.to_string();
    stock.insert(".aishell/receipt.json".to_owned(), file(&receipt));
    digest(receipt.as_bytes())
}

trait Lines {
    fn concat_lines(&self) -> String;
}

impl Lines for Vec<Line> {
    fn concat_lines(&self) -> String {
        self.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

fn installed() -> (HarnessSet, Stock, String) {
    let set = set();
    let mut stock: Stock = PLACES
        .iter()
        .map(|path| ((*path).to_owned(), record("directory", 0o755)))
        .collect();
    for member in &set.members {
        let (name, root) = (&member.name, format!("m/{}", directory(member)));
        for (path, record) in [
            (String::new(), record("directory", 0o755)),
            ("/bin".to_owned(), record("directory", 0o755)),
            ("/lib".to_owned(), record("directory", 0o755)),
            (format!("/bin/{name}"), link(&format!("../lib/{name} x.js"))),
            (format!("/lib/{name} x.js"), file(name)),
            ("/lib/odd\\name".to_owned(), file("odd")),
            ("/.installed".to_owned(), file("")),
        ] {
            stock.insert(format!("{root}{path}"), record);
        }
        let target = format!("../{root}/bin/{name}");
        stock.insert(format!("bin/{name}"), link(&target));
    }
    let vouched = sign(&set, &mut stock);
    (set, stock, vouched)
}

/// Returns what is told of a set that somebody did something to, and what has to be made anew.
fn told(change: impl Fn(&str, &mut Stock)) -> (Vec<String>, Vec<String>) {
    let (set, mut stock, vouched) = installed();
    let one = format!("m/{}", directory(&set.members[0]));
    change(&one, &mut stock);
    let content = compare(&set, &vouched, &stock);
    let word = |text: &Option<String>| match text {
        Some(text) if text.starts_with("sha256:") => "file".to_owned(),
        Some(text) => text.clone(),
        None => "nothing".to_owned(),
    };
    let damage = content.damage.iter().map(|damage| {
        format!(
            "{}: {} {} -> {}",
            damage.member.as_deref().unwrap_or("set"),
            damage.path,
            word(&damage.from),
            word(&damage.to)
        )
    });
    let mut anew: Vec<String> = content
        .anew
        .iter()
        .filter_map(|directory| Some(directory.split_once('-')?.0.to_owned()))
        .collect();
    anew.extend(content.reclaim.iter().map(|path| format!("/{path}")));
    (damage.collect(), anew)
}

#[test]
fn what_was_installed_is_whole() {
    assert_eq!(told(|_, _| ()), (vec![], vec![]));
    let (set, stock, vouched) = installed();
    let content = compare(&set, &vouched, &stock);
    assert_eq!((content.files, content.bytes > 6), (9, true));
}

#[test]
fn records_may_be_written_by_programs_that_escape_names() {
    let (set, mut stock, _) = installed();
    for member in &set.members {
        let path = format!(".aishell/members/{}", directory(member));
        let text = String::from_utf8(stock[&path].content.clone().expect("content")).expect("text");
        let lines: Vec<Line> = text
            .lines()
            .map(|line| escaped(line).unwrap_or_else(|| line.to_owned()))
            .collect();
        assert!(lines.iter().any(|line| line.starts_with('\\')));
        stock.insert(path, file(&lines.concat_lines()));
    }
    // What vouches is another matter.
    stock.remove(".aishell/receipt.json");
    let content = compare(&set, "", &stock);
    assert_eq!(content.damage.len(), 1, "{:?}", content.damage);
}

#[test]
fn whatever_was_done_to_a_member_is_told_with_its_path() {
    type Change = fn(&str, &mut Stock);
    let cases: [(Change, &str); 8] = [
        (
            |one, stock| {
                stock.insert(format!("{one}/lib/one x.js"), file("changed"));
            },
            "one: lib/one x.js file -> file",
        ),
        (
            |one, stock| {
                stock.remove(&format!("{one}/.installed"));
            },
            "one: .installed nothing -> file",
        ),
        (
            |one, stock| {
                stock.insert(format!("{one}/lib/more"), file("more"));
            },
            "one: lib/more file -> nothing",
        ),
        (
            |one, stock| {
                stock
                    .get_mut(&format!("{one}/lib/one x.js"))
                    .expect("a file")
                    .status
                    .mode = 0o4644;
            },
            "one: lib/one x.js mode 4644 -> mode 644",
        ),
        (
            |one, stock| {
                stock.get_mut(one).expect("a directory").status.mode = 0;
            },
            "one: . directory, mode 0 -> directory, mode 755",
        ),
        (
            |one, stock| {
                stock.insert(format!("{one}/bin/one"), link("/tmp/m/x"));
            },
            "one: bin/one link to /tmp/m/x -> link to ../lib/one x.js",
        ),
        (
            |one, stock| {
                stock.insert(format!("{one}/lib/pipe"), record("other", 0o644));
            },
            "one: lib/pipe other -> nothing",
        ),
        (
            |one, stock| {
                stock
                    .get_mut(&format!("{one}/lib/one x.js"))
                    .expect("a file")
                    .status
                    .uid = 0;
            },
            "one: lib/one x.js owner 0 -> owner 64044",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(
            told(change),
            (vec![expected.to_owned()], vec!["one".to_owned()]),
            "{expected}"
        );
    }
}

#[test]
fn what_belongs_to_no_member_is_told_as_the_sets() {
    type Change = fn(&str, &mut Stock);
    let cases: [(Change, &[&str], &[&str]); 5] = [
        (
            |_, stock| {
                stock.insert("bin/sh".to_owned(), link("/tmp/sh"));
                stock.remove("bin/two");
            },
            &[
                "set: bin/sh link to /tmp/sh -> nothing",
                "set: bin/two nothing -> link to ../m/two-1.0.0-DIGEST/bin/two",
            ],
            &[],
        ),
        (
            |_, stock| {
                stock.insert("x".to_owned(), record("directory", 0o755));
                stock.insert("x/y".to_owned(), file("y"));
                stock.insert("m/stray".to_owned(), file("y"));
                stock.insert("lost+found".to_owned(), record("directory", 0o700));
            },
            &["set: m/stray file -> nothing", "set: x directory -> nothing"],
            &[],
        ),
        (
            |_, stock| {
                stock.get_mut("").expect("the root").status.mode = 0o700;
            },
            &["set: . directory, mode 700, owner 64044 -> directory, mode 755, owner 64044"],
            &["/"],
        ),
        (
            |_, stock| {
                stock.remove(".aishell/receipt.json");
            },
            &["set: .aishell/receipt.json nothing -> file"],
            &[],
        ),
        (
            |_, stock| {
                stock.insert(".aishell/receipt.json".to_owned(), file("garbage"));
            },
            &["set: .aishell/receipt.json file -> file"],
            &[],
        ),
    ];
    let two = directory(&member("two"));
    for (change, expected, anew) in cases {
        let (told, again) = told(change);
        let expected: Vec<String> = expected
            .iter()
            .map(|line| line.replace("two-1.0.0-DIGEST", &two))
            .collect();
        assert_eq!(told, expected);
        assert_eq!(again, anew);
    }
}

#[test]
fn records_that_were_changed_with_what_they_are_of_are_not_believed() {
    let (told, anew) = told(|one, stock| {
        let receipt = stock[".aishell/receipt.json"].clone();
        stock.insert(format!("{one}/lib/one x.js"), file("changed"));
        sign(&set(), stock);
        stock.insert(".aishell/receipt.json".to_owned(), receipt);
    });
    assert_eq!(
        told,
        ["set: .aishell/members records that do not agree with the receipt -> what was recorded"]
    );
    assert_eq!(anew, ["one", "two"]);
}

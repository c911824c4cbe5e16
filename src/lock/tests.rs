use std::path::Path;

use super::*;

const SHA: &str =
    "sha512-8C4H1jdrgNusTQr3Yu4SCm+ZKsAlDFbpa0KS0Z3im8ueag+9pGOf3CrioruvmeaW/A5oqg9L0ar6qeftAh03jw==";

fn package(npm: &str, requirement: &str, version: &str) -> Package {
    Package {
        name: PackageName::Npm(npm.parse().unwrap()),
        requirement: requirement.to_owned(),
        version: version.parse().unwrap(),
        integrity: Some(SHA.parse().unwrap()),
        parts: Parts::new(),
    }
}

fn name(text: &str) -> HarnessName {
    text.parse().unwrap()
}

fn ask(npm: &str, requirement: &str) -> Ask {
    Ask {
        name: PackageName::Npm(npm.parse().unwrap()),
        requirement: requirement.to_owned(),
    }
}

fn full() -> Lock {
    let mut lock = Lock {
        builtin: Some(1),
        runtime: Some(package("node", "latest", "24.1.0")),
        ..Lock::default()
    };
    lock.harnesses.insert(
        name("claude"),
        package("@anthropic-ai/claude-code", "latest", "2.0.22"),
    );
    lock.harnesses
        .insert(name("codex"), package("@openai/codex", ">=0.1 <1", "0.100.0"));
    let digest = format!("sha256:{}", "ab".repeat(32));
    for image in ["debian:bookworm-slim", "127.0.0.1:5000/a/b"] {
        lock.images
            .insert(image.parse().unwrap(), digest.parse().unwrap());
    }
    for (reference, branch) in [
        ("https://example.org/a.git", Some("main")),
        ("git@example.org:b#refs/tags/v1", None),
    ] {
        let revision = Revision {
            commit: "12".repeat(20).parse().unwrap(),
            branch: branch.map(|branch| branch.parse().unwrap()),
        };
        lock.repos.insert(reference.parse().unwrap(), revision);
    }
    lock.tools.insert(
        "https://example.org/rg-1.tar.gz".parse().unwrap(),
        "0e".repeat(32).parse().unwrap(),
    );
    lock
}

fn parse(text: &str) -> Result<Lock, Vec<String>> {
    Lock::parse(text, Path::new("/p/aishell.lock")).map_err(|problems| {
        problems
            .iter()
            .map(|problem| {
                let Some(place) = &problem.place else {
                    panic!("{problem} has no place")
                };
                assert!(problem.hint.is_some(), "{problem}");
                format!("{}:{}: {}", place.line, place.column, problem.message)
            })
            .collect()
    })
}

#[test]
fn a_lock_is_written_in_a_fixed_order_and_read_back() {
    let text = full().render();
    insta::assert_snapshot!(text, @r#"
    # What the references of the manifest beside this file mean. Written by aishell; commit it.
    # `aishell apply` adds what is missing, `aishell update` moves the rest.
    version: 1
    builtin: 1
    runtime:
      npm: node
      requirement: latest
      version: 24.1.0
      integrity: sha512-8C4H1jdrgNusTQr3Yu4SCm+ZKsAlDFbpa0KS0Z3im8ueag+9pGOf3CrioruvmeaW/A5oqg9L0ar6qeftAh03jw==
    harnesses:
      claude:
        npm: "@anthropic-ai/claude-code"
        requirement: latest
        version: 2.0.22
        integrity: sha512-8C4H1jdrgNusTQr3Yu4SCm+ZKsAlDFbpa0KS0Z3im8ueag+9pGOf3CrioruvmeaW/A5oqg9L0ar6qeftAh03jw==
      codex:
        npm: "@openai/codex"
        requirement: ">=0.1 <1"
        version: 0.100.0
        integrity: sha512-8C4H1jdrgNusTQr3Yu4SCm+ZKsAlDFbpa0KS0Z3im8ueag+9pGOf3CrioruvmeaW/A5oqg9L0ar6qeftAh03jw==
    images:
      "127.0.0.1:5000/a/b": sha256:abababababababababababababababababababababababababababababababab
      "debian:bookworm-slim": sha256:abababababababababababababababababababababababababababababababab
    repos:
      "git@example.org:b#refs/tags/v1":
        commit: "1212121212121212121212121212121212121212"
      "https://example.org/a.git":
        commit: "1212121212121212121212121212121212121212"
        branch: main
    tools:
      "https://example.org/rg-1.tar.gz": "0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e"
    "#);
    assert_eq!(parse(&text), Ok(full()));
    assert_eq!(parse("version: 1\n"), Ok(Lock::default()));
    assert_eq!(parse(&Lock::default().render()), Ok(Lock::default()));
}

#[test]
fn what_a_python_package_needs_is_written_with_it_and_told_when_it_moves() {
    let part = |version: &str, file: Option<&str>| Part {
        version: version.parse().unwrap(),
        file: file.map(|file| file.parse().unwrap()),
        integrity: file.map(|_| format!("sha256-{}=", "A".repeat(43)).parse().unwrap()),
    };
    let lock = |need: Part| {
        let mut tool = package("tool", "latest", "1.2.0");
        tool.name = PackageName::Pypi("tool[extra]".parse().unwrap());
        let own = part("1.2.0", Some("tool-1.2.0.tar.gz"));
        tool.integrity.clone_from(&own.integrity);
        tool.parts = [("need".parse().unwrap(), need), ("tool".parse().unwrap(), own)].into();
        let mut lock = Lock::default();
        lock.harnesses.insert(name("tool"), tool);
        lock
    };
    let (old, new) = (lock(part("1.0", None)), lock(part("1.1", None)));
    let text = old.render();
    insta::assert_snapshot!(text.split_once("version: 1\n").unwrap().1, @r#"
    harnesses:
      tool:
        pypi: "tool[extra]"
        requirement: latest
        version: 1.2.0
        integrity: sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
        packages:
          need:
            version: "1.0"
          tool:
            version: 1.2.0
            file: tool-1.2.0.tar.gz
            integrity: sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
    "#);
    assert_eq!(parse(&text), Ok(old.clone()));
    let told: Vec<_> = new.changes(&old);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].from.as_deref(), Some("1.2.0 with need 1.0"));
    assert_eq!(told[0].to, "1.2.0 with need 1.1");
    assert_eq!(old.changes(&old), []);

    let wrong = |rest: &str| {
        let text = format!("version: 1\nharnesses:\n  tool: {{ {rest} }}\n");
        parse(&text).unwrap_err().concat()
    };
    let of_npm = wrong("npm: a, requirement: latest, version: 1.0.0, packages: { b: { version: \"1.0\" } }");
    assert!(of_npm.contains("a Python package is installed with"), "{of_npm}");
    let nowhere = wrong(
        "pypi: a, requirement: latest, version: \"1.0\", packages: { a: { version: \"1.0\", file: a/b } }",
    );
    assert!(nowhere.contains("`a/b` is not the name of a file"), "{nowhere}");
    // Whoever moves the version by hand moves what is installed, too, or nothing.
    let moved =
        wrong("pypi: a, requirement: latest, version: \"1.1\", packages: { a: { version: \"1.0\" } }");
    assert!(
        moved.contains("does not have `a` itself as it is here, at 1.1"),
        "{moved}"
    );
    let alone =
        wrong("pypi: a, requirement: latest, version: \"1.0\", packages: { b: { version: \"1.0\" } }");
    assert!(
        alone.contains("does not have `a` itself as it is here, at 1.0"),
        "{alone}"
    );
    let text = "version: 1\nharnesses:\n  tool: { pypi: \"A_b.C[x]\", requirement: latest, version: \"1.0\", \
                packages: { a-b-c: { version: \"1.0\" } } }\n";
    assert!(parse(text).is_ok(), "{:?}", parse(text));
}

#[test]
fn a_lock_is_beside_its_manifest() {
    for (manifest, lock) in [
        ("/p/.aishell/manifest.yaml", "/p/.aishell/aishell.lock"),
        ("/p/aishell.yaml", "/p/aishell.lock"),
        ("/p/team.yaml", "/p/team.aishell.lock"),
        ("/p/team.prod.yaml", "/p/team.prod.aishell.lock"),
    ] {
        assert_eq!(beside(Path::new(manifest)), Path::new(lock));
    }
}

#[test]
fn every_requirement_survives_being_written() {
    for requirement in [
        "latest", "*", "1", "1.10", "~1.2", ">=1 <3", "1.x", "!=2", "x", "^1 || 2",
    ] {
        let mut lock = Lock::default();
        lock.harnesses
            .insert(name("on"), package("null", requirement, "1.2.3-0e1+b"));
        assert_eq!(parse(&lock.render()), Ok(lock), "{requirement}");
    }
}

#[test]
fn nonsense_has_a_place_and_a_way_out() {
    for (text, expected) in [
        ("", "1:1: a lock is a map, not nothing"),
        ("- a\n", "1:1: a lock is a map, not a list"),
        (
            "version: 2\nwhatever: 1\n",
            "1:10: version 2 of the lock is newer than this aishell, which knows 1",
        ),
        ("version: one\n", "1:10: `version` is 1"),
        ("images: {}\n", "1:1: `version` is missing"),
        ("version: 1\nversion: 1\n", "2:1: key `version` is written twice"),
        (
            "version: 1\nimages:\n  debian: latest\n",
            "3:3: `latest` is not a digest: `sha256:` and 64 lower-case hexadecimal digits",
        ),
        (
            "version: 1\nruntime: { npm: node, requirement: latest, version: 24 }\n",
            "2:44: `24` is not a complete version as in 1.2.3",
        ),
        (
            "version: 1\nruntime: { npm: ../x, requirement: latest, version: 1.2.3 }\n",
            "2:12: `../x` is not the name of an npm package",
        ),
        (
            "version: 1\nruntime: { npm: node, requirement: latest, version: 1.2.3, integrity: md5-x }\n",
            "2:60: `md5-x` is not an integrity as in `sha512-…`",
        ),
        (
            "version: 1\n<<<<<<< HEAD\n",
            "2:1: a merge of two locks was not finished here",
        ),
    ] {
        assert_eq!(parse(text), Err(vec![expected.to_owned()]), "{text}");
    }
    assert!(parse("version: 1\nfuture: {}\n").unwrap_err()[0].starts_with("2:1: unknown field `future`"));
}

#[test]
fn what_is_missing_is_what_has_no_entry_or_one_for_something_else() {
    let lock = full();
    let mut wishes = Wishes {
        builtin: true,
        runtime: Some(ask("node", "latest")),
        ..Wishes::default()
    };
    wishes
        .harnesses
        .insert(name("claude"), ask("@anthropic-ai/claude-code", "latest"));
    wishes.images.insert("debian:bookworm-slim".parse().unwrap());
    assert!(lock.missing(&wishes).is_empty());
    assert!(Lock::default().missing(&Wishes::default()).is_empty());

    wishes
        .harnesses
        .insert(name("codex"), ask("@openai/codex", "^0.100"));
    wishes
        .harnesses
        .insert(name("claude"), ask("@other/claude", "latest"));
    wishes.images.insert("debian:trixie".parse().unwrap());
    wishes.runtime = Some(ask("node", "^22"));
    let missing = lock.missing(&wishes);
    assert_eq!(missing.harnesses.len(), 2);
    assert_eq!(missing.images.len(), 1);
    assert!(missing.runtime.is_some() && !missing.builtin);
}

#[test]
fn what_nothing_wishes_for_goes_and_newer_entries_win() {
    let mut wishes = Wishes::default();
    wishes
        .harnesses
        .insert(name("claude"), ask("@anthropic-ai/claude-code", "latest"));
    let left = full().without_unused(&wishes);
    assert_eq!(
        left.harnesses.keys().map(HarnessName::as_str).collect::<Vec<_>>(),
        ["claude"]
    );
    assert!(left.images.is_empty() && left.builtin.is_none() && left.runtime.is_none());

    let mut newer = Lock::default();
    newer.harnesses.insert(
        name("claude"),
        package("@anthropic-ai/claude-code", "latest", "2.1.0"),
    );
    let merged = full().with(newer);
    assert_eq!(merged.harnesses[&name("claude")].version.as_str(), "2.1.0");
    assert_eq!(merged.builtin, Some(1));
    assert_eq!(merged.images.len(), 2);
}

mod fuzz {
    use proptest::prelude::*;

    use super::*;

    fn lines() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            Just("version: 1".to_owned()),
            Just("images:".to_owned()),
            Just("harnesses: { a: { npm: x, requirement: '*', version: 1.2.3 } }".to_owned()),
            Just("  \"debian:1\": &a [*a, *b]".to_owned()),
            Just("runtime: !!binary x".to_owned()),
            "[ a-z0-9:{}\\[\\],&*!|>'\"%@`#?-]{0,24}",
            "\\PC{0,16}",
        ];
        proptest::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_a_lock_or_has_problems(text in lines()) {
            match Lock::parse(&text, Path::new("/p/aishell.lock")) {
                Ok(lock) => prop_assert_eq!(parse(&lock.render()), Ok(lock)),
                Err(problems) => prop_assert!(!problems.is_empty()),
            }
        }
    }
}

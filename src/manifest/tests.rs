use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::manifest::environment::EnvValue;
use crate::manifest::node::Node;
use crate::manifest::normal::{self, Base};
use crate::manifest::{mount, resources, stage};

/// A directory with files, and a host that works in it.
struct World {
    directory: TempDir,
    host: Host,
}

fn host(directory: &Path) -> Host {
    Host {
        home: PathBuf::from("/home/me"),
        uid: 1000,
        gid: 1000,
        user: "me".into(),
        directory: directory.to_path_buf(),
        environment: BTreeMap::from([
            ("HOME".into(), "/home/me".into()),
            ("SCRATCH".into(), "/tmp".into()),
        ]),
        machine: "0123456789ab".into(),
        hostname: "box".to_owned(),
        accounts: Vec::new(),
    }
}

fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let host = host(&directory.path().canonicalize().unwrap());
    World { directory, host }
}

impl World {
    fn file(self, name: &str, text: &str) -> Self {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn load(&self, name: &str) -> Result<Loaded, LoadError> {
        load(Path::new(name), &self.host)
    }

    fn manifest(&self, name: &str) -> Manifest {
        match self.load(name) {
            Ok(loaded) => loaded.manifest,
            Err(error) => panic!("{}", self.shown(&error)),
        }
    }

    fn problems(&self, name: &str) -> String {
        self.shown(&self.load(name).unwrap_err())
    }

    fn shown(&self, error: &LoadError) -> String {
        let directory = &self.host.directory;
        let text = match error {
            LoadError::Invalid { problems, .. } => {
                let seen = |problem: &Problem| {
                    let place = problem.place.as_ref().map(|place| place.seen_from(directory));
                    Problem {
                        place,
                        ..problem.clone()
                    }
                    .to_string()
                };
                problems.iter().map(seen).collect::<Vec<_>>().join("\n")
            }
            other => other.to_string(),
        };
        text.replace(&format!("{}/", directory.display()), "")
            .replace(directory.to_str().unwrap(), ".")
    }
}

/// The problems of a manifest that begins as every manifest does.
fn problems(body: &str) -> String {
    world()
        .file("aishell.yaml", &format!("{HEAD}{body}"))
        .problems("aishell.yaml")
}

fn manifest(body: &str) -> Manifest {
    world()
        .file("aishell.yaml", &format!("{HEAD}{body}"))
        .manifest("aishell.yaml")
}

const HEAD: &str =
    "apiVersion: aishell/v1\nfoundation: { image: debian:bookworm-slim }\nharnesses: { claude: 2.0.22 }\n";

#[test]
fn the_smallest_manifest_is_read() {
    let world = world().file(
        "aishell.yaml",
        &format!("{HEAD}containers: {{ claude: {{ harness: claude }} }}\n"),
    );
    let Loaded { manifest, source } = world.load("aishell.yaml").unwrap();
    assert_eq!(manifest.containers.len(), 1);
    let place = source.place("containers.claude.harness.more").unwrap();
    assert_eq!((place.line, place.column), (4, 25));
    assert_eq!(
        source.line(&place),
        Some("containers: { claude: { harness: claude } }")
    );
    assert_eq!(source.project(), world.host.directory);
}

mod not_yaml {
    use super::*;

    fn of(text: &str) -> String {
        world().file("aishell.yaml", text).problems("aishell.yaml")
    }

    #[test]
    fn text_that_is_no_tree_is_refused_where_it_goes_wrong() {
        let texts = [
            "",
            "# nothing but a comment\n",
            "- a\n- b\n",
            "just words\n",
            "apiVersion: aishell/v1\ncontainers:\n\tapi: {}\n",
            "apiVersion: aishell/v1\n\tname: x\n",
            "apiVersion: aishell/v1\nname: a\nname: b\n",
            "apiVersion: aishell/v1\ncontainers: { a: {}, a: {} }\n",
            "apiVersion: aishell/v1\nname: [a\n",
            "apiVersion: aishell/v1\nname: \"a\n",
            "apiVersion: aishell/v1\n---\napiVersion: aishell/v1\n",
            "~: 1\n",
            "[a]: 1\n",
            "a: *b\n",
            "a: !include b\n",
        ];
        let shown: Vec<_> = texts.into_iter().map(of).collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        aishell.yaml:1:1: the manifest is empty (begin with `apiVersion: aishell/v1`)
        aishell.yaml:1:1: the manifest is empty (begin with `apiVersion: aishell/v1`)
        aishell.yaml:1:1: a manifest is a map, not a list
        aishell.yaml:1:1: a manifest is a map, not text
        aishell.yaml:3:1: a tab cannot indent YAML (indent with spaces)
        aishell.yaml:2:1: a tab cannot indent YAML (indent with spaces)
        aishell.yaml:3:1: key `name` is written twice
        aishell.yaml:2:22: key `a` is written twice
        aishell.yaml:2:7: unclosed bracket '['
        aishell.yaml:3:1: invalid indentation in multiline quoted scalar
        aishell.yaml:2:1: a manifest is one YAML document
        aishell.yaml:1:1: a key is text
        aishell.yaml:1:1: a key is text
        aishell.yaml:1:4: alias references unknown anchor
        aishell.yaml:1:13: unsupported tag `!include`
        ");
    }

    #[test]
    fn bombs_are_refused_before_they_go_off() {
        let mut aliases = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (from, to) in "abcdefgh".chars().zip("bcdefghi".chars()) {
            let nine = vec![format!("*{from}"); 9].join(",");
            aliases.extend([&format!("{to}: &{to} [{nine}]\n")[..]]);
        }
        let flow = format!("a: {}", "[".repeat(10_000));
        let block: String = (0..1_000).map(|depth| " ".repeat(depth) + "a:\n").collect();
        let dashes = format!("a:\n  {}", "- ".repeat(10_000));
        let braces = "{a: ".repeat(10_000);
        let large = "# ".repeat(600_000);
        let wide = format!("a: [{}]", "1,".repeat(200_000));
        let shown: Vec<_> = [aliases, flow, block, dashes, braces, large, wide]
            .iter()
            .map(|text| of(text))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        aishell.yaml:6:8: it stands for more than 100000 values
        aishell.yaml:1:52: it is nested more than 48 levels deep
        aishell.yaml:49:49: it is nested more than 48 levels deep
        aishell.yaml:2:97: it is nested more than 48 levels deep
        aishell.yaml:1:193: it is nested more than 48 levels deep
        aishell.yaml:1:1: the file is larger than 1 MiB, the most a manifest may have
        aishell.yaml:1:199999: it stands for more than 100000 values
        ");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_at_the_first_one() {
        let world = world();
        fs::write(
            world.directory.path().join("aishell.yaml"),
            b"apiVersion: aishell/v1\nname: \xff\n",
        )
        .unwrap();
        insta::assert_snapshot!(world.problems("aishell.yaml"), @"aishell.yaml:2:7: this is not UTF-8 text (save the file as UTF-8)");
    }
}

mod wrong {
    use super::*;

    #[test]
    fn every_violation_is_found_in_one_go() {
        insta::assert_snapshot!(problems(r#"
name: Payments Team
descripton: a
engine: { context: a, host: b }
containers:
  apply: { harness: claude }
  api:
    harness: cluade
    environment: [A=1]
    cap_add: [NET_ADMIN]
    resources: { memory: 4x, cpus: 0, pids: none }
    ports: [70000, "a:b", "3000:3000"]
    command: make watch
    mounts:
      - ./fixtures
      - { volume: home, target: /h }
      - { tmpfs: /x, target: /y }
    restart: sometimes
    env: { A: [1], "B C": x }
    labels: [a=b]
    volumes: []
    memory: 2g
    home: tmp
    stop: { signal: SIGFOO, timeout: 10 }
    network: host
    user: "a b"
    hostname: a_b
"#), @r"
        aishell.yaml:5:1: name `Payments Team` is not allowed: use lower-case letters, digits and `-`, with a letter or digit at both ends
        aishell.yaml:6:1: unknown key `descripton` (did you mean `description`?)
        aishell.yaml:7:1: an engine has at most one of `context`, `host`
        aishell.yaml:9:3: container name `apply` is reserved: it is a command of aishell
        aishell.yaml:11:14: `api` asks for harness `cluade`, which the manifest does not have (did you mean `claude`?)
        aishell.yaml:12:5: unknown key `environment` in `api` (it is called `env` here)
        aishell.yaml:13:5: unknown key `cap_add` in `api` (it is called `security.capAdd` here)
        aishell.yaml:14:18: `4x` is not a size; write a number with a unit, as in 512MiB or 4GiB
        aishell.yaml:14:30: `0` is not a number of cpus; write 2 or 0.5, greater than 0
        aishell.yaml:14:39: `none` is not a number from 1 to 2147483647, nor unlimited
        aishell.yaml:15:13: `70000` is not a port: a port is a number from 1 to 65535
        aishell.yaml:15:20: `a:b` is not a port: write 3000, 3000:3000, 127.0.0.1:3000:3000 or 3000:3000/udp
        aishell.yaml:16:14: `command`: expected a list, found text (`make watch`) (write it as a list: [make, watch])
        aishell.yaml:18:9: the source of the mount `fixtures` does not exist (`{ source: …, create: directory }` makes it)
        aishell.yaml:19:11: volume name `home` is reserved: home volumes of containers are named so
        aishell.yaml:20:9: `tmpfs` is the path in the container already; `target` does not go with it
        aishell.yaml:21:5: `sometimes` is not a restart policy; write no, always, unless-stopped, on-failure or on-failure:3
        aishell.yaml:22:12: `A`: expected text, a number, true or false or a map, found a list
        aishell.yaml:22:20: variable name `B C` is not allowed: it has no `=` and no white space
        aishell.yaml:23:5: `labels`: expected a map, found a list
        aishell.yaml:24:5: unknown key `volumes` in `api` (it is called `mounts` here)
        aishell.yaml:25:5: unknown key `memory` in `api` (it is called `resources.memory` here)
        aishell.yaml:26:11: `home` cannot be `tmp` (it is one of `volume`, `tmpfs`)
        aishell.yaml:27:13: `SIGFOO` is not a signal; write its name, as in SIGTERM
        aishell.yaml:27:29: `10` is not a duration; write a number with a unit, as in 10s, 10m or 1h30m
        aishell.yaml:28:14: the network of the host is never shared with a sandbox; publish ports instead
        aishell.yaml:29:5: `a b` is not a user; write owner, image, 1000, 1000:1000 or a name
        aishell.yaml:30:5: `a_b` is not a host name: use letters, digits and `-`, at most 63 characters, with a letter or digit at both ends
        ");
    }

    #[test]
    fn what_belongs_together_is_checked_together() {
        let text = r"
apiVersion: aishell/v1
foundation: { image: debian, target: x }
harnesses: { claud: 1.2.3, own: { npm: a, pypi: b }, bad: { npm: ../x, version: 1.2.3 }, mine: 1.0.0 }
containers:
  one: { args: [a], ports: [3000], image: base, harness: own }
  two: { args: [a], ports: [3000], resources: { memory: 1m, memorySwap: 512k }, mounts: [/tmp:/proc] }
  three: { command: [], labels: { aishell.name: x }, mounts: [/tmp:/a, '/tmp:/a:ro'], ports: [1, 1], env: [A=1, A=2] }
";
        insta::assert_snapshot!(world().file("aishell.yaml", text).problems("aishell.yaml"), @r"
        aishell.yaml:3:1: `target` goes with `dockerfile`, not with `image`
        aishell.yaml:4:14: unknown harness `claud` (did you mean `claude`?)
        aishell.yaml:4:28: a harness comes from one place; here are `npm` and `pypi`
        aishell.yaml:4:54: `../x` is not the name of an npm package
        aishell.yaml:4:90: unknown harness `mine` (say where it comes from: { npm: PACKAGE, version: VERSION })
        aishell.yaml:6:43: `image: base` means a stage that the manifest does not have
        aishell.yaml:7:10: `args` are for a harness, and `two` has none (arguments of a command belong into `command`)
        aishell.yaml:7:29: port 3000 of the host is published by `one` already
        aishell.yaml:7:57: a memory limit is at least 6MiB, not 1MiB
        aishell.yaml:7:73: `memorySwap` counts memory and swap together, so it is at least 1MiB
        aishell.yaml:7:90: nothing can be mounted over `/proc`
        aishell.yaml:8:12: `command` is empty (leave it out: the container then waits for sessions)
        aishell.yaml:8:49: label `aishell.name` is one of aishell's own
        aishell.yaml:8:72: `/a` is mounted twice
        aishell.yaml:8:98: this port of the host is published twice
        aishell.yaml:8:113: variable `A` is written twice
        ");
    }

    #[test]
    fn a_missing_key_is_shown_at_what_needs_it() {
        let world = world().file("aishell.yaml", "name: x\ncontainers: { a: { ready: {} } }\n");
        insta::assert_snapshot!(world.problems("aishell.yaml"), @r"
        aishell.yaml:1:1: `apiVersion` is missing (begin with `apiVersion: aishell/v1`)
        aishell.yaml:2:20: `ready` needs `exec`
        ");
    }

    #[test]
    fn names_that_are_too_long_say_so() {
        let long = "a".repeat(60);
        insta::assert_snapshot!(problems(&format!("name: {long}\ncontainers: {{ {long}: {{}} }}\n")), @r"
        aishell.yaml:4:1: name `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is 60 characters long; at most 31 are allowed
        aishell.yaml:5:15: container name `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is 60 characters long; at most 46 are allowed
        ");
    }

    #[test]
    fn what_is_not_on_the_host_is_shown_where_it_is_named() {
        let text = "apiVersion: aishell/v1\nfoundation: { dockerfile: docker/Dockerfile, context: docker }\ncertificates: [ca.pem]\nproject: ./elsewhere\ncontainers:\n  a:\n    mounts: [./missing, '$NOWHERE/x', '~nobody/x', '~/missing', { source: ./made, create: directory }, '$SCRATCH']\n";
        insta::assert_snapshot!(world().file("aishell.yaml", text).problems("aishell.yaml"), @r"
        aishell.yaml:2:27: the Dockerfile `docker/Dockerfile` does not exist
        aishell.yaml:2:55: the build context `docker` does not exist
        aishell.yaml:3:16: the certificate file `ca.pem` does not exist
        aishell.yaml:4:10: the project `elsewhere` does not exist
        aishell.yaml:7:14: the source of the mount `missing` does not exist (`{ source: …, create: directory }` makes it)
        aishell.yaml:7:25: variable `NOWHERE` is not set
        aishell.yaml:7:39: `~nobody`: this host has no user `nobody`
        aishell.yaml:7:52: the source of the mount `/home/me/missing` does not exist (`{ source: …, create: directory }` makes it)
        ");
    }

    #[test]
    fn a_manifest_is_a_file() {
        let world = world().file("directory/x", "");
        insta::assert_snapshot!(world.problems("directory"), @"directory is a directory, not a file");
        insta::assert_snapshot!(world.problems("/dev/null"), @"/dev/null is a device, pipe or socket, not a file");
        insta::assert_snapshot!(world.problems("missing.yaml"), @"missing.yaml cannot be read");
    }

    #[test]
    fn another_api_version_is_refused() {
        let world = world().file("aishell.yaml", "apiVersion: aishell/v2\n");
        insta::assert_snapshot!(world.problems("aishell.yaml"), @"aishell.yaml:1:13: apiVersion `aishell/v2` is not known to this aishell (did you mean `aishell/v1`?)");
    }

    #[test]
    fn what_does_not_work_yet_is_refused_and_never_ignored() {
        let world = world()
            .file("Dockerfile", "FROM scratch\n")
            .file("aishell.yaml", FULL);
        insta::assert_snapshot!(world.problems("aishell.yaml"), @"aishell.yaml:94:1: looking for sensitive files is not available yet");
    }

    #[test]
    fn a_stage_on_another_one_is_built() {
        let text = "apiVersion: aishell/v1\nbase: { image: debian }\nextension: { builtin: {} }\ncontainers: { a: {} }\n";
        let hint = "or a `dockerfile` that begins with FROM aishell:foundation";
        let problems = world().file("aishell.yaml", text).problems("aishell.yaml");
        let lines: Vec<&str> = problems.lines().collect();
        assert_eq!(
            lines,
            [
                format!(
                    "aishell.yaml:2:16: `base` is made on the stage before it, and `image` would put another image in its place (write `image` as the foundation, {hint})"
                ),
                format!(
                    "aishell.yaml:3:14: `extension` is made on the stage before it, and `builtin` would put another image in its place (write `builtin` as the foundation, {hint})"
                ),
            ]
        );
    }

    #[test]
    fn a_package_is_a_name_and_nothing_a_shell_would_read() {
        let world = world().file("aishell.yaml", "apiVersion: aishell/v1\nfoundation: { builtin: { packages: [gh, '$(id)', 'curl; id', -y] } }\ncontainers: { a: {} }\n");
        insta::assert_snapshot!(world.problems("aishell.yaml"), @r"
        aishell.yaml:2:41: `$(id)` is not the name of a Debian package; write one as in `python3`, perhaps with a version as in `python3=3.11.2-1+b1`
        aishell.yaml:2:50: `curl; id` is not the name of a Debian package; write one as in `python3`, perhaps with a version as in `python3=3.11.2-1+b1`
        aishell.yaml:2:62: `-y` is not the name of a Debian package; write one as in `python3`, perhaps with a version as in `python3=3.11.2-1+b1`
        ");
    }
}

const FULL: &str = include_str!("../../tests/fixtures/full.yaml");

mod types {
    use super::*;

    #[test]
    fn every_manifest_that_ships_is_one() {
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
        let files = fs::read_dir(manifests).unwrap().map(|file| file.unwrap().path());
        let manifest = |file: &std::path::PathBuf| file.is_file() && !file.ends_with("harnesses.yaml");
        for file in files.filter(manifest) {
            let tree = tree(&fs::read_to_string(&file).unwrap());
            let faults = [check::written(&tree), check::complete(&tree)].concat();
            assert_eq!(faults, [], "{}", file.display());
            assert_eq!(typed::<Manifest>(tree, &[]).faults, [], "{}", file.display());
        }
    }

    #[test]
    fn anchors_and_merge_keys_work() {
        let manifest = manifest(
            "defaults: &base { hostname: x, env: { A: 1 } }\ncontainers: { a: { <<: *base, env: [B=2] }, b: *base }\n",
        );
        assert!(
            manifest
                .containers
                .values()
                .all(|container| container.hostname.is_some())
        );
        assert_eq!(manifest.containers["a"].env.0.len(), 2);
    }

    #[test]
    fn spelling_is_kept_where_text_is_meant() {
        let manifest = manifest(
            "containers: { a: { harness: claude, args: [1.10, yes, True, 0x1F, 010], env: { A: 1.10, B: no, C: true, D: '~', E: '' } } }\n",
        );
        let a = &manifest.containers["a"];
        assert_eq!(a.args, ["1.10", "yes", "True", "0x1F", "010"]);
        let text = |value: &EnvValue| match value {
            EnvValue::Literal(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            a.env.0.values().map(text).collect::<Vec<_>>(),
            ["1.10", "no", "true", "~", ""]
        );
    }

    #[test]
    fn the_published_schema_is_the_one_of_the_types() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/manifest.schema.json");
        let schema = format!("{:#}\n", crate::manifest::schema().to_value());
        let published = fs::read_to_string(&path).unwrap_or_default();
        if published != schema {
            let fresh = path.with_extension("json.new");
            fs::write(&fresh, schema).unwrap();
            panic!(
                "{} is stale; {} is what it has to be",
                path.display(),
                fresh.display()
            );
        }
    }

    fn tree(text: &str) -> Node {
        let file: Arc<Path> = Arc::from(Path::new("/p/aishell.yaml"));
        let host = host(Path::new("/p"));
        let mut tree = Node::parse(text, &file).unwrap();
        normal::rename(&mut tree);
        let faults = normal::normalise(
            &mut tree,
            Base {
                directory: Path::new("/p"),
                host: &host,
            },
        );
        assert_eq!(faults, []);
        tree
    }

    #[test]
    fn the_types_and_the_schema_accept_every_documented_key() {
        let file: Arc<Path> = Arc::from(Path::new("/p/aishell.yaml"));
        let mut written = Node::parse(FULL, &file).unwrap();
        normal::rename(&mut written);
        assert_eq!(check::written(&written), [], "the schema");
        let tree = tree(FULL);
        assert_eq!(check::written(&tree), [], "the schema, long form");
        assert_eq!(check::complete(&tree), [], "the schema, complete");
        let Typed {
            value: manifest,
            faults,
            ..
        } = typed::<Manifest>(tree, &[]);
        assert_eq!(faults, []);
        let manifest = manifest.unwrap();
        assert_eq!(manifest.containers.len(), 3);
        // The types read the short forms as well as the long ones.
        let Typed {
            value: short, faults, ..
        } = typed::<Manifest>(written, &[]);
        assert_eq!(faults, []);
        assert!(short.is_some());
    }

    #[test]
    fn every_property_of_the_schema_is_described() {
        fn visit(path: &str, schema: &serde_json::Value, missing: &mut Vec<String>) {
            if let Some(properties) = schema
                .get("properties")
                .and_then(|properties| properties.as_object())
            {
                for (key, property) in properties {
                    if property.get("description").is_none() {
                        missing.push(format!("{path}.{key}"));
                    }
                }
            }
            if let Some(map) = schema.as_object() {
                map.iter()
                    .for_each(|(key, value)| visit(&format!("{path}/{key}"), value, missing));
            }
        }
        let mut missing = Vec::new();
        visit("", &crate::manifest::schema().to_value(), &mut missing);
        assert_eq!(missing, [""; 0]);
    }
}

mod merging {
    use super::*;

    fn team(team: &str, own: &str) -> Manifest {
        world()
            .file("shared/team.yaml", team)
            .file("shared/fixtures/x", "")
            .file("fixtures/x", "")
            .file(
                "aishell.yaml",
                &format!("{HEAD}extends: [shared/team.yaml]\n{own}"),
            )
            .manifest("aishell.yaml")
    }

    #[test]
    fn scalars_and_argument_lists_replace() {
        let merged = team(
            "containers: { a: { harness: claude, args: [--one, --two], hostname: old } }",
            "containers: { a: { args: [--three], hostname: new } }",
        );
        let a = &merged.containers["a"];
        assert_eq!(a.args, ["--three"]);
        assert_eq!(a.hostname.as_ref().unwrap().as_str(), "new");
        assert_eq!(a.harness.as_ref().unwrap().as_str(), "claude");
    }

    #[test]
    fn variables_merge_by_name_in_either_form() {
        let merged = team(
            "containers: { a: { env: [A=1, B=2] } }",
            "containers: { a: { env: { B: 3, C: 1.10 } } }",
        );
        assert_eq!(
            format!("{:?}", merged.containers["a"].env.0.values().collect::<Vec<_>>()),
            r#"[Literal("1"), Literal("3"), Literal("1.10")]"#
        );
    }

    #[test]
    fn mounts_merge_by_target_and_ports_by_the_port_of_the_host() {
        let merged = team(
            "containers: { a: { mounts: [/tmp:/x, './fixtures:/f', '~/.cache:~/c'], ports: ['3000:1', '3001:1'] } }",
            "containers: { a: { mounts: [{ volume: v, target: /x }, { tmpfs: /home/me/c }], ports: ['3000:2'] } }",
        );
        let a = &merged.containers["a"];
        let targets: Vec<_> = a.mounts.iter().map(|mount| mount.target().to_string()).collect();
        assert_eq!(targets, ["/f", "/x", "/home/me/c"]);
        let ports: Vec<_> = a.ports.iter().map(ToString::to_string).collect();
        assert_eq!(ports, ["127.0.0.1:3001:1/tcp", "127.0.0.1:3000:2/tcp"]);
    }

    #[test]
    fn other_lists_append_and_null_removes() {
        let merged = team(
            "certificates: [ca.pem]\ncontainers: { a: { hostname: x, env: { A: 1 }, resources: { cpus: 1 } }, b: {} }",
            "certificates: null\ncontainers: { a: { hostname: null, env: { A: ~ } }, b: null }",
        );
        assert_eq!(merged.certificates, Certificates::None);
        assert!(merged.containers["a"].hostname.is_none() && merged.containers["a"].env.0.is_empty());
        assert!(merged.containers["a"].resources.cpus.is_some());
        assert_eq!(merged.containers.len(), 1);
        let world = world()
            .file("a.pem", "")
            .file("team/b.pem", "")
            .file("team/team.yaml", "certificates: [b.pem]");
        let world = world.file(
            "aishell.yaml",
            &format!("{HEAD}extends: [team/team.yaml]\ncertificates: [a.pem]"),
        );
        let Certificates::Files(files) = world.manifest("aishell.yaml").certificates else {
            panic!("no files")
        };
        assert_eq!(
            files,
            ["team/b.pem", "a.pem"].map(|file| world.host.directory.join(file))
        );
    }

    #[test]
    fn another_choice_replaces_the_choice() {
        let world = world().file("team/Dockerfile", "").file(
            "team/team.yaml",
            "foundation: { dockerfile: Dockerfile, args: { A: 1 } }\nharnesses: { claude: 1.0.0 }",
        );
        let world = world.file("aishell.yaml", &format!("{HEAD}extends: [team/team.yaml]"));
        assert!(matches!(
            world.manifest("aishell.yaml").foundation,
            Some(stage::Stage::Image { .. })
        ));
    }

    #[test]
    fn defaults_are_under_every_container() {
        let merged = manifest(
            "defaults: { resources: { cpus: 2, memory: 4g }, env: { A: 1 }, ports: [3000] }\ncontainers: { a: { resources: { memory: 2g }, env: [B=2] }, b: { resources: null, ports: null } }\n",
        );
        let [a, b] = ["a", "b"].map(|name| &merged.containers[name]);
        assert_eq!(a.resources.cpus.unwrap().to_string(), "2");
        assert_eq!(a.resources.memory.unwrap().to_string(), "2GiB");
        assert_eq!((a.env.0.len(), a.ports.len()), (2, 1));
        assert_eq!((b.env.0.len(), b.ports.len()), (1, 0));
        assert_eq!(b.resources, resources::Resources::default());
    }

    #[test]
    fn places_survive() {
        let world = world()
            .file("team.yaml", "defaults:\n  resources: { memory: 4g }\ncontainers:\n  a:\n    env: [A=1]\n")
            .file("aishell.yaml", &format!("{HEAD}extends: [team.yaml]\ncontainers:\n  a:\n    mounts: [/tmp:/t]\n    ports: ['3000:80']\n"));
        let source = world.load("aishell.yaml").unwrap().source;
        let place = |path: &str| {
            source
                .place(path)
                .unwrap()
                .seen_from(&world.host.directory)
                .to_string()
        };
        assert_eq!(place("containers.a.resources.memory"), "team.yaml:2:24");
        assert_eq!(place("containers.a.env.A"), "team.yaml:5:11");
        assert_eq!(place("containers.a.mounts./t"), "aishell.yaml:7:14");
        assert_eq!(place("containers.a.mounts.0"), "aishell.yaml:7:14");
        assert_eq!(place("containers.a.ports.3000"), "aishell.yaml:8:13");
        assert_eq!(place("containers.a.nothing.here"), "aishell.yaml:6:3");
        assert_eq!(source.place("nothing"), None);
        assert_eq!(source.files().len(), 2);
    }

    #[test]
    fn paths_resolve_against_the_file_they_are_written_in() {
        let merged = team(
            "containers: { a: { mounts: ['./fixtures:/one'] } }",
            "containers: { a: { mounts: ['./fixtures:/two', './fixtures', '~', '../../../../../../tmp'] } }"
                .replace("'~', ", "")
                .as_str(),
        );
        let sources: Vec<_> = merged.containers["a"]
            .mounts
            .iter()
            .map(|mount| match mount {
                mount::Mount::Bind { source, .. } => source.display().to_string(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(sources[0].ends_with("/shared/fixtures") && !sources[1].ends_with("/shared/fixtures"));
        assert_eq!(sources[3], "/tmp");
        assert_eq!(merged.containers["a"].mounts[2].target().to_string(), sources[2]);
    }

    #[test]
    fn files_that_extend_each_other_wrongly_are_refused() {
        let world = world()
            .file("a.yaml", "extends: [b.yaml]\n")
            .file("b.yaml", "extends: [./a.yaml]\n")
            .file("c.yaml", "name: c\nproject: /\nengine: {}\nbroken: 1\ncontainers: { a: { hostname: a_b } }\n")
            .file("d.yaml", "a: [\n")
            .file("e.yaml", "")
            .file("aishell.yaml", &format!("{HEAD}extends: [a.yaml, c.yaml, d.yaml, e.yaml, missing.yaml, ., c.yaml, aishell.yaml]\ncontainers: {{ b: }}\n"));
        insta::assert_snapshot!(world.problems("aishell.yaml"), @r"
        aishell.yaml:4:43: missing.yaml: No such file or directory (os error 2)
        aishell.yaml:4:57: . is a directory, not a file
        aishell.yaml:4:68: files extend each other in a circle: aishell.yaml → aishell.yaml
        aishell.yaml:5:15: `b` is empty, and there is none to remove (`b: {}` has every default)
        b.yaml:1:11: files extend each other in a circle: a.yaml → b.yaml → a.yaml
        c.yaml:1:1: `name` belongs into the manifest itself, not into a file it extends
        c.yaml:2:1: `project` belongs into the manifest itself, not into a file it extends
        c.yaml:3:1: `engine` belongs into the manifest itself, not into a file it extends
        c.yaml:4:1: unknown key `broken`
        c.yaml:5:20: `a_b` is not a host name: use letters, digits and `-`, at most 63 characters, with a letter or digit at both ends
        d.yaml:1:4: unclosed bracket '['
        ");
    }

    #[test]
    fn files_extend_each_other_at_most_eight_deep() {
        let deep = |files: usize| {
            let mut world = world();
            for file in 0..files {
                world = world.file(
                    &format!("{file}.yaml"),
                    &format!("extends: [{}.yaml]\n", file + 1),
                );
            }
            world
                .file(&format!("{files}.yaml"), "")
                .file("aishell.yaml", &format!("{HEAD}extends: [0.yaml]\n"))
        };
        assert!(deep(7).load("aishell.yaml").is_ok());
        insta::assert_snapshot!(deep(8).problems("aishell.yaml"), @"7.yaml:1:11: files extend each other more than 8 deep");
    }
}

mod finding {
    use super::*;

    #[test]
    fn the_manifest_is_found_upwards_to_the_repository_root() {
        let mut world = world()
            .file("p/.git/x", "")
            .file("p/a/b/x", "")
            .file("p/aishell.yaml", "")
            .file("aishell.yaml", "");
        let root = world.host.directory.clone();
        world.host.directory = root.join("p/a/b");
        assert_eq!(find(&world.host).unwrap(), root.join("p/aishell.yaml"));
        fs::remove_file(root.join("p/aishell.yaml")).unwrap();
        assert!(matches!(find(&world.host), Err(LoadError::NotFound { .. })));
    }

    #[test]
    fn two_candidates_in_one_directory_are_an_error() {
        let world = world()
            .file(".aishell/manifest.yaml", "")
            .file("aishell.yaml", "")
            .file("manifest.yaml", "kind: x\n");
        insta::assert_snapshot!(world.shown(&find(&world.host).unwrap_err()), @". has more than one manifest: .aishell/manifest.yaml, aishell.yaml");
    }

    #[test]
    fn the_project_is_around_a_directory_of_its_own() {
        let world = world().file(".aishell/manifest.yaml", HEAD);
        let source = world.load(".aishell/manifest.yaml").unwrap().source;
        assert_eq!(source.project(), world.host.directory);
        assert_eq!(source.directory(), world.host.directory.join(".aishell"));
    }

    #[test]
    fn standard_input_is_in_the_working_directory() {
        let world = world().file("fixtures/x", "");
        let loaded = parse(
            &format!("{HEAD}containers: {{ a: {{ mounts: [./fixtures] }} }}"),
            Path::new(STANDARD_INPUT),
            &world.host,
        )
        .unwrap();
        assert_eq!(loaded.source.directory(), world.host.directory);
        assert!(loaded.source.files().is_empty());
    }
}

#[test]
fn a_manifest_full_of_mistakes_is_answered_at_once() {
    let mut text = HEAD.to_owned();
    text += "containers:\n";
    for number in 0..10_000 {
        text.extend([&format!("  a{number}: {{ b{number}: 1, ports: [0], image: base }}\n")[..]]);
    }
    let error = parse(
        &text,
        Path::new("/nowhere/aishell.yaml"),
        &host(Path::new("/nowhere")),
    )
    .unwrap_err();
    let LoadError::Invalid { problems, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(problems.len(), MOST_PROBLEMS + 1);
}

proptest! {
    #[test]
    fn no_bytes_make_loading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let host = host(Path::new("/nowhere"));
        let _ = load_bytes(bytes, Path::new("/nowhere/aishell.yaml"), &host);
    }

    #[test]
    fn no_yaml_makes_loading_panic(text in "[-a-c:{}\\[\\]&*!|>'\" \t\n#,~?<0-9.]{0,80}") {
        let host = host(Path::new("/nowhere"));
        let _ = parse(&text, Path::new("/nowhere/aishell.yaml"), &host);
    }

    /// Any value in any place of a manifest is accepted or refused, with a place.
    #[test]
    fn a_value_in_the_wrong_place_has_a_place(line in 0..FULL.lines().count(), value in prop_oneof![Just("[]"), Just("{}"), Just("[[1]]"), Just("{ a: 1 }"), Just("~"), Just("1.5"), Just("true"), Just("x y"), Just("''")]) {
        let mut lines: Vec<_> = FULL.lines().map(str::to_owned).collect();
        if let Some((key, _)) = lines[line].clone().split_once(": ") {
            lines[line] = format!("{key}: {value}");
        }
        let host = host(Path::new("/nowhere"));
        match parse(&lines.join("\n"), Path::new("/nowhere/aishell.yaml"), &host) {
            Err(LoadError::Invalid { problems, .. }) => prop_assert!(problems.iter().all(|problem| problem.place.is_some())),
            other => prop_assert!(false, "{other:?}"),
        }
    }
}

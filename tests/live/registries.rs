//! Registries of packages that are not everybody's: with certificates and logins of their own.

use serde_json::{Value, json};

use crate::packages::Index;
use crate::project::{Project, Run, step, text, word};
use crate::raw;

/// A foundation that has both package managers.
const BOTH: &str = "FROM debian:bookworm-slim\nRUN apt-get update \\\n && apt-get install -y --no-install-recommends nodejs npm python3-venv \\\n && rm -rf /var/lib/apt/lists/*\n";

/// A project that asks an index for a package of each kind.
struct Asking {
    project: Project,
    npm: String,
    pypi: String,
}

impl Asking {
    fn new(index: &Index) -> Self {
        raw::engine();
        let (npm, pypi) = (format!("n{}", word()), format!("p{}", word()));
        index.wheels(&pypi, &[("1.0", "")]);
        let program = [("run.sh", "#!/bin/sh\necho 1.0.0\n")];
        index.package(&npm, "1.0.0", &program, &json!({ "bin": { &npm: "run.sh" } }));
        let project = Project::on(raw::tiny());
        project.write("Dockerfile", BOTH);
        Self { project, npm, pypi }
    }

    /// Writes a manifest that asks for what `kinds` names.
    fn wants(&self, kinds: &[&str], version: &str, more: &str) {
        let Self { project, npm, pypi } = self;
        let lines: String = kinds
            .iter()
            .map(|kind| match *kind {
                "npm" => {
                    format!("  {npm}: {{ npm: {npm}, version: {version}, bin: [{npm}], runtime: image }}\n")
                }
                _ => format!("  {pypi}: {{ pypi: {pypi}, version: {version}, bin: [{pypi}] }}\n"),
            })
            .collect();
        project.manifest_on(
            "{ dockerfile: Dockerfile }",
            &format!("{more}harnesses:\n{lines}containers:\n  a: {{ command: [sleep, \"1000\"], network: none, stop: {{ timeout: 0 }} }}\n"),
        );
    }

    fn runs(&self) {
        for (program, says) in [(&self.npm, "1.0.0"), (&self.pypi, "1.0")] {
            assert_eq!(
                raw::said(&self.project.object("a"), &["sh", "-lc", program]),
                says
            );
        }
    }
}

/// Returns the error of the set.
fn error(run: &Run) -> Value {
    assert_eq!(run.code, Some(5), "{run:#?}");
    step(&run.json, "volume", "aishell-harness-")["error"].clone()
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_told_and_trusted_with_who_does() {
    let own = tempfile::tempdir().expect("a directory");
    let index = Index::sealed(own.path());
    let mut asking = Asking::new(&index);
    let certificate = std::fs::read_to_string(own.path().join("ca.pem")).expect("a certificate");
    asking.project.write("ca.pem", &certificate);
    asking
        .project
        .variable("npm_config_registry", &index.address("npm/"));
    asking.project.variable("PIP_INDEX_URL", &index.address("simple"));
    // What is pinned is told by the installer, what is not by whoever is asked what it means.
    asking.wants(&["npm"], "1.0.0", "");
    let error = error(&asking.project.apply());
    assert!(
        text(&error["hint"]).contains("`certificates: [FILE]`"),
        "{error:#}"
    );
    asking.wants(&["pypi"], "latest", "");
    let run = asking.project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let problems = run.json["problems"].to_string();
    assert!(
        problems.contains("check the way to the index: `certificates`"),
        "{problems}"
    );
    asking.wants(&["npm", "pypi"], "latest", "certificates: [ca.pem]\n");
    asking.project.converge();
    asking.runs();
}

/// Insists that a secret is in nothing that the engine has of a project, and in nothing that was said.
fn nowhere(secret: &str, project: &Project, runs: &[&Run]) {
    let found = |what: &str, bytes: &[u8]| {
        let is_there = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!is_there, "{secret} is in {what}");
    };
    for run in runs {
        found("what was said", format!("{run:?}").as_bytes());
    }
    let label = project.label();
    let containers = raw::containers(&label);
    for container in &containers {
        let id = text(&container["Id"]);
        let whole = raw::container(id).unwrap_or_default();
        found("a container", whole.to_string().as_bytes());
        found("the files of a container", &raw::contents(id));
        found("a log", &raw::log(id));
    }
    for other in [raw::volumes(&label), raw::networks(&label)].concat() {
        found("an object", other.to_string().as_bytes());
    }
    for image in raw::images(&label) {
        found("an image", &raw::save(text(&image["Id"])));
    }
    for volume in raw::volumes(&label) {
        let script = format!("! grep -rqF -- '{secret}' /v");
        raw::beside_on(
            "debian:bookworm-slim",
            text(&volume["Name"]),
            &project.name,
            &["sh", "-c", &script],
        );
    }
    let mut files = vec![project.path()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a directory").flatten();
            files.extend(
                entries
                    .map(|entry| entry.path())
                    .filter(|path| !path.ends_with("home")),
            );
        } else {
            found("a file of the project", &std::fs::read(&path).unwrap_or_default());
        }
    }
}

#[test]
fn who_asks_a_registry_is_known_to_that_and_to_nobody_else() {
    let (token, password) = (format!("npm{}", word()), format!("pip{}", word()));
    let basic = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("tester:{password}"))
    };
    let index = Index::guarded(&[&format!("Bearer {token}"), &format!("Basic {basic}")]);
    let mut asking = Asking::new(&index);
    let own = tempfile::tempdir().expect("a directory");
    let home = own.path();
    std::fs::create_dir_all(home.join(".config/pip")).expect("a directory");
    let configure = |password: &str| {
        let registry = index.address("npm/");
        let about = registry.trim_start_matches("http:");
        let npmrc = format!("registry={registry}\n{about}:_authToken=${{TEST_TOKEN}}\nalways-auth=true\n");
        let simple = index
            .address("simple")
            .replace("http://", &format!("http://tester:{password}@"));
        let pip = format!(
            "[global]\nindex-url = {simple}\ntrusted-host = {}\n",
            index.host()
        );
        std::fs::write(home.join(".npmrc"), npmrc).expect("a file");
        std::fs::write(home.join(".config/pip/pip.conf"), pip).expect("a file");
    };
    asking.project.variable("HOME", &home.display().to_string());
    let mut runs = Vec::new();
    // Whoever is not let in is told so, and what he said is told to nobody.
    let (wrong_token, wrong_password) = (format!("npm{}", word()), format!("pip{}", word()));
    asking.project.variable("TEST_TOKEN", &wrong_token);
    configure(&wrong_password);
    for (kind, version, said) in [("npm", "1.0.0", "401"), ("pypi", "\"1.0\"", "401")] {
        asking.wants(&[kind], version, "");
        let run = asking.project.apply();
        let told = error(&run);
        assert!(told.to_string().contains(said), "{kind}: {told:#}");
        for secret in [&wrong_token, &wrong_password] {
            nowhere(secret, &asking.project, &[&run]);
        }
        runs.push(run);
    }
    asking.project.variable("TEST_TOKEN", &token);
    configure(&password);
    asking.wants(&["npm", "pypi"], "latest", "");
    runs.push(asking.project.plain(&["apply", "-vv"]));
    assert_eq!(runs[2].code, Some(0), "{:#?}", runs[2]);
    asking.project.settled();
    asking.runs();
    let runs: Vec<&Run> = runs.iter().collect();
    for secret in [&token, &password, &basic, &wrong_token, &wrong_password] {
        nowhere(secret, &asking.project, &runs);
    }
}

//! Registries of packages that are not everybody's: with certificates and logins of their own.

use serde_json::{Value, json};

use crate::packages::Index;
use crate::project::{Project, Run, step, text, word};
use crate::raw;
use crate::support::BASE;

/// A foundation that has both package managers.
pub const BOTH: &str = "FROM debian:bookworm-slim\nRUN apt-get update \\\n && apt-get install -y --no-install-recommends nodejs npm python3-venv \\\n && rm -rf /var/lib/apt/lists/*\n";

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

/// Insists that secrets are in nothing that the engine has of a project, and in nothing that was said.
fn nowhere(secrets: &[&String], project: &Project, runs: &[&Run]) {
    let found = |what: &str, bytes: &[u8]| {
        for secret in secrets {
            let is_there = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!is_there, "{secret} is in {what}");
        }
    };
    for run in runs {
        found("what was said", format!("{run:?}").as_bytes());
    }
    let label = project.label();
    for container in raw::containers(&label) {
        let id = text(&container["Id"]);
        let whole = raw::container(id).unwrap_or_default();
        found("a container", whole.to_string().as_bytes());
        found("a log", &raw::log(id));
        // Of what is kept, whatever was written outside of volumes.
        if let Some(files) = raw::archived(id, "/.aishell-job") {
            found("the home of a job", &files);
        }
        let changes = raw::get(&format!("/containers/{id}/changes"));
        found("the names of files", changes.to_string().as_bytes());
    }
    for other in [raw::volumes(&label), raw::networks(&label)].concat() {
        found("an object", other.to_string().as_bytes());
    }
    for image in raw::images(&label) {
        let id = text(&image["Id"]);
        for about in ["json", "history"] {
            found(
                "an image",
                raw::get(&format!("/images/{id}/{about}")).to_string().as_bytes(),
            );
        }
    }
    for volume in raw::volumes(&label) {
        for secret in secrets {
            let script = format!("! grep -rqF -- '{secret}' /v");
            let command = ["sh", "-c", script.as_str()];
            raw::beside_on(BASE, text(&volume["Name"]), &project.name, &command);
        }
    }
    let mut files = vec![project.path()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a directory").flatten();
            files.extend(entries.map(|entry| entry.path()));
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
    for (kind, version) in [("npm", "1.0.0"), ("pypi", "\"1.0\"")] {
        asking.wants(&[kind], version, "");
        let run = asking.project.apply();
        let hint = error(&run)["hint"].to_string();
        assert!(hint.contains("does not know who asks"), "{kind}: {run:#?}");
        nowhere(&[&wrong_token, &wrong_password], &asking.project, &[&run]);
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
    let secrets = [&token, &password, &basic, &wrong_token, &wrong_password];
    nowhere(&secrets, &asking.project, &runs);
}

#[test]
fn registries_behind_a_proxy_are_asked_through_it_and_sandboxes_know_nothing_of_its_password() {
    let proxy = Index::start();
    let mut asking = Asking::new(&proxy);
    let name = asking.project.name.clone();
    let registry = format!("http://{name}.test");
    asking
        .project
        .variable("npm_config_registry", &format!("{registry}/npm/"));
    asking
        .project
        .variable("PIP_INDEX_URL", &format!("{registry}/simple"));
    asking
        .project
        .variable("PIP_TRUSTED_HOST", &format!("{name}.test"));
    let password = format!("pass{}", word());
    let address = proxy
        .address("")
        .replace("://", &format!("://somebody:{password}@"));
    let address = address.trim_end_matches('/');
    asking.wants(
        &["npm", "pypi"],
        "latest",
        &format!("proxy: {{ http: \"{address}\" }}\n"),
    );
    let run = asking.project.plain(&["apply", "-vv"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    asking.runs();
    let asked = proxy.asked();
    for wanted in [
        format!("{registry}/npm/{}", asking.npm),
        format!("{registry}/simple/{}/", asking.pypi),
    ] {
        assert!(asked.contains(&wanted), "{wanted}: {asked:?}");
    }
    let said = format!("{run:?}");
    assert!(!said.contains(&password), "{said}");
    for container in raw::containers(&asking.project.label()) {
        let id = text(&container["Id"]);
        let whole = raw::container(id).unwrap_or_default().to_string();
        assert!(!whole.contains(&password), "{whole}");
    }
    asking.project.settled();
}

#[test]
fn the_way_back_needs_no_registry() {
    let index = Index::start();
    let (npm, pypi) = (format!("n{}", word()), format!("p{}", word()));
    index.wheels(&pypi, &[("1.0", ""), ("2.0", "")]);
    for version in ["1.0.0", "2.0.0"] {
        let script = format!("#!/bin/sh\necho {version}\n");
        index.package(
            &npm,
            version,
            &[("run.sh", &script)],
            &json!({ "bin": { &npm: "run.sh" } }),
        );
    }
    raw::engine();
    let mut project = Project::on(raw::tiny());
    project.write("Dockerfile", BOTH);
    project.variable("npm_config_registry", &index.address("npm/"));
    project.variable("PIP_INDEX_URL", &index.address("simple"));
    project.variable("PIP_TRUSTED_HOST", &index.host());
    // Ranges: what they mean is in the lock, and nobody is asked again.
    let write = |major: u32| {
        project.manifest_on(
            "{ dockerfile: Dockerfile }",
            &format!(
                "harnesses:\n  {npm}: {{ npm: {npm}, version: ^{major}, bin: [{npm}], runtime: image }}\n  \
                 {pypi}: {{ pypi: {pypi}, version: \"~={major}.0\", bin: [{pypi}] }}\n\
                 containers:\n  a: {{ command: [sleep, \"1000\"], network: none, stop: {{ timeout: 0 }} }}\n"
            ),
        );
    };
    let lock = || std::fs::read_to_string(project.path().join("aishell.lock")).expect("a lock");
    let runs = |major: u32| {
        for (program, says) in [(&npm, format!("{major}.0.0")), (&pypi, format!("{major}.0"))] {
            assert_eq!(raw::said(&project.object("a"), &["sh", "-lc", program]), says);
        }
    };
    write(1);
    project.converge();
    runs(1);
    let old = lock();
    write(2);
    project.converge();
    runs(2);
    let prune = project.run(&["prune", "--yes", &project.name]);
    assert_eq!(prune.code, Some(0), "{prune:#?}");
    index.leave();
    let asked = index.asked().len();
    // As whoever takes back a commit of both files.
    write(1);
    project.write("aishell.lock", &old);
    let run = project.converge();
    assert!(!run.json["steps"].to_string().contains("populate"), "{run:#?}");
    runs(1);
    assert_eq!(index.asked().len(), asked);
}

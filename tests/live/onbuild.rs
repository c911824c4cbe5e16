//! Images that aishell did not make and that have the next build do something (`ONBUILD`).

use std::io::Read as _;

use crate::phases::within_image;
use crate::project::{Project, Victim, project, step, text};
use crate::proxy::{Proxy, Verdict};
use crate::raw;
use crate::registry::Registry;

/// What a certificate of nobody says, and what must be in no image.
const BUNDLE: &str = "-----BEGIN CERTIFICATE-----\nbm9ib2R5J3MgYnVuZGxl\n-----END CERTIFICATE-----\n";

/// An image of the engine's that goes with this.
struct Foreign(String);

impl Foreign {
    fn new(project: &Project, instructions: &str) -> Self {
        let tag = format!("{}-foreign:1", project.name);
        raw::derive(&tag, instructions);
        Self(tag)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        raw::delete(&format!("/images/{}?force=true", self.0));
    }
}

fn on(project: &Project, stages: &str) {
    project.write("ca.pem", BUNDLE);
    project.manifest_on(stages, "containers: {}\n");
}

/// Returns the reasons of the first step of a plan.
fn reasons(project: &Project) -> Vec<String> {
    let diff = project.diff();
    let because = diff.json["steps"][0]["because"].as_array().cloned();
    let because = because.unwrap_or_default().into_iter();
    because
        .map(|because| text(&because["field"]).to_owned())
        .collect()
}

/// Insists that no layer of an image has a file of ours, and that none is left of what was made for a build.
fn nothing_of_ours(project: &Project, image: &str) {
    let saved = raw::save(image);
    let mut archive = tar::Archive::new(saved.as_slice());
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("bytes");
        let path = entry.path().expect("a path").display().to_string();
        let content = String::from_utf8_lossy(&bytes);
        assert!(!content.contains("bm9ib2R5J3MgYnVuZGxl"), "the bundle in {path}");
        if path.ends_with("layer.tar") {
            for own in [".aishell", "dev/aishell", "apt.conf"] {
                assert!(!content.contains(own), "{own} in {path}");
            }
        }
    }
    for image in raw::images(&project.label()) {
        let tags = image["RepoTags"].to_string();
        assert!(
            tags.contains("aishell-") && !tags.contains(":making-"),
            "{image:#}"
        );
    }
    project.only(&[]);
}

#[test]
fn what_an_image_has_done_is_done_without_anything_of_ours() {
    let project = project();
    let word = &project.name;
    let foreign = Foreign::new(
        &project,
        &format!(
            "LABEL of={word}\nWORKDIR /app\nCMD [\"none\"]\nONBUILD ARG WORD=none\nONBUILD COPY . /app/\nONBUILD RUN \
             echo $WORD >word && test -s $SSL_CERT_FILE && cp one two\n"
        ),
    );
    std::fs::create_dir(project.path().join("image")).expect("a directory");
    project.write("image/one", "1");
    project.write(
        "image/Dockerfile",
        &format!("ARG X\nFROM {} AS it\nCOPY one /own\nENV OWN=1\n", foreign.0),
    );
    on(
        &project,
        "{ dockerfile: image/Dockerfile, args: { WORD: said } }\ncertificates: [ca.pem]",
    );
    project.converge();
    let image = format!("aishell-{word}:foundation");
    let look = [
        "sh",
        "-c",
        "cd /; ls -A /app; cat /app/word /app/two /own; ls -A /dev",
    ];
    let said = within_image(&project, &image, &look);
    assert!(said.starts_with("Dockerfile\none\ntwo\nword\nsaid\n11"), "{said}");
    nothing_of_ours(&project, &image);
    let made = raw::get(&format!("/images/{image}/json"));
    assert!(made["Config"]["OnBuild"].as_array().is_none_or(Vec::is_empty));
    assert_eq!(made["Config"]["WorkingDir"], "/app");
    assert_eq!(made["Config"]["Cmd"][0], "none");

    // What only the image takes counts, and the argument that only it declares.
    project.write("image/more", "1");
    assert_eq!(reasons(&project), ["context/more"]);
    project.converge();
    // Who has it no more knows what it did.
    raw::delete(&format!("/images/{}?force=true", foreign.0));
    project.settled();
    project.write("image/more", "2");
    assert_eq!(reasons(&project), ["context/more"]);
    project.write("image/more", "1");
    // Another image by that name does something else.
    raw::derive(&foreign.0, "ONBUILD RUN echo else >/else\n");
    let told = reasons(&project);
    assert!(told.contains(&format!("onbuild.{}", foreign.0)), "{told:?}");
    project.converge();
    assert_eq!(within_image(&project, &image, &["cat", "/else"]), "else");
    project.write("image/more", "3");
    project.settled();
}

#[test]
fn a_step_that_an_image_asks_for_fails_at_the_line_that_names_it() {
    let project = project();
    let foreign = Foreign::new(&project, "ONBUILD COPY . /app\nONBUILD RUN echo loud; exit 7\n");
    project.write(
        "Dockerfile",
        &format!("ARG X\nFROM {}\nRUN true\nRUN exit 8\n", foreign.0),
    );
    on(&project, "{ dockerfile: Dockerfile }\ncertificates: [ca.pem]");
    let run = project.apply();
    let error = &step(&run.json, "image", ":foundation-")["error"];
    assert_eq!(error["at"]["line"], 2, "{error:#}");
    assert!(error["log"].to_string().contains("loud"), "{error:#}");
    project.only(&[]);
    assert!(raw::images(&project.label()).is_empty());
    // What stands behind that is still found.
    raw::derive(&foreign.0, "ONBUILD COPY . /app\nONBUILD RUN true\n");
    let run = project.apply();
    let error = &step(&run.json, "image", ":foundation-")["error"];
    assert_eq!(error["at"]["line"], 4, "{error:#}");
}

#[test]
fn a_stage_on_an_image_does_what_that_asks_for() {
    let project = project();
    let foreign = Foreign::new(
        &project,
        "ONBUILD COPY taken /taken\nONBUILD RUN cat /taken >/twice\n",
    );
    project.write("taken", "1");
    project.write("Base", "FROM aishell:foundation\nCOPY . /all/\n");
    project.write(".dockerignore", "*\n!taken\n!Base\n");
    on(
        &project,
        &format!(
            "{{ image: \"{}\", pull: never }}\ncertificates: [ca.pem]\nbase: {{ dockerfile: Base, context: . }}",
            foreign.0
        ),
    );
    project.converge();
    let image = format!("aishell-{}:base", project.name);
    let look = ["sh", "-c", "cat /twice; ls -A /all"];
    assert_eq!(within_image(&project, &image, &look), "1Base\ntaken");
    nothing_of_ours(&project, &image);
}

#[test]
fn what_an_image_has_done_that_was_not_there_is_found_out_before_anything_is_built() {
    let registry = Registry::start();
    let project = project();
    let image = registry.publish_with("base:1", "ONBUILD COPY . /app\n");
    std::fs::create_dir(project.path().join("image")).expect("a directory");
    project.write("image/one", "1");
    project.write(
        "image/Dockerfile",
        &format!("FROM {image}\nLABEL of={}\n", project.name),
    );
    on(
        &project,
        "{ dockerfile: image/Dockerfile }\ncertificates: [ca.pem]",
    );
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let error = &step(&run.json, "image", ":foundation-")["error"];
    assert!(text(&error["message"]).contains("ONBUILD"), "{error:#}");
    assert_eq!(error["at"]["line"], 1, "{error:#}");
    assert!(raw::images(&project.label()).is_empty());
    project.converge();
    let made = format!("aishell-{}:foundation", project.name);
    assert_eq!(
        within_image(&project, &made, &["ls", "-A", "/app"]),
        "Dockerfile\none"
    );
    // Gone once more: nothing is pulled, and nothing is built.
    registry.forget("base:1");
    project.settled();
    nothing_of_ours(&project, &made);
    // With the same image as before it is the same as before.
    project.write("image/one", "2");
    project.converge();
    registry.forget("base:1");
}

#[test]
fn what_a_killed_apply_made_for_a_build_is_gone_after_the_next() {
    let mut project = project();
    let foreign = Foreign::new(&project, "ONBUILD COPY . /app\n");
    std::fs::create_dir(project.path().join("image")).expect("a directory");
    project.write("image/Dockerfile", &format!("FROM {}\n", foreign.0));
    on(&project, "{ dockerfile: image/Dockerfile }");
    let mut ended = false;
    let mut at = 1;
    while !ended {
        project.write("image/file", &format!("{} {at}", project.name));
        let victim = Victim::default();
        let kills = victim.clone();
        let mut writes = 0;
        let proxy = Proxy::ruled(move |request| {
            let counts = request.is_write() && !request.names_claim();
            writes += usize::from(counts);
            if counts && writes == at {
                kills.kill();
                return Verdict::CutAfter;
            }
            Verdict::Pass
        });
        project.through(&proxy);
        ended = project.killable(&victim, &["apply"]).code == Some(0);
        project.at(None);
        // Another one is wanted meanwhile, so that nobody takes up what was begun.
        project.write("image/file", &format!("{} {at} more", project.name));
        raw::until("nothing is left of it", || {
            // What the engine was asked for it may do a little later, and what kept others out goes by itself.
            let done = project.apply().code == Some(0);
            let images = raw::images(&project.label());
            let half = images
                .iter()
                .filter(|image| image["RepoTags"].to_string().contains(":making-"));
            (done && half.count() == 0).then_some(())
        });
        project.settled();
        project.only(&[]);
        at += 1;
    }
    assert!(at > 6, "{at}");
}

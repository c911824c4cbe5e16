//! Foundation, base and extension: images that are made on each other.

use crate::project::{Project, changes, project, text};
use crate::raw;

/// Writes a manifest of three stages, of which each leaves a file that says what it was made of.
fn three(project: &Project, foundation: &str) {
    let tiny = &project.image;
    project.write(
        "Dockerfile.one",
        // Equal ones would be shared, with other tests too.
        &format!(
            "FROM {tiny}\nRUN echo {foundation} >/one; echo {} >/name\n",
            project.name
        ),
    );
    project.write(
        "Dockerfile.two",
        "FROM aishell:foundation\nRUN cat /one >/two; echo two >>/two\n",
    );
    let three =
        "# The layer of the project\nFROM aishell:base AS whole\nRUN cat /two >/three; echo three >>/three\n";
    project.write("Dockerfile.three", three);
    project.manifest_on(
        "{ dockerfile: Dockerfile.one, context: empty }",
        "base: { dockerfile: Dockerfile.two, context: empty }\nextension: { dockerfile: Dockerfile.three }\n\
         containers:\n  first: { image: foundation }\n  second: { image: base }\n  third: { }\n",
    );
    let _ = std::fs::create_dir(project.path().join("empty"));
}

/// Returns what the engine says of the image of a stage.
fn image(project: &Project, stage: &str) -> serde_json::Value {
    raw::get(&format!("/images/aishell-{}:{stage}/json", project.name))
}

fn label<'a>(image: &'a serde_json::Value, name: &str) -> &'a str {
    text(&image["Config"]["Labels"][name])
}

/// Returns the steps of a document as `action name-without-key`.
fn steps(document: &serde_json::Value, project: &Project) -> Vec<String> {
    let prefix = format!("aishell-{}:", project.name);
    let steps = document["steps"].as_array().into_iter().flatten();
    let images = steps.filter(|step| step["kind"] == "image");
    images
        .filter_map(|step| {
            let name = text(&step["name"]).strip_prefix(&prefix)?;
            let (stage, _) = name.rsplit_once('-')?;
            Some(format!("{} {stage}", text(&step["action"])))
        })
        .collect()
}

#[test]
fn every_stage_is_made_on_the_one_before_and_made_anew_with_it() {
    let project = project();
    three(&project, "v1");
    let diff = project.diff();
    assert_eq!(
        steps(&diff.json, &project)[..3],
        ["build foundation", "build base", "build extension"],
        "{diff:#?}"
    );
    project.converge();
    for (container, file, said) in [
        ("first", "/one", "v1"),
        ("second", "/two", "v1\ntwo"),
        ("third", "/three", "v1\ntwo\nthree"),
    ] {
        assert_eq!(raw::said(&project.object(container), &["cat", file]), said);
    }
    let [one, two, three_] = ["foundation", "base", "extension"].map(|stage| image(&project, stage));
    assert_eq!(label(&two, "aishell.foundation.id"), text(&one["Id"]));
    assert_eq!(label(&three_, "aishell.foundation.id"), text(&one["Id"]));
    assert_eq!(label(&three_, "aishell.base.id"), text(&two["Id"]));
    for (image, hash) in [
        (&one, "aishell.foundation.hash"),
        (&two, "aishell.base.hash"),
        (&three_, "aishell.extension.hash"),
    ] {
        assert_eq!(label(image, hash), label(image, "aishell.key"));
    }

    // Another foundation: all three once and in order, and every container moves on.
    three(&project, "v2");
    let run = project.converge();
    assert_eq!(
        steps(&run.json, &project)[..3],
        ["build foundation", "build base", "build extension"],
        "{run:#?}"
    );
    assert_eq!(
        raw::said(&project.object("third"), &["cat", "/three"]),
        "v2\ntwo\nthree"
    );

    // Another extension: nothing before it, and no container that does not run on it.
    let before = ["first", "second"].map(|name| project.id(name));
    project.write("Dockerfile.three", "FROM aishell:base\nRUN echo new >/three\n");
    let run = project.converge();
    assert_eq!(
        steps(&run.json, &project),
        ["build extension", "build sandbox"],
        "{run:#?}"
    );
    assert_eq!(["first", "second"].map(|name| project.id(name)), before);
    assert_eq!(raw::said(&project.object("third"), &["cat", "/three"]), "new");
}

#[test]
fn an_image_that_does_not_say_what_it_was_made_on_is_made_once_more() {
    let project = project();
    three(&project, "v1");
    project.converge();
    let before = project.id("third");
    // As an older aishell made it: the same in all but one label.
    let extension = image(&project, "extension");
    let alias = format!("aishell-{}:extension", project.name);
    let names = tags(&extension);
    let names: Vec<&String> = names.iter().filter(|name| **name != alias).collect();
    let keyed = names.iter().min_by_key(|name| name.len()).expect("a keyed tag");
    let proof = names.iter().max_by_key(|name| name.len()).expect("another one");
    let labels = extension["Config"]["Labels"].as_object().expect("labels");
    let ids = labels
        .keys()
        .filter(|name| ["aishell.foundation.id", "aishell.base.id"].contains(&name.as_str()));
    let instructions: String = ids.map(|name| format!("LABEL {name}=\"\"\n")).collect();
    raw::build(
        keyed,
        &alias,
        &format!("{instructions}LABEL aishell.uid=older aishell.schema=1\n"),
    );
    raw::delete(&format!("/images/{proof}"));
    let stale = raw::get(&format!("/images/{keyed}/json"));
    assert_ne!(stale["Id"], extension["Id"]);
    let run = project.converge();
    assert_eq!(steps(&run.json, &project), ["build extension"], "{run:#?}");
    // What runs is of the same inputs.
    assert_eq!(project.id("third"), before);
}

#[test]
fn equal_inputs_of_two_manifests_are_one_image() {
    let (one, two) = (project(), project());
    let instructions = format!("FROM {}\nRUN echo {} >/shared\n", one.image, one.name);
    for project in [&one, &two] {
        project.write("Dockerfile", &instructions);
        project.manifest_on("{ dockerfile: Dockerfile }", "containers:\n  a: { }\n");
    }
    one.converge();
    let diff = two.diff();
    let lines = changes(&diff.json);
    assert!(
        lines[0].starts_with(&format!("tag image aishell-{}:foundation-", two.name)),
        "{lines:#?}"
    );
    two.converge();
    assert_eq!(image(&one, "foundation")["Id"], image(&two, "foundation")["Id"]);
    one.settled();
    // Whoever goes takes only the names it gave.
    drop(one);
    two.settled();
    assert_eq!(raw::said(&two.object("a"), &["cat", "/shared"]).len(), 11);
}

/// Returns the names of an image that belong to a manifest.
fn tags(image: &serde_json::Value) -> Vec<String> {
    let tags = image["RepoTags"].as_array().into_iter().flatten();
    tags.map(|tag| text(tag).to_owned()).collect()
}

#[test]
fn what_is_built_from_an_image_of_ours_is_not_taken_for_it_when_it_is_gone() {
    let project = project();
    let tiny = &project.image;
    project.write(
        "Dockerfile",
        &format!("FROM {tiny}\nRUN echo {} >/made\n", project.name),
    );
    let manifest = |name: &str| format!("containers:\n  {name}: {{ }}\n");
    project.manifest_on("{ dockerfile: Dockerfile }", &manifest("a"));
    project.converge();
    let original = image(&project, "foundation");
    let alias = format!("aishell-{}:foundation", project.name);
    let names = tags(&original);
    assert_eq!(names.len(), 3, "{names:#?}");
    let keyed = names
        .iter()
        .filter(|name| **name != alias)
        .min_by_key(|name| name.len());
    let keyed = keyed.expect("a keyed tag").clone();

    // Somebody's image takes over the keyed tag; all of the labels it has anyway, the identifier included.
    raw::build(&keyed, &alias, "RUN echo other >/made\n");
    let child = raw::get(&format!("/images/{keyed}/json"));
    assert_ne!(child["Id"], original["Id"]);
    assert_eq!(
        child["Config"]["Labels"]["aishell.uid"],
        original["Config"]["Labels"]["aishell.uid"]
    );
    let own = format!("aishelltest-{}:child", project.name);
    let (repository, tag) = own.split_once(':').expect("a tag");
    raw::post(
        &format!("/images/{keyed}/tag?repo={repository}&tag={tag}"),
        &serde_json::Value::Null,
    );
    // And the original is gone, with the container and everything that was made from it.
    let gone = project.run(&["delete", "--yes", "--allow", "data-loss"]);
    assert_eq!(gone.code, Some(0), "{gone:#?}");
    for image in raw::images(&format!("aishell.manifest={}", project.name)) {
        for tag in tags(&image).iter().filter(|tag| **tag != keyed && **tag != own) {
            raw::delete(&format!("/images/{tag}"));
        }
    }

    let run = project.converge();
    assert_eq!(
        steps(&run.json, &project),
        ["build foundation", "build sandbox"],
        "{run:#?}"
    );
    let made = raw::said(&project.object("a"), &["cat", "/made"]);
    assert_eq!(made, project.name);
    // Nobody's image is lost by that.
    assert_eq!(raw::get(&format!("/images/{own}/json"))["Id"], child["Id"]);
    raw::delete(&format!("/images/{own}"));
}

#[test]
fn what_a_killed_apply_left_is_gone_after_the_next() {
    let project = project();
    let tiny = &project.image;
    project.write(
        "Dockerfile",
        &format!("FROM {tiny}\nRUN echo {} >/made\n", project.name),
    );
    project.manifest_on("{ dockerfile: Dockerfile }", "containers:\n  a: { }\n");
    let diff = project.diff();
    let names = diff.json["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| text(&step["name"]));
    let mut names = names;
    let key = names.find_map(|name| Some(name.split_once(":foundation-")?.1));
    let key = key.expect("a key");
    let hash = project
        .object("x")
        .trim_start_matches("aishell-")
        .trim_end_matches("-x")
        .to_owned();
    let making = format!("aishell-{}:making-{hash}-{key}", project.name);
    raw::build(&making, tiny, "RUN echo half >/made\n");
    project.converge();
    let (status, _) = raw::ask("GET", &format!("/images/{making}/json"), &serde_json::Value::Null);
    assert_eq!(status, 404);
}

#[test]
fn a_dockerfile_that_names_a_stage_that_does_not_come_before_is_refused_with_its_line() {
    let project = project();
    project.write(
        "Dockerfile",
        "ARG S=nothing\n\nFROM aishell:${S} AS x\nRUN true\n",
    );
    for (stage, message) in [
        ("base", "`aishell:nothing` is no stage"),
        ("foundation", "nothing comes before the foundation"),
    ] {
        let image = &project.image;
        let text = match stage {
            "base" => format!("foundation: {{ image: \"{image}\" }}\nbase: {{ dockerfile: Dockerfile }}"),
            _ => "foundation: { dockerfile: Dockerfile }".to_owned(),
        };
        let name = &project.name;
        let text = format!("apiVersion: aishell/v1\nname: {name}\n{text}\ncontainers:\n  a: {{ }}\n");
        project.write("aishell.yaml", &text);
        let run = project.plain(&["diff"]);
        assert_eq!(run.code, Some(3), "{run:#?}");
        assert!(
            run.stderr.contains(message) && run.stderr.contains("Dockerfile:3:6"),
            "{run:#?}"
        );
        assert!(run.stderr.contains("FROM aishell:${S} AS x"), "{run:#?}");
    }
}

#[test]
fn what_an_image_has_the_next_build_do_counts_there() {
    let project = project();
    let write = |word: &str| {
        project.manifest_on(
            &format!(
                "{{ dockerfile: f/Dockerfile }}\nbase: {{ dockerfile: b/Dockerfile, args: {{ WORD: {word}, OTHER: {word} }} }}"
            ),
            "containers: {}\n",
        );
    };
    for directory in ["f", "b"] {
        std::fs::create_dir_all(project.path().join(directory)).expect("a directory");
    }
    let foundation = format!(
        "FROM {}\nLABEL own={}\nONBUILD ARG WORD\nONBUILD COPY taken /taken\nONBUILD RUN echo $WORD >/word\n",
        project.image, project.name
    );
    project.write("f/Dockerfile", &foundation);
    project.write(
        "b/Dockerfile",
        "FROM aishell:foundation\nRUN cat /word /taken >/both\n",
    );
    project.write("b/taken", "one");
    project.write("b/other", "one");
    write("first");
    project.converge();
    let both = || {
        let image = format!("aishell-{}:base", project.name);
        crate::phases::within_image(&project, &image, &["cat", "/both"])
    };
    assert_eq!(both(), "first\none");
    let built = |run: &crate::project::Run| -> Vec<String> {
        let steps = run.json["steps"].as_array().into_iter().flatten();
        steps
            .map(|step| text(&step["because"][0]["field"]).to_owned())
            .collect()
    };
    // What nothing takes changes nothing.
    project.write("b/other", "two");
    assert_eq!(built(&project.diff()), [""; 0]);
    project.write("b/taken", "two");
    let diff = project.diff();
    assert_eq!(built(&diff), ["context/taken"], "{diff:#?}");
    project.converge();
    assert_eq!(both(), "first\ntwo");
    write("second");
    let diff = project.diff();
    assert_eq!(built(&diff), ["args.WORD"], "{diff:#?}");
    project.converge();
    assert_eq!(both(), "second\ntwo");
}

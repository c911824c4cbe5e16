//! When images are pulled: while they are missing, always, or never; as stages, and as what Dockerfiles start from.

use crate::project::{Project, project, text};
use crate::proxy::Proxy;
use crate::raw;
use crate::registry::Registry;

fn on(project: &Project, foundation: &str) {
    project.manifest_on(
        foundation,
        "containers:\n  a: { command: [sleep, \"1000\"], home: tmpfs, stop: { timeout: 1s } }\n",
    );
}

fn mark(project: &Project) -> String {
    raw::said(&project.object("a"), &["sh", "-c", "echo $MARK"])
}

#[test]
fn an_image_that_is_always_pulled_is_what_its_registry_says_now() {
    let mut registry = Registry::start();
    let image = registry.publish("base:1", "one");
    let mut project = project();
    on(&project, &format!("{{ image: \"{image}\", pull: always }}"));
    project.converge();
    assert_eq!(mark(&project), "one");
    let first = project.id("a");
    // The same is asked, and nothing comes of it.
    project.converge();
    assert_eq!(project.id("a"), first);

    registry.publish("base:1", "two");
    // Looking asks nobody but the engine, and it says who is asked.
    let proxy = Proxy::new();
    project.through(&proxy);
    let diff = project.diff();
    assert_eq!(diff.code, Some(0), "{diff:#?}");
    let seen = proxy.seen_from(0);
    assert!(
        seen.iter()
            .all(|request| !request.path.starts_with("/distribution")),
        "{diff:#?}"
    );
    project.at(None);
    assert!(
        diff.json["notes"].to_string().contains("pull: always"),
        "{diff:#?}"
    );
    // What is written down is what counts where nothing else may.
    assert_eq!(project.run(&["apply", "--locked"]).code, Some(0));
    assert_eq!((mark(&project), project.id("a")), ("one".to_owned(), first));
    let run = project.converge();
    assert_eq!(text(&run.json["pinned"][0]["name"]), image, "{run:#?}");
    assert_eq!(mark(&project), "two");

    registry.stop();
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    assert_eq!(run.json["problems"][0]["at"]["line"], 3, "{run:#?}");
    assert_eq!(project.run(&["apply", "--locked"]).code, Some(0));
    on(&project, &format!("{{ image: \"{image}\" }}"));
    project.converge();
    assert_eq!(mark(&project), "two");
}

#[test]
fn an_image_that_is_never_pulled_has_to_be_there() {
    let registry = Registry::start();
    let image = registry.publish("base:1", "one");
    let project = project();
    on(&project, &format!("{{ image: \"{image}\", pull: never }}"));
    let run = project.apply();
    assert_eq!(run.code, Some(6), "{run:#?}");
    let unblock = format!("docker pull {image}");
    assert_eq!(run.json["blocked"][0]["unblock"], unblock.as_str(), "{run:#?}");
    project.only(&[]);
    raw::pull(&image);
    project.converge();
    assert_eq!(mark(&project), "one");
}

/// Builds from an image with a policy, and something that makes it another build.
fn built(project: &Project, image: &str, (pull, more): (&str, &str)) {
    let name = &project.name;
    project.write(
        "Dockerfile",
        &format!("# {more}\nFROM {image}\nLABEL of={name}\n"),
    );
    on(project, &format!("{{ dockerfile: Dockerfile, pull: {pull} }}"));
}

#[test]
fn what_a_dockerfile_starts_from_is_pulled_as_the_manifest_says() {
    let registry = Registry::start();
    let image = registry.publish("base:1", "one");
    let project = project();
    built(&project, &image, ("never", "1"));
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let error = &run.json["steps"][0]["error"];
    let message = text(&error["message"]);
    assert!(
        message.contains("is not on the engine and the manifest says `pull: never`"),
        "{run:#?}"
    );
    assert_eq!(error["at"]["line"], 2, "{run:#?}");
    project.only(&[]);

    raw::pull(&image);
    project.converge();
    assert_eq!(mark(&project), "one");
    registry.publish("base:1", "two");
    // Publishing leaves no name here: what was there before gets it back, as on a machine that did not hear of it.
    raw::derive(&image, "ENV MARK=here\n");
    built(&project, &image, ("never", "2"));
    project.converge();
    assert_eq!(mark(&project), "here");
    built(&project, &image, ("missing", "3"));
    project.converge();
    assert_eq!(mark(&project), "here");
    built(&project, &image, ("always", "4"));
    project.converge();
    assert_eq!(mark(&project), "two");
    // When it is pulled is no part of what it is made of.
    built(&project, &image, ("missing", "4"));
    project.settled();
    registry.forget("base:1");
}

#[test]
fn a_stage_on_another_pulls_nothing_of_ours() {
    let registry = Registry::start();
    let image = registry.publish("base:1", "one");
    let project = project();
    project.write(
        "Dockerfile",
        &format!("FROM {image}\nLABEL of={}\n", project.name),
    );
    project.write("Extension", "FROM aishell:foundation\nENV MORE=1\n");
    project.manifest_on(
        "{ dockerfile: Dockerfile, pull: always }",
        "extension: { dockerfile: Extension, context: ., pull: always }\ncontainers:\n  \
         a: { command: [sleep, \"1000\"], home: tmpfs, stop: { timeout: 1s } }\n",
    );
    project.converge();
    assert_eq!(mark(&project), "one");
}

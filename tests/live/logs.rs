//! What containers have written. That of jobs is looked at where one fails.

use crate::project::project;
use crate::proxy::{Proxy, Verdict};

#[test]
fn what_a_container_wrote_comes_out_where_it_was_written() {
    let mut project = project();
    project.manifest(&format!(
        "containers:\n  a:\n    image: {image}\n    command: [sh, -c, 'echo one; echo two; echo three >&2']\n    \
         restart: no\n  b: {{ image: {image}, command: [sleep, infinity] }}\n",
        image = project.image
    ));
    project.converge();
    let proxy = Proxy::ruled(|request| {
        if request.is_write() {
            Verdict::Refuse
        } else {
            Verdict::Pass
        }
    });
    project.through(&proxy);
    // It ends with the container, and so does what follows it.
    let all = project.plain(&["logs", "--follow", "a"]);
    assert_eq!(
        (all.code, all.stdout.as_str(), all.stderr.as_str()),
        (Some(0), "one\ntwo\n", "three\n")
    );
    let last = project.plain(&["logs", "-n", "1", "-t", "a"]);
    assert_eq!((last.stdout + &last.stderr).lines().count(), 1);
    let timed = project.plain(&["logs", "-t", "a"]);
    let (time, text) = timed
        .stdout
        .split_once(' ')
        .unwrap_or_else(|| panic!("{timed:#?}"));
    assert!(time.contains('T') && text.starts_with("one\n"), "{timed:#?}");
    let manifest = project.path().join("aishell.yaml").display().to_string();
    let named = project.plain(&["logs", "--file", &manifest, "a"]);
    assert_eq!(named.stdout, "one\ntwo\n", "{named:#?}");
    assert_eq!(project.plain(&["logs", "b"]).code, Some(0));

    let unknown = project.plain(&["logs", "c"]);
    assert_eq!(unknown.code, Some(2), "{unknown:#?}");
    assert!(unknown.stderr.contains("there are: a, b"), "{unknown:#?}");
    let nobody = project.plain(&["logs", "--job"]);
    assert_eq!(nobody.code, Some(5), "{nobody:#?}");
    project.at(None);
}

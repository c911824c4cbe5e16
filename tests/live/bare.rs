//! Phases on images that lack what commands need.

use serde_json::json;

use crate::phases::write;
use crate::project::{Project, project, text};
use crate::raw;

/// Returns what is said of the one step that failed.
fn failure(project: &Project) -> serde_json::Value {
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let steps = run.json["steps"].as_array().cloned().unwrap_or_default();
    let mut failed = steps.into_iter().filter(|step| step["outcome"] == "failed");
    let failed = failed.next().expect("one that failed");
    failed["error"].clone()
}

#[test]
fn what_commands_need_and_an_image_lacks_is_told_with_phase_command_and_line() {
    let project = project();
    for (lacking, said) in [
        ("sleep", "an image that commands run in needs `sleep`"),
        ("sh", "an image that commands run in needs `/bin/sh`"),
    ] {
        let base = format!("{}-{lacking}:1", project.name);
        raw::derive(&base, &format!("RUN rm /usr/bin/{lacking}\n"));
        let phases = json!({
            "base": { "image": base },
            "env": { "A": "1" },
            "setup": { "root": ["echo first", "echo second"] },
        });
        write(&project, &phases, "containers: {}\n");
        let error = failure(&project);
        let message = text(&error["message"]);
        assert!(
            message.starts_with("phase 7-setup: `echo first` (setup.root.0) ") && message.contains(said),
            "{error:#}"
        );
        assert!(
            error["at"]["line"].as_u64().is_some_and(|line| line > 1),
            "{error:#}"
        );
        // What needs no command is made all the same, and stays.
        let made = format!("/images/aishell-{}:3-env/json", project.name);
        assert_eq!(raw::ask("GET", &made, &serde_json::Value::Null).0, 200);
        raw::delete(&format!("/images/{base}?force=true"));
    }
}

//! The shell that harnesses and what comes first run in, and an image that has none.

use std::collections::BTreeMap;

use crate::call::Call;
use crate::manifest::place::Place;
use crate::report::Failure;

/// What starts everything that the image itself does not start.
const SHELL: &str = "/bin/sh";

/// Returns what asks whether a container has a shell; where it has none, nothing is found.
pub(super) fn shell(container: &str) -> Call {
    Call::StatFile {
        container: container.to_owned(),
        path: SHELL.to_owned(),
    }
}

/// Says who needs the shell that the image has not: containers, with the part of the manifest that asks for them.
pub(super) fn refused(shells: &BTreeMap<String, Option<Place>>) -> Failure {
    let names: Vec<&str> = shells.keys().map(String::as_str).collect();
    let place = shells.values().find_map(Clone::clone);
    let who = match names.split_last() {
        Some((last, [])) => format!("container {last} needs"),
        Some((last, others)) => format!("containers {} and {last} need", others.join(", ")),
        None => "nobody needs".to_owned(),
    };
    Failure::new(format!("the image has no {SHELL}, and {who} one"))
        .at(place)
        .hint("harnesses and `preStart` take an image with a shell")
}

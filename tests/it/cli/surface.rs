//! Which commands only look is decided for every one of them.

use crate::surface;

#[test]
fn of_every_command_it_is_decided_whether_it_only_looks() {
    let lines = surface::lines();
    for command in ["apply", "diff", "plan", "update"] {
        assert!(lines.iter().any(|line| line[0] == command), "{lines:#?}");
    }
}

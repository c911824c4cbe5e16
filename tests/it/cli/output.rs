//! Colours, and readers that go away.

use std::fs::File;
use std::process::Stdio;

use super::command::{Aishell, aishell};

const ESCAPE: char = '\u{1b}';

fn failing(options: &str) -> Aishell {
    aishell(&format!("diff {options}")).manifest()
}

#[test]
fn piped_output_has_no_colours() {
    assert!(!failing("").complains(4).contains(ESCAPE));
}

#[test]
fn colours_can_be_forced_and_forbidden() {
    assert!(failing("--color always").complains(4).contains(ESCAPE));
    assert!(
        failing("")
            .variable("CLICOLOR_FORCE", "1")
            .complains(4)
            .contains(ESCAPE)
    );
    let forbidden = failing("")
        .variable("CLICOLOR_FORCE", "1")
        .variable("NO_COLOR", "1");
    assert!(!forbidden.complains(4).contains(ESCAPE));
    let forced = failing("--color never").variable("CLICOLOR_FORCE", "1");
    assert!(!forced.complains(4).contains(ESCAPE));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (mut child, _directory) = aishell("schema").start();
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
#[cfg(target_os = "linux")]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("a device that is always full");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_aishell"))
        .arg("schema")
        .stdin(Stdio::null())
        .stdout(full)
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.starts_with("error: the answer cannot be written: "),
        "{said}"
    );
}

//! What runs first in a container, and how it is told that the container can be used.

use std::fmt::Write as _;

use crate::manifest::container::{Container, Ready};
use crate::manifest::phases::PhaseCommand;
use crate::shell::quote;
use crate::spec::{HealthCheck, Probe};
use crate::units::Duration;

/// What is there once everything that comes first is done; gone when the container stops, since `/run` is memory.
const STARTED: &str = "/run/.aishell-started";
/// How long a single look may take, in milliseconds.
const LOOK: u64 = 10_000;
/// How long to wait between two looks unless the manifest says, in milliseconds. Every look is a process in the
/// container for as long as that runs, so more of them cost more than they tell.
const INTERVAL: u64 = 5_000;
/// How long it may take until a container can be used unless the manifest says.
const PATIENCE: Duration = Duration::seconds(60);

/// Returns the command that runs what comes first and then becomes another command.
pub(super) fn prepared(first: &[PhaseCommand], then: Vec<String>) -> Vec<String> {
    if first.is_empty() {
        return then;
    }
    let mut script = format!("rm -f {STARTED}\n");
    for PhaseCommand {
        run,
        user: _,
        workdir,
        timeout,
        shell,
        env: _,
    } in first
    {
        let shell = shell.as_deref().unwrap_or("/bin/sh");
        let limit = timeout.map_or_else(String::new, |limit| {
            format!("timeout {} ", limit.as_seconds().max(1))
        });
        let place = workdir
            .as_ref()
            .map_or_else(String::new, |place| format!("cd {} && ", quote(place)));
        // Writing to a text cannot fail.
        let _ = writeln!(
            script,
            "({place}exec {limit}{} -ec {}) || exit",
            quote(shell),
            quote(run)
        );
    }
    let _ = write!(script, ": >{STARTED}\nexec \"$@\"");
    let words = ["/bin/sh", "-c", &script, "aishell-start"].map(str::to_owned);
    words.into_iter().chain(then).collect()
}

/// Returns the health check of a container that is ours to say; `keeper` has nothing that the image could check.
pub(super) fn health(written: &Container, keeper: bool) -> HealthCheck {
    let is_prepared = !written.pre_start.is_empty();
    let test = match (&written.ready, is_prepared) {
        (None, false) if keeper => return HealthCheck::Off,
        (None, false) => return HealthCheck::Image,
        (Some(ready), false) => words("CMD", &ready.exec),
        (None, true) => words("CMD-SHELL", &[format!("[ -e {STARTED} ]")]),
        (Some(ready), true) => {
            let script = format!("[ -e {STARTED} ] && exec \"$@\"");
            let first = ["/bin/sh", "-c", &script, "aishell-ready"].map(str::to_owned);
            words("CMD", &[&first, &ready.exec[..]].concat())
        }
    };
    let ready = written.ready.as_ref();
    let interval = ready
        .and_then(|ready| ready.interval)
        .map_or(INTERVAL, milliseconds)
        .max(1);
    let patience = milliseconds(patience(written));
    HealthCheck::Own(Probe {
        test,
        interval,
        timeout: LOOK,
        // The engine takes the image's for 0.
        start_period: ready
            .and_then(|ready| ready.start_period)
            .map_or(1, milliseconds)
            .max(1),
        retries: u32::try_from(patience.div_ceil(interval))
            .unwrap_or(u32::MAX)
            .max(1),
    })
}

/// Returns how long a container may take until it can be used.
pub(super) fn patience(written: &Container) -> Duration {
    let timeout = |ready: &Ready| ready.timeout;
    written.ready.as_ref().and_then(timeout).unwrap_or(PATIENCE)
}

fn words(form: &str, rest: &[String]) -> Vec<String> {
    std::iter::once(form.to_owned())
        .chain(rest.iter().cloned())
        .collect()
}

fn milliseconds(duration: Duration) -> u64 {
    let duration: std::time::Duration = duration.into();
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::environment::Environment;

    fn command(run: &str) -> PhaseCommand {
        PhaseCommand {
            run: run.to_owned(),
            user: None,
            workdir: None,
            timeout: None,
            shell: None,
            env: Environment::default(),
        }
    }

    #[test]
    fn what_comes_first_is_done_before_the_command_takes_over() {
        let first = PhaseCommand {
            workdir: Some("/srv/it's".to_owned()),
            timeout: Some(Duration::seconds(90)),
            ..command("make 'x'")
        };
        let words = prepared(
            &[command("./up"), first],
            vec!["sleep".to_owned(), "9".to_owned()],
        );
        insta::assert_snapshot!(words.join("\n---\n"), @r#"
        /bin/sh
        ---
        -c
        ---
        rm -f /run/.aishell-started
        (exec '/bin/sh' -ec './up') || exit
        (cd '/srv/it'\''s' && exec timeout 90 '/bin/sh' -ec 'make '\''x'\''') || exit
        : >/run/.aishell-started
        exec "$@"
        ---
        aishell-start
        ---
        sleep
        ---
        9
        "#);
    }

    #[test]
    fn without_anything_first_the_command_is_run_as_it_is() {
        let command = vec!["serve".to_owned()];
        assert_eq!(prepared(&[], command.clone()), command);
    }

    #[test]
    fn a_container_is_ready_when_what_comes_first_is_done_and_its_probe_passes() {
        let ready = Ready {
            exec: vec!["test".to_owned(), "-S".to_owned()],
            start_period: None,
            interval: Some(Duration::seconds(2)),
            timeout: Some(Duration::seconds(9)),
        };
        let written = |pre_start: Vec<PhaseCommand>, ready: Option<Ready>| Container {
            pre_start,
            ready,
            ..Container::default()
        };
        assert_eq!(health(&written(vec![], None), true), HealthCheck::Off);
        assert_eq!(health(&written(vec![], None), false), HealthCheck::Image);
        let HealthCheck::Own(probe) = health(&written(vec![], Some(ready.clone())), true) else {
            panic!("no probe");
        };
        assert_eq!(probe.test, ["CMD", "test", "-S"]);
        assert_eq!((probe.interval, probe.start_period, probe.retries), (2000, 1, 5));
        let HealthCheck::Own(probe) = health(&written(vec![command("x")], Some(ready)), true) else {
            panic!("no probe");
        };
        assert_eq!(probe.test.len(), 7);
        let HealthCheck::Own(probe) = health(&written(vec![command("x")], None), true) else {
            panic!("no probe");
        };
        assert_eq!(probe.test, ["CMD-SHELL", "[ -e /run/.aishell-started ]"]);
    }
}

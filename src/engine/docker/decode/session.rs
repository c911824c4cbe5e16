//! Who is in a container: its processes, the commands that were run in it, and what they changed.

use bollard::models::{
    ChangeType, ContainerConfig, ContainerTopResponse, ExecInspectResponse, FilesystemChange,
};

use crate::call::{ExecReply, FileChange, Process};
use crate::engine::EngineError;

/// Returns the words that a health check is run with.
pub(super) fn health_check(config: &ContainerConfig) -> Option<Vec<String>> {
    let test = config.healthcheck.as_ref()?.test.as_ref()?;
    let (how, words) = test.split_first()?;
    match how.as_str() {
        "CMD" => Some(words.to_vec()),
        "CMD-SHELL" => {
            let shell = config.shell.clone().filter(|shell| !shell.is_empty());
            let mut whole = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
            whole.extend_from_slice(words);
            Some(whole)
        }
        _ => None,
    }
}

/// Returns the processes of a container.
///
/// # Errors
/// What the engine shows of them is not what was asked for.
pub(in crate::engine::docker) fn processes(found: ContainerTopResponse) -> Result<Vec<Process>, EngineError> {
    let titles = found.titles.unwrap_or_default();
    let column = |title: &str| titles.iter().position(|other| other == title);
    let (Some(id), Some(terminal), Some(session)) = (column("PID"), column("TPGID"), column("SID")) else {
        return Err(EngineError::Unexpected {
            call: "ListProcesses: there are no processes".to_owned(),
        });
    };
    let number = |row: &[String], column: usize| row.get(column).and_then(|text| text.trim().parse().ok());
    let process = |row: Vec<String>| -> Option<Process> {
        let terminal: i64 = number(&row, terminal)?;
        Some(Process {
            id: number(&row, id)?,
            session: number(&row, session)?,
            terminal: terminal > 0,
        })
    };
    let rows = found.processes.unwrap_or_default();
    let processes: Option<Vec<Process>> = rows.into_iter().map(process).collect();
    processes.ok_or_else(|| EngineError::Unexpected {
        call: "ListProcesses: a number is none".to_owned(),
    })
}

/// Returns what a container changed in its own layer.
pub(in crate::engine::docker) fn change(found: FilesystemChange) -> FileChange {
    FileChange {
        path: found.path,
        removed: found.kind == ChangeType::_2,
    }
}

/// Returns a command that was run in a container.
pub(in crate::engine::docker) fn exec(found: ExecInspectResponse) -> ExecReply {
    let process = found.process_config.unwrap_or_default();
    let running = found.running.unwrap_or_default();
    let words = process
        .entrypoint
        .into_iter()
        .chain(process.arguments.into_iter().flatten());
    ExecReply {
        running,
        terminal: process.tty.unwrap_or_default(),
        words: words.collect(),
        // Some engines show 0 while it runs.
        code: found.exit_code.filter(|_| !running),
    }
}

//! What containers said last that did not work.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{AT_ONCE, ask};
use crate::call::{Answer, Call};
use crate::engine::{Engine, EngineError};

/// How many characters of a line are told.
const SHOWN: usize = 120;

/// Returns the last line of the logs of containers that do not run, by the engine's id.
///
/// # Errors
/// The engine cannot be asked. That it has no log is no error: then nothing was said.
pub async fn last_words(
    engine: &impl Engine,
    containers: Vec<String>,
) -> Result<BTreeMap<String, String>, EngineError> {
    stream::iter(containers)
        .map(|container| async move {
            let call = Call::FollowLog {
                container: container.clone(),
            };
            match ask(engine, call, log).await {
                Ok(log) => Ok((container, last(&log))),
                Err(error @ EngineError::Unreachable { .. }) => Err(error),
                Err(_) => Ok((container, String::new())),
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Returns the beginning of the last line that says anything.
fn last(log: &[String]) -> String {
    let line = log
        .iter()
        .rev()
        .map(|line| line.trim())
        .find(|line| !line.is_empty());
    line.unwrap_or_default().chars().take(SHOWN).collect()
}

fn log(answer: Answer) -> Option<Vec<String>> {
    if let Answer::Log(log) = answer {
        Some(log)
    } else {
        None
    }
}

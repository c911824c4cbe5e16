//! What is in the layers of containers that would be discarded.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{AT_ONCE, ask};
use crate::call::{Answer, Call, FileChange};
use crate::engine::{Engine, EngineError};
use crate::observed::Container;
use crate::plan::files;

/// Counts the files that containers have in their own layers, and returns them by the engine's id.
///
/// # Errors
/// The engine cannot be asked. That it will not say is no error: then nothing is said.
pub async fn layers(
    engine: &impl Engine,
    containers: &[&Container],
) -> Result<BTreeMap<String, usize>, EngineError> {
    let found: Vec<Option<(String, usize)>> = stream::iter(containers)
        .map(|container| async move {
            let id = container.id.id().to_owned();
            let call = Call::ListChanges {
                container: id.clone(),
            };
            match ask(engine, call, changes).await {
                Ok(changes) => Ok(Some((id, files(&changes, &container.spec)))),
                Err(error @ EngineError::Unreachable { .. }) => Err(error),
                Err(_) => Ok(None),
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

fn changes(answer: Answer) -> Option<Vec<FileChange>> {
    if let Answer::Changes(changes) = answer {
        Some(changes)
    } else {
        None
    }
}

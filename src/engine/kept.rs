//! Containers that live as long as a connection: the engine ends and removes them when it is closed, however that
//! comes about.

use std::sync::Mutex;

use super::{Engine, EngineError};
use crate::call::{Answer, Call, Create};
use crate::label::OwnedId;
use crate::progress::Progress;

/// The connection that a container lives by. Dropping it ends the container.
pub struct Lifeline {
    /// Locked by nobody: it makes what only has to be kept something that threads may share.
    _held: Mutex<Box<dyn Send>>,
}

impl Lifeline {
    /// Keeps what ends the container when it is dropped.
    pub fn new(held: impl Send + 'static) -> Self {
        Self {
            _held: Mutex::new(Box::new(held)),
        }
    }
}

impl std::fmt::Debug for Lifeline {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Lifeline")
    }
}

/// A container that ends with this value, and with the process that holds it.
#[derive(Debug)]
pub struct Kept {
    /// The engine's id.
    pub id: String,
    _lifeline: Lifeline,
}

/// Creates and starts a container that lives as long as what is returned; its command has to end with its standard
/// input.
///
/// # Errors
/// It cannot be created or started; then none is left, as far as the engine can be reached.
///
/// # Cancel safety
/// One that was created and not started may be left.
pub async fn keep(engine: &impl Engine, create: &Create) -> Result<Kept, EngineError> {
    let call = Call::CreateKept(Box::new(create.clone()));
    let id = match engine.call(&call, &Progress::default()).await {
        Ok(Answer::Id(id)) => id,
        Ok(_) => {
            return Err(EngineError::Unexpected {
                call: format!("CreateKept: {}", create.name),
            });
        }
        Err(error) => {
            // Whoever has a name that is taken is somebody else.
            if error.is_retryable() {
                remove(engine, &create.name).await;
            }
            return Err(error);
        }
    };
    match begin(engine, &id).await {
        Ok(lifeline) => Ok(Kept {
            id,
            _lifeline: lifeline,
        }),
        Err(error) => {
            // It never ran, so the engine does not remove it by itself.
            remove(engine, &id).await;
            Err(error)
        }
    }
}

/// Holds on to a container, then starts it: one that runs and is held by nobody would run for ever.
async fn begin(engine: &impl Engine, id: &str) -> Result<Lifeline, EngineError> {
    let lifeline = engine.attach(id).await?;
    let start = Call::StartContainer {
        container: id.to_owned(),
    };
    engine.call(&start, &Progress::default()).await?;
    Ok(lifeline)
}

async fn remove(engine: &impl Engine, container: &str) {
    let call = Call::RemoveContainer {
        container: OwnedId::made(container),
        volumes: true,
    };
    // There may be none.
    let _ = engine.call(&call, &Progress::default()).await;
}

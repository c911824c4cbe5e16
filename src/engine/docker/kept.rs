//! Containers that live as long as a connection: the engine ends and removes them when it is closed, however that
//! comes about.

use std::pin::Pin;

use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, RemoveContainerOptions, StartContainerOptions,
};
use tokio::io::AsyncWrite;

use super::bounds::{READ_LIMIT, check_names};
use super::error::Failure;
use super::{DockerEngine, encode, uid, within};
use crate::call::{Call, Create};
use crate::engine::EngineError;

/// A container that ends with this value, and with the process that holds it.
pub struct Kept {
    /// The engine's id.
    pub id: String,
    /// Its standard input. What runs in it ends when that is closed.
    _input: Pin<Box<dyn AsyncWrite + Send>>,
}

impl DockerEngine {
    /// Creates and starts a container that lives as long as what is returned; its command has to end with its standard
    /// input.
    ///
    /// # Errors
    /// It cannot be created or started; then none is left.
    ///
    /// # Cancel safety
    /// One that was created and not started may be left.
    pub async fn keep(&self, create: &Create) -> Result<Kept, EngineError> {
        let call = Call::CreateContainer(Box::new(create.clone()));
        let kept = async {
            check_names(&call)?;
            self.negotiate().await?;
            let options = CreateContainerOptions {
                name: Some(create.name.clone()),
                ..CreateContainerOptions::default()
            };
            let mut body = encode::container(create, &uid()?);
            body.open_stdin = Some(true);
            body.stdin_once = Some(true);
            body.attach_stdin = Some(true);
            if let Some(host) = &mut body.host_config {
                host.auto_remove = Some(true);
            }
            let made = within(READ_LIMIT, async {
                Ok(self.client.create_container(Some(options), body).await?)
            });
            let id = made.await?.id;
            match self.begin(&id).await {
                Ok(kept) => Ok(kept),
                Err(failure) => {
                    // It never ran, so the engine does not remove it by itself.
                    let options = RemoveContainerOptions {
                        force: true,
                        v: true,
                        ..RemoveContainerOptions::default()
                    };
                    let _ = self.client.remove_container(&id, Some(options)).await;
                    Err(failure)
                }
            }
        };
        kept.await
            .map_err(|failure: Failure| failure.tell(&call, &self.host))
    }

    /// Holds on to a container, then starts it: one that runs and is held by nobody would run for ever.
    async fn begin(&self, id: &str) -> Result<Kept, Failure> {
        let options = AttachContainerOptions {
            stream: true,
            stdin: true,
            ..AttachContainerOptions::default()
        };
        within(READ_LIMIT, async {
            let attached = self.client.attach_container(id, Some(options)).await?;
            self.client
                .start_container(id, None::<StartContainerOptions>)
                .await?;
            Ok(Kept {
                id: id.to_owned(),
                _input: attached.input,
            })
        })
        .await
    }
}

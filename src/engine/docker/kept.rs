//! The standard input of a container, held for as long as somebody wants the container to live.

use bollard::query_parameters::AttachContainerOptions;

use super::bounds::READ_LIMIT;
use super::error::Failure;
use super::{DockerEngine, within};
use crate::engine::Lifeline;

impl DockerEngine {
    /// Attaches to the standard input of a container. The engine closes that when the connection ends, however that
    /// comes about.
    pub(super) async fn hold_on(&self, container: &str) -> Result<Lifeline, Failure> {
        self.negotiate().await?;
        let options = AttachContainerOptions {
            stream: true,
            stdin: true,
            ..AttachContainerOptions::default()
        };
        let attach = async { Ok(self.client.attach_container(container, Some(options)).await?) };
        Ok(Lifeline::new(within(READ_LIMIT, attach).await?.input))
    }
}

//! [`DockerEngine`]: calls carried out by a real engine. Only here and below is bollard named.

#![expect(
    clippy::disallowed_types,
    reason = "this is the module that the fence around bollard protects"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, NetworkDisconnectRequest};
use bollard::query_parameters::{
    CommitContainerOptions, CreateContainerOptions, InspectContainerOptions, InspectNetworkOptions,
    KillContainerOptions, ListContainersOptions, ListImagesOptions, ListNetworksOptions, ListVolumesOptions,
    RemoveContainerOptions, RemoveImageOptions, RemoveVolumeOptions, RenameContainerOptions,
    StartContainerOptions, StopContainerOptions, TagImageOptions, TopOptions,
};
use tokio::sync::Mutex;

use self::bounds::{check_names, limit};
use self::error::Failure;
use self::negotiate::Known;
use self::news::News;
use crate::call::{Answer, Call, Create, File};
use crate::engine::{Engine, EngineError, Lifeline, Notices};
use crate::label::Owner;
use crate::progress::Progress;

mod archive;
mod bounds;
mod build;
mod connect;
mod credentials;
mod decode;
mod encode;
mod error;
mod events;
mod kept;
mod log;
mod negotiate;
mod news;
mod outgoing;
mod request;
mod search;
mod session;
mod stock;
mod stream;
mod usage;
mod wire;

pub use connect::{ConnectError, Host, Surroundings, Target, resolve};
pub use stream::{Excerpt, Written};

/// What is asked of every process.
const PROCESS_FIELDS: &str = "-eo pid,tpgid,sid,args";

/// A Docker engine, or one that behaves like it.
pub struct DockerEngine {
    client: Docker,
    open: connect::Open,
    /// Who we are to registries.
    credentials: credentials::Credentials,
    address: Host,
    host: String,
    local: bool,
    prefix: connect::Prefix,
    /// What is known of the engine, until the connection breaks: it may be another one afterwards.
    known: Mutex<Known>,
    /// What tells it from all others, likewise.
    identity: Mutex<Option<String>>,
    /// Commands of ours, of whose end nobody needs to be told.
    own_execs: events::Own,
}

impl DockerEngine {
    /// Finds the engine that is meant. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ConnectError`] if it is not known where the engine is, or if there is no way there.
    pub fn connect(
        target: &Target,
        environment: &BTreeMap<String, String>,
        home: Option<&Path>,
    ) -> Result<Self, ConnectError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "Docker's own configuration is read here, at the edge"
        )]
        let read = |path: &Path| std::fs::read(path);
        let surroundings = Surroundings {
            environment,
            home,
            read: &read,
            exists: &|path| path.exists(),
        };
        Ok(Self {
            credentials: credentials::Credentials::of(environment, home),
            ..Self::at(&resolve(target, &surroundings)?)?
        })
    }

    /// Takes the engine at an address. Nothing is sent yet.
    pub fn at(host: &Host) -> Result<Self, ConnectError> {
        let prefix = connect::Prefix::default();
        let (client, open) = connect::client(host, prefix.clone())?;
        Ok(Self {
            client,
            open,
            credentials: credentials::Credentials::default(),
            address: host.clone(),
            host: host.uri(),
            local: matches!(host, Host::Socket(_)),
            prefix,
            own_execs: events::Own::default(),
            known: Mutex::default(),
            identity: Mutex::default(),
        })
    }

    /// Returns the address of the engine.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Says whether the engine sees the files of this machine.
    pub fn is_local(&self) -> bool {
        self.local
    }

    async fn send(&self, call: &Call, progress: &Progress) -> Result<Answer, Failure> {
        check_names(call)?;
        let agreed = self.negotiate().await;
        agreed.map_err(|failure| Failure::Before(Box::new(failure)))?;
        match limit(call) {
            Some(limit) => within(limit, self.carry_out(call, progress)).await,
            None => self.carry_out(call, progress).await,
        }
    }

    async fn carry_out(&self, call: &Call, progress: &Progress) -> Result<Answer, Failure> {
        let client = &self.client;
        Ok(match call {
            Call::Version => Answer::Engine(self.info().await?),
            Call::Identify => Answer::Id(self.identity().await?),
            Call::Clock => Answer::Time(self.clock().await?),
            Call::ListContainers => {
                let options = ListContainersOptions {
                    all: true,
                    filters: Some(encode::ours()),
                    ..ListContainersOptions::default()
                };
                let found = client.list_containers(Some(options)).await?;
                Answer::Containers(found.into_iter().map(decode::listed_container).collect())
            }
            Call::ListUsers => {
                let options = ListContainersOptions {
                    all: true,
                    ..ListContainersOptions::default()
                };
                let found = client.list_containers(Some(options)).await?;
                Answer::Containers(found.into_iter().map(decode::listed_container).collect())
            }
            Call::MeasureUsage => Answer::Usage(Box::pin(self.usage()).await?),
            Call::ListVolumes => {
                let found = client
                    .list_volumes(Some(ListVolumesOptions {
                        filters: Some(encode::ours()),
                    }))
                    .await?;
                Answer::Volumes(
                    found
                        .volumes
                        .unwrap_or_default()
                        .into_iter()
                        .map(decode::volume)
                        .collect(),
                )
            }
            Call::ListNetworks => {
                let found = client
                    .list_networks(Some(ListNetworksOptions {
                        filters: Some(encode::ours()),
                    }))
                    .await?;
                Answer::Networks(found.into_iter().map(decode::network).collect())
            }
            Call::ListImages => {
                let options = ListImagesOptions {
                    filters: Some(encode::ours()),
                    ..ListImagesOptions::default()
                };
                let found = client.list_images(Some(options)).await?;
                Answer::Images(found.into_iter().map(decode::listed_image).collect())
            }
            Call::InspectContainer { container } => {
                let found = client
                    .inspect_container(container, None::<InspectContainerOptions>)
                    .await?;
                Answer::Container(Box::new(decode::container(found)))
            }
            Call::InspectImage { image } => {
                Answer::Image(Box::new(decode::image(client.inspect_image(image).await?)))
            }
            Call::InspectVolume { volume } => {
                Answer::Volume(decode::volume(client.inspect_volume(volume).await?))
            }
            Call::InspectNetwork { network } => {
                let found = client
                    .inspect_network(network, None::<InspectNetworkOptions>)
                    .await?;
                Answer::Network(decode::inspected_network(found))
            }
            Call::ReadFile { container, path } => Answer::Bytes(self.read_file(container, path).await?),
            Call::ReadTree { container, path } => Answer::Files(self.read_tree(container, path).await?),
            Call::StatFile { container, path } => Answer::File(self.stat_file(container, path).await?),
            Call::FollowLog { container } => Answer::Log(self.follow_log(container, progress).await?),
            Call::AskRegistry { reference } => Answer::Digest(self.digest_of(reference).await?),
            Call::ListProcesses { container } => {
                let options = TopOptions {
                    ps_args: PROCESS_FIELDS.to_owned(),
                };
                let found = client.top_processes(container, Some(options)).await?;
                Answer::Processes(decode::processes(found)?)
            }
            Call::ListChanges { container } => {
                let found = client.container_changes(container).await?;
                Answer::Changes(found.into_iter().flatten().map(decode::change).collect())
            }
            Call::SearchFiles {
                container,
                path,
                only,
                secrets,
            } => Answer::Found(self.search_files(container, path, (only, secrets)).await?),
            Call::TakeStock {
                container,
                path,
                whole,
            } => Answer::Stock(self.take_stock(container, path, whole).await?),
            Call::InspectExec { exec } => Answer::Exec(decode::exec(client.inspect_exec(exec).await?)),
            Call::PullImage { reference } => {
                self.pull(call, reference, progress).await?;
                Answer::Done
            }
            Call::BuildImage(build) => self.build(call, build, &uid()?, progress).await?,
            Call::CommitContainer(commit) => {
                let (repo, tag) = encode::split_tag(&commit.tag);
                let options = CommitContainerOptions {
                    container: Some(commit.container.clone()),
                    repo: Some(repo),
                    tag: Some(tag),
                    pause: true,
                    ..CommitContainerOptions::default()
                };
                Answer::Id(
                    client
                        .commit_container(options, encode::commit(commit, &uid()?))
                        .await?
                        .id,
                )
            }
            Call::TagImage { image, tag } => {
                let (repo, tag) = encode::split_tag(tag);
                client
                    .tag_image(
                        image,
                        Some(TagImageOptions {
                            repo: Some(repo),
                            tag: Some(tag),
                        }),
                    )
                    .await?;
                Answer::Done
            }
            Call::RemoveImage { image } => {
                // What it was made from may be somebody else's, and without a name only for now.
                let options = RemoveImageOptions {
                    noprune: true,
                    ..RemoveImageOptions::default()
                };
                client.remove_image(image, Some(options), None).await?;
                Answer::Done
            }
            Call::CreateVolume { name, labels } => {
                let made = client
                    .create_volume(encode::volume(name, labels, &uid()?))
                    .await?;
                Answer::Volume(decode::volume(made))
            }
            Call::RemoveVolume { volume } => {
                client
                    .remove_volume(volume.id(), None::<RemoveVolumeOptions>)
                    .await?;
                Answer::Done
            }
            Call::CreateNetwork { name, labels } => Answer::Id(
                client
                    .create_network(encode::network(name, labels, &uid()?))
                    .await?
                    .id,
            ),
            Call::RemoveNetwork { network } => {
                client.remove_network(network.id()).await?;
                Answer::Done
            }
            Call::ConnectNetwork {
                network,
                container,
                endpoint,
            } => {
                client
                    .connect_network(network, encode::connect(container, endpoint))
                    .await?;
                Answer::Done
            }
            Call::DisconnectNetwork { network, container } => {
                let request = NetworkDisconnectRequest {
                    container: container.clone(),
                    force: Some(false),
                };
                client.disconnect_network(network, request).await?;
                Answer::Done
            }
            Call::CreateContainer(create) => self.create(create, encode::container(create, &uid()?)).await?,
            Call::CreateKept(create) => self.create(create, encode::kept(create, &uid()?)).await?,
            Call::StartContainer { container } => {
                client
                    .start_container(container, None::<StartContainerOptions>)
                    .await?;
                Answer::Done
            }
            Call::StopContainer { container } => {
                client
                    .stop_container(container.id(), None::<StopContainerOptions>)
                    .await?;
                Answer::Done
            }
            Call::KillContainer { container } => {
                client
                    .kill_container(container.id(), None::<KillContainerOptions>)
                    .await?;
                Answer::Done
            }
            Call::UnpauseContainer { container } => {
                client.unpause_container(container).await?;
                Answer::Done
            }
            Call::RenameContainer { container, name } => {
                client
                    .rename_container(container.id(), RenameContainerOptions { name: name.clone() })
                    .await?;
                Answer::Done
            }
            Call::UpdateContainer {
                container,
                resources,
                restart,
            } => {
                client
                    .update_container(container, encode::update(resources.as_ref(), *restart))
                    .await?;
                Answer::Done
            }
            Call::RemoveContainer { container, volumes } => {
                let options = RemoveContainerOptions {
                    v: *volumes,
                    force: true,
                    link: false,
                };
                client.remove_container(container.id(), Some(options)).await?;
                Answer::Done
            }
            Call::RemoveIdle { container } => {
                let options = RemoveContainerOptions {
                    v: true,
                    ..RemoveContainerOptions::default()
                };
                client.remove_container(container.id(), Some(options)).await?;
                Answer::Done
            }
            Call::CreateExec(exec) => {
                let id = client.create_exec(&exec.container, encode::exec(exec)).await?.id;
                self.own_execs.note(&id);
                Answer::Id(id)
            }
            Call::StartExec { exec, seconds } => Answer::Output(
                self.run_exec(exec, Duration::from_secs(u64::from(*seconds)))
                    .await?,
            ),
            Call::FollowExec {
                exec,
                seconds,
                secrets,
            } => {
                let limit = seconds.map(Duration::from_secs);
                let (lines, ended) = self.follow_exec(exec, limit, secrets, progress).await?;
                Answer::Ran(lines, ended)
            }
            Call::Upload { container, files } => {
                self.upload(container, files).await?;
                Answer::Done
            }
        })
    }

    /// Unpacks files at the root of a container, read while they are sent.
    async fn upload(&self, container: &str, files: &Arc<[File]>) -> Result<(), Failure> {
        let files = Arc::clone(files);
        let (archive, writing) = outgoing::stream(move |pipe| archive::pack(&files, pipe).map(drop));
        let query = [("path", "/".to_owned())];
        let path = format!("/containers/{container}/archive");
        let mut request = request::order(&path, &query, outgoing::request(archive))?;
        *request.method_mut() = hyper::Method::PUT;
        let outcome = News::of(&self.open, request).await;
        if let Some(error) = writing.trouble(outcome.is_ok()).await {
            let message = format!("cannot send the files: {error}");
            return Err(EngineError::Refused { message }.into());
        }
        outcome.map(drop)
    }

    async fn create(&self, create: &Create, body: ContainerCreateBody) -> Result<Answer, Failure> {
        let options = CreateContainerOptions {
            name: Some(create.name.clone()),
            ..CreateContainerOptions::default()
        };
        Ok(Answer::Id(
            self.client.create_container(Some(options), body).await?.id,
        ))
    }
}

impl Engine for DockerEngine {
    async fn call(&self, call: &Call, progress: &Progress) -> Result<Answer, EngineError> {
        let answer = self
            .send(call, progress)
            .await
            .map_err(|failure| failure.tell(call, &self.host));
        if matches!(answer, Err(EngineError::Unreachable { .. })) {
            self.forget().await;
        }
        answer
    }

    async fn attach(&self, container: &str) -> Result<Lifeline, EngineError> {
        let call = Call::StartContainer {
            container: container.to_owned(),
        };
        let attached = self.hold_on(container).await;
        attached.map_err(|failure| failure.tell(&call, &self.host))
    }

    fn identifier(&self) -> Result<String, EngineError> {
        uid()
    }

    async fn subscribe(&self, owner: &Owner) -> Result<Notices, EngineError> {
        let notices = self.events(owner).await;
        let notices = notices.map_err(|failure| failure.tell(&Call::Version, &self.host));
        if notices.is_err() {
            self.forget().await;
        }
        notices
    }
}

/// Waits for an answer, but not for ever.
async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(limit, answer)
        .await
        .unwrap_or(Err(Failure::Late(limit)))
}

/// Returns a random identifier for something that is about to be created.
fn uid() -> Result<String, EngineError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| EngineError::Failed {
        message: format!("no random numbers: {error}"),
    })?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

#[cfg(test)]
mod tests;

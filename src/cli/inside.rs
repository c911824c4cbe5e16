//! The way into a container: which one is meant, whether it runs, and with what a session begins.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::named::known;
use crate::call::{Answer, Call, ContainerReply};
use crate::desired::{self, AGENTS};
use crate::engine::docker::DockerEngine;
use crate::engine::sessions::Command;
use crate::engine::{Engine as _, EngineError};
use crate::host::Host;
use crate::label::{Kind, Labels, Mark, Owner};
use crate::manifest::place::{Problem, Texts};
use crate::name::ContainerName;
use crate::observe::{ask, observe};
use crate::observed::{Hold, Observed, RunState};
use crate::prepare::Prepared;
use crate::progress::Progress;
use crate::reconcile::Intent as _;
use crate::session::agent::Agent;
use crate::session::consent::Given;
use crate::session::environment::{self, Environment};
use crate::session::variables::{self, COMMON, Term};
use crate::session::{Opening, identifier, place, run};
use crate::spec::Mount;

/// The variable that says where the ssh agent is.
const AUTHENTICATION: &str = "SSH_AUTH_SOCK";

/// A container that a session can be opened in.
pub struct Inside {
    /// What the manifest wants of it; `None` where it does not want it any more.
    pub wanted: Option<desired::Container>,
    /// What a person has consented to.
    pub given: Given,
    /// What the manifest says, for the lines of problems.
    pub texts: Texts,
    /// The engine.
    pub engine: DockerEngine,
    /// The container.
    pub container: ContainerReply,
}

/// What a person wants of a session.
#[derive(Debug, Default)]
pub struct Wish {
    /// The command.
    pub words: Vec<String>,
    /// Variables, in the order of their being given.
    pub env: Vec<(String, String)>,
    /// The directory to begin in.
    pub workdir: Option<String>,
    /// Whether the command gets a terminal.
    pub terminal: bool,
    /// Whether it gets standard input.
    pub input: bool,
}

/// Says that nothing ran, unless the command was misused.
pub fn not_run(mut failure: Failure) -> Failure {
    if !matches!(failure.exit, Exit::Usage | Exit::Own(_)) {
        failure.exit = Exit::NotRun;
    }
    failure
}

/// Returns words as the engine takes them.
///
/// # Errors
/// One of them is not UTF-8.
pub fn words(words: Vec<OsString>) -> Result<Vec<String>, Failure> {
    let word = |word: OsString| {
        word.into_string().map_err(|word| {
            let message = format!("`{}` is not UTF-8", word.display());
            Failure::usage(
                message,
                "the engine takes nothing else; hand such names over on standard input",
            )
        })
    };
    words.into_iter().map(word).collect()
}

/// Returns a variable that is given as `NAME=VALUE`, or as the name of one of this process; `None` if that has none.
///
/// # Errors
/// It has no name.
pub fn variable(invocation: &Invocation, written: &str) -> Result<Option<(String, String)>, Failure> {
    let (name, value) = match written.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (written, invocation.host.environment.get(written).cloned()),
    };
    if name.is_empty() {
        let message = format!("`{written}` is not a variable");
        return Err(Failure::usage(
            message,
            "write --env NAME=VALUE, or --env NAME for one that is set here",
        ));
    }
    Ok(value.map(|value| (name.to_owned(), value)))
}

impl Inside {
    /// Finds a container by the name that the manifest gives it.
    ///
    /// # Errors
    /// There is none of that name, it does not run, or it is not ours.
    pub async fn find(invocation: &Invocation, name: &str) -> Result<Self, Failure> {
        let prepared = invocation.prepare(None)?;
        let engine = invocation.engine(&prepared.loaded.manifest.engine.address)?;
        Self::of(&invocation.host, &prepared, engine, name).await
    }

    /// Finds a container by the name that a manifest gives it.
    ///
    /// # Errors
    /// As [`Inside::find`].
    pub async fn of(
        host: &Host,
        prepared: &Prepared,
        engine: DockerEngine,
        name: &str,
    ) -> Result<Self, Failure> {
        let manifest = &prepared.loaded.manifest;
        if name.parse::<ContainerName>().is_err() {
            // It cannot be the name of anything, so nothing is asked by it.
            known(manifest, name)?;
        }
        let found = look(&engine, prepared.owner(), name).await?;
        match found {
            Some(container) if container.state == RunState::Running => Ok(Self {
                given: Given::so_far(host, prepared.owner(), name, Some(&container.labels)),
                // What a session is given does not depend on what the engine has.
                wanted: prepared.resolve(&Observed::default()).containers.remove(name),
                texts: prepared.loaded.source.texts().clone(),
                engine,
                container,
            }),
            Some(container) => {
                let observed = Box::pin(observe(&engine, prepared.owner(), &BTreeSet::new())).await?;
                let hold = observed.hold(prepared.owner(), name).cloned();
                Err(hold.map_or_else(|| idle(name, container.state), |hold| held(name, &hold)))
            }
            None => {
                // What the manifest does not want any more can be entered while it runs.
                known(manifest, name)?;
                let message = format!("container `{name}` is not there yet");
                let problem = Problem::new(message).hint("make it with `aishell apply`");
                Err(Failure::new(Exit::NotRun, problem))
            }
        }
    }

    /// Opens a session, and returns how the command ended.
    ///
    /// # Errors
    /// Nothing ran, or nobody knows how it ended.
    pub async fn open(&self, invocation: &Invocation, wish: Wish) -> Result<Exit, Failure> {
        let mut command = self.command(invocation, wish).await?;
        let agent = self.agent(invocation);
        let given = command.env.iter().any(|(name, _)| name == AUTHENTICATION);
        if let Some(agent) = agent.as_ref().filter(|_| !given) {
            command
                .env
                .push((AUTHENTICATION.to_owned(), agent.inside.clone()));
        }
        let opening = Opening {
            command,
            container: self.container.id.clone(),
        };
        let code = Box::pin(run(&self.engine, opening)).await?;
        Ok(Exit::Own(code))
    }

    /// Hands the ssh agent on, if the manifest says so and the container has a place for it.
    fn agent(&self, invocation: &Invocation) -> Option<Agent> {
        let agents = self.wanted.as_ref()?.session.agents.as_ref()?;
        let mount = Mount::Bind {
            source: agents.clone(),
            read_only: true,
        };
        if self.container.spec.mounts.get(AGENTS) != Some(&mount) {
            return None;
        }
        let id = identifier().ok()?;
        match Agent::hand_on(&invocation.host, Path::new(agents), &id) {
            Ok(agent) => agent,
            Err(error) => {
                let text = format!("note: the ssh agent cannot be handed on: {error}\n");
                invocation.output.talk(&text);
                None
            }
        }
    }

    /// Returns the command of a session, with everything it is given.
    ///
    /// # Errors
    /// Secrets cannot be had, or nobody has consented to them.
    pub async fn command(&self, invocation: &Invocation, wish: Wish) -> Result<Command, Failure> {
        let spec = &self.container.spec;
        let term = if wish.terminal {
            Some(self.term(variables::term(&invocation.host)).await)
        } else {
            None
        };
        let gathered = match &self.wanted {
            Some(wanted) => environment::gather(wanted, &invocation.host, &self.given)
                .await
                .map_err(|error| Failure {
                    texts: self.texts.clone(),
                    ..error.into()
                })?,
            None => Environment::default(),
        };
        let has = |name: &str| spec.env.contains_key(name) || gathered.has(name);
        let env = variables::gather(&invocation.host, term, has, &wish.env);
        let given = |name: &str| env.iter().any(|(given, _)| given == name);
        let secrets = gathered.iter().filter(|(name, _)| !given(name));
        let secrets = secrets.map(|(name, value)| (name.to_owned(), value.clone()));
        let secrets = secrets.collect();
        let base = spec.workdir.as_deref();
        let workdir = match &wish.workdir {
            Some(path) => Some(place::inside(path, base)),
            None if self.engine.is_local() => place::seen(&invocation.host.directory, &spec.mounts),
            None => None,
        };
        Ok(Command {
            words: wish.words,
            env,
            secrets,
            user: spec.user.clone(),
            workdir,
            terminal: wish.terminal,
            input: wish.input,
        })
    }

    /// Returns the name of a terminal that the container knows.
    async fn term(&self, term: Term) -> String {
        let (name, files) = match term {
            Term::Known(name) => return name,
            Term::If(name, files) => (name, files),
        };
        let read = |path: String| async move {
            let container = self.container.id.clone();
            let call = Call::ReadFile { container, path };
            self.engine.call(&call, &Progress::default()).await.is_ok()
        };
        let found = futures_util::future::join_all(files.into_iter().map(read)).await;
        if found.contains(&true) {
            name
        } else {
            COMMON.to_owned()
        }
    }
}

/// Looks for a container of an owner by its name.
///
/// # Errors
/// The engine cannot be asked, or the container of that name is somebody else's.
pub async fn look(
    engine: &DockerEngine,
    owner: &Owner,
    name: &str,
) -> Result<Option<ContainerReply>, EngineError> {
    let container = owner.object(name);
    let call = Call::InspectContainer {
        container: container.clone(),
    };
    let inspected = |answer| match answer {
        Answer::Container(reply) => Some(reply),
        _ => None,
    };
    let reply = match ask(engine, call, inspected).await {
        Ok(reply) if reply.name == container => reply,
        Ok(_) | Err(EngineError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let call = Call::InspectImage {
        image: reply.image_id.clone(),
    };
    let labels = |answer| match answer {
        Answer::Image(reply) => Some(reply.image.labels),
        _ => None,
    };
    let inherited = match ask(engine, call, labels).await {
        Ok(labels) => labels,
        // It was removed by force; what the container says of itself is all there is.
        Err(EngineError::NotFound { .. }) => Labels::new(),
        Err(error) => return Err(error),
    };
    let mark = Mark::read_container(&reply.labels, &inherited);
    let ours = mark.is_some_and(|mark| mark.kind == Kind::Container && owner.owns(&mark));
    if ours {
        return Ok(Some(*reply));
    }
    Err(EngineError::Conflict {
        message: format!("the container {container} is not one that aishell made for this manifest"),
    })
}

fn held(name: &str, hold: &Hold) -> Failure {
    let problem = Problem::new(format!("container `{name}` is held: {hold}"));
    Failure::new(
        Exit::NotRun,
        problem.hint(format!("`aishell start {name}` starts it")),
    )
}

fn idle(name: &str, state: RunState) -> Failure {
    let (how, hint) = match state {
        RunState::Exited { code } => (
            format!("has ended with code {code}"),
            format!("`aishell start {name}` starts it; `aishell logs {name}` shows what it said"),
        ),
        RunState::Paused => ("is paused".to_owned(), "`aishell apply` lets it go on".to_owned()),
        RunState::Restarting => (
            "ends again and again".to_owned(),
            "`aishell status` shows why; it can be entered once it runs".to_owned(),
        ),
        RunState::Created => (
            "was never started".to_owned(),
            format!("start it with `aishell start {name}`"),
        ),
        RunState::Removing | RunState::Dead | RunState::Running => (
            format!("is {}", state.display()),
            "`aishell apply` makes it anew".to_owned(),
        ),
    };
    let problem = Problem::new(format!("container `{name}` {how}"));
    Failure::new(Exit::NotRun, problem.hint(hint))
}

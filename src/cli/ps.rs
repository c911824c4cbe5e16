//! `aishell ps`: the containers there are.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;
use jiff::Timestamp;

use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::json;
use super::output::Tone;
use super::render::table::{Cell, table};
use super::render::value;
use crate::engine::docker::DockerEngine;
use crate::label::{FAILED, Mark};
use crate::manifest::EngineAddress;
use crate::observe::{everyone, observe};
use crate::observed::{Container, EngineInfo, Health, Hold, RunState};
use crate::protocol::terminals;
use crate::reconcile::Intent as _;
use crate::report::ContainerStatus;
use crate::status::containers;

/// List the containers of the project
#[derive(Debug, Args)]
pub struct Ps {
    /// List the containers of every project on the engine
    #[arg(long, conflicts_with = "file")]
    all_projects: bool,
}

/// A container with how it stands.
struct Listed {
    container: Container,
    status: ContainerStatus,
}

impl Ps {
    /// Lists containers.
    ///
    /// # Errors
    /// The manifest is invalid, or the engine cannot be asked.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let (engine, info, mut listed) = if self.all_projects {
            Box::pin(all(invocation)).await?
        } else {
            Box::pin(project(invocation)).await?
        };
        let running = listed.iter().map(|one| &one.container);
        let running = running.filter(|container| container.state == RunState::Running);
        let running = running.map(|container| container.id.id().to_owned()).collect();
        let mut sessions = terminals(&engine, running).await?;
        for one in &mut listed {
            one.status.sessions = sessions.remove(one.container.id.id());
        }
        listed.sort_by(|one, other| order(&one.container).cmp(&order(&other.container)));
        if invocation.is_json() {
            let items = listed.iter().map(document).collect();
            invocation.output.document(&json::ContainerList::of(&info, items));
        } else {
            invocation
                .output
                .answer(&self.text(&listed, &invocation.host.home));
        }
        Ok(Exit::Done)
    }

    fn text(&self, listed: &[Listed], home: &Path) -> String {
        let mut header = vec![
            "NAME", "STATE", "READY", "HARNESS", "SESSIONS", "IMAGE", "CREATED",
        ];
        if self.all_projects {
            header.splice(0..0, ["PROJECT", "MANIFEST"]);
        }
        let now = Timestamp::now();
        let rows: Vec<Vec<Cell>> = listed
            .iter()
            .map(|Listed { container, status }| {
                let mut row = Vec::new();
                if self.all_projects {
                    let project = container.mark.project.as_deref().unwrap_or_default();
                    row.push(Cell::plain(at_home(project, home)));
                    row.push(Cell::plain(&container.mark.manifest));
                }
                row.push(Cell::new(shown(container), Tone::Name));
                let state = container.state.display();
                row.push(Cell::plain(match status.hold {
                    Some(_) => format!("{state}, held"),
                    None => state,
                }));
                row.push(if status.ready {
                    Cell::new("yes", Tone::Good)
                } else {
                    Cell::new("no", Tone::Bad)
                });
                row.push(Cell::plain(status.harness.as_deref().unwrap_or_default()));
                row.push(Cell::plain(
                    status.sessions.map(|count| count.to_string()).unwrap_or_default(),
                ));
                row.push(Cell::plain(&status.image));
                row.push(Cell::plain(value::ago(&container.created, now)));
                row
            })
            .collect();
        table(&header, &rows)
    }
}

/// Returns the name of a container; one that did not work is not the one that it was to replace.
fn shown(container: &Container) -> String {
    let name = &container.mark.name;
    if container.name.ends_with(FAILED) {
        format!("{name} (failed)")
    } else {
        name.clone()
    }
}

fn order(container: &Container) -> (Option<&str>, &str, &str, &str) {
    let mark = &container.mark;
    (
        mark.project.as_deref(),
        &mark.manifest,
        &mark.name,
        &container.name,
    )
}

/// Returns a path as a person writes it who is at home.
fn at_home(path: &str, home: &Path) -> String {
    match Path::new(path).strip_prefix(home) {
        Ok(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
        Ok(rest) => format!("~/{}", rest.display()),
        Err(_) => path.to_owned(),
    }
}

async fn project(invocation: &Invocation) -> Result<(DockerEngine, EngineInfo, Vec<Listed>), Failure> {
    let prepared = invocation.prepare(None)?;
    let engine = invocation.engine(&prepared.loaded.manifest.engine.address)?;
    let observed = Box::pin(observe(&engine, prepared.owner(), prepared.references())).await?;
    let desired = prepared.resolve(&observed);
    let wanted: BTreeMap<String, ContainerStatus> = containers(&desired, &observed);
    let holds: BTreeMap<String, Hold> = observed
        .containers
        .values()
        .filter_map(|live| {
            let name = &live.mark.name;
            Some((name.clone(), observed.hold(prepared.owner(), name)?.clone()))
        })
        .collect();
    let containers = observed
        .containers
        .into_values()
        .chain(observed.failed.into_values());
    let listed = containers.map(|container| {
        let name = &container.mark.name;
        let is_wanted = desired
            .containers
            .get(name)
            .is_some_and(|wanted| wanted.engine_name == container.name);
        let status = wanted.get(name).filter(|_| is_wanted).cloned();
        Listed {
            status: status.unwrap_or_else(|| standing(&container, holds.get(name))),
            container,
        }
    });
    Ok((engine, observed.engine, listed.collect()))
}

async fn all(invocation: &Invocation) -> Result<(DockerEngine, EngineInfo, Vec<Listed>), Failure> {
    let engine = invocation.engine(&EngineAddress::Current)?;
    let (info, containers, holds) = Box::pin(everyone(&engine)).await?;
    let listed = containers.into_iter().map(|container| {
        let mark = &container.mark;
        let whose = |(hold, _): &&(Mark, Hold)| {
            (&hold.project, &hold.manifest, &hold.name) == (&mark.project, &mark.manifest, &mark.name)
        };
        let hold = holds.iter().find(whose).map(|(_, hold)| hold);
        Listed {
            status: standing(&container, hold),
            container,
        }
    });
    Ok((engine, info, listed.collect()))
}

/// Returns how a container stands of which only the engine knows.
fn standing(container: &Container, hold: Option<&Hold>) -> ContainerStatus {
    ContainerStatus {
        hold: hold.cloned(),
        state: Some(container.state),
        health: container.health,
        ready: container.state == RunState::Running
            && matches!(container.health, None | Some(Health::Healthy)),
        image: container.spec.image.clone(),
        harness: None,
        sessions: None,
        created: Some(container.created.clone()),
        started_at: container.started.clone(),
    }
}

fn document(Listed { container, status }: &Listed) -> json::Container<'_> {
    json::Container {
        name: &container.mark.name,
        engine_name: &container.name,
        manifest: &container.mark.manifest,
        project: container.mark.project.as_deref(),
        created_at: Some(&container.created),
        status: json::ContainerStatus::of(status),
    }
}

//! What somebody does to the engine behind aishell's back, with any other client.

use super::world::{Container, World};
use super::{MemoryEngine, conflict, failed};
use crate::call::{Commit, Content};
use crate::engine::EngineError;
use crate::observed::{Health, NetworkShape, RunState};
use crate::spec::{Endpoint, Resources, Restart};

/// What the engine itself says to a call of somebody else.
type Said<T = ()> = Result<T, EngineError>;

impl MemoryEngine {
    /// `docker start`.
    pub fn start(&self, container: &str) -> Said {
        self.hand(|world| world.start_container(container))
    }

    /// `docker stop`.
    pub fn stop(&self, container: &str) -> Said {
        self.hand(|world| world.stop_container(container))
    }

    /// `docker pause`.
    pub fn pause(&self, container: &str) -> Said {
        self.hand(|world| world.pause(container))
    }

    /// `docker unpause`.
    pub fn unpause(&self, container: &str) -> Said {
        self.hand(|world| world.unpause_container(container))
    }

    /// `docker kill`.
    pub fn kill(&self, container: &str) -> Said {
        self.hand(|world| world.kill(container))
    }

    /// The command of a running container ends by itself.
    pub fn crash(&self, container: &str, code: i64) -> Said {
        self.hand(|world| world.crash(container, code))
    }

    /// The health check of a container comes to a verdict.
    pub fn health(&self, container: &str, health: Health) -> Said {
        self.hand(|world| world.change(container, |one| one.reply.health = Some(health)))
    }

    /// `docker rm -f`.
    pub fn rm(&self, container: &str) -> Said {
        self.hand(|world| world.remove_container(container, false))
    }

    /// `docker rename`.
    pub fn rename(&self, container: &str, name: &str) -> Said {
        self.hand(|world| world.rename_container(container, name))
    }

    /// `docker update`.
    pub fn update(&self, container: &str, resources: &Resources, restart: Option<Restart>) -> Said {
        self.hand(|world| world.update_container(container, Some(resources), restart))
    }

    /// `docker network connect`.
    pub fn connect(&self, network: &str, container: &str) -> Said {
        self.hand(|world| world.connect_network(network, container, &Endpoint::default()))
    }

    /// `docker network disconnect`.
    pub fn disconnect(&self, network: &str, container: &str) -> Said {
        self.hand(|world| world.disconnect_network(network, container))
    }

    /// `docker network rm`.
    pub fn rm_network(&self, network: &str) -> Said {
        self.hand(|world| world.remove_network(network))
    }

    /// The networks of a name were made otherwise.
    pub fn reshape(&self, network: &str, shape: &NetworkShape) {
        self.by_hand(|world| {
            let named = world
                .networks
                .values_mut()
                .filter(|one| one.reply.name == network);
            named.for_each(|one| one.reply.shape = shape.clone());
        });
    }

    /// `docker volume rm`.
    pub fn rm_volume(&self, volume: &str) -> Said {
        self.hand(|world| world.remove_volume(volume))
    }

    /// `docker rmi`.
    pub fn rmi(&self, image: &str) -> Said {
        self.hand(|world| world.remove_image(image, true))
    }

    /// `docker tag`.
    pub fn tag(&self, image: &str, tag: &str) -> Said {
        self.hand(|world| world.tag_image(image, tag))
    }

    /// `docker commit`: labels travel along, the identifier of the container included.
    pub fn commit(&self, container: &str, tag: &str) -> Said<String> {
        self.hand(|world| world.commit_by_hand(container, tag))
    }

    /// `docker cp`.
    pub fn write(&self, container: &str, path: &str, bytes: &[u8]) -> Said {
        self.hand(|world| world.write_by_hand(container, path, bytes))
    }

    /// The machine starts again: containers come up as their restart policies say.
    pub fn reboot(&self) {
        self.by_hand(World::reboot);
    }

    fn hand<T>(&self, act: impl FnOnce(&mut World) -> Said<T>) -> Said<T> {
        self.by_hand(|world| {
            world.tick();
            act(world)
        })
    }
}

impl World {
    fn change(&mut self, container: &str, change: impl FnOnce(&mut Container)) -> Said {
        let id = self.container_id(container)?;
        change(self.at_mut(&id)?);
        Ok(())
    }

    fn pause(&mut self, container: &str) -> Said {
        let id = self.container_id(container)?;
        match self.at(&id)?.state() {
            RunState::Running => self.change(container, |one| one.reply.state = RunState::Paused),
            other => Err(conflict(format!("Container {id} is {}", other.display()))),
        }
    }

    fn kill(&mut self, container: &str) -> Said {
        let id = self.container_id(container)?;
        if self.at(&id)?.state().is_alive() {
            return self.halt(&id, 137);
        }
        Err(conflict(format!(
            "Cannot kill container: {container}: Container {id} is not running"
        )))
    }

    fn crash(&mut self, container: &str, code: i64) -> Said {
        let id = self.container_id(container)?;
        if self.at(&id)?.state() == RunState::Running {
            self.end(&id, code);
            return Ok(());
        }
        Err(conflict(format!("Container {id} is not running")))
    }

    fn commit_by_hand(&mut self, container: &str, tag: &str) -> Said<String> {
        let id = self.container_id(container)?;
        let labels = self.at(&id)?.reply.labels.clone();
        let image = self.commit_container(&Commit {
            rebuilt: false,
            container: id,
            tag: tag.to_owned(),
            labels: labels.clone(),
            env: std::collections::BTreeMap::new(),
            command: None,
            entrypoint: None,
            user: None,
            workdir: None,
        })?;
        // Nobody adds an identifier of its own here.
        if let Some(image) = self.images.get_mut(&image) {
            image.reply.image.labels = labels;
        }
        Ok(image)
    }

    fn write_by_hand(&mut self, container: &str, path: &str, bytes: &[u8]) -> Said {
        let id = self.container_id(container)?;
        if self.write_file(&id, path, Content::Bytes(bytes.to_vec())) {
            return Ok(());
        }
        Err(failed(format!("open {path}: read-only file system")))
    }

    fn reboot(&mut self) {
        self.tick();
        let ids: Vec<String> = self.containers.keys().cloned().collect();
        for id in &ids {
            let Ok(one) = self.at(id) else { continue };
            let (alive, restart) = (one.state().is_alive(), one.reply.spec.restart);
            let ended = matches!(one.state(), RunState::Exited { .. });
            if alive {
                let _halted = self.halt(id, 255);
            }
            let again = match restart {
                Restart::Always => alive || ended,
                Restart::UnlessStopped | Restart::OnFailure(_) => alive,
                Restart::No => false,
            };
            if again {
                // Where it cannot start it says so itself.
                let _started = self.start_container(id);
            }
        }
    }
}

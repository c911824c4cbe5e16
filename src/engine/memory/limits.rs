//! Limits: what the engine accepts at creation and in an update, and what it makes of it.

use super::world::World;
use super::{conflict, refused};
use crate::engine::EngineError;
use crate::spec::{Resources, Restart};

/// The least memory that 20.10 accepts.
const LEAST: u64 = 6 << 20;

impl World {
    /// Absent and zero limits mean "unchanged", so that most cannot be unset; processes can.
    pub(super) fn update_container(
        &mut self,
        container: &str,
        resources: Option<&Resources>,
        restart: Option<Restart>,
    ) -> Result<(), EngineError> {
        let id = self.container_id(container)?;
        if let Some(resources) = resources {
            let updated = self.updated(&id, resources)?;
            self.at_mut(&id)?.reply.spec.resources = updated;
        }
        if let Some(restart) = restart {
            self.at_mut(&id)?.reply.spec.restart = restart;
        }
        Ok(())
    }

    fn updated(&self, id: &str, asked: &Resources) -> Result<Resources, EngineError> {
        self.check(asked)?;
        let subject = self.at(id)?;
        let mut limits = subject.reply.spec.resources.clone();
        let Resources {
            memory,
            memory_swap,
            reservation,
            cpus,
            pids,
            shares,
            cpuset,
        } = asked.clone();
        let (memory, swap) = (
            memory.filter(|size| *size > 0),
            memory_swap.filter(|size| *size != 0),
        );
        let problem = |text: &str| format!("Cannot update container {id}: {text}");
        if let Some(memory) = memory {
            if swap.is_none()
                && i64::try_from(memory).is_ok_and(|memory| memory > limits.memory_swap.unwrap_or(0))
            {
                return Err(conflict(problem(
                    "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the \
                     same time",
                )));
            }
            if memory < subject.memory_used {
                return Err(refused(problem(
                    "unable to set memory limit: device or resource busy",
                )));
            }
        }
        let (memory, swap) = (memory.or(limits.memory), swap.or(limits.memory_swap));
        if let Some(swap) = swap
            && swap > 0
            && memory.is_none_or(|memory| swap.unsigned_abs() < memory)
            && subject.state().is_alive()
        {
            return Err(refused(problem(
                "failed to write memory.memsw.limit_in_bytes: invalid argument",
            )));
        }
        limits.memory = memory;
        limits.memory_swap = swap;
        limits.reservation = reservation.filter(|size| *size > 0).or(limits.reservation);
        limits.cpus = cpus.filter(|share| *share > 0).or(limits.cpus);
        limits.pids = pids.filter(|count| *count > 0);
        limits.shares = match shares {
            None | Some(0) => limits.shares,
            Some(1024) => None,
            Some(shares) => Some(shares),
        };
        limits.cpuset = cpuset.filter(|set| !set.is_empty()).or(limits.cpuset);
        Ok(limits)
    }

    /// Checks what is checked at creation too, and some more.
    pub(super) fn check_created(&self, asked: &Resources) -> Result<(), EngineError> {
        self.check(asked)?;
        let Resources {
            memory, memory_swap, ..
        } = asked;
        if memory.unwrap_or(0) == 0 && memory_swap.is_some_and(|swap| swap > 0) {
            return Err(refused(
                "You should always set the Memory limit when using Memoryswap limit, see usage",
            ));
        }
        Ok(())
    }

    fn check(&self, asked: &Resources) -> Result<(), EngineError> {
        let Resources {
            memory,
            memory_swap,
            reservation,
            cpus,
            pids: _,
            shares: _,
            cpuset: _,
        } = asked;
        let memory = memory.filter(|size| *size > 0);
        if memory.is_some_and(|memory| memory < LEAST) {
            return Err(refused("Minimum memory limit allowed is 6MB"));
        }
        let below = |limit: u64| memory.is_some_and(|memory| limit > 0 && limit < memory);
        if memory_swap.is_some_and(|swap| swap > 0 && below(swap.unsigned_abs())) {
            return Err(refused(
                "Minimum memoryswap limit should be larger than memory limit, see usage",
            ));
        }
        if memory.is_some_and(|memory| reservation.is_some_and(|reservation| memory < reservation)) {
            return Err(refused(
                "Minimum memory limit can not be less than memory reservation limit, see usage",
            ));
        }
        let there = self.nature.cpus;
        if cpus.is_some_and(|cpus| cpus > there) {
            let whole = there / 1_000_000_000;
            return Err(refused(format!(
                "Range of CPUs is from 0.01 to {whole}.00, as there are only {whole} CPUs available"
            )));
        }
        Ok(())
    }
}

/// Returns limits as the engine shows them after a creation: swap is twice the memory unless it was given.
pub(super) fn normal(asked: &Resources) -> Resources {
    let Resources {
        memory,
        memory_swap,
        reservation,
        cpus,
        pids,
        shares,
        cpuset,
    } = asked.clone();
    let memory = memory.filter(|size| *size > 0);
    let twice = memory.and_then(|memory| i64::try_from(memory.saturating_mul(2)).ok());
    Resources {
        memory,
        memory_swap: memory_swap.filter(|size| *size != 0).or(twice),
        reservation: reservation.filter(|size| *size > 0),
        cpus: cpus.filter(|share| *share > 0),
        pids: pids.filter(|count| *count > 0),
        shares: shares.filter(|shares| ![0, 1024].contains(shares)),
        cpuset: cpuset.filter(|set| !set.is_empty()),
    }
}

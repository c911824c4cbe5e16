//! How things stand, as tables.

use jiff::Timestamp;

use super::table::{Cell, table};
use super::{Style, notes, value};
use crate::cli::output::{Tone, clean};
use crate::observed::{Health, RunState};
use crate::report::{Condition, ConditionKind, ContainerStatus, SetStatus, Status, Truth};

impl Style<'_> {
    /// Returns how every resource of a manifest stands.
    pub fn status(self, status: &Status, now: Timestamp) -> String {
        let mut text = self.header(&status.manifest, &status.engine);
        let rows: Vec<Vec<Cell>> = status
            .resources
            .iter()
            .map(|resource| {
                vec![
                    Cell::plain(resource.kind.as_str()),
                    Cell::new(&resource.name, Tone::Name),
                    truth(&resource.conditions, ConditionKind::Converged),
                    truth(&resource.conditions, ConditionKind::Ready),
                    Cell::plain(match &resource.harness_set {
                        Some(set) => of_set(set, &resource.conditions, now),
                        None => detail(&resource.conditions, resource.container.as_ref(), now),
                    }),
                ]
            })
            .collect();
        if !rows.is_empty() {
            text.push_str(&table(&["KIND", "NAME", "CONVERGED", "READY", "DETAIL"], &rows));
            text.push('\n');
        }
        let line = match status
            .conditions
            .iter()
            .filter(|condition| is_bad(condition))
            .collect::<Vec<_>>()
        {
            bad if !bad.is_empty() => {
                let messages: Vec<String> = bad.iter().map(|condition| clean(&condition.message)).collect();
                format!("not converged: {}", messages.join("; "))
            }
            _ if status.is_good() => "converged and ready".to_owned(),
            _ => "converged, but not ready".to_owned(),
        };
        [text, line, "\n".to_owned(), notes(&status.notes)].concat()
    }
}

fn truth(conditions: &[Condition], kind: ConditionKind) -> Cell {
    match conditions.iter().find(|condition| condition.kind == kind) {
        Some(condition) => match condition.status {
            Truth::True => Cell::new("yes", Tone::Good),
            Truth::False => Cell::new("no", Tone::Bad),
            Truth::Unknown => Cell::new("unknown", Tone::Change),
        },
        None => Cell::plain(""),
    }
}

/// Says whether a condition is one that a person should know about.
fn is_bad(condition: &Condition) -> bool {
    match condition.kind {
        ConditionKind::Converged | ConditionKind::Ready => condition.status != Truth::True,
        ConditionKind::Blocked | ConditionKind::Degraded => condition.status == Truth::True,
    }
}

fn detail(conditions: &[Condition], container: Option<&ContainerStatus>, now: Timestamp) -> String {
    let mut parts = Vec::new();
    let mut told = None;
    if let Some(state) = container.and_then(|container| container.state) {
        told = Some(state.display());
        parts.push(standing(state, container, now));
    }
    for condition in conditions.iter().filter(|condition| is_bad(condition)) {
        let part = match condition.kind {
            ConditionKind::Blocked => format!("blocked: {}", condition.message),
            ConditionKind::Converged | ConditionKind::Ready | ConditionKind::Degraded => {
                condition.message.clone()
            }
        };
        if told.as_ref() != Some(&part) && !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts.join("; ")
}

/// Returns what is in a harness set, who has it, and how it stands.
fn of_set(set: &SetStatus, conditions: &[Condition], now: Timestamp) -> String {
    let members = set.members.iter();
    let members: Vec<String> = members
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let mut parts = vec![members.join(", ")];
    parts.extend(
        set.size
            .map(|(_, bytes)| format!("{} MiB", bytes.div_ceil(1 << 20))),
    );
    if !set.users.is_empty() {
        parts.push(format!("used by {}", set.users.join(", ")));
    }
    let standing = detail(conditions, None, now);
    parts.extend((!standing.is_empty()).then_some(standing));
    parts.join("; ")
}

/// Returns what a container is doing, how healthy it is, and since when.
fn standing(state: RunState, container: Option<&ContainerStatus>, now: Timestamp) -> String {
    let healthy = match container.and_then(|container| container.health) {
        Some(Health::Healthy) => ", healthy",
        Some(Health::Starting | Health::Unhealthy) | None => "",
    };
    let started = container
        .and_then(|container| container.started_at.as_deref())
        .map(|started| format!(", started {}", value::ago(started, now)));
    match state {
        RunState::Running => format!("{}{healthy}{}", state.display(), started.unwrap_or_default()),
        RunState::Created
        | RunState::Paused
        | RunState::Restarting
        | RunState::Exited { .. }
        | RunState::Removing
        | RunState::Dead => state.display(),
    }
}

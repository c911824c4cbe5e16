//! What the engine tells without being asked: two streams, decoded.
//!
//! Events of containers can be filtered by their labels. Those of networks, volumes and images carry no labels of
//! their objects, so they are a stream of their own, and whoever listens compares ids and names.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use serde::Deserialize;
use serde_json::json;

use super::connect::Stream;
use super::error::Failure;
use super::request::{encoded, question};
use super::{DockerEngine, within};
use crate::engine::{EngineError, Notice, Notices};
use crate::label::{KIND, Kind, MANIFEST, Owner, PROJECT};

/// How long the engine may take to begin an answer.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// The longest event that is read. Labels are part of it.
const LONGEST: usize = 1 << 20;

/// What happens to containers and matters. Health checks, copies and attached clients make many more.
const CONTAINER: [&str; 13] = [
    "create",
    "start",
    "die",
    "stop",
    "oom",
    "pause",
    "unpause",
    "rename",
    "update",
    "restart",
    "destroy",
    "health_status",
    "exec_die",
];
/// What happens to other objects and matters: not every mount of a volume.
const OTHER: [&str; 8] = [
    "create",
    "destroy",
    "remove",
    "connect",
    "disconnect",
    "tag",
    "untag",
    "delete",
];

/// The part of an event that is read.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: Attributes,
}

#[derive(Default, Deserialize)]
struct Attributes {
    #[serde(default)]
    name: String,
    #[serde(default)]
    container: Option<String>,
    #[serde(default, rename = "execID")]
    exec: String,
}

/// Commands that this connection runs itself, until their end was seen: nobody is to wake because of them.
#[derive(Clone, Default)]
pub(super) struct Own(Arc<Mutex<BTreeSet<String>>>);

impl Own {
    pub(super) fn note(&self, exec: &str) {
        self.set().insert(exec.to_owned());
    }

    fn forget(&self, exec: &str) -> bool {
        self.set().remove(exec)
    }

    fn set(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DockerEngine {
    /// Opens both streams; when this returns, the engine has begun to answer both.
    pub(super) async fn events(&self, owner: &Owner) -> Result<Notices, Failure> {
        self.negotiate().await?;
        let containers = json!({
            "type": ["container"],
            "event": CONTAINER,
            "label": [
                format!("{KIND}={}", Kind::Container.as_str()),
                format!("{MANIFEST}={}", owner.manifest),
                format!("{PROJECT}={}", owner.project),
            ],
        });
        let others = json!({ "type": ["network", "volume", "image"], "event": OTHER });
        let containers = self.stream(&containers.to_string()).await?;
        let others = self.stream(&others.to_string()).await?;
        Ok(stream::select(containers, others).boxed())
    }

    async fn stream(&self, filters: &str) -> Result<Notices, Failure> {
        let path = format!("/events?filters={}", encoded(filters));
        let open = async { Ok((self.open)(question(&path)?).await?) };
        let Stream {
            status, mut pieces, ..
        } = within(OPEN_LIMIT, open).await?;
        if status != 200 {
            let body = pieces.next().await.and_then(Result::ok).unwrap_or_default();
            return Err(bollard::errors::Error::DockerResponseServerError {
                status_code: status,
                message: String::from_utf8_lossy(&body).into_owned(),
            }
            .into());
        }
        let host = self.host.clone();
        let mut lines = Lines {
            own: self.own_execs.clone(),
            ..Lines::default()
        };
        let notices = pieces.flat_map(move |piece| {
            let found: Vec<Result<Notice, EngineError>> = match piece {
                Ok(piece) => lines.push(&piece).into_iter().map(Ok).collect(),
                Err(message) => vec![Err(EngineError::Unreachable {
                    host: host.clone(),
                    message,
                    denied: false,
                    heard: true,
                })],
            };
            stream::iter(found)
        });
        // `select` goes on with one stream when the other has ended; that must not look like nothing happening.
        let host = self.host.clone();
        let ended = stream::once(async move {
            Err(EngineError::Unreachable {
                host,
                message: "it closed the connection".to_owned(),
                denied: false,
                heard: true,
            })
        });
        Ok(notices.chain(ended).boxed())
    }
}

/// Puts events together from pieces that arrive anyhow.
#[derive(Default)]
struct Lines {
    own: Own,
    partial: Vec<u8>,
    /// Whether the line is too long, and what comes until its end is left out.
    skipping: bool,
}

impl Lines {
    fn push(&mut self, piece: &[u8]) -> Vec<Notice> {
        let mut found = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let whole = part.ends_with(b"\n");
            if self.partial.len() + part.len() > LONGEST {
                self.skipping = true;
                self.partial.clear();
            }
            if !self.skipping {
                self.partial.extend_from_slice(part);
            }
            if whole {
                found.extend(notice(&self.partial, &self.own));
                self.partial.clear();
                self.skipping = false;
            }
        }
        found
    }
}

/// Reads one event; what makes no sense, or does not matter, is none.
fn notice(line: &[u8], own: &Own) -> Option<Notice> {
    let Event {
        kind,
        action,
        actor: Actor { id, attributes },
    } = serde_json::from_slice(line).ok()?;
    let Attributes {
        name,
        container,
        exec,
    } = attributes;
    match kind.as_str() {
        "container" if action.starts_with("exec_die") && own.forget(&exec) => None,
        "container" if action.starts_with("exec_die") => Some(Notice::SessionEnded { id }),
        // The filter compares beginnings, so that a few more come along.
        "container" if action.starts_with("exec_") => None,
        "container" => Some(Notice::Container { id }),
        "network" => Some(Notice::Network { id, name, container }),
        "volume" => Some(Notice::Volume { name: id }),
        "image" => Some(Notice::Image { id, name }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIE: &str = r#"{"status":"die","id":"c1","Type":"container","Action":"die","Actor":{"ID":"c1","Attributes":{"aishell.name":"a","exitCode":"137","name":"web"}},"time":1}"#;
    const ATTACHED: &str = r#"{"Type":"network","Action":"connect","Actor":{"ID":"n1","Attributes":{"container":"c1","name":"net","type":"bridge"}}}"#;

    #[test]
    fn events_are_read_wherever_they_were_cut() {
        let mut lines = Lines::default();
        let text = format!("{DIE}\n{ATTACHED}\n");
        let (first, second) = text.as_bytes().split_at(100);
        assert_eq!(lines.push(first), []);
        assert_eq!(
            lines.push(second),
            [
                Notice::Container { id: "c1".to_owned() },
                Notice::Network {
                    id: "n1".to_owned(),
                    name: "net".to_owned(),
                    container: Some("c1".to_owned()),
                },
            ]
        );
    }

    #[test]
    fn what_makes_no_sense_is_left_out_and_costs_no_memory() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"null\n{}\n[\n"), []);
        for _ in 0..3_000 {
            lines.push(&[b'x'; 1_000]);
        }
        assert!(lines.partial.len() <= LONGEST);
        assert_eq!(lines.push(format!("\n{DIE}\n").as_bytes()).len(), 1);
    }

    #[test]
    fn ends_of_sessions_are_told_from_what_happens_to_the_container() {
        let event = |action: &str| {
            let text = DIE.replace("\"Action\":\"die\"", &format!("\"Action\":\"{action}\""));
            notice(text.as_bytes(), &Own::default())
        };
        let id = "c1".to_owned();
        assert_eq!(event("exec_die"), Some(Notice::SessionEnded { id: id.clone() }));
        assert_eq!(event("exec_start: sh -c true"), None);
        assert_eq!(event("health_status: healthy"), Some(Notice::Container { id }));
    }
}

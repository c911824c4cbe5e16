//! The floor: the same engine calls without anything around them.

use std::fmt::Write as _;
use std::path::Path;
use std::thread;

use serde::Deserialize;
use serde_json::Value;

use crate::engine::{Connection, at_once, ids};
use crate::proxy::Request;

/// The part of a listing that tells which containers to ask for.
#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "Labels")]
    labels: Labels,
}

#[derive(Deserialize)]
struct Labels {
    #[serde(rename = "aishell.manifest")]
    manifest: Option<String>,
    #[serde(rename = "aishell.kind")]
    kind: Option<String>,
}

/// Asks for what a look at `manifest` needs: four listings at once, then every container, eight at a time.
pub fn look(socket: &Path, manifest: &str) {
    let ours = filter("label", "aishell.uid");
    let paths = [
        format!("/v1.41/containers/json?all=true&filters={ours}"),
        format!("/v1.41/volumes?filters={ours}"),
        format!("/v1.41/networks?filters={ours}"),
        format!("/v1.41/images/json?filters={ours}"),
    ];
    let mut answers: Vec<(Connection, Vec<u8>)> = thread::scope(|scope| {
        let asked: Vec<_> = paths
            .iter()
            .map(|path| {
                scope.spawn(move || {
                    let mut connection = Connection::open(socket).expect("the engine listens");
                    let answer = connection.ask("GET", path, None);
                    (connection, answer)
                })
            })
            .collect();
        asked
            .into_iter()
            .map(|asked| asked.join().expect("an answer"))
            .collect()
    });
    let listing: Vec<Listed> = serde_json::from_slice(&answers[0].1).expect("a listing");
    let ours: Vec<&str> = listing
        .iter()
        .filter(|listed| listed.labels.manifest.as_deref() == Some(manifest))
        .filter(|listed| listed.labels.kind.as_deref() == Some("container"))
        .map(|listed| listed.id.as_str())
        .collect();
    let connections = answers.drain(..).map(|(connection, _)| connection).collect();
    at_once(socket, connections, ours.len(), |connection, index| {
        connection.ask("GET", &format!("/v1.41/containers/{}/json", ours[index]), None);
    });
}

/// Creates and starts what the program under test created, under other names, eight at a time.
///
/// Volumes of a container come into being with it.
pub fn create_and_start(socket: &Path, requests: &[Request], network: (&str, &str)) {
    let mut connection = Connection::open(socket).expect("the engine listens");
    let body = format!(r#"{{"Name":"{PREFIX}net","Driver":"bridge"}}"#);
    let made: Value =
        serde_json::from_slice(&connection.ask("POST", "/v1.41/networks/create", Some(body.as_bytes())))
            .expect("an id");
    let id = made["Id"].as_str().expect("an id").to_owned();
    at_once(socket, vec![connection], requests.len(), |connection, index| {
        let text = String::from_utf8_lossy(&requests[index].body);
        let body = text
            .replace(network.0, &format!("{PREFIX}net"))
            .replace(network.1, &id)
            .replace("\"aishell.", "\"aishellfloor.")
            .replace("\"aishell-", &format!("\"{PREFIX}"));
        let path = format!("/v1.41/containers/create?name={PREFIX}{index}");
        let answer = connection.ask("POST", &path, Some(body.as_bytes()));
        let made: Value = serde_json::from_slice(&answer).expect("an id");
        let id = made["Id"].as_str().expect("an id");
        connection.ask("POST", &format!("/v1.41/containers/{id}/start"), None);
    });
}

/// Removes what [`create_and_start`] made.
pub fn remove(socket: &Path) {
    let mut connection = Connection::open(socket).expect("the engine listens");
    let named = filter("name", &format!("^/{PREFIX}"));
    let listing = connection.ask(
        "GET",
        &format!("/v1.41/containers/json?all=true&filters={named}"),
        None,
    );
    let found = ids(&listing);
    at_once(socket, Vec::new(), found.len(), |connection, index| {
        let path = format!("/v1.41/containers/{}?force=true&v=true", found[index]);
        connection.ask("DELETE", &path, None);
    });
    let (_, _) = connection
        .send("DELETE", &format!("/v1.41/networks/{PREFIX}net"), None)
        .expect("the engine answers");
    let named = filter("name", &format!("^{PREFIX}"));
    let answer = connection.ask("GET", &format!("/v1.41/volumes?filters={named}"), None);
    let volumes: Value = serde_json::from_slice(&answer).expect("volumes");
    for volume in volumes["Volumes"].as_array().unwrap_or(&Vec::new()) {
        let name = volume["Name"].as_str().unwrap_or_default();
        connection.ask("DELETE", &format!("/v1.41/volumes/{name}"), None);
    }
}

/// Removes what `aishell delete` leaves on purpose: what was made for manifests of the bench and may be shared.
pub fn remove_left_by_bench(socket: &Path) {
    let mut connection = Connection::open(socket).expect("the engine listens");
    let failed = filter("name", "^/aishell-failed-bench-p");
    let listing = connection.ask(
        "GET",
        &format!("/v1.41/containers/json?all=true&filters={failed}"),
        None,
    );
    for id in ids(&listing) {
        let _ = connection.send("DELETE", &format!("/v1.41/containers/{id}?force=true"), None);
    }
    let images = filter("reference", "aishell-bench-p*");
    let listing = connection.ask("GET", &format!("/v1.41/images/json?filters={images}"), None);
    for id in ids(&listing) {
        let _ = connection.send("DELETE", &format!("/v1.41/images/{id}?force=true"), None);
    }
}

/// Returns a filter for a listing, as it stands in an address.
fn filter(name: &str, value: &str) -> String {
    let filter = format!(r#"{{"{name}":["{value}"]}}"#);
    filter.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// How the names of what the floor makes begin.
const PREFIX: &str = "aibenchfloor-";

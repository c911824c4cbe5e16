//! Who we are to a registry: as the docker client has it in its configuration, or as its credential helpers say.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::engine::EngineError;

/// What the registry is called that images without a registry are in.
const HUB: &str = "https://index.docker.io/v1/";
/// How long a helper may take: it may ask a service, but nobody.
const HELPER_LIMIT: Duration = Duration::from_secs(30);
/// The user that stands for a token.
const TOKEN: &str = "<token>";
/// What helpers say of a registry that they know nothing of.
const UNKNOWN: &str = "credentials not found";

/// Where the docker client has its configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Credentials {
    directory: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    auths: BTreeMap<String, Login>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Login {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default, rename = "identitytoken")]
    token: String,
}

/// What a helper answers.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

impl Credentials {
    /// Finds the configuration.
    pub(super) fn of(environment: &BTreeMap<String, String>, home: Option<&Path>) -> Self {
        let named = environment.get("DOCKER_CONFIG").filter(|path| !path.is_empty());
        let directory = named
            .map(PathBuf::from)
            .or_else(|| home.map(|home| home.join(".docker")));
        Self { directory }
    }

    /// Returns who we are to the registry of an image; `None` is nobody in particular.
    pub(super) async fn for_image(&self, reference: &str) -> Result<Option<DockerCredentials>, EngineError> {
        let Some(configuration) = self.read()? else {
            return Ok(None);
        };
        let registry = registry(reference);
        let helper = configuration
            .helpers
            .get(registry)
            .or(configuration.store.as_ref());
        let found = match helper.filter(|helper| !helper.is_empty()) {
            Some(helper) => ask(helper, registry).await?,
            None => configuration.login(registry)?,
        };
        Ok(found.map(|(username, secret)| {
            let is_token = username == TOKEN;
            let (username, password, token) = if is_token {
                (None, None, Some(secret))
            } else {
                (Some(username), Some(secret), None)
            };
            DockerCredentials {
                username,
                password,
                identitytoken: token,
                serveraddress: Some(registry.to_owned()),
                ..DockerCredentials::default()
            }
        }))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "Docker's own configuration is read here, at the edge"
    )]
    fn read(&self) -> Result<Option<Configuration>, EngineError> {
        let Some(directory) = &self.directory else {
            return Ok(None);
        };
        let path = directory.join("config.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(format!("{} cannot be read: {error}", path.display()))),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| refused(format!("cannot make sense of {}: {error}", path.display())))
    }
}

impl Configuration {
    /// Returns what is written down for a registry: who, and the secret.
    fn login(&self, registry: &str) -> Result<Option<(String, String)>, EngineError> {
        let named = |(name, _): &(&String, &Login)| host(name) == host(registry);
        let Some(login) = self
            .auths
            .get(registry)
            .or_else(|| self.auths.iter().find(named).map(|(_, login)| login))
        else {
            return Ok(None);
        };
        let Login {
            auth,
            username,
            password,
            token,
        } = login;
        if !token.is_empty() {
            return Ok(Some((TOKEN.to_owned(), token.clone())));
        }
        if auth.is_empty() {
            return Ok((!username.is_empty()).then(|| (username.clone(), password.clone())));
        }
        let decoded = STANDARD.decode(auth).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let pair = pair.map(|(user, password)| (user.to_owned(), password.trim_end_matches('\0').to_owned()));
        match pair {
            Some(pair) => Ok(Some(pair)),
            None => Err(refused(format!(
                "the login at {registry} in the docker configuration is none: log in again"
            ))),
        }
    }
}

/// Asks a credential helper for who we are to a registry, and for the secret.
async fn ask(helper: &str, registry: &str) -> Result<Option<(String, String)>, EngineError> {
    let program = format!("docker-credential-{helper}");
    let failed = |why: String| refused(format!("{program} does not say who to be at {registry}: {why}"));
    if helper.contains('/') {
        return Err(failed("that is no name of a helper".to_owned()));
    }
    let asked = async {
        let mut child = Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // One that does not listen has its reasons, and tells them.
            let _ = input.write_all(format!("{registry}\n").as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(HELPER_LIMIT, asked)
        .await
        .map_err(|_| failed(format!("no answer within {} s", HELPER_LIMIT.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        // Helpers say why on standard output.
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        if said.to_ascii_lowercase().contains(UNKNOWN) {
            return Ok(None);
        }
        let last = said.lines().last().unwrap_or("it failed").to_owned();
        return Err(failed(last));
    }
    // What it says may be a secret, so that its words are in no error.
    let Answer { username, secret } =
        serde_json::from_slice(&output.stdout).map_err(|_| failed("its answer makes no sense".to_owned()))?;
    Ok(Some((username, secret)))
}

/// Returns credentials as requests have them.
pub(super) fn header(credentials: &DockerCredentials) -> Result<String, EngineError> {
    let text = serde_json::to_vec(credentials).map_err(|error| refused(error.to_string()))?;
    Ok(URL_SAFE.encode(text))
}

/// Returns the registry of an image, as logins name it.
pub(super) fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => {
            if ["docker.io", "index.docker.io"].contains(&first) {
                HUB
            } else {
                first
            }
        }
        _ => HUB,
    }
}

/// Returns the host that a login is for: some name it with scheme and path.
fn host(name: &str) -> &str {
    let name = name
        .strip_prefix("https://")
        .or_else(|| name.strip_prefix("http://"))
        .unwrap_or(name);
    name.split('/').next().unwrap_or_default()
}

fn refused(message: String) -> EngineError {
    EngineError::Refused { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_named_as_logins_name_them() {
        for (reference, expected) in [
            ("debian:1", HUB),
            ("me/tool", HUB),
            ("docker.io/me/tool", HUB),
            ("ghcr.io/me/tool:1", "ghcr.io"),
            ("127.0.0.1:5000/tool@sha256:1", "127.0.0.1:5000"),
            ("localhost/tool", "localhost"),
        ] {
            assert_eq!(registry(reference), expected, "{reference}");
        }
    }

    #[test]
    fn a_login_is_found_in_every_form_that_docker_has_written() {
        let text = r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"bWU6c2VjOnJldA=="},
            "https://ghcr.io/v2/":{"username":"a","password":"b"},
            "reg:5000":{"identitytoken":"t","auth":"bWU6eA=="},
            "empty":{},
            "broken":{"auth":"%%"}}}"#;
        let configuration: Configuration = serde_json::from_str(text).expect("a configuration");
        let login = |registry: &str| configuration.login(registry).map_err(|error| error.to_string());
        let pair = |user: &str, secret: &str| Ok(Some((user.to_owned(), secret.to_owned())));
        assert_eq!(login(HUB), pair("me", "sec:ret"));
        assert_eq!(login("ghcr.io"), pair("a", "b"));
        assert_eq!(login("reg:5000"), pair(TOKEN, "t"));
        assert_eq!(login("empty"), Ok(None));
        assert_eq!(login("other"), Ok(None));
        assert!(login("broken").is_err());
    }
}

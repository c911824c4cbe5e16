//! Where the engine is and how it is reached: the resolution of addresses (pure) and the transport.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

use super::negotiate::Api;
use super::wire::Connector;
use crate::key::digest;

/// The socket that engines listen on unless told otherwise.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// The port of an engine without TLS.
const DEFAULT_PORT: u16 = 2375;
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Deadlines are set per call; this one only has to be beyond all of them.
const NO_TIMEOUT_SECONDS: u64 = u32::MAX as u64;

/// Which engine is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// The one that the docker CLI would choose.
    #[default]
    Default,
    /// An address, such as `unix:///var/run/docker.sock`.
    Host(String),
    /// A Docker context by name.
    Context(String),
}

impl Target {
    /// Returns what is meant by the options of the command line and the manifest, in this order.
    #[must_use]
    pub fn choose(host: Option<String>, context: Option<String>, manifest: Self) -> Self {
        match (host, context) {
            (Some(host), _) => Self::Host(host),
            (None, Some(context)) => Self::Context(context),
            (None, None) => manifest,
        }
    }
}

/// The address of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A Unix socket of this machine.
    Socket(PathBuf),
    /// `host:port`, without encryption.
    Tcp(String),
}

impl Host {
    /// Returns the address as a person writes it.
    pub fn uri(&self) -> String {
        match self {
            Self::Socket(path) => format!("unix://{}", path.display()),
            Self::Tcp(authority) => format!("tcp://{authority}"),
        }
    }

    /// Reads an address.
    ///
    /// # Errors
    /// [`ConnectError::Unavailable`] for what Docker knows and aishell does not reach yet, else
    /// [`ConnectError::Address`].
    pub fn parse(uri: &str) -> Result<Self, ConnectError> {
        let address = |reason: &'static str| ConnectError::Address {
            uri: uri.to_owned(),
            reason,
        };
        let unavailable = |what: &'static str| ConnectError::Unavailable {
            uri: uri.to_owned(),
            what,
        };
        let Some((scheme, rest)) = uri.split_once("://") else {
            return Err(address(
                "it has no scheme; a socket is written `unix:///path/to/docker.sock`",
            ));
        };
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Socket(PathBuf::from(rest))),
            "unix" => Err(address(
                "the path of a socket is absolute, as in `unix:///var/run/docker.sock`",
            )),
            "tcp" | "http" => {
                let authority = rest.trim_end_matches('/');
                let odd = |character: char| "/?#@".contains(character) || character.is_whitespace();
                if authority.is_empty() || authority.contains(odd) {
                    return Err(address("it is written `tcp://HOST:PORT`"));
                }
                // The colons inside the brackets of an IPv6 address start no port.
                let after = authority.rsplit_once(']').map_or(authority, |(_, after)| after);
                let port = if after.contains(':') {
                    String::new()
                } else {
                    format!(":{DEFAULT_PORT}")
                };
                Ok(Self::Tcp(format!("{authority}{port}")))
            }
            "https" => Err(unavailable("TLS")),
            "ssh" => Err(unavailable("SSH")),
            "npipe" => Err(unavailable("a named pipe")),
            _ => Err(address("known schemes are `unix` and `tcp`")),
        }
    }
}

/// What the resolution of an address looks at, so that it can be tried without a machine.
pub struct Surroundings<'a> {
    /// The environment.
    pub environment: &'a BTreeMap<String, String>,
    /// The home directory.
    pub home: Option<&'a Path>,
    /// Reads a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// Says whether something exists.
    pub exists: &'a dyn Fn(&Path) -> bool,
}

/// Why it is not known where the engine is, or how to get there.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address makes no sense.
    #[error("`{uri}` is not the address of an engine: {reason}")]
    Address {
        /// As it was given.
        uri: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Docker knows this way, aishell does not yet.
    #[error("`{uri}` needs {what}, which is not available yet; a socket or plain TCP is")]
    Unavailable {
        /// As it was given.
        uri: String,
        /// What is missing.
        what: &'static str,
    },
    /// There is no such context.
    #[error("there is no Docker context `{name}` ({} is missing)", path.display())]
    NoContext {
        /// Its name.
        name: String,
        /// The file that would describe it.
        path: PathBuf,
    },
    /// A context without an engine.
    #[error("the Docker context `{name}` names no engine")]
    NoEndpoint {
        /// Its name.
        name: String,
    },
    /// A file of Docker's configuration cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file of Docker's configuration makes no sense.
    #[error("cannot make sense of {}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// The client could not be made.
    #[error("cannot connect to {host}: {message}")]
    Client {
        /// The address.
        host: String,
        /// What was said.
        message: String,
    },
}

/// The part of `config.json` that names the current context.
#[derive(Deserialize)]
struct Configuration {
    #[serde(rename = "currentContext", default)]
    current: String,
}

/// The part of a context's `meta.json` that says where the engine is.
#[derive(Deserialize)]
struct Context {
    #[serde(rename = "Endpoints", default)]
    endpoints: BTreeMap<String, Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "Host", default)]
    host: String,
}

/// Finds the engine that is meant, as the docker CLI would, and rootless and Podman sockets besides.
pub fn resolve(target: &Target, surroundings: &Surroundings<'_>) -> Result<Host, ConnectError> {
    match target {
        Target::Host(uri) => surroundings.host(uri),
        Target::Context(name) => surroundings.context(name),
        Target::Default => {
            if let Some(uri) = surroundings.variable("DOCKER_HOST") {
                return surroundings.host(uri);
            }
            if let Some(name) = surroundings.variable("DOCKER_CONTEXT") {
                return surroundings.context(name);
            }
            match surroundings.current()? {
                Some(name) => surroundings.context(&name),
                None => Ok(surroundings.socket()),
            }
        }
    }
}

impl Surroundings<'_> {
    fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn configuration(&self) -> Option<PathBuf> {
        self.variable("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| Some(self.home?.join(".docker")))
    }

    fn host(&self, uri: &str) -> Result<Host, ConnectError> {
        let host = Host::parse(uri)?;
        if matches!(host, Host::Tcp(_)) && self.variable("DOCKER_TLS_VERIFY").is_some() {
            return Err(ConnectError::Unavailable {
                uri: uri.to_owned(),
                what: "TLS (DOCKER_TLS_VERIFY is set)",
            });
        }
        Ok(host)
    }

    /// Reads a file, `None` if there is none.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, ConnectError> {
        match (self.read)(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ConnectError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Returns the name of the current context, `None` for the default one.
    fn current(&self) -> Result<Option<String>, ConnectError> {
        let Some(directory) = self.configuration() else {
            return Ok(None);
        };
        let path = directory.join("config.json");
        let Some(bytes) = self.read(&path)? else {
            return Ok(None);
        };
        let Configuration { current } =
            serde_json::from_slice(&bytes).map_err(|source| ConnectError::Malformed { path, source })?;
        Ok((!current.is_empty() && current != "default").then_some(current))
    }

    fn context(&self, name: &str) -> Result<Host, ConnectError> {
        if name == "default" {
            return self
                .variable("DOCKER_HOST")
                .map_or_else(|| Ok(self.socket()), |uri| self.host(uri));
        }
        let directory = self.configuration().unwrap_or_default().join("contexts");
        let id = digest(name.as_bytes());
        let path = directory.join("meta").join(&id).join("meta.json");
        let Some(bytes) = self.read(&path)? else {
            return Err(ConnectError::NoContext {
                name: name.to_owned(),
                path,
            });
        };
        let Context { mut endpoints } =
            serde_json::from_slice(&bytes).map_err(|source| ConnectError::Malformed { path, source })?;
        let host = endpoints
            .remove("docker")
            .map(|endpoint| endpoint.host)
            .unwrap_or_default();
        if host.is_empty() {
            return Err(ConnectError::NoEndpoint {
                name: name.to_owned(),
            });
        }
        let parsed = Host::parse(&host)?;
        let certificate = directory.join("tls").join(&id).join("docker").join("ca.pem");
        if matches!(parsed, Host::Tcp(_)) && (self.exists)(&certificate) {
            return Err(ConnectError::Unavailable {
                uri: host,
                what: "TLS (the context has certificates)",
            });
        }
        Ok(parsed)
    }

    /// Returns the first socket that exists, else the default one, whose absence then says the most.
    fn socket(&self) -> Host {
        let runtime = self.variable("XDG_RUNTIME_DIR").map(PathBuf::from);
        let candidates = [
            Some(PathBuf::from(DEFAULT_SOCKET)),
            runtime.as_ref().map(|directory| directory.join("docker.sock")),
            self.home.map(|home| home.join(".docker/run/docker.sock")),
            runtime
                .as_ref()
                .map(|directory| directory.join("podman/podman.sock")),
            Some(PathBuf::from("/run/podman/podman.sock")),
        ];
        let found = candidates.into_iter().flatten().find(|path| (self.exists)(path));
        Host::Socket(found.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET)))
    }
}

/// The path prefix of the negotiated API version, shared by the engine and its transport.
#[derive(Clone, Default)]
pub(super) struct Prefix(Arc<RwLock<Option<String>>>);

impl Prefix {
    pub(super) fn set(&self, version: Option<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = version;
    }

    pub(super) fn get(&self) -> String {
        let version = self.0.read().unwrap_or_else(PoisonError::into_inner);
        version
            .as_ref()
            .map(|version| format!("/v{version}"))
            .unwrap_or_default()
    }

    /// Returns the version that is spoken, once it is known.
    pub(super) fn api(&self) -> Option<Api> {
        let version = self.0.read().unwrap_or_else(PoisonError::into_inner);
        version.as_deref().and_then(Api::parse)
    }
}

/// An answer that is read while it comes.
pub(super) struct Stream {
    /// The status.
    pub(super) status: u16,
    /// The newest version of the API that the engine speaks, which every answer of it says.
    pub(super) api: Option<String>,
    /// The body, piece by piece.
    pub(super) pieces: BoxStream<'static, Result<Vec<u8>, String>>,
}

/// Sends a request whose answer is read while it comes. Unlike bollard's streams it tells when the answer has begun.
pub(super) type Open = Arc<dyn Fn(BollardRequest) -> BoxFuture<'static, Result<Stream, Error>> + Send + Sync>;

/// Turns a transport into one that reads answers while they come.
macro_rules! opening {
    ($send:expr) => {{
        let send = $send.clone();
        Arc::new(move |request: BollardRequest| {
            let answer = send(request);
            let opened: BoxFuture<'static, Result<Stream, Error>> = Box::pin(async move {
                let answer = answer.await?;
                let status = answer.status().as_u16();
                let api = answer.headers().get("api-version");
                let api = api.and_then(|api| Some(api.to_str().ok()?.to_owned()));
                let pieces = stream::unfold(answer.into_body(), |mut body| async move {
                    loop {
                        match body.frame().await? {
                            // Trailers say nothing here.
                            Ok(frame) => {
                                if let Ok(piece) = frame.into_data() {
                                    return Some((Ok(piece.to_vec()), body));
                                }
                            }
                            Err(error) => return Some((Err(error.to_string()), body)),
                        }
                    }
                });
                let pieces = pieces.boxed();
                Ok(Stream { status, api, pieces })
            });
            opened
        })
    }};
}

/// Makes the client, and what opens endless answers beside it.
///
/// The transport is our own for two reasons: bollard opens a connection for every request, here they are kept
/// alive; and bollard's requests name no API version, so an engine would answer in whatever is newest for it.
pub(super) fn client(host: &Host, prefix: Prefix) -> Result<(Docker, Open), ConnectError> {
    let failed = |error: Error| ConnectError::Client {
        host: host.uri(),
        message: error.to_string(),
    };
    match host {
        Host::Socket(path) => {
            // The connector finds its socket in the place of the host's name, in hexadecimal.
            let mut socket = String::new();
            for byte in path.to_string_lossy().bytes() {
                // Writing to a String cannot fail.
                let _ = write!(socket, "{byte:02x}");
            }
            let client = Client::builder(TokioExecutor::new()).build(Connector(hyperlocal::UnixConnector));
            let send = move |request: BollardRequest| {
                let client = client.clone();
                let request = readdress(request, &format!("unix://{socket}:0"), &prefix);
                async move { client.request(request?).await.map_err(Error::from) }
            };
            let open = opening!(send);
            // The address given here only has to be one that bollard can put paths behind.
            let docker = Docker::connect_with_custom_transport(
                send,
                Some("http://engine"),
                NO_TIMEOUT_SECONDS,
                API_DEFAULT_VERSION,
            );
            Ok((docker.map_err(failed)?, open))
        }
        Host::Tcp(authority) => {
            let mut connector = HttpConnector::new();
            connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
            connector.set_nodelay(true);
            let client = Client::builder(TokioExecutor::new()).build(Connector(connector));
            let base = format!("http://{authority}");
            let send = move |request: BollardRequest| {
                let client = client.clone();
                let request = readdress(request, &base, &prefix);
                async move { client.request(request?).await.map_err(Error::from) }
            };
            let open = opening!(send);
            let docker = Docker::connect_with_custom_transport(
                send,
                Some("http://engine"),
                NO_TIMEOUT_SECONDS,
                API_DEFAULT_VERSION,
            );
            Ok((docker.map_err(failed)?, open))
        }
    }
}

/// Directs a request to the engine, in the negotiated version of its API. The questions for that version have none.
fn readdress(mut request: BollardRequest, base: &str, prefix: &Prefix) -> Result<BollardRequest, Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let prefix = if ["/version", "/_ping"].contains(&path) {
        String::new()
    } else {
        prefix.get()
    };
    *request.uri_mut() = format!("{base}{prefix}{path}").parse()?;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resolves with these variables and files; a file that exists can be read.
    fn resolved(target: &Target, environment: &[(&str, &str)], files: &[(&str, &str)]) -> String {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let files: BTreeMap<PathBuf, Vec<u8>> = files
            .iter()
            .map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec()))
            .collect();
        let surroundings = Surroundings {
            environment: &environment,
            home: Some(Path::new("/home/me")),
            read: &|path| {
                files
                    .get(path)
                    .cloned()
                    .ok_or_else(|| io::ErrorKind::NotFound.into())
            },
            exists: &|path| files.contains_key(path),
        };
        match resolve(target, &surroundings) {
            Ok(host) => host.uri(),
            Err(error) => error.to_string(),
        }
    }

    fn meta(directory: &str, name: &str) -> String {
        format!("{directory}/contexts/meta/{}/meta.json", digest(name.as_bytes()))
    }

    const BOX: &str = r#"{"Name":"box","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://box:2375","SkipTLSVerify":false}}}"#;

    #[test]
    fn options_come_before_the_manifest_and_the_host_before_the_context() {
        let text = |text: &str| Some(text.to_owned());
        let manifest = || Target::Context("m".to_owned());
        assert_eq!(
            Target::choose(text("h"), text("c"), manifest()),
            Target::Host("h".to_owned())
        );
        assert_eq!(
            Target::choose(None, text("c"), manifest()),
            Target::Context("c".to_owned())
        );
        assert_eq!(Target::choose(None, None, manifest()), manifest());
    }

    #[test]
    fn an_explicit_host_wins_over_the_environment() {
        let target = Target::Host("unix:///a.sock".to_owned());
        assert_eq!(
            resolved(&target, &[("DOCKER_HOST", "unix:///b.sock")], &[]),
            "unix:///a.sock"
        );
    }

    #[test]
    fn the_default_follows_the_docker_cli() {
        let meta_box = meta("/home/me/.docker", "box");
        let files = [
            (meta_box.as_str(), BOX),
            ("/home/me/.docker/config.json", r#"{"currentContext":"box"}"#),
        ];
        let environment = [("DOCKER_HOST", "unix:///b.sock"), ("DOCKER_CONTEXT", "box")];
        let default = Target::Default;
        assert_eq!(resolved(&default, &environment, &files), "unix:///b.sock");
        assert_eq!(resolved(&default, &environment[1..], &files), "tcp://box:2375");
        assert_eq!(
            resolved(&default, &[("DOCKER_HOST", "")], &files),
            "tcp://box:2375"
        );
        assert_eq!(
            resolved(&default, &[("DOCKER_CONTEXT", "default")], &files),
            "unix:///var/run/docker.sock"
        );
        assert_eq!(
            resolved(&default, &[], &files[..1]),
            "unix:///var/run/docker.sock"
        );
    }

    #[test]
    fn the_configuration_can_be_elsewhere() {
        let meta_box = meta("/etc/dk", "box");
        let files = [
            (meta_box.as_str(), BOX),
            ("/etc/dk/config.json", r#"{"currentContext":"box"}"#),
        ];
        assert_eq!(
            resolved(&Target::Default, &[("DOCKER_CONFIG", "/etc/dk")], &files),
            "tcp://box:2375"
        );
    }

    #[test]
    fn without_any_wish_the_first_socket_that_exists_is_taken() {
        let environment = [("XDG_RUNTIME_DIR", "/run/user/1")];
        for (there, expected) in [
            (
                vec!["/run/user/1/docker.sock", "/var/run/docker.sock"],
                "unix:///var/run/docker.sock",
            ),
            (
                vec!["/run/user/1/podman/podman.sock", "/run/user/1/docker.sock"],
                "unix:///run/user/1/docker.sock",
            ),
            (
                vec!["/run/user/1/podman/podman.sock"],
                "unix:///run/user/1/podman/podman.sock",
            ),
            (vec!["/run/podman/podman.sock"], "unix:///run/podman/podman.sock"),
            (vec![], "unix:///var/run/docker.sock"),
        ] {
            let files: Vec<_> = there.into_iter().map(|path| (path, "")).collect();
            assert_eq!(resolved(&Target::Default, &environment, &files), expected);
        }
    }

    #[test]
    fn a_context_that_does_not_serve_says_why() {
        let empty = meta("/home/me/.docker", "empty");
        let broken = meta("/home/me/.docker", "broken");
        let tls = meta("/home/me/.docker", "tls");
        let certificate = format!("/home/me/.docker/contexts/tls/{}/docker/ca.pem", digest(b"tls"));
        let files = [
            (empty.as_str(), r#"{"Endpoints":{}}"#),
            (broken.as_str(), "{"),
            (tls.as_str(), BOX),
            (certificate.as_str(), ""),
        ];
        let said = |name: &str| resolved(&Target::Context(name.to_owned()), &[], &files);
        assert!(
            said("none").starts_with("there is no Docker context `none`"),
            "{}",
            said("none")
        );
        assert_eq!(said("empty"), "the Docker context `empty` names no engine");
        assert!(said("broken").starts_with("cannot make sense of /home/me/.docker/contexts/meta/"));
        assert!(said("tls").contains("TLS"), "{}", said("tls"));
    }

    #[test]
    fn addresses_are_completed_or_refused_with_a_reason() {
        for (uri, expected) in [
            ("unix:///run/docker.sock", "unix:///run/docker.sock"),
            ("tcp://box:2376", "tcp://box:2376"),
            ("tcp://box", "tcp://box:2375"),
            ("http://box:80/", "tcp://box:80"),
            ("tcp://[::1]", "tcp://[::1]:2375"),
            ("tcp://[::1]:99", "tcp://[::1]:99"),
            (
                "ssh://me@box",
                "`ssh://me@box` needs SSH, which is not available yet; a socket or plain TCP is",
            ),
            (
                "https://box",
                "`https://box` needs TLS, which is not available yet; a socket or plain TCP is",
            ),
            ("/run/docker.sock", "it has no scheme"),
            ("unix://docker.sock", "absolute"),
            ("tcp://", "tcp://HOST:PORT"),
            ("tcp://me@box", "tcp://HOST:PORT"),
            ("fd://3", "known schemes"),
        ] {
            let found = resolved(&Target::Host(uri.to_owned()), &[], &[]);
            assert!(
                found == expected || (found.contains(" is not the address") && found.contains(expected)),
                "{found}"
            );
        }
        let environment = [("DOCKER_TLS_VERIFY", "1")];
        let found = resolved(&Target::Host("tcp://box".to_owned()), &environment, &[]);
        assert!(found.contains("DOCKER_TLS_VERIFY"), "{found}");
    }
}

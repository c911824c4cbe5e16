//! Downloads over HTTP: the proxies that the environment names, the certificates that this host trusts, redirects.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::remote::{DownloadUrl, Store};

/// How many redirects are followed.
const REDIRECTS: usize = 10;
/// The longest head of an answer of a proxy, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;

/// Why something cannot be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The other end cannot be reached.
    #[error("{host} cannot be reached")]
    Unreachable {
        /// The host, or the proxy on the way to it.
        host: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Nothing came for too long.
    #[error("{host} said nothing for {} s", patience.as_secs())]
    Silent {
        /// The host.
        host: String,
        /// How long it was waited for.
        patience: Duration,
    },
    /// It was not understood.
    #[error("{host} did not answer as it should")]
    Garbled {
        /// The host.
        host: String,
        /// Why.
        #[source]
        cause: hyper::Error,
    },
    /// It does not say how long the file is, and nothing else says where it ends.
    #[error("{host} does not say how long it is, so that half of it would be taken for all")]
    Endless {
        /// The host.
        host: String,
    },
    /// It does not give the file.
    #[error("{host} answers {status}")]
    Refused {
        /// The host.
        host: String,
        /// The status, with its word.
        status: String,
    },
    /// It leads elsewhere, to where nothing is fetched from.
    #[error("{host} leads to {to}, {why}")]
    Led {
        /// The host.
        host: String,
        /// Where it leads.
        to: String,
        /// Why that is not followed.
        why: &'static str,
    },
    /// The proxy cannot be used.
    #[error("the proxy {proxy} {why}")]
    Proxy {
        /// The proxy.
        proxy: String,
        /// Why.
        why: String,
    },
    /// Nobody is trusted.
    #[error("there are no certificates that this host trusts{}", shown(path.as_deref()))]
    Untrusting {
        /// Where they were looked for.
        path: Option<PathBuf>,
    },
}

fn shown(path: Option<&Path>) -> String {
    path.map(|path| format!(" in {}", path.display()))
        .unwrap_or_default()
}

impl HttpError {
    /// Returns what most often helps.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { cause, .. } if cause.to_string().contains("CaUsedAsEndEntity") => Some(
                "the certificate there is that of an authority (CA:TRUE): a server needs one of its own, with CA:FALSE",
            ),
            Self::Unreachable { cause, .. } if cause.to_string().contains("certificate") => {
                Some("SSL_CERT_FILE names the certificates that downloads trust, beside those of the system")
            }
            Self::Unreachable { .. } | Self::Silent { .. } => {
                Some("check the address, and the way to it: `HTTPS_PROXY`, `NO_PROXY`")
            }
            Self::Untrusting { .. } => Some("install ca-certificates, or set SSL_CERT_FILE"),
            Self::Endless { .. } => Some("write down what it is: `sha256`"),
            Self::Garbled { .. } | Self::Refused { .. } | Self::Led { .. } | Self::Proxy { .. } => None,
        }
    }
}

/// An answer that is being read, and the connection it comes by.
pub(super) struct Download {
    /// Who answers.
    pub host: String,
    /// The answer.
    pub response: Response<Incoming>,
    /// Whether it comes encrypted, and an end that is none is seen.
    pub is_safe: bool,
    _connection: Connection,
}

/// A connection, which ends with this.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks for a file, wherever it has gone.
///
/// # Errors
/// It cannot be had.
pub(super) async fn get(url: &DownloadUrl, store: &Store) -> Result<Download, HttpError> {
    let mut uri: Uri = url.as_str().parse().map_err(|_| HttpError::Led {
        host: "the manifest".to_owned(),
        to: url.to_string(),
        why: "which is no address",
    })?;
    for _ in 0..=REDIRECTS {
        let host = uri.host().unwrap_or_default().to_owned();
        let asked = tokio::time::timeout(store.patience, ask(&uri, store)).await;
        let (response, connection) = asked.unwrap_or(Err(HttpError::Silent {
            host: host.clone(),
            patience: store.patience,
        }))?;
        let status = response.status();
        let location = response
            .headers()
            .get(LOCATION)
            .filter(|_| status.is_redirection());
        match location {
            Some(location) => {
                let to = String::from_utf8_lossy(location.as_bytes()).into_owned();
                uri = led(&uri, &to).map_err(|why| HttpError::Led { host, to, why })?;
            }
            None if status.as_u16() == 200 => {
                return Ok(Download {
                    host,
                    response,
                    is_safe: uri.scheme_str() == Some("https"),
                    _connection: connection,
                });
            }
            None => {
                return Err(HttpError::Refused {
                    host,
                    status: status.to_string(),
                });
            }
        }
    }
    Err(HttpError::Led {
        host: uri.host().unwrap_or_default().to_owned(),
        to: uri.to_string(),
        why: "and from there on and on",
    })
}

/// Returns where a redirect leads.
fn led(from: &Uri, to: &str) -> Result<Uri, &'static str> {
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map_or("", |authority| authority.as_str());
    let whole = if to.contains("://") {
        to.to_owned()
    } else if let Some(rest) = to.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if to.starts_with('/') {
        format!("{scheme}://{authority}{to}")
    } else {
        let above = from.path().rsplit_once('/').map_or("", |(above, _)| above);
        format!("{scheme}://{authority}{above}/{to}")
    };
    let whole = whole.split('#').next().unwrap_or_default();
    let uri: Uri = whole.parse().map_err(|_| "which is no address")?;
    match (scheme, uri.scheme_str()) {
        ("https", Some("http")) => Err("where anybody could change it"),
        (_, Some("http" | "https")) if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        (_, _) => Err("which is not followed"),
    }
}

/// Sends one request, and returns the head of its answer.
async fn ask(uri: &Uri, store: &Store) -> Result<(Response<Incoming>, Connection), HttpError> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let is_safe = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_safe { 443 } else { 80 });
    let proxy = proxy(&store.environment, is_safe, &host)?;
    let (to, at) = proxy
        .as_ref()
        .map_or((host.clone(), port), |proxy| (proxy.host.clone(), proxy.port));
    let unreachable = |cause| HttpError::Unreachable {
        host: if proxy.is_some() {
            format!("{to}:{at} (proxy)")
        } else {
            format!("{to}:{at}")
        },
        cause,
    };
    let mut stream = TcpStream::connect((to.as_str(), at)).await.map_err(unreachable)?;
    let login = proxy.as_ref().and_then(|proxy| proxy.login.clone());
    let mut request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(
            HOST,
            uri.authority()
                .map_or(host.as_str(), |authority| authority.as_str()),
        )
        .header(USER_AGENT, concat!("aishell/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*");
    match &proxy {
        Some(proxy) if is_safe => tunnel(&mut stream, proxy, &format!("{host}:{port}")).await?,
        Some(_) => {
            request = request.uri(uri.clone());
            if let Some(login) = login {
                request = request.header(PROXY_AUTHORIZATION, login);
            }
        }
        None => {}
    }
    let garbled = |cause| HttpError::Garbled {
        host: host.clone(),
        cause,
    };
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| HttpError::Led {
            host: host.clone(),
            to: error.to_string(),
            why: "which is no request",
        })?;
    if is_safe {
        let connector = TlsConnector::from(trust(store)?);
        let name =
            ServerName::try_from(host.clone()).map_err(|error| unreachable(io::Error::other(error)))?;
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|cause| HttpError::Unreachable {
                host: host.clone(),
                cause,
            })?;
        over(stream, request).await.map_err(garbled)
    } else {
        over(stream, request).await.map_err(garbled)
    }
}

/// Sends a request over a stream of its own.
async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<(Response<Incoming>, Connection), hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = Connection(tokio::spawn(async {
        // What goes wrong is told to whoever reads the answer.
        let _ = connection.await;
    }));
    Ok((sender.send_request(request).await?, connection))
}

/// Returns whom this host trusts.
fn trust(store: &Store) -> Result<Arc<ClientConfig>, HttpError> {
    let untrusting = || HttpError::Untrusting {
        path: store.certificates.clone(),
    };
    let path = store.certificates.as_ref().ok_or_else(untrusting)?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|_| untrusting())?;
    // A bundle may have some that nobody can use.
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    if roots.is_empty() {
        return Err(untrusting());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_: rustls::Error| untrusting())?;
    Ok(Arc::new(
        config.with_root_certificates(roots).with_no_client_auth(),
    ))
}

/// A proxy.
#[derive(Debug, PartialEq, Eq)]
struct Proxy {
    host: String,
    port: u16,
    /// What it is told of who asks.
    login: Option<String>,
}

/// Returns the proxy on the way to a host, as the environment says.
fn proxy(
    environment: &BTreeMap<String, String>,
    is_safe: bool,
    host: &str,
) -> Result<Option<Proxy>, HttpError> {
    let variable = |names: &[&str]| {
        let mut values = names.iter().filter_map(|name| environment.get(*name));
        values.find(|value| !value.is_empty()).map(String::as_str)
    };
    let own = if is_safe {
        ["https_proxy", "HTTPS_PROXY"]
    } else {
        ["http_proxy", "HTTP_PROXY"]
    };
    let Some(text) = variable(&own).or_else(|| variable(&["all_proxy", "ALL_PROXY"])) else {
        return Ok(None);
    };
    if is_excepted(variable(&["no_proxy", "NO_PROXY"]).unwrap_or_default(), host) {
        return Ok(None);
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let rest = rest.split('/').next().unwrap_or_default();
    let (login, address) = match rest.rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, rest),
    };
    let wrong = |why: &str| HttpError::Proxy {
        proxy: format!("{scheme}://{address}"),
        why: why.to_owned(),
    };
    if scheme != "http" {
        return Err(wrong("is of a kind that downloads cannot use; http:// is"));
    }
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) => (
            host,
            port.parse().map_err(|_| wrong("has a port that is no number"))?,
        ),
        None => (address, 80),
    };
    Ok(Some(Proxy {
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        login: login.map(|login| format!("Basic {}", STANDARD.encode(unescaped(login)))),
    }))
}

/// Says whether a host is reached without a proxy.
fn is_excepted(list: &str, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let mut names = list
        .split([',', ' '])
        .map(str::trim)
        .filter(|name| !name.is_empty());
    names.any(|name| {
        let name = name.to_ascii_lowercase();
        let name = name
            .rsplit_once(':')
            .filter(|(_, port)| port.parse::<u16>().is_ok())
            .map_or(name.as_str(), |(name, _)| name);
        let name = name.trim_start_matches("*.").trim_start_matches('.');
        name == "*" || host == name || host.ends_with(&format!(".{name}"))
    })
}

/// Returns a text in which characters may be written as `%40`.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    bytes
}

/// Asks a proxy for a way to another host.
async fn tunnel(stream: &mut TcpStream, proxy: &Proxy, to: &str) -> Result<(), HttpError> {
    let wrong = |why: String| HttpError::Proxy {
        proxy: format!("{}:{}", proxy.host, proxy.port),
        why,
    };
    let login = proxy.login.as_ref();
    let login = login
        .map(|login| format!("Proxy-Authorization: {login}\r\n"))
        .unwrap_or_default();
    let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{login}\r\n");
    let failed = |error: io::Error| wrong(format!("does not answer: {error}"));
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut head = Vec::new();
    // Byte by byte: what follows belongs to somebody else.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > LONGEST_HEAD {
            return Err(wrong("answers with something else".to_owned()));
        }
        head.push(stream.read_u8().await.map_err(failed)?);
    }
    let head = String::from_utf8_lossy(&head);
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status == "200" {
        Ok(())
    } else {
        let line = head.lines().next().unwrap_or_default();
        Err(wrong(format!("does not let through to {to}: {line}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_what_the_environment_says() {
        let environment: BTreeMap<String, String> = [
            ("https_proxy", "http://me:p%40ss@proxy.test:3128/"),
            ("HTTP_PROXY", "other.test"),
            ("NO_PROXY", "localhost, .inside.test,10.0.0.1:80"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let way = |is_safe, host| proxy(&environment, is_safe, host).expect("a proxy");
        let safe = way(true, "example.org").expect("a proxy");
        assert_eq!((safe.host.as_str(), safe.port), ("proxy.test", 3128));
        assert_eq!(safe.login, Some(format!("Basic {}", STANDARD.encode("me:p@ss"))));
        assert_eq!(way(false, "example.org").map(|proxy| proxy.port), Some(80));
        for host in ["localhost", "a.inside.test", "inside.test", "10.0.0.1"] {
            assert_eq!(way(true, host), None, "{host}");
        }
        let socks = [("ALL_PROXY".to_owned(), "socks5://me:secret@x:1".to_owned())].into();
        let error = proxy(&socks, true, "x")
            .expect_err("no proxy of ours")
            .to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_redirect_leads_anywhere_but_to_where_anybody_could_change_it() {
        let from: Uri = "https://a.test/b/c?d".parse().expect("an address");
        for (to, expected) in [
            ("https://x.test/y?z=%3B", Ok("https://x.test/y?z=%3B")),
            ("/y", Ok("https://a.test/y")),
            ("y#z", Ok("https://a.test/b/y")),
            ("//x.test/y", Ok("https://x.test/y")),
            ("http://a.test/y", Err("where anybody could change it")),
            ("file:///etc/passwd", Err("which is no address")),
            ("ftp://x.test/y", Err("which is not followed")),
            ("https://", Err("which is no address")),
        ] {
            let led = led(&from, to).map(|uri| uri.to_string());
            assert_eq!(led, expected.map(str::to_owned), "{to}");
        }
    }
}

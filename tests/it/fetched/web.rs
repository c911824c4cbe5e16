//! Downloads by every way: encrypted, through proxies, led elsewhere; and what is told where a way does not lead there.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use aishell::fetch::{FetchError, digest};
use aishell::remote::Store;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::World;

/// What a server says to whoever asks with some head.
type Answer = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// A server that says whatever a test wants.
struct Web {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

/// How a server seals what it says, and whether it says when that is all.
#[derive(Clone)]
struct Seal(Arc<rustls::ServerConfig>, bool);

/// Reads what somebody asks.
fn head(stream: &mut impl Read) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.extend(byte);
    }
    String::from_utf8_lossy(&head).into_owned()
}

impl Web {
    fn start(seal: Option<Seal>, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (heads, answer): (Arc<Mutex<Vec<String>>>, Answer) = (Arc::default(), Arc::new(answer));
        let seen = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seal, answer, seen) = (seal.clone(), Arc::clone(&answer), Arc::clone(&seen));
                thread::spawn(move || {
                    // Whoever goes away in between is no failure of the server.
                    let _ = serve(stream, seal, &answer, &seen);
                });
            }
        });
        Self { port, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(
    mut stream: TcpStream,
    seal: Option<Seal>,
    answer: &Answer,
    seen: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let told = |head: &str| {
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(head.to_owned());
        answer(head)
    };
    let Some(Seal(config, polite)) = seal else {
        let head = head(&mut stream);
        let said = told(&head);
        // A proxy that lets through is a way to this machine, whatever the name.
        let Some(port) = said.strip_prefix("through ") else {
            stream.write_all(said.as_bytes())?;
            return stream.shutdown(Shutdown::Both);
        };
        let mut other = TcpStream::connect(("127.0.0.1", port.parse().expect("a port")))?;
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        let (mut back, mut to) = (other.try_clone()?, stream.try_clone()?);
        let way = thread::spawn(move || {
            let _ = io::copy(&mut back, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut stream, &mut other);
        let _ = other.shutdown(Shutdown::Write);
        let _ = way.join();
        return Ok(());
    };
    let session = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
    let mut sealed = rustls::StreamOwned::new(session, stream);
    let head = head(&mut sealed);
    if head.is_empty() {
        return Ok(());
    }
    sealed.write_all(told(&head).as_bytes())?;
    if polite {
        sealed.conn.send_close_notify();
    }
    sealed.flush()?;
    sealed.sock.shutdown(Shutdown::Both)
}

/// Makes a certificate for this machine and `tool.test`, perhaps one that may vouch for others, which is left in a directory as `ca.pem`.
fn certificate(directory: &Path, of_authority: bool) -> Arc<rustls::ServerConfig> {
    let (key, certificate) = (directory.join("key.pem"), directory.join("ca.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args(["-days", "2", "-subj", "/CN=test"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:tool.test"])
        .arg("-addext")
        .arg(format!(
            "basicConstraints=critical,CA:{}",
            if of_authority { "TRUE" } else { "FALSE" }
        ))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl; apt-get install openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificates = CertificateDer::pem_file_iter(&certificate).expect("certificates");
    let chain = certificates.map(|one| one.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_file(&key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate");
    Arc::new(config)
}

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntool";
const ENDLESS: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ntool";

async fn downloaded(store: &Store, url: &str) -> Result<String, FetchError> {
    let found = digest(&url.parse().expect("an address"), store).await;
    found.map(|digest| digest.to_string())
}

/// Returns what is told of a download that fails, and what most often helps.
async fn refused(store: &Store, url: &str) -> (String, String) {
    let failure = downloaded(store, url).await.expect_err(url).failure();
    (failure.message, failure.hint.unwrap_or_default())
}

fn set(store: &mut Store, name: &str, value: &str) {
    store.environment.insert(name.to_owned(), value.to_owned());
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_this_host_trusts_is_downloaded_from_and_nobody_else() {
    let world = World::new();
    let config = certificate(&world.path(), false);
    let web = Web::start(Some(Seal(Arc::clone(&config), true)), |_| WHOLE.to_owned());
    let url = format!("https://127.0.0.1:{}/tool", web.port);
    let mut store = world.store();
    // Nobody is known; somebody else is known; this one is.
    let (message, hint) = refused(&store, &url).await;
    assert!(message.contains("there are no certificates"), "{message}");
    assert!(hint.contains("SSL_CERT_FILE"), "{hint}");
    let other = tempfile::tempdir().expect("a directory");
    certificate(other.path(), false);
    store.certificates = Some(other.path().join("ca.pem"));
    let (message, hint) = refused(&store, &url).await;
    assert!(
        message.contains("127.0.0.1 cannot be reached: invalid peer certificate"),
        "{message}"
    );
    assert!(hint.contains("SSL_CERT_FILE"), "{hint}");
    store.certificates = Some(world.path().join("ca.pem"));
    let whole = aishell::key::digest(b"tool");
    assert_eq!(downloaded(&store, &url).await.expect("it is trusted"), whole);
    // One that could vouch for others is for that alone.
    let authority = certificate(other.path(), true);
    let odd = Web::start(Some(Seal(authority, true)), |_| WHOLE.to_owned());
    store.certificates = Some(other.path().join("ca.pem"));
    let (_, hint) = refused(&store, &format!("https://127.0.0.1:{}/tool", odd.port)).await;
    assert!(hint.contains("CA:FALSE"), "{hint}");
    store.certificates = Some(world.path().join("ca.pem"));
    // By a name that the certificate does not have.
    let named = url.replace("127.0.0.1", "localhost");
    let (message, _) = refused(&store, &named).await;
    assert!(message.contains("certificate"), "{message}");
    // An end that nobody has signed is none.
    for (polite, expected) in [(true, Some(&whole)), (false, None)] {
        let web = Web::start(Some(Seal(Arc::clone(&config), polite)), |_| ENDLESS.to_owned());
        let found = downloaded(&store, &format!("https://127.0.0.1:{}/tool", web.port)).await;
        assert_eq!(found.as_ref().ok(), expected, "{found:?}");
    }
    // Nor is one that nobody could tell from a connection that breaks off.
    let web = Web::start(None, |_| ENDLESS.to_owned());
    let (message, hint) = refused(&store, &format!("http://127.0.0.1:{}/tool", web.port)).await;
    assert!(message.contains("does not say how long it is"), "{message}");
    assert!(hint.contains("sha256"), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_the_way_and_says_why_it_is_none() {
    let world = World::new();
    let mut store = world.store();
    let seal = Seal(certificate(&world.path(), false), true);
    store.certificates = Some(world.path().join("ca.pem"));
    let web = Web::start(Some(seal), |_| WHOLE.to_owned());
    let port = web.port;
    let proxy = Web::start(None, move |_| format!("through {port}"));
    let whole = aishell::key::digest(b"tool");
    set(
        &mut store,
        "HTTPS_PROXY",
        &format!("http://me:p%40ss@127.0.0.1:{}", proxy.port),
    );
    // A name that only the proxy knows.
    let url = "https://tool.test/a/tool?x";
    assert_eq!(downloaded(&store, url).await.expect("a way"), whole);
    let asked = proxy.heads().concat();
    assert!(asked.starts_with("CONNECT tool.test:443 HTTP/1.1\r\n"), "{asked}");
    assert!(
        asked.contains("Proxy-Authorization: Basic bWU6cEBzcw=="),
        "{asked}"
    );
    let asked = web.heads().concat();
    assert!(asked.starts_with("GET /a/tool?x HTTP/1.1\r\n"), "{asked}");
    assert!(!asked.to_lowercase().contains("proxy"), "{asked}");
    // Not for those that are excepted.
    set(&mut store, "NO_PROXY", "localhost,127.0.0.1");
    let near = format!("https://127.0.0.1:{port}/tool");
    assert_eq!(downloaded(&store, &near).await.expect("a way"), whole);
    assert_eq!(proxy.heads().len(), 1);
    // What a proxy says that does not let through; who logs in there is told nobody.
    for status in [
        "407 Proxy Authentication Required",
        "403 Forbidden",
        "502 Bad Gateway",
    ] {
        let proxy = Web::start(None, move |_| {
            format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
        });
        set(
            &mut store,
            "HTTPS_PROXY",
            &format!("http://me:secret@127.0.0.1:{}", proxy.port),
        );
        let (message, _) = refused(&store, url).await;
        let told = format!(
            "the proxy 127.0.0.1:{} does not let through to tool.test:443",
            proxy.port
        );
        assert!(message.contains(&told) && message.contains(status), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
    for odd in ["", "SSH-2.0-test\r\n\r\n", "HTTP/1.1 200 OK\r\nX: y"] {
        let proxy = Web::start(None, move |_| odd.to_owned());
        set(&mut store, "HTTPS_PROXY", &format!("127.0.0.1:{}", proxy.port));
        let (message, _) = refused(&store, url).await;
        assert!(
            message.contains(&format!("the proxy 127.0.0.1:{}", proxy.port)),
            "{odd:?}: {message}"
        );
    }
    set(&mut store, "HTTPS_PROXY", "127.0.0.1:1");
    let (message, hint) = refused(&store, url).await;
    assert!(
        message.contains("127.0.0.1:1 (proxy) cannot be reached"),
        "{message}"
    );
    assert!(hint.contains("HTTPS_PROXY"), "{hint}");
    // What is not encrypted is asked of the proxy itself.
    let proxy = Web::start(None, |_| WHOLE.to_owned());
    set(
        &mut store,
        "http_proxy",
        &format!("http://127.0.0.1:{}", proxy.port),
    );
    assert_eq!(
        downloaded(&store, "http://tool.test/a").await.expect("a way"),
        whole
    );
    assert!(
        proxy.heads()[0].starts_with("GET http://tool.test/a HTTP/1.1\r\n"),
        "{:?}",
        proxy.heads()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_followed_so_often_and_never_to_where_anybody_could_change_it() {
    let world = World::new();
    let mut store = world.store();
    let seal = Seal(certificate(&world.path(), false), true);
    store.certificates = Some(world.path().join("ca.pem"));
    let plain = Web::start(None, |head| {
        // As many steps as the path says.
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path.trim_start_matches('/').parse::<usize>() {
            Ok(0) | Err(_) => WHOLE.to_owned(),
            Ok(more) => format!(
                "HTTP/1.1 307 On\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
                more - 1
            ),
        }
    });
    let whole = aishell::key::digest(b"tool");
    let url = |steps: usize| format!("http://127.0.0.1:{}/{steps}", plain.port);
    assert_eq!(downloaded(&store, &url(10)).await.expect("it leads there"), whole);
    let (message, _) = refused(&store, &url(11)).await;
    assert!(message.contains("and from there on and on"), "{message}");
    let to = url(0);
    let leading = to.clone();
    let safe = Web::start(Some(seal), move |head| {
        let to = if head.starts_with("GET /down") {
            &leading
        } else {
            "/0"
        };
        if head.starts_with("GET /0") {
            return WHOLE.to_owned();
        }
        format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
    });
    let address = |path: &str| format!("https://127.0.0.1:{}/{path}", safe.port);
    assert_eq!(
        downloaded(&store, &address("on")).await.expect("it leads there"),
        whole
    );
    let (message, _) = refused(&store, &address("down")).await;
    assert!(
        message.contains(&format!("leads to {to}, where anybody could change it")),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_given_up() {
    let world = World::new();
    let (url, _) = world.server.file("tool", b"tool");
    let mut store = world.store();
    store.patience = Duration::from_millis(300);
    world.server.stall(true);
    let (message, hint) = refused(&store, &url).await;
    assert!(message.contains("127.0.0.1 said nothing for"), "{message}");
    assert!(hint.contains("HTTPS_PROXY"), "{hint}");
    world.server.stall(false);
    // In the middle, too.
    world.server.interrupt(0, 60, || {});
    let (message, _) = refused(&store, &url).await;
    assert!(message.contains("127.0.0.1 said nothing for"), "{message}");
}

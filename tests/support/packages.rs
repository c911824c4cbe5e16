//! An index of packages of one test, where containers of the engine can reach it, and nobody else asks.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::write::GzEncoder;
use flate2::{Compression, Crc};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::raw;

/// Files with what kind they are, by path.
type Files = Mutex<BTreeMap<String, (&'static str, Vec<u8>)>>;

/// What an index has, whom it answers, and what it was asked.
#[derive(Default)]
struct Shelf {
    files: Files,
    asked: Mutex<Vec<String>>,
    /// What is broken off in its middle, once each.
    fragile: Mutex<Vec<String>>,
    /// What whoever asks has to say of himself, if anything.
    allowed: Vec<String>,
}

/// An index that answers as those of Python and npm do.
pub struct Index {
    scheme: &'static str,
    address: String,
    port: u16,
    shelf: Arc<Shelf>,
    /// Whether nobody is answered any more.
    gone: Arc<AtomicBool>,
}

impl Index {
    /// Starts one at the address that this host has for containers.
    pub fn start() -> Self {
        Self::serving(Shelf::default(), None)
    }

    /// Starts one that only answers to whoever says one of these of himself, as `Bearer` or `Basic` and what follows.
    pub fn guarded(allowed: &[&str]) -> Self {
        let allowed = allowed.iter().map(ToString::to_string).collect();
        let shelf = Shelf {
            allowed,
            ..Shelf::default()
        };
        Self::serving(shelf, None)
    }

    /// Starts one with a certificate that nobody has vouched for, which is left in a directory as `ca.pem`.
    pub fn sealed(directory: &Path) -> Self {
        let own = tempfile::tempdir().expect("a directory");
        let (key, certificate) = (own.path().join("key.pem"), directory.join("ca.pem"));
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
            .args(["-days", "2", "-subj", "/CN=test", "-addext"])
            .arg(format!("subjectAltName=IP:{}", bridge()))
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("openssl; run: scripts/test engine");
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
        Self::serving(Shelf::default(), Some(Arc::new(config)))
    }

    fn serving(shelf: Shelf, seal: Option<Arc<rustls::ServerConfig>>) -> Self {
        let address = bridge();
        let listener = TcpListener::bind((address.as_str(), 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let index = Self {
            scheme: if seal.is_some() { "https" } else { "http" },
            address,
            port,
            shelf: Arc::new(shelf),
            gone: Arc::default(),
        };
        let (shelf, gone) = (Arc::clone(&index.shelf), Arc::clone(&index.gone));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if gone.load(Ordering::SeqCst) {
                    return;
                }
                let (shelf, seal) = (Arc::clone(&shelf), seal.clone());
                thread::spawn(move || {
                    let Some(seal) = seal else {
                        return answer(stream, &shelf);
                    };
                    let session = rustls::ServerConnection::new(seal).expect("a session");
                    answer(rustls::StreamOwned::new(session, stream), &shelf);
                });
            }
        });
        index
    }

    /// Answers nobody any more: whoever asks finds nothing there.
    pub fn leave(&self) {
        self.gone.store(true, Ordering::SeqCst);
        // Whoever waits for the next one to ask is told.
        let _ = std::net::TcpStream::connect((self.address.as_str(), self.port));
        raw::until("nobody answers", || {
            std::net::TcpStream::connect((self.address.as_str(), self.port))
                .is_err()
                .then_some(())
        });
    }

    /// Returns the host.
    pub fn host(&self) -> String {
        self.address.clone()
    }

    /// Returns the address of something in it.
    pub fn address(&self, path: &str) -> String {
        format!("{}://{}:{}/{path}", self.scheme, self.address, self.port)
    }

    /// Returns what was asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.shelf
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn put(&self, path: &str, kind: &'static str, bytes: Vec<u8>) {
        let mut files = self.shelf.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(format!("/{path}"), (kind, bytes));
    }

    /// Breaks the next answer off in its middle, for the first who asks for a path.
    pub fn break_off(&self, path: &str) {
        let mut fragile = self.shelf.fragile.lock().unwrap_or_else(PoisonError::into_inner);
        fragile.push(format!("/{path}"));
    }

    /// Forgets everything that begins with a path.
    pub fn forget(&self, path: &str) {
        let mut files = self.shelf.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|name, _| !name.starts_with(&format!("/{path}")));
    }

    /// Publishes versions of a Python package with a program of the same name that says its version, or whatever a
    /// version is told to do; returns what each is made of.
    pub fn wheels(&self, name: &str, versions: &[(&str, &str)]) -> Vec<String> {
        self.wheels_that_need(name, versions, &[])
    }

    /// The same, of a package that needs others, as they are written in its metadata.
    pub fn wheels_that_need(&self, name: &str, versions: &[(&str, &str)], needs: &[&str]) -> Vec<String> {
        let mut page = String::from("<!DOCTYPE html><html><body>\n");
        let mut digests = Vec::new();
        for (version, code) in versions {
            let wheel = wheel(name, version, code, needs);
            let digest = hex(&Sha256::digest(&wheel));
            let file = format!("{name}-{version}-py3-none-any.whl");
            page += &format!("<a href=\"../../files/{file}#sha256={digest}\">{file}</a><br>\n");
            self.put(&format!("files/{file}"), "application/zip", wheel);
            digests.push(digest);
        }
        self.put(&format!("simple/{name}/"), "text/html", page.into_bytes());
        digests
    }

    /// Publishes one version of an npm package: files by path, and what is in its `package.json` besides.
    pub fn package(&self, name: &str, version: &str, files: &[(&str, &str)], more: &Value) {
        let mut manifest = json!({ "name": name, "version": version });
        for (key, value) in more.as_object().into_iter().flatten() {
            manifest[key] = value.clone();
        }
        let text = manifest.to_string();
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (path, content) in files.iter().copied().chain([("package.json", text.as_str())]) {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            header.set_size(content.len() as u64);
            builder
                .append_data(&mut header, format!("package/{path}"), content.as_bytes())
                .expect("an entry");
        }
        let bytes = builder
            .into_inner()
            .and_then(GzEncoder::finish)
            .expect("an archive");
        let integrity = format!(
            "sha512-{}",
            base64::engine::general_purpose::STANDARD.encode(sha2::Sha512::digest(&bytes))
        );
        let tarball = format!("npm/{name}/-/{name}-{version}.tgz");
        manifest["dist"] = json!({ "tarball": self.address(&tarball), "integrity": integrity });
        self.put(&tarball, "application/octet-stream", bytes);
        let known = {
            let files = self.shelf.files.lock().unwrap_or_else(PoisonError::into_inner);
            let known = files.get(&format!("/npm/{name}"));
            known.and_then(|(_, bytes)| serde_json::from_slice(bytes).ok())
        };
        let mut document: Value = known.unwrap_or_else(|| json!({ "name": name, "versions": {} }));
        document["versions"][version] = manifest;
        document["dist-tags"] = json!({ "latest": version });
        self.put(
            &format!("npm/{name}"),
            "application/json",
            document.to_string().into_bytes(),
        );
    }
}

/// Returns the address that this host has for containers.
fn bridge() -> String {
    let bridge = raw::get("/networks/bridge");
    let config = &bridge["IPAM"]["Config"][0];
    if let Some(gateway) = config["Gateway"].as_str() {
        return gateway.to_owned();
    }
    // Engines that have just made that network do not say; it is the first address.
    let subnet = config["Subnet"]
        .as_str()
        .and_then(|subnet| subnet.split('/').next());
    let subnet: std::net::Ipv4Addr = subnet.expect("a subnet").parse().expect("an address");
    std::net::Ipv4Addr::from(u32::from(subnet) + 1).to_string()
}

fn answer(stream: impl Read + Write, shelf: &Shelf) {
    let Shelf {
        files,
        asked,
        fragile,
        allowed,
    } = shelf;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    // Of the rest of the head only who asks matters.
    let mut known = allowed.is_empty();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(length) if length > 2 => {
                let (name, value) = line.split_once(':').unwrap_or_default();
                known |= name.eq_ignore_ascii_case("authorization")
                    && allowed.iter().any(|allowed| allowed == value.trim());
            }
            Ok(_) | Err(_) => break,
        }
    }
    asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(path.clone());
    // Whoever takes it for a proxy says whom he means, too.
    let own = path
        .strip_prefix("http://")
        .and_then(|rest| Some(&rest[rest.find('/')?..]));
    let own = own.unwrap_or(&path);
    let found = files
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(own)
        .cloned();
    let (status, kind, bytes) = match found {
        _ if !known => (
            "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"",
            "application/json",
            b"{}".to_vec(),
        ),
        Some((kind, bytes)) => ("200 OK", kind, bytes),
        None => ("404 Not Found", "application/json", b"{}".to_vec()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        bytes.len()
    );
    let length = {
        let mut fragile = fragile.lock().unwrap_or_else(PoisonError::into_inner);
        match fragile.iter().position(|one| *one == path) {
            Some(place) => {
                fragile.remove(place);
                bytes.len() / 2
            }
            None => bytes.len(),
        }
    };
    let stream = reader.get_mut();
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&bytes[..length]))
        .and_then(|()| stream.flush());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a wheel with a program that is told what to do, in Python.
fn wheel(name: &str, version: &str, code: &str, needs: &[&str]) -> Vec<u8> {
    let code = if code.is_empty() {
        format!("def main():\n    print('{version}')\n")
    } else {
        code.to_owned()
    };
    let needs: String = needs
        .iter()
        .map(|need| format!("Requires-Dist: {need}\n"))
        .collect();
    let information = format!("{name}-{version}.dist-info");
    let files = [
        (format!("{name}.py"), code),
        (
            format!("{information}/METADATA"),
            format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"),
        ),
        (
            format!("{information}/WHEEL"),
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned(),
        ),
        (
            format!("{information}/entry_points.txt"),
            format!("[console_scripts]\n{name} = {name}:main\n"),
        ),
    ];
    let record: String = files
        .iter()
        .map(|(path, text)| {
            let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()));
            format!("{path},sha256={digest},{}\n", text.len())
        })
        .collect();
    let own = format!("{information}/RECORD");
    let record = (own.clone(), format!("{record}{own},,\n"));
    zip(files.iter().chain([&record]))
}

/// Returns a zip archive in which nothing is packed.
fn zip<'f>(files: impl Iterator<Item = &'f (String, String)>) -> Vec<u8> {
    let (mut archive, mut directory, mut count) = (Vec::new(), Vec::new(), 0_u16);
    for (path, text) in files {
        let mut crc = Crc::new();
        crc.update(text.as_bytes());
        let number = |length: usize| u32::try_from(length).expect("a small file");
        let mut common = Vec::from(20_u16.to_le_bytes());
        // No flags, not packed, the first of January 1980.
        common.extend([0, 0, 0, 0, 0, 0, 0x21, 0]);
        common.extend(crc.sum().to_le_bytes());
        common.extend(number(text.len()).to_le_bytes());
        common.extend(number(text.len()).to_le_bytes());
        common.extend(u16::try_from(path.len()).expect("a short path").to_le_bytes());
        common.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(number(archive.len()).to_le_bytes());
        directory.extend(path.as_bytes());
        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(path.as_bytes());
        archive.extend(text.as_bytes());
        count += 1;
    }
    let (offset, size) = (archive.len(), directory.len());
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend(count.to_le_bytes());
    archive.extend(count.to_le_bytes());
    archive.extend(u32::try_from(size).expect("a small archive").to_le_bytes());
    archive.extend(u32::try_from(offset).expect("a small archive").to_le_bytes());
    archive.extend([0, 0]);
    archive
}

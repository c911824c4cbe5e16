//! An index of packages of one test, where containers of the engine can reach it, and nobody else asks.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::write::GzEncoder;
use flate2::{Compression, Crc};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::raw;

/// Files with what kind they are, by path.
type Files = Mutex<BTreeMap<String, (&'static str, Vec<u8>)>>;

/// An index that answers as those of Python and npm do.
pub struct Index {
    address: String,
    port: u16,
    files: Arc<Files>,
    asked: Arc<Mutex<Vec<String>>>,
    /// What is broken off in its middle, once each.
    fragile: Arc<Mutex<Vec<String>>>,
}

/// Returns the address that this host has on the engine's own bridge.
fn host_for_containers() -> String {
    let bridge = raw::get("/networks/bridge");
    let pool = &bridge["IPAM"]["Config"][0];
    if let Some(gateway) = pool["Gateway"].as_str() {
        return gateway.to_owned();
    }
    // An engine that made its bridge itself says so only from its next start on: it took the first address there is.
    let subnet = pool["Subnet"]
        .as_str()
        .and_then(|subnet| subnet.split('/').next());
    let first: Ipv4Addr = subnet.and_then(|first| first.parse().ok()).expect("a subnet");
    Ipv4Addr::from_bits(first.to_bits() + 1).to_string()
}

impl Index {
    /// Starts one at the address that this host has for containers.
    pub fn start() -> Self {
        let address = host_for_containers();
        let listener = TcpListener::bind((address.as_str(), 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let index = Self {
            address,
            port,
            files: Arc::default(),
            asked: Arc::default(),
            fragile: Arc::default(),
        };
        let (files, asked) = (Arc::clone(&index.files), Arc::clone(&index.asked));
        let fragile = Arc::clone(&index.fragile);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, asked) = (Arc::clone(&files), Arc::clone(&asked));
                let fragile = Arc::clone(&fragile);
                thread::spawn(move || answer(stream, &files, &asked, &fragile));
            }
        });
        index
    }

    /// Returns the host.
    pub fn host(&self) -> String {
        self.address.clone()
    }

    /// Returns the address of something in it.
    pub fn address(&self, path: &str) -> String {
        format!("http://{}:{}/{path}", self.address, self.port)
    }

    /// Returns what was asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, path: &str, kind: &'static str, bytes: Vec<u8>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(format!("/{path}"), (kind, bytes));
    }

    /// Breaks the next answer off in its middle, for the first who asks for a path.
    pub fn break_off(&self, path: &str) {
        let mut fragile = self.fragile.lock().unwrap_or_else(PoisonError::into_inner);
        fragile.push(format!("/{path}"));
    }

    /// Forgets everything that begins with a path.
    pub fn forget(&self, path: &str) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|name, _| !name.starts_with(&format!("/{path}")));
    }

    /// Publishes versions of a Python package with a program of the same name that says its version, or whatever a
    /// version is told to do; returns what each is made of.
    pub fn wheels(&self, name: &str, versions: &[(&str, &str)]) -> Vec<String> {
        let mut page = String::from("<!DOCTYPE html><html><body>\n");
        let mut digests = Vec::new();
        for (version, code) in versions {
            let wheel = wheel(name, version, code);
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
            let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
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

fn answer(mut stream: TcpStream, files: &Files, asked: &Mutex<Vec<String>>, fragile: &Mutex<Vec<String>>) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut reader = BufReader::new(reading);
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    // The rest of the head says nothing that matters.
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(length) if length > 2 => {}
            Ok(_) | Err(_) => break,
        }
    }
    asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(path.clone());
    let found = files
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&path)
        .cloned();
    let (status, kind, bytes) = match found {
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
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&bytes[..length]));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a wheel with a program that is told what to do, in Python.
fn wheel(name: &str, version: &str, code: &str) -> Vec<u8> {
    let code = if code.is_empty() {
        format!("def main():\n    print('{version}')\n")
    } else {
        code.to_owned()
    };
    let information = format!("{name}-{version}.dist-info");
    let files = [
        (format!("{name}.py"), code),
        (
            format!("{information}/METADATA"),
            format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"),
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

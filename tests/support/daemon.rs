//! An engine of one test's own, which can be stopped and started with other defaults: in its own network namespace,
//! beside the engine of all tests, with everything it has below one directory. It needs root, and `dockerd` here.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

/// What every start is told: nothing of this machine's own configuration, and a network for each of many manifests.
const ALWAYS: [&str; 4] = [
    "--live-restore",
    "--iptables=false",
    "--ip-masq=false",
    "--default-address-pool=base=10.192.0.0/12,size=28",
];

/// An engine of one's own. It is stopped and forgotten at the end, also when the test fails.
pub struct Daemon {
    directory: tempfile::TempDir,
    /// Keeps the network namespace open while no engine runs.
    holder: Child,
    engine: Option<Child>,
}

/// Runs a command that has to succeed.
fn must(command: &mut Command) -> String {
    let ended = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        ended.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

impl Daemon {
    /// Starts an engine with options, and gives it an image of the engine of all tests.
    pub fn new(options: &[&str], image: &str) -> Self {
        Self::within(None, options, image)
    }

    /// Starts an engine whose disk has this many MiB.
    pub fn small(room: u32, image: &str) -> Self {
        Self::within(Some(room), &[], image)
    }

    fn within(room: Option<u32>, options: &[&str], image: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        if let Some(room) = room {
            let data = directory.path().join("data");
            std::fs::create_dir(&data).expect("a directory");
            let size = format!("size={room}m");
            must(
                Command::new("mount")
                    .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
                    .arg(data),
            );
        }
        let mut holder = Command::new("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up && echo up && exec sleep infinity",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a network namespace, which takes root");
        let mut line = String::new();
        let said = holder.stdout.take().expect("a pipe");
        BufReader::new(said).read_line(&mut line).expect("a line");
        assert_eq!(line, "up\n", "a network namespace takes root");
        let mut daemon = Self {
            directory,
            holder,
            engine: None,
        };
        daemon.start(options);
        let copy = format!("docker save {image} | docker -H {} load", daemon.host());
        must(Command::new("sh").args(["-c", &copy]));
        daemon
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the address of the engine.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Returns the socket of the engine.
    pub fn socket(&self) -> PathBuf {
        self.path().join("socket")
    }

    /// Asks the engine something with the client of docker, and returns what it says.
    pub fn docker(&self, words: &[&str]) -> String {
        must(Command::new("docker").args(["-H", &self.host()]).args(words))
    }

    /// Starts the engine anew with other options. What runs on it goes on meanwhile.
    pub fn restart(&mut self, options: &[&str]) {
        self.stop();
        self.start(options);
    }

    fn start(&mut self, options: &[&str]) {
        let below = |name: &str| self.path().join(name).display().to_string();
        std::fs::write(self.path().join("config"), "{}").expect("a file");
        let namespace = format!("--net=/proc/{}/ns/net", self.holder.id());
        let mut engine = Command::new("nsenter")
            .args([&namespace, "dockerd"])
            .arg(format!("--config-file={}", below("config")))
            .arg(format!("--data-root={}", below("data")))
            .arg(format!("--exec-root={}", below("exec")))
            .arg(format!("--pidfile={}", below("pid")))
            .arg(format!("--host={}", self.host()))
            .args(ALWAYS)
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("dockerd");
        let mut talk = BufReader::new(engine.stderr.take().expect("a pipe"));
        let mut log = String::new();
        while !log.contains("API listen on") {
            let read = talk.read_line(&mut log).expect("a line");
            assert_ne!(read, 0, "dockerd ended:\n{log}");
        }
        // It must be able to go on talking.
        thread::spawn(move || {
            let _ = std::io::copy(&mut talk, &mut std::io::sink());
        });
        self.engine = Some(engine);
    }

    fn stop(&mut self) {
        if let Some(mut engine) = self.engine.take() {
            let _ = Command::new("kill").arg(engine.id().to_string()).status();
            let _ = engine.wait();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let host = self.host();
        let everything = format!("docker -H {host} ps -aq | xargs -r docker -H {host} rm -fv");
        let _ = Command::new("sh").args(["-c", &everything]).output();
        self.stop();
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        // What is still mounted there would be in the way of its removal.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = self.path().display().to_string();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for place in places.filter(|place| place.starts_with(&own)) {
            let _ = Command::new("umount").args(["-l", place]).status();
        }
    }
}

//! [`Aishell`]: the program, run in a directory of its own.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A manifest without problems.
pub const MANIFEST: &str = "\
apiVersion: aishell/v1
name: demo
foundation: { image: 'debian:bookworm-slim' }
containers:
  api:
    command: [sleep, infinity]
    resources: { memory: 2GiB }
";

/// A run of the program, in a directory of its own and with no engine within reach.
#[must_use]
pub struct Aishell {
    command: Command,
    directory: TempDir,
    input: String,
}

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    /// The code it ended with.
    pub code: Option<i32>,
    /// What it answered.
    pub stdout: String,
    /// What it said besides.
    pub stderr: String,
}

/// Prepares a run with arguments, separated by spaces.
pub fn aishell(arguments: &str) -> Aishell {
    prepared(Command::new(env!("CARGO_BIN_EXE_aishell")), arguments)
}

/// Prepares a run in which the modes of files count, also for root.
pub fn aishell_without_privileges(arguments: &str) -> Aishell {
    let own = fs::metadata("/proc/self").expect("a process").uid();
    if own != 0 {
        return aishell(arguments);
    }
    let mut command = Command::new("/usr/bin/setpriv");
    command.args([
        "--bounding-set=-dac_override,-dac_read_search",
        "--inh-caps=-dac_override,-dac_read_search",
        env!("CARGO_BIN_EXE_aishell"),
    ]);
    prepared(command, arguments)
}

fn prepared(mut command: Command, arguments: &str) -> Aishell {
    let directory = TempDir::new().expect("a directory");
    let project = directory.path().join("project");
    fs::create_dir(&project).expect("a directory");
    command
        .args(arguments.split_whitespace())
        .current_dir(project)
        .env_clear()
        .env("HOME", directory.path())
        .env("LANG", "C.UTF-8")
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    Aishell {
        command,
        directory,
        input: String::new(),
    }
}

impl Aishell {
    /// Adds a file to the directory.
    pub fn file(self, path: &str, text: &str) -> Self {
        let path = self.directory.path().join("project").join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
        self
    }

    /// Takes every right to a file or directory away.
    pub fn locked(self, path: &str) -> Self {
        let path = self.directory.path().join("project").join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o0)).expect("a mode");
        self
    }

    /// Adds a manifest without problems.
    pub fn manifest(self) -> Self {
        self.file("aishell.yaml", MANIFEST)
    }

    /// Sets a variable of the environment.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Says something on standard input.
    pub fn input(mut self, text: &str) -> Self {
        text.clone_into(&mut self.input);
        self
    }

    /// Starts the program without waiting for its end.
    pub fn start(mut self) -> (std::process::Child, TempDir) {
        let child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        (child, self.directory)
    }

    /// Runs the program; in what it says its directory is `[DIRECTORY]`, and the home around it `[HOME]`.
    pub fn run(self) -> Ran {
        let input = self.input.clone();
        let (mut child, directory) = self.start();
        let mut stdin = child.stdin.take().expect("a pipe");
        // A program that does not read has ended already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("the program ends");
        let path = directory
            .path()
            .join("project")
            .canonicalize()
            .expect("a directory");
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).expect("UTF-8");
            text.replace(&path.display().to_string(), "[DIRECTORY]")
                .replace(&directory.path().display().to_string(), "[HOME]")
        };
        Ran {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Runs the program and returns its answer if it ended with a code and said nothing else.
    pub fn answers(self, code: i32) -> String {
        let Ran {
            code: ended,
            stdout,
            stderr,
        } = self.run();
        assert_eq!((ended, stderr.as_str()), (Some(code), ""), "{stdout}");
        stdout
    }

    /// Runs the program and returns what it complained about if it ended with a code and answered nothing.
    pub fn complains(self, code: i32) -> String {
        let Ran {
            code: ended,
            stdout,
            stderr,
        } = self.run();
        assert_eq!((ended, stdout.as_str()), (Some(code), ""), "{stderr}");
        stderr
    }
}

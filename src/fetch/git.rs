//! git, run on this host: never asks, runs nothing that a repository says, and ends with whoever waits for it.
//!
//! That holds for whoever is killed, too. A shell that watches waits beside git for a word from aishell, and when that has
//! gone without one it ends git with all that it started. Until they are gone, what they work in stays locked.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};

use crate::progress::Progress;
use crate::remote::Store;

/// How many lines of what git said are kept.
const LINES: usize = 20;
/// How many bytes of an answer are kept.
const LONGEST: usize = 8 << 20;
/// How long what git started may keep talking when git itself has ended.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// Runs git, and somebody beside it who ends them both when the standard input ends without a line.
const WATCHED: &str = r#"command -v git >/dev/null 2>&1 || exit 127
exec 3<&0 </dev/null
{ read -r word <&3 || kill -KILL 0; } >/dev/null 2>&1 &
exec 3<&-
exec git "$@""#;
/// What [`WATCHED`] ends with where there is no git.
const ABSENT: i32 = 127;
/// The variables that would lead git elsewhere, or make it ask.
const LEADING: [&str; 18] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INDEX_VERSION",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_TEMPLATE_DIR",
    "GIT_SHALLOW_FILE",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_GRAFT_FILE",
    "GIT_DEFAULT_HASH",
    "GIT_PROTOCOL",
    "GIT_EDITOR",
    "SSH_ASKPASS",
];
/// What holds for every run: nothing that a repository brings is run, and nothing is left running.
const SAFE: [&str; 9] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "protocol.ext.allow=never",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "safe.directory=*",
];

/// Why git did not do something.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no git.
    #[error("there is no git on this host")]
    Absent,
    /// It cannot be run.
    #[error("git cannot be run")]
    Unrunnable(#[source] io::Error),
    /// It said nothing for too long.
    #[error("git said nothing for {} s, and was ended", patience.as_secs())]
    Silent {
        /// How long it was waited for.
        patience: Duration,
        /// The last lines of what it said.
        log: Vec<String>,
    },
    /// It failed.
    #[error("{}", told(log))]
    Failed {
        /// The last lines of what it said.
        log: Vec<String>,
    },
}

impl GitError {
    /// Returns the last lines of what git said.
    pub fn log(&self) -> Vec<String> {
        match self {
            Self::Absent | Self::Unrunnable(_) => Vec::new(),
            Self::Silent { log, .. } | Self::Failed { log } => log.clone(),
        }
    }

    /// Says whether any line of what git said has these words.
    pub fn says(&self, words: &[&str]) -> bool {
        let log = self.log();
        log.iter()
            .any(|line| words.iter().any(|words| line.contains(words)))
    }

    /// Returns what most often helps.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Absent => "install git: `apt-get install git`",
            Self::Unrunnable(_) => return None,
            _ if self.says(&[
                "could not read Username",
                "could not read Password",
                "Authentication failed",
            ]) =>
            {
                "git on this host cannot log in there: repositories are fetched with its credential helpers, and nobody is asked"
            }
            _ if self.says(&["Permission denied (", "Host key verification failed"]) => {
                "`ssh` to that host has to work without asking: the key in an agent, the host in known_hosts"
            }
            _ if self.says(&[
                "Could not resolve host",
                "Failed to connect",
                "unable to connect",
                "Connection refused",
            ]) =>
            {
                "check the address, and the way to it: `HTTPS_PROXY`, or http.proxy of git's configuration"
            }
            _ if self.says(&["certificate"]) => {
                "http.sslCAInfo of git's configuration, or GIT_SSL_CAINFO, says whom git trusts"
            }
            _ if self.says(&["No space left on device"]) => {
                "the cache of aishell needs room: `df -h ~/.cache`"
            }
            Self::Silent { .. } | Self::Failed { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// Returns the line that says why.
fn told(log: &[String]) -> String {
    let fatal = |line: &&String| line.starts_with("fatal: ") || line.starts_with("error: ");
    let line = log.iter().rfind(fatal).or(log.last());
    match line {
        Some(line) => format!("git: {line}"),
        None => "git failed and said nothing".to_owned(),
    }
}

/// Who runs git.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// The person, with the configuration that tells how to log in.
    Person,
    /// Nobody: without any configuration, and without a network.
    Nobody,
}

/// git in a directory.
pub(super) struct Git<'a> {
    pub store: &'a Store,
    pub progress: &'a Progress,
    pub directory: &'a Path,
    /// The lock of what is worked at, which stays taken until the last of git has ended.
    pub lock: &'a File,
    /// The command that reaches other hosts, where git's configuration names one.
    pub ssh: Option<String>,
}

impl Git<'_> {
    /// Has git do something.
    ///
    /// # Cancel safety
    /// Dropping the future kills it, with all that it started.
    pub async fn run(&self, who: As, words: &[&str]) -> Result<(), GitError> {
        // A lock goes when the last one closes it. What is written into it nobody reads.
        let lock = self.lock.try_clone().map_err(GitError::Unrunnable)?;
        self.begin(who, words, Stdio::from(lock)).await.map(|_| ())
    }

    /// Asks git something, and returns what it answers. It must not be anything that writes here.
    ///
    /// # Cancel safety
    /// As that of [`Git::run`].
    pub async fn ask(&self, who: As, words: &[&str]) -> Result<String, GitError> {
        self.begin(who, words, Stdio::piped()).await
    }

    async fn begin(&self, who: As, words: &[&str], stdout: Stdio) -> Result<String, GitError> {
        let environment = match who {
            As::Person => of_person(self.store, self.ssh.as_deref()),
            As::Nobody => of_nobody(self.store),
        };
        let slow = format!("http.lowSpeedTime={}", self.store.patience.as_secs().max(1));
        let options = SAFE
            .iter()
            .copied()
            .chain([slow.as_str(), "http.lowSpeedLimit=1"]);
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", WATCHED, "git"])
            .args(options.flat_map(|option| ["-c", option]))
            .args(words)
            .current_dir(self.directory)
            .env_clear()
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        tracing::debug!(?words, "git");
        let child = command.spawn().map_err(GitError::Unrunnable)?;
        // What works only here is never silent because somebody else is.
        let patience = (who == As::Person).then_some(self.store.patience);
        self.follow(child, patience).await
    }

    /// Reads what git says until it ends, or says nothing for too long.
    async fn follow(&self, mut child: Child, patience: Option<Duration>) -> Result<String, GitError> {
        let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
        let mut group = Group {
            word: child.stdin.take(),
            leader: Some(child),
        };
        let Some(child) = group.leader.as_mut() else {
            return Err(GitError::Absent);
        };
        let (mut answer, mut talk) = (Vec::new(), Talk::default());
        let (mut one, mut other) = (vec![0; 8192], vec![0; 8192]);
        let mut ended = None;
        while ended.is_none() || out.is_some() || err.is_some() {
            let heard = async {
                tokio::select! {
                    biased;
                    length = next(&mut out, &mut one) => Heard::Answer(length),
                    length = next(&mut err, &mut other) => Heard::Talk(length),
                    status = child.wait(), if ended.is_none() => Heard::End(status),
                }
            };
            // Whoever git leaves behind, as ssh does that keeps a connection, may never close what it was given.
            let longest = ended.as_ref().map(|_| AFTERWARDS).or(patience);
            let heard = match longest {
                Some(longest) => tokio::time::timeout(longest, heard).await.ok(),
                None => Some(heard.await),
            };
            match heard {
                Some(Heard::Answer(length)) if answer.len() < LONGEST => {
                    answer.extend_from_slice(&one[..length]);
                }
                Some(Heard::Answer(_)) => {}
                Some(Heard::Talk(length)) => talk.add(&other[..length], self.progress),
                Some(Heard::End(status)) => ended = Some(status.map_err(GitError::Unrunnable)?),
                None if ended.is_some() => break,
                None => {
                    return Err(GitError::Silent {
                        patience: self.store.patience,
                        log: talk.finish(),
                    });
                }
            }
        }
        group.release().await;
        match ended {
            Some(status) if status.success() => Ok(String::from_utf8_lossy(&answer).into_owned()),
            Some(status) if status.code() == Some(ABSENT) && talk.is_empty() => Err(GitError::Absent),
            _ => Err(GitError::Failed { log: talk.finish() }),
        }
    }
}

/// What comes from a git that runs.
enum Heard {
    Answer(usize),
    Talk(usize),
    End(io::Result<ExitStatus>),
}

/// Reads from a stream that is open; one that has ended is closed.
async fn next(stream: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    let Some(open) = stream else {
        return std::future::pending().await;
    };
    let length = open.read(buffer).await.unwrap_or(0);
    if length == 0 {
        *stream = None;
    }
    length
}

/// A process and all that it started, which end with this.
struct Group {
    leader: Option<Child>,
    /// Where the word is said without which they end when we do.
    word: Option<ChildStdin>,
}

impl Group {
    /// Lets whatever is left of it be.
    async fn release(&mut self) {
        self.leader = None;
        if let Some(mut word) = self.word.take() {
            // Who watches may have been ended by somebody else.
            let _ = word.write_all(b"\n").await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It was not waited for, so the number is still its own.
        let id = self.leader.as_ref().and_then(Child::id);
        if let Some(id) = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

/// What git says beside its answer: lines, and how far it is.
#[derive(Default)]
struct Talk {
    lines: VecDeque<String>,
    line: Vec<u8>,
}

impl Talk {
    fn add(&mut self, bytes: &[u8], progress: &Progress) {
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end(*byte == b'\r', progress),
                byte if self.line.len() < 4096 => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn end(&mut self, is_passing: bool, progress: &Progress) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let line = line.trim();
        if let Some((of, done, total)) = amount(line) {
            progress.amount(of, done, Some(total));
        } else if !line.is_empty() && !is_passing {
            self.lines.push_back(hidden(line));
            if self.lines.len() > LINES {
                self.lines.pop_front();
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.line.is_empty()
    }

    fn finish(mut self) -> Vec<String> {
        self.end(false, &Progress::default());
        self.lines.into()
    }
}

/// Reads how far git is: `Receiving objects:  45% (9/20), 1.2 MiB`.
fn amount(line: &str) -> Option<(&str, u64, u64)> {
    let (of, rest) = line.trim_start_matches("remote: ").split_once(':')?;
    let (_, rest) = rest.split_once("% (")?;
    let (done, rest) = rest.split_once('/')?;
    let (total, _) = rest.split_once(')')?;
    Some((of, done.parse().ok()?, total.parse().ok()?))
}

/// Hides who logs in where an address says that.
fn hidden(line: &str) -> String {
    let mut shown = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = after
            .find(|letter: char| letter.is_whitespace() || "/'\"".contains(letter))
            .unwrap_or(after.len());
        let at = after[..end].rfind('@');
        shown.push_str(if at.is_some() { "…@" } else { "" });
        rest = &after[at.map_or(0, |at| at + 1)..];
    }
    shown + rest
}

/// Returns the environment of git where it logs in as the person.
fn of_person(store: &Store, ssh: Option<&str>) -> BTreeMap<String, String> {
    let leads = |name: &str| LEADING.contains(&name) || name.starts_with("GIT_TRACE");
    let own = store.environment.iter().filter(|(name, _)| !leads(name));
    let mut environment: BTreeMap<String, String> =
        own.map(|(name, value)| (name.clone(), value.clone())).collect();
    set(
        &mut environment,
        &[
            ("GIT_ALLOW_PROTOCOL", "https:http:ssh:git"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GCM_INTERACTIVE", "never"),
            ("SSH_ASKPASS_REQUIRE", "never"),
            ("LC_ALL", "C"),
            ("LANGUAGE", ""),
        ],
    );
    // ssh asks at the terminal itself; another program than ssh is told nothing that it may not know.
    let ssh = environment
        .get("GIT_SSH_COMMAND")
        .map(String::as_str)
        .or(ssh)
        .unwrap_or("ssh");
    let program = ssh
        .split(' ')
        .next()
        .and_then(|program| program.rsplit('/').next());
    if program == Some("ssh") && !environment.contains_key("GIT_SSH") {
        let quiet = format!("{ssh} -o BatchMode=yes -o ConnectTimeout=30");
        environment.insert("GIT_SSH_COMMAND".to_owned(), quiet);
    }
    environment
}

/// Returns the environment of git where nobody's configuration counts and nothing is reached.
fn of_nobody(store: &Store) -> BTreeMap<String, String> {
    let kept = ["PATH", "GIT_EXEC_PATH", "TMPDIR", "LD_LIBRARY_PATH"];
    let own = store
        .environment
        .iter()
        .filter(|(name, _)| kept.contains(&name.as_str()));
    let mut environment: BTreeMap<String, String> =
        own.map(|(name, value)| (name.clone(), value.clone())).collect();
    set(
        &mut environment,
        &[
            ("GIT_ALLOW_PROTOCOL", "file"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_DEFAULT_HASH", "sha1"),
            ("GIT_DEFAULT_REF_FORMAT", "files"),
            ("HOME", "/nonexistent"),
            ("LC_ALL", "C"),
        ],
    );
    environment
}

fn set(environment: &mut BTreeMap<String, String>, values: &[(&str, &str)]) {
    environment.extend(
        values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
}

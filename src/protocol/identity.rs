//! The identity image: a stage plus one layer that says who the user is.
//!
//! 1. Look whether the keyed image exists by now.
//! 2. Create a container from the stage, without mounts, never started; its name is the mutex.
//! 3. Read its user database, unpack the edited one, the login profile and the CA bundle.
//! 4. Commit it, give it its names, remove the container.
//!
//! Files are unpacked into a container without mounts because an upload into one with binds would write through to
//! the host, and a read-only root refuses it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;

use super::job::{self, Acquire, Acquired};
use super::naming::{Naming, removal};
use super::{Next, Protocol, call, failure, need, unexpected};
use crate::call::{Answer, Call, Commit, Content, Create, File};
use crate::engine::EngineError;
use crate::facts::Account;
use crate::label::{FILE, HOST, Mark, OwnedId, PROJECT, PROJECT_HASH, PROVEN, SCHEMA};
use crate::observed::ImageConfig;
use crate::platform::made_for;
use crate::report::Failure;
use crate::spec::{ContainerSpec, Security};
use crate::step::IdentityWork;

/// Where the CA bundle lies in a sandbox.
const CERTIFICATES: &str = "/etc/aishell/ca.pem";
/// What a program finds when its image sets no `PATH`.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The variables by which common tools find a CA bundle.
pub(super) const CERTIFICATE_VARIABLES: [&str; 6] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
];

/// Makes an identity image.
pub(super) struct Identity {
    work: IdentityWork,
    at: At,
    config: ImageConfig,
    passwd: String,
    group: String,
    bash: bool,
}

enum At {
    Check,
    Leftover,
    From,
    Acquire(Box<Acquire>),
    Shell(OwnedId),
    Passwd(OwnedId),
    Group(OwnedId),
    Shells(OwnedId),
    Upload(OwnedId),
    /// Removes what was left of an earlier one.
    Forget(OwnedId),
    Commit(OwnedId),
    Name(OwnedId, Naming),
    Sweep(OwnedId, Option<Failure>),
    Done,
    Failed(Failure),
}

impl Identity {
    pub(super) fn new(work: IdentityWork) -> Self {
        Self {
            work,
            at: At::Check,
            config: ImageConfig::default(),
            passwd: String::new(),
            group: String::new(),
            bash: false,
        }
    }

    fn create(&self) -> Create {
        Create {
            name: format!("aishell-job-identity-{}", self.work.key.short()),
            labels: self.work.job.clone(),
            spec: ContainerSpec {
                image: self.work.from.clone(),
                // Never run; a container must have a command to be created.
                command: Some(vec!["true".to_owned()]),
                entrypoint: Some(Vec::new()),
                user: Some("0:0".to_owned()),
                shm: 64 << 20,
                security: Security {
                    no_new_privileges: true,
                    cap_drop: vec!["ALL".to_owned()],
                    ..Security::default()
                },
                ..ContainerSpec::default()
            },
        }
    }

    fn path(&self) -> String {
        let path = self.config.env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
        format!("/tools/bin:{path}")
    }

    /// Returns what the image sets for every process.
    fn environment(&self) -> BTreeMap<String, String> {
        let account = &self.work.account;
        let mut env: BTreeMap<String, String> = [
            ("PATH", self.path()),
            ("HOME", account.home.clone()),
            ("USER", account.name.clone()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        if self.work.certificates.is_some() {
            for name in CERTIFICATE_VARIABLES {
                env.insert(name.to_owned(), CERTIFICATES.to_owned());
            }
        }
        env
    }

    fn files(&self) -> Vec<File> {
        let account = &self.work.account;
        let shell = if self.bash { "/bin/bash" } else { "/bin/sh" };
        let mut files = vec![
            // A tmpfs takes the mode of the directory it covers, and one that the engine makes for a mount below it
            // is closed to everybody but root.
            directory("tmp", 0, 0, 0o1777),
            directory("var", 0, 0, 0o755),
            directory("var/tmp", 0, 0, 0o1777),
            directory("run", 0, 0, 0o1777),
            directory("etc", 0, 0, 0o755),
            file("etc/passwd", 0o644, passwd(&self.passwd, account, shell)),
            file("etc/group", 0o644, group(&self.group, account)),
            directory("etc/profile.d", 0, 0, 0o755),
            // Last by name: Debian's /etc/profile resets PATH before it reads this directory.
            file("etc/profile.d/zz-aishell.sh", 0o644, self.profile()),
        ];
        if let Some(bundle) = &self.work.certificates {
            files.push(directory("etc/aishell", 0, 0, 0o755));
            files.push(File {
                path: "etc/aishell/ca.pem".to_owned(),
                uid: 0,
                gid: 0,
                mode: 0o644,
                content: Content::Bytes(bundle.clone()),
            });
        }
        let home = account.home.trim_matches('/');
        for (index, _) in home.match_indices('/') {
            files.push(directory(&home[..index], 0, 0, 0o755));
        }
        if !home.is_empty() {
            files.push(directory(home, account.uid, account.gid, 0o755));
        }
        files
    }

    /// Returns the login profile. Its values are literal: a login shell may start with no variables at all.
    fn profile(&self) -> String {
        let mut text =
            String::from("# Written by aishell: login shells reset what the container was given.\n");
        for (name, value) in self.environment() {
            if name != "HOME" && name != "USER" {
                let quoted = value.replace('\'', r"'\''");
                // Writing to a String cannot fail.
                let _ = writeln!(text, "export {name}='{quoted}'");
            }
        }
        text
    }

    fn commit(&self, container: &OwnedId) -> Commit {
        let account = &self.work.account;
        let mut labels = self.work.labels.clone();
        labels.insert(SCHEMA.to_owned(), PROVEN.to_owned());
        for label in [PROJECT, PROJECT_HASH, HOST, FILE] {
            // As snapshots of phases: an image has users, and no owner.
            labels.insert(label.to_owned(), String::new());
        }
        Commit {
            container: container.id().to_owned(),
            rebuilt: false,
            tag: self.work.making.clone(),
            labels,
            env: self.environment(),
            command: self.config.command.clone(),
            entrypoint: self.config.entrypoint.clone(),
            user: Some(format!("{}:{}", account.uid, account.gid)),
            workdir: None,
        }
    }
}

impl Protocol for Identity {
    fn next(&self) -> Next {
        let read = |container: &OwnedId, path: &str| {
            call(Call::ReadFile {
                container: container.id().to_owned(),
                path: path.to_owned(),
            })
        };
        match &self.at {
            At::Check => call(Call::InspectImage {
                image: self.work.tag.clone(),
            }),
            At::Leftover => call(Call::InspectContainer {
                container: self.create().name,
            }),
            At::From => call(Call::InspectImage {
                image: self.work.from.clone(),
            }),
            At::Acquire(acquire) => match acquire.state() {
                Acquired::Go(next) => next,
                Acquired::Mine(_) | Acquired::Theirs(_) | Acquired::Gone => Next::Done,
            },
            At::Shell(container) => call(need::shell(container.id())),
            At::Passwd(container) => read(container, "/etc/passwd"),
            At::Group(container) => read(container, "/etc/group"),
            At::Shells(container) => read(container, "/etc/shells"),
            At::Upload(container) => call(Call::Upload {
                container: container.id().to_owned(),
                files: self.files().into(),
            }),
            At::Forget(_) => call(removal(&self.work.making)),
            At::Name(_, naming) => match naming.call() {
                Some(next) => call(next.clone()),
                None => Next::Failed(unexpected("a name")),
            },
            At::Commit(container) => call(Call::CommitContainer(Box::new(self.commit(container)))),
            At::Sweep(container, _) => call(Call::RemoveContainer {
                container: container.clone(),
                volumes: true,
            }),
            At::Done => Next::Done,
            At::Failed(failure) => Next::Failed(failure.clone()),
        }
    }

    fn heard(&mut self, result: Result<Answer, EngineError>, now: Timestamp) {
        let at = std::mem::replace(&mut self.at, At::Done);
        self.at = match (at, result) {
            (At::Check, Ok(Answer::Image(image))) => {
                let mark = Mark::read(&image.image.labels);
                let renewed = self.work.renews.as_ref() == Some(&image.image.id);
                let is_it = |mark: &Mark| mark.key == self.work.key && image.image.is_proven(mark);
                if !renewed && mark.as_ref().is_some_and(is_it) {
                    At::Leftover
                } else {
                    At::From
                }
            }
            (At::Check, Err(EngineError::NotFound { .. })) => At::From,
            (At::Leftover, Ok(Answer::Container(reply))) => {
                let leftover = job::leftover(&reply, &self.work.job);
                leftover.map_or(At::Done, |container| At::Sweep(container, None))
            }
            (At::Leftover, Err(EngineError::NotFound { .. })) => At::Done,
            (At::From, Ok(Answer::Image(image))) if self.work.machine.refuses(&image.platform) => {
                let why = made_for(&image.platform, &self.work.machine.platform);
                At::Failed(Failure::new(why).at(self.work.place.clone()))
            }
            (At::From, Ok(Answer::Image(image))) => {
                self.config = image.config;
                At::Acquire(Box::new(Acquire::new(self.create())))
            }
            (At::Acquire(mut acquire), result) => {
                acquire.heard(result, now);
                self.acquired(acquire)
            }
            (At::Shell(container), Ok(_)) => At::Passwd(container),
            (At::Shell(container), Err(EngineError::NotFound { .. })) => {
                At::Sweep(container, Some(need::refused(&self.work.shells)))
            }
            (At::Passwd(container), Ok(Answer::Bytes(bytes))) => {
                self.passwd = String::from_utf8_lossy(&bytes).into_owned();
                At::Group(container)
            }
            // An image without user database is no obstacle.
            (At::Passwd(container), Err(EngineError::NotFound { .. })) => At::Group(container),
            (At::Group(container), Ok(Answer::Bytes(bytes))) => {
                self.group = String::from_utf8_lossy(&bytes).into_owned();
                At::Shells(container)
            }
            (At::Group(container), Err(EngineError::NotFound { .. })) => At::Shells(container),
            (At::Shells(container), Ok(Answer::Bytes(bytes))) => {
                self.bash = String::from_utf8_lossy(&bytes)
                    .lines()
                    .any(|line| line.trim() == "/bin/bash");
                At::Upload(container)
            }
            (At::Shells(container), Err(EngineError::NotFound { .. })) => At::Upload(container),
            (At::Upload(container), Ok(_)) => At::Forget(container),
            (At::Forget(container), Ok(_) | Err(EngineError::NotFound { .. })) => At::Commit(container),
            (At::Commit(container), Ok(Answer::Id(image))) => {
                let naming = Naming::of(&image, &[&self.work.tag]);
                At::Name(container, naming.made_as(&self.work.making))
            }
            (At::Name(container, naming), Ok(_)) => {
                let naming = naming.called();
                match naming.call() {
                    Some(_) => At::Name(container, naming),
                    None => At::Sweep(container, None),
                }
            }
            // Somebody else has removed it, or is about to.
            (
                At::Sweep(_, None),
                Ok(_) | Err(EngineError::NotFound { .. } | EngineError::Conflict { .. }),
            ) => At::Done,
            (At::Sweep(_, Some(failure)), _) => At::Failed(failure),
            (
                At::Shell(container)
                | At::Passwd(container)
                | At::Group(container)
                | At::Shells(container)
                | At::Upload(container)
                | At::Forget(container)
                | At::Name(container, _)
                | At::Commit(container),
                other,
            ) => {
                let reason = match other {
                    Err(error) => failure(error),
                    Ok(_) => unexpected("a file"),
                };
                At::Sweep(container, Some(reason))
            }
            (At::Done, _) => At::Done,
            (At::Failed(failure), _) => At::Failed(failure),
            (_, Err(error)) => At::Failed(failure(error)),
            (_, Ok(_)) => At::Failed(unexpected("an image")),
        };
    }

    fn waited(&mut self) {
        if let At::Acquire(acquire) = &mut self.at {
            acquire.waited();
        }
    }
}

impl Identity {
    fn acquired(&self, acquire: Box<Acquire>) -> At {
        match acquire.state() {
            Acquired::Mine(container) if self.work.shells.is_empty() => At::Passwd(container.clone()),
            Acquired::Mine(container) => At::Shell(container.clone()),
            // The helper never runs, so whatever runs under its name is not one.
            Acquired::Theirs(_) => At::Failed(Failure::new("the helper of another aishell is running")),
            Acquired::Gone => At::Check,
            Acquired::Go(Next::Failed(failure)) => At::Failed(failure),
            Acquired::Go(_) => At::Acquire(acquire),
        }
    }
}

fn directory(path: &str, uid: u32, gid: u32, mode: u32) -> File {
    File {
        path: path.to_owned(),
        uid,
        gid,
        mode,
        content: Content::Directory,
    }
}

fn file(path: &str, mode: u32, text: String) -> File {
    File {
        path: path.to_owned(),
        uid: 0,
        gid: 0,
        mode,
        content: Content::Bytes(text.into_bytes()),
    }
}

/// Returns a user database in which the account exists; whoever had its name or number before is left out.
fn passwd(before: &str, account: &Account, shell: &str) -> String {
    let Account { name, uid, gid, home } = account;
    let number = uid.to_string();
    let mut text: String = before
        .lines()
        .filter(|line| {
            let mut fields = line.split(':');
            fields.next() != Some(name.as_str()) && fields.nth(1) != Some(number.as_str())
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{name}:x:{uid}:{gid}::{home}:{shell}");
    text
}

/// Returns a group database in which the account's group has a name.
fn group(before: &str, account: &Account) -> String {
    let number = account.gid.to_string();
    let mut names = before.lines().filter_map(|line| line.split(':').next());
    let named = before
        .lines()
        .any(|line| line.split(':').nth(2) == Some(number.as_str()));
    let taken = names.any(|name| name == account.name);
    let mut text: String = before.lines().flat_map(|line| [line, "\n"]).collect();
    if !named {
        let name = if taken {
            format!("g{number}")
        } else {
            account.name.clone()
        };
        let _ = writeln!(text, "{name}:x:{number}:");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            name: "me".to_owned(),
            uid: 1000,
            gid: 20,
            home: "/home/me".to_owned(),
        }
    }

    #[test]
    fn the_account_takes_the_place_of_whoever_had_its_name_or_number() {
        let before =
            "root:x:0:0:root:/root:/bin/bash\nnode:x:1000:1000::/home/node:/bin/sh\nme:x:7:7::/:/bin/sh\n";
        assert_eq!(
            passwd(before, &account(), "/bin/bash"),
            "root:x:0:0:root:/root:/bin/bash\nme:x:1000:20::/home/me:/bin/bash\n"
        );
        assert_eq!(
            passwd("", &account(), "/bin/sh"),
            "me:x:1000:20::/home/me:/bin/sh\n"
        );
    }

    #[test]
    fn a_group_that_exists_keeps_its_name() {
        assert_eq!(group("dialout:x:20:\n", &account()), "dialout:x:20:\n");
        assert_eq!(group("root:x:0:\n", &account()), "root:x:0:\nme:x:20:\n");
        assert_eq!(group("me:x:5:", &account()), "me:x:5:\ng20:x:20:\n");
    }
}

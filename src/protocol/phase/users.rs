//! The users and groups of an image, edited as files: an image need not bring programs for that.

use crate::desired::phase::NewUser;
use crate::report::Failure;

/// The first number of a user that nobody asked for by number.
const FIRST: u32 = 1000;

/// The tables of users and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Users {
    /// `/etc/passwd`.
    pub passwd: String,
    /// `/etc/group`.
    pub group: String,
    /// `/etc/shadow`, where the image has one.
    pub shadow: Option<String>,
    /// Whether `/etc/shadow` was looked for.
    pub is_whole: bool,
}

impl Users {
    /// Adds users and the groups they lack; returns their numbers.
    ///
    /// # Errors
    /// The name or number is somebody else's.
    pub fn add(&mut self, users: &[NewUser]) -> Result<Vec<(u32, u32)>, Failure> {
        users.iter().map(|user| self.add_one(user)).collect()
    }

    fn add_one(&mut self, user: &NewUser) -> Result<(u32, u32), Failure> {
        let NewUser {
            name,
            uid,
            gid,
            groups,
            shell,
            home,
        } = user;
        if row(&self.passwd, 0, name).is_some() {
            return Err(Failure::new(format!("the image has a user `{name}` already")));
        }
        let uid = match uid {
            Some(uid) => match row(&self.passwd, 2, &uid.to_string()) {
                Some(other) => {
                    let other = other.split(':').next().unwrap_or_default();
                    return Err(Failure::new(format!(
                        "the number {uid} of user `{name}` is that of `{other}` in the image"
                    )));
                }
                None => *uid,
            },
            None => free(&[&self.passwd, &self.group]),
        };
        let gid = gid.unwrap_or(uid);
        if row(&self.group, 2, &gid.to_string()).is_none() {
            if row(&self.group, 0, name).is_some() {
                return Err(Failure::new(format!(
                    "the image has a group `{name}` of another number than {gid}: say `gid`"
                )));
            }
            push(&mut self.group, &format!("{name}:x:{gid}:"));
        }
        for group in groups {
            if row(&self.group, 0, group).is_none() {
                let number = free(&[&self.group, &self.passwd]);
                push(&mut self.group, &format!("{group}:x:{number}:"));
            }
            self.join(group, name);
        }
        push(&mut self.passwd, &format!("{name}:x:{uid}:{gid}::{home}:{shell}"));
        if let Some(shadow) = &mut self.shadow
            && row(shadow, 0, name).is_none()
        {
            // No password opens it, and none has to be changed.
            push(shadow, &format!("{name}:*:::::::"));
        }
        Ok((uid, gid))
    }

    fn join(&mut self, group: &str, user: &str) {
        let lines = self.group.lines().map(|line| {
            let mut fields: Vec<&str> = line.splitn(4, ':').collect();
            if fields.first() != Some(&group) || fields.len() < 4 {
                return line.to_owned();
            }
            let mut members: Vec<&str> = fields[3].split(',').filter(|member| !member.is_empty()).collect();
            if !members.contains(&user) {
                members.push(user);
            }
            let members = members.join(",");
            fields[3] = &members;
            fields.join(":")
        });
        self.group = lines.flat_map(|line| [line, "\n".to_owned()]).collect();
    }

    /// Returns the numbers of an owner: `dev`, `dev:staff`, `1000` or `1000:1000`.
    ///
    /// # Errors
    /// There is no such user or group.
    pub fn owner(&self, owner: &str) -> Result<(u32, u32), Failure> {
        let (user, group) = match owner.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (owner, None),
        };
        let absent = |what: &str, name: &str| Failure::new(format!("the image has no {what} `{name}`"));
        let known = row(&self.passwd, 0, user).or_else(|| row(&self.passwd, 2, user));
        let (uid, own) = match (known, user.parse()) {
            (Some(line), _) => (number(line, 2), number(line, 3)),
            (None, Ok(uid)) => (Some(uid), Some(uid)),
            (None, Err(_)) if user == "root" => (Some(0), Some(0)),
            (None, Err(_)) => return Err(absent("user", user)),
        };
        let gid = match group {
            None => own,
            Some(group) => match (row(&self.group, 0, group), group.parse()) {
                (Some(line), _) => number(line, 2),
                (None, Ok(gid)) => Some(gid),
                (None, Err(_)) => return Err(absent("group", group)),
            },
        };
        uid.zip(gid).ok_or_else(|| absent("user", user))
    }

    /// Returns the home of a user.
    ///
    /// # Errors
    /// There is no such user, or it has no home.
    pub fn home(&self, user: &str) -> Result<&str, Failure> {
        let line = row(&self.passwd, 0, user);
        let home = line.and_then(|line| line.split(':').nth(5));
        let home = home.filter(|home| home.starts_with('/'));
        let home = home.or((user == "root" && line.is_none()).then_some("/root"));
        home.ok_or_else(|| Failure::new(format!("the image has no user `{user}` with a home")))
    }
}

/// Returns the line in which a field has a value.
fn row<'t>(table: &'t str, field: usize, value: &str) -> Option<&'t str> {
    table
        .lines()
        .find(|line| line.split(':').nth(field) == Some(value))
}

fn number(line: &str, field: usize) -> Option<u32> {
    line.split(':').nth(field)?.parse().ok()
}

/// Returns the first number that none of the tables has.
fn free(tables: &[&str]) -> u32 {
    let taken = |candidate: u32| {
        let lines = tables.iter().flat_map(|table| table.lines());
        lines.into_iter().any(|line| number(line, 2) == Some(candidate))
    };
    (FIRST..u32::MAX)
        .find(|candidate| !taken(*candidate))
        .unwrap_or(FIRST)
}

fn push(table: &mut String, line: &str) {
    if !table.is_empty() && !table.ends_with('\n') {
        table.push('\n');
    }
    table.push_str(line);
    table.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> NewUser {
        NewUser {
            name: name.to_owned(),
            uid: None,
            gid: None,
            groups: Vec::new(),
            shell: "/bin/sh".to_owned(),
            home: format!("/home/{name}"),
        }
    }

    fn users() -> Users {
        Users {
            passwd: "root:x:0:0:root:/root:/bin/bash\nnode:x:1000:1000::/home/node:/bin/sh".to_owned(),
            group: "root:x:0:\nsudo:x:27:root\nnode:x:1000:\n".to_owned(),
            shadow: Some("root:*:19000:0:99999:7:::\n".to_owned()),
            is_whole: true,
        }
    }

    #[test]
    fn users_and_the_groups_they_lack_are_added() {
        let mut users = users();
        let dev = NewUser {
            groups: vec!["sudo".to_owned(), "docker".to_owned()],
            ..user("dev")
        };
        assert_eq!(
            users.add(&[dev, user("two")]),
            Ok(vec![(1001, 1001), (1003, 1003)])
        );
        assert_eq!(
            users.passwd,
            "root:x:0:0:root:/root:/bin/bash\nnode:x:1000:1000::/home/node:/bin/sh\n\
             dev:x:1001:1001::/home/dev:/bin/sh\ntwo:x:1003:1003::/home/two:/bin/sh\n"
        );
        assert_eq!(
            users.group,
            "root:x:0:\nsudo:x:27:root,dev\nnode:x:1000:\ndev:x:1001:\ndocker:x:1002:dev\ntwo:x:1003:\n"
        );
        assert_eq!(
            users.shadow.as_deref(),
            Some("root:*:19000:0:99999:7:::\ndev:*:::::::\ntwo:*:::::::\n")
        );
    }

    #[test]
    fn what_is_somebody_elses_is_not_taken() {
        let wrong = |user: NewUser| users().add(&[user]).expect_err("a conflict").message;
        assert_eq!(wrong(user("node")), "the image has a user `node` already");
        let same = NewUser {
            uid: Some(1000),
            ..user("dev")
        };
        assert!(wrong(same).contains("is that of `node`"));
        let named = NewUser {
            gid: Some(7),
            ..user("sudo")
        };
        assert!(wrong(named).contains("a group `sudo` of another number"));
        let shared = NewUser {
            gid: Some(1000),
            ..user("dev")
        };
        assert_eq!(users().add(&[shared]), Ok(vec![(1001, 1000)]));
        assert_eq!(Users::default().add(&[user("dev")]), Ok(vec![(1000, 1000)]));
    }

    #[test]
    fn owners_are_named_or_numbered() {
        let users = users();
        for (owner, numbers) in [
            ("root", (0, 0)),
            ("node", (1000, 1000)),
            ("node:sudo", (1000, 27)),
            ("7", (7, 7)),
            ("7:sudo", (7, 27)),
            ("1000", (1000, 1000)),
            ("7:8", (7, 8)),
        ] {
            assert_eq!(users.owner(owner), Ok(numbers), "{owner}");
        }
        assert_eq!(Users::default().owner("root"), Ok((0, 0)));
        for wrong in ["dev", "node:dev", "", ":"] {
            assert!(users.owner(wrong).is_err(), "{wrong}");
        }
        assert_eq!(users.home("node"), Ok("/home/node"));
        assert!(users.home("dev").is_err());
    }
}

//! What is asked of a container before files are put into it: its tables of users and groups, and what is there.

use super::users::Users;
use super::{At, DoPhase};
use crate::call::{File, FileStatus};
use crate::desired::phase::Act;

/// A table of users or groups.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Passwd,
    Group,
    Shadow,
}

impl Table {
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Passwd => "/etc/passwd",
            Self::Group => "/etc/group",
            Self::Shadow => "/etc/shadow",
        }
    }
}

impl DoPhase {
    pub(super) fn table(&mut self, table: Table, mut users: Users, text: Option<String>) -> At {
        match table {
            Table::Passwd => {
                users.passwd = text.unwrap_or_default();
                At::Table(Table::Group, users)
            }
            Table::Group => {
                users.group = text.unwrap_or_default();
                // Only who adds a user needs it.
                if self.work.acts.iter().any(|act| matches!(act, Act::Users(_))) {
                    return At::Table(Table::Shadow, users);
                }
                self.users = Some(users);
                self.go_on()
            }
            Table::Shadow => {
                users.shadow = text;
                users.is_whole = true;
                self.users = Some(users);
                self.go_on()
            }
        }
    }

    /// Takes in what a home has from its beginning.
    pub(super) fn skeleton(&mut self, files: Vec<File>) -> At {
        self.places.has_skeleton(files);
        self.go_on()
    }

    pub(super) fn stat(&mut self, path: String, status: Option<FileStatus>) -> At {
        self.places.saw(path, status);
        self.go_on()
    }
}

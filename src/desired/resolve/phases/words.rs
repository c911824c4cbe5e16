//! What phases say to people and to shells.

use super::reading::SHELL;
use crate::desired::phase::Command;

/// How many characters of a command are shown where it differs.
const SHOWN: usize = 48;

/// Returns what tells a command from another one, for people: all of it, or its beginning and its digest.
pub(super) fn shown(command: &Command) -> String {
    let whole = command.run.trim();
    let literal = command.env.iter().map(|(name, value)| format!(" {name}={value}"));
    let env: String = literal
        .chain(command.secrets.names().map(|name| format!(" {name}")))
        .collect();
    let of = |user: &str| match command.workdir.as_deref() {
        None if command.shell == SHELL => format!("({user}{env})"),
        workdir => format!("({user} {} {}{env})", workdir.unwrap_or("."), command.shell),
    };
    let first: String = whole.chars().take(SHOWN).collect();
    if first.len() == whole.len() && !whole.contains('\n') {
        format!("{first} {}", of(&command.user))
    } else {
        let first = first.lines().next().unwrap_or_default();
        let digest = crate::key::digest(whole.as_bytes());
        format!("{first}… {} {}", &digest[..6], of(&command.user))
    }
}

pub(super) fn install_apt(list: &str) -> String {
    format!(
        "apt-get update && apt-get install --yes --no-install-recommends -- {list} && rm -rf /var/lib/apt/lists/*"
    )
}

pub(super) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// Says whether a text can be the name of a user or group.
pub(super) fn is_account(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
    first
        && name.len() <= 32
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}

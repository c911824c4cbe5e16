//! The variables of a session that come from the terminal and the language of its caller. Pure.

use crate::host::Host;

/// A terminal that nearly every database knows.
pub const COMMON: &str = "xterm-256color";
/// Terminals that every distribution's smallest database has.
const KNOWN: [&str; 17] = [
    "ansi",
    "dumb",
    "linux",
    "rxvt",
    "rxvt-256color",
    "rxvt-unicode",
    "screen",
    "screen-256color",
    "tmux",
    "tmux-256color",
    "vt100",
    "vt102",
    "vt220",
    "vt52",
    "xterm",
    "xterm-256color",
    "xterm-color",
];
/// Where databases of terminals are.
const DATABASES: [&str; 3] = ["/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo"];
/// The language where nobody asks for one: that of every image, with letters of all.
const LANGUAGE: &str = "C.UTF-8";

/// What is to become of the terminal's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// It can be used as it is.
    Known(String),
    /// It can be used if the container has one of these files, else [`COMMON`].
    If(String, Vec<String>),
}

/// Judges the name of the caller's terminal.
pub fn term(host: &Host) -> Term {
    let Some(name) = host.variable("TERM") else {
        return Term::Known(COMMON.to_owned());
    };
    if KNOWN.contains(&name) {
        return Term::Known(name.to_owned());
    }
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "+-._".contains(letter);
    let Some(first) = name.chars().next().filter(char::is_ascii_alphanumeric) else {
        return Term::Known(COMMON.to_owned());
    };
    if !name.chars().all(fits) {
        return Term::Known(COMMON.to_owned());
    }
    let files = DATABASES
        .iter()
        .map(|database| format!("{database}/{first}/{name}"));
    Term::If(name.to_owned(), files.collect())
}

/// Returns the variables of a session, those that are given last counting most. `has` says whether the container sets a
/// variable already, by its manifest or its image.
pub fn gather(
    host: &Host,
    term: Option<String>,
    has: impl Fn(&str) -> bool,
    given: &[(String, String)],
) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    if let Some(term) = term {
        found.push(("TERM".to_owned(), term));
        if let Some(colors) = host.variable("COLORTERM") {
            found.push(("COLORTERM".to_owned(), colors.to_owned()));
        }
    }
    if !["LANG", "LC_ALL", "LC_CTYPE"].into_iter().any(&has) {
        found.push(("LANG".to_owned(), LANGUAGE.to_owned()));
    }
    found.retain(|(name, _)| !has(name) || name == "TERM");
    for (name, value) in given {
        found.retain(|(other, _)| other != name);
        found.push((name.clone(), value.clone()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(variables: &[(&str, &str)]) -> Host {
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Host {
            home: "/home/me".into(),
            uid: 1000,
            gid: 1000,
            user: "me".to_owned(),
            directory: "/".into(),
            hostname: String::new(),
            environment,
            machine: String::new(),
            accounts: Vec::new(),
        }
    }

    #[test]
    fn a_terminal_that_the_container_may_not_know_is_looked_up_there() {
        let known = |name: &str| Term::Known(name.to_owned());
        assert_eq!(
            term(&host(&[("TERM", "screen-256color")])),
            known("screen-256color")
        );
        assert_eq!(term(&host(&[])), known(COMMON));
        assert_eq!(term(&host(&[("TERM", "../../etc/passwd")])), known(COMMON));
        assert_eq!(term(&host(&[("TERM", "x/../../y")])), known(COMMON));
        let Term::If(name, files) = term(&host(&[("TERM", "xterm-kitty")])) else {
            panic!("it is known");
        };
        assert_eq!(
            (name.as_str(), files[2].as_str()),
            ("xterm-kitty", "/usr/share/terminfo/x/xterm-kitty")
        );
    }

    #[test]
    fn what_is_given_counts_most_and_the_container_before_the_host() {
        let host = host(&[("COLORTERM", "truecolor"), ("LANG", "de_DE.UTF-8")]);
        let text = |found: Vec<(String, String)>| {
            let found = found.iter().map(|(name, value)| format!("{name}={value}"));
            found.collect::<Vec<_>>().join(" ")
        };
        let given = [("TERM".to_owned(), "vt100".to_owned())];
        let term = || Some("xterm".to_owned());
        assert_eq!(
            text(gather(&host, term(), |_| false, &[])),
            "TERM=xterm COLORTERM=truecolor LANG=C.UTF-8"
        );
        assert_eq!(
            text(gather(&host, term(), |name| name == "LC_ALL", &given)),
            "COLORTERM=truecolor TERM=vt100"
        );
        assert_eq!(text(gather(&host, None, |_| false, &[])), "LANG=C.UTF-8");
    }
}

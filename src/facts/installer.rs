//! How this host asks registries: what npm and pip are configured with, as far as it says where packages come from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::host::Host;

/// The variables of the environment that package managers in jobs are given.
const VARIABLES: [&str; 5] = [
    "npm_config_registry",
    "NPM_CONFIG_REGISTRY",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
];

/// The settings of pip that say where packages come from, with their variables.
const PIP: [(&str, &str); 3] = [
    ("index-url", "PIP_INDEX_URL"),
    ("extra-index-url", "PIP_EXTRA_INDEX_URL"),
    ("trusted-host", "PIP_TRUSTED_HOST"),
];

/// The variable that has what `.npmrc` of a job says.
pub const NPMRC: &str = "AISHELL_NPMRC";

/// Returns the settings for package managers in jobs: those of the environment, else those of the files of npm and pip.
pub(super) fn settings(host: &Host) -> BTreeMap<String, String> {
    let given = VARIABLES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), host.variable(name)?.to_owned())));
    let mut settings: BTreeMap<String, String> = given.collect();
    for (name, value) in pip_files(host)
        .into_iter()
        .filter_map(|path| host.configuration(&path))
        .flat_map(|text| pip(&text))
    {
        // The environment comes before every file, and of files the last one counts.
        if host.variable(name).is_none() {
            settings.insert(name.to_owned(), value);
        }
    }
    let own = ["NPM_CONFIG_USERCONFIG", "npm_config_userconfig"];
    let own = own.iter().find_map(|name| host.variable(name)).map(PathBuf::from);
    let file = own.unwrap_or_else(|| host.home.join(".npmrc"));
    let npmrc = host
        .configuration(&file)
        .map(|text| npm(&text, &host.environment));
    if let Some(npmrc) = npmrc.filter(|text| !text.is_empty()) {
        settings.insert(NPMRC.to_owned(), npmrc);
    }
    settings
}

/// Returns where pip looks for its settings, those that count most last.
fn pip_files(host: &Host) -> Vec<PathBuf> {
    let configured = host.variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let configured = configured.unwrap_or_else(|| host.home.join(".config"));
    let named = host.variable("PIP_CONFIG_FILE").map(PathBuf::from);
    [
        PathBuf::from("/etc/pip.conf"),
        host.home.join(".pip/pip.conf"),
        configured.join("pip/pip.conf"),
    ]
    .into_iter()
    .chain(named)
    .collect()
}

/// Reads what a file of pip says about where packages come from.
fn pip(text: &str) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    let (mut counts, mut goes_on) = (false, false);
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            (counts, goes_on) = (["global", "install"].contains(&section), false);
        } else if line.starts_with([' ', '\t']) && goes_on {
            if let Some((_, value)) = found.last_mut() {
                value.push(' ');
                value.push_str(trimmed);
            }
        } else if let Some((key, value)) = trimmed.split_once(['=', ':']).filter(|_| counts) {
            let key = key.trim().to_ascii_lowercase().replace('_', "-");
            let variable = PIP.iter().find(|(name, _)| *name == key);
            goes_on = variable.is_some();
            found.extend(variable.map(|(_, variable)| (*variable, value.trim().to_owned())));
        } else {
            goes_on = false;
        }
    }
    let trimmed = found
        .into_iter()
        .map(|(name, value)| (name, value.trim().to_owned()));
    trimmed.filter(|(_, value)| !value.is_empty()).collect()
}

/// Returns the lines of a file of npm that say where packages come from and who asks for them, variables filled in.
fn npm(text: &str, environment: &BTreeMap<String, String>) -> String {
    let about = |line: &str| {
        let key = line.split('=').next().unwrap_or_default().trim();
        key == "registry" || (key.starts_with('@') && key.ends_with(":registry")) || key.starts_with("//")
    };
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| line.contains('=') && about(line));
    lines
        .map(|line| filled(line, environment))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Fills in `${NAME}`; what nobody has set stays as it is.
fn filled(line: &str, environment: &BTreeMap<String, String>) -> String {
    let mut filled = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        let named = after
            .split_once('}')
            .and_then(|(name, after)| Some((environment.get(name)?, after)));
        rest = if let Some((value, after)) = named {
            filled.push_str(value);
            after
        } else {
            filled.push_str("${");
            after
        };
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pip_is_configured_with_says_where_packages_come_from() {
        let text = "[global]\n# no\nindex-url = https://a/simple\ntimeout = 9\nextra_index_url =\n  https://b\n  https://c\n\
                    [list]\nindex-url = https://no\n[install]\ntrusted-host: a\n";
        assert_eq!(
            pip(text),
            [
                ("PIP_INDEX_URL", "https://a/simple".to_owned()),
                ("PIP_EXTRA_INDEX_URL", "https://b https://c".to_owned()),
                ("PIP_TRUSTED_HOST", "a".to_owned()),
            ]
        );
        assert!(pip("nonsense\n[\n  x = y").is_empty());
    }

    #[test]
    fn what_npm_is_configured_with_says_where_packages_come_from_and_who_asks() {
        let text = "; no\nregistry = https://a/\nfund=false\n@acme:registry=https://b/\n//b/:_authToken=${TOKEN}\n//c/:x=${NONE}\ncafile=/x\n";
        let environment = [("TOKEN".to_owned(), "secret".to_owned())].into();
        assert_eq!(
            npm(text, &environment),
            "registry = https://a/\n@acme:registry=https://b/\n//b/:_authToken=secret\n//c/:x=${NONE}"
        );
    }
}

//! The foundation that ships with aishell, as a manifest asks for it.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::written::written_as_text;

/// The foundation that ships with aishell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Builtin {
    /// Additional Debian packages, as in `gitleaks` or `python3=3.11.2-1+b1`.
    #[serde(default)]
    pub packages: Vec<PackageName>,
}

/// A Debian package, perhaps with the version that is wanted: `name` or `name=version`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName(String);

/// Why a text names no Debian package.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a Debian package; write one as in `python3`, perhaps with a version as in `python3=3.11.2-1+b1`"
)]
pub struct PackageNameError(String);

impl FromStr for PackageName {
    type Err = PackageNameError;

    /// The rules are those of Debian's policy. Nothing of what they allow means anything to a shell, and a name
    /// cannot end in the sign that makes apt remove a package.
    fn from_str(text: &str) -> Result<Self, PackageNameError> {
        let (name, version) = match text.split_once('=') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let sound = name.len() >= 2
            && name.bytes().next().is_some_and(letter)
            && !name.ends_with('-')
            && name.bytes().all(|byte| letter(byte) || b"+-.".contains(&byte));
        let fitting = version.is_none_or(|version| {
            version.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
                && version
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".+~:-".contains(&byte))
        });
        if sound && fitting && text.len() <= 200 {
            Ok(Self(text.to_owned()))
        } else {
            Err(PackageNameError(text.to_owned()))
        }
    }
}

impl PackageName {
    /// Returns the name as apt takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

written_as_text!(PackageName, "PackageName", {
    "description": "A Debian package, perhaps with the version that is wanted: `name` or `name=version`.",
    "type": "string",
    "pattern": "^[a-z0-9][a-z0-9+.-]*[a-z0-9+.](=[0-9][A-Za-z0-9.+~:-]*)?$",
    "maxLength": 200
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_as_debian_names_them() {
        for good in [
            "g++",
            "libstdc++-12-dev",
            "python3.11",
            "python3=3.11.2-1+b1",
            "git=1:2.39.5-0+deb12u2",
        ] {
            assert!(good.parse::<PackageName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "curl git",
            "curl;id",
            "$(id)",
            "`id`",
            "a\nb",
            "-y",
            "--force-yes",
            "curl-",
            "Curl",
            "./local.deb",
            "/tmp/x.deb",
            "^linux-.*",
            "curl=$(id)",
            "curl=1;id",
            "curl=",
            "curl=-1",
            "x=1=2",
            "curl/testing",
            "häuser",
        ] {
            assert!(bad.parse::<PackageName>().is_err(), "{bad}");
        }
    }
}

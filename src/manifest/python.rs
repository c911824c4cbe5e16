//! Names, versions and requirements of Python packages, as pip understands them.

use super::harness::Requirement;

/// Returns a requirement as pip understands it.
pub(super) fn requirement(package: &str, version: Requirement) -> Result<Requirement, String> {
    if !is_python_package(package) {
        return Err(format!("`{package}` is not the name of a Python package"));
    }
    match version {
        Requirement::Latest | Requirement::Exact(_) => Ok(version),
        Requirement::Range(text) if is_python_version(&text) => Ok(Requirement::Exact(text)),
        Requirement::Range(text) => {
            let parts: Vec<&str> = text.split(',').map(str::trim).collect();
            if parts.iter().all(|part| is_python_requirement(part)) {
                Ok(Requirement::Range(parts.join(",")))
            } else {
                Err(format!(
                    "`{text}` is no version for pip; write one as in 1.2.3, one that fits as in ~=1.2 or >=1,<3, or latest"
                ))
            }
        }
    }
}

/// Tells whether this is the name of a Python package, perhaps with extras, and nothing else (no path, no URL).
pub(crate) fn is_python_package(text: &str) -> bool {
    let name = |text: &str| {
        let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        ends(text.bytes().next()) && ends(text.bytes().next_back()) && text.bytes().all(inner)
    };
    text.len() <= 214
        && match text.strip_suffix(']').map(|text| text.split_once('[')) {
            Some(Some((package, extras))) => name(package) && extras.split(',').all(name),
            Some(None) => false,
            None => name(text),
        }
}

/// Tells whether this is one version of a Python package: numbers, perhaps an epoch before them, and after them what
/// says that it is not yet or more than that.
pub(crate) fn is_python_version(text: &str) -> bool {
    let (epoch, rest) = text.split_once('!').unwrap_or(("0", text));
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".+-".contains(&byte);
    let named = |part: &str| {
        part.bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric())
    };
    number(epoch)
        && rest.starts_with(|first: char| first.is_ascii_digit())
        && rest.bytes().all(allowed)
        && rest.split(['.', '+', '-']).all(named)
        // What npm calls a range.
        && !rest.split('.').any(|part| part.eq_ignore_ascii_case("x"))
        && text.len() <= 128
}

/// Tells whether this is one part of a requirement for pip: a comparison and a version.
fn is_python_requirement(text: &str) -> bool {
    const COMPARISONS: [&str; 7] = ["~=", "==", "!=", "<=", ">=", "<", ">"];
    let comparison = COMPARISONS.iter().find(|one| text.starts_with(**one));
    comparison.is_some_and(|comparison| {
        let version = text[comparison.len()..].trim();
        let may_end = ["==", "!="].contains(comparison);
        let version = version.strip_suffix(".*").filter(|_| may_end).unwrap_or(version);
        is_python_version(version)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_python_packages_are_what_pip_understands() {
        let read = |text: &str| requirement("tool", text.parse().unwrap());
        for exact in [
            "1.2.3",
            "1.0",
            "2024.1",
            "1.0rc1",
            "1!2.0",
            "1.0.post1",
            "1.0+local.1",
        ] {
            assert_eq!(read(exact), Ok(Requirement::Exact(exact.into())), "{exact}");
        }
        for (range, written) in [
            ("~=1.2", "~=1.2"),
            (">=1, <3", ">=1,<3"),
            ("==1.*", "==1.*"),
            ("!=2", "!=2"),
        ] {
            assert_eq!(read(range), Ok(Requirement::Range(written.into())));
        }
        assert_eq!(read("latest"), Ok(Requirement::Latest));
        for bad in ["^1.2", "1.x", ">=1 <3", "~1", "*", "1 || 2", ">=1.*"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        for good in ["aider-chat", "A.b_c", "tool[extra,more]"] {
            assert!(is_python_package(good), "{good}");
        }
        for bad in [
            "",
            "-r",
            "../x",
            "a b",
            "a;b",
            "tool[",
            "tool[]",
            "tool]",
            "git+https://x",
            "a==1",
        ] {
            assert!(!is_python_package(bad), "{bad}");
        }
    }
}

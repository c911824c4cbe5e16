//! The shell script that a populate job runs, and what its exit codes mean.

use std::fmt::Write as _;

use crate::desired::{Member, MemberSource};
use crate::key::{canonical, digest};
use crate::lock::{FileName, Part, PythonPackage};
use crate::protocol::python::{self, PYTHON};
use crate::protocol::workplace::Workplace;
use crate::protocol::workshop::NO_NPM;
use crate::remote::Sha256;
use crate::shell::quote;
use crate::step::PopulateWork;

use super::text::{CLOSING, FARM, INSTALLING, PRELUDE};

/// npm failed.
const INSTALL: i64 = 65;
/// pip failed.
const PIP: i64 = 75;
/// What was downloaded cannot be copied.
const DOWNLOAD: i64 = 76;
/// A program that a member declares is not there or does not run.
const PROBE: i64 = 66;
/// What was installed cannot be read.
const STOCK: i64 = 67;
/// A package is not made of what the lock says.
const MISMATCH: i64 = 69;
/// The image has another C library than the runtime is made for.
const OTHER_LIBC: i64 = 74;
/// An installer does not end.
const LATE: i64 = 73;
/// How long a program may take to say its version, in seconds. On a machine with much else to do the first start of a
/// large one takes tens of them.
const PATIENCE: u32 = 60;
/// What is said of a program that is made for another processor.
const FOREIGN: &str = ": made for another processor";
/// The program that is a runtime.
const NODE: &str = "node";

/// Returns the script. It runs under any POSIX shell, as an unprivileged user that owns `/tools`. On another image than
/// that of the foundation, `at_home` is false: what runs on the Python of that was installed there.
pub(super) fn populate(work: &PopulateWork, at_home: bool) -> String {
    let mut script = format!("{PRELUDE}{PYTHON}{INSTALLING}").replace("PATIENCE", &PATIENCE.to_string());
    // What runs the others comes first.
    let (runtime, others): (Vec<_>, Vec<_>) = work.members.iter().partition(|member| is_runtime(member));
    let order: Vec<&Member> = runtime.into_iter().chain(others).collect();
    let has = |kind: &str| order.iter().any(|member| self::kind(member) == kind);
    if at_home && order.iter().any(|member| is_runtime(member)) {
        script.push_str("needs_glibc\n");
    }
    if has("pypi") && at_home {
        script.push_str("needs_python\nmake_pip\n");
    }
    if has("npm") {
        script.push_str(if has("pypi") && at_home {
            "command -v npm >/dev/null 2>&1 || lacks_npm=1\n"
        } else {
            "needs_npm\n"
        });
    }
    let known = work.members.iter().map(directory);
    // What was made anew at home is not distrusted elsewhere, where it could not be made.
    let distrusted = work
        .members
        .iter()
        .filter(|member| at_home || kind(member) != "pypi");
    for broken in distrusted
        .map(directory)
        .filter(|directory| work.anew.contains(directory))
    {
        let _ = writeln!(script, "distrust {}", quote(&broken));
    }
    let places: Vec<String> = known.map(|directory| format!("/tools/m/{directory}")).collect();
    let _ = writeln!(script, "belongs={}", quote(&places.join(" ")));
    for (member, pins) in order.iter().filter_map(|member| Some((member, pins(member)?))) {
        let place = quote(&directory(member));
        let _ = writeln!(script, "printf '%s\\n' {pins} >\"$HOME\"/pins.{place}");
    }
    for member in &order {
        let begin = if is_runtime(member) { "begin_with" } else { "begin" };
        // Writing to a String cannot fail.
        let _ = writeln!(script, "{begin} {}", words(member));
    }
    script.push_str(FARM);
    let _ = writeln!(
        script,
        "{{\nprintf '%s' '{{\"schema\":1,\"key\":\"{}\",\"members\":['",
        work.key
    );
    for (index, member) in work.members.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        let begun = order.iter().position(|one| *one == member).unwrap_or_default();
        let _ = writeln!(
            script,
            "printf '%s' {}; integrity {}; printf '}}'",
            quote(&format!(
                r#"{separator}{{"name":"{}","version":"{}","{}":"{}","integrity":"#,
                member.name,
                member.version,
                kind(member),
                package(member)
            )),
            begun + 1,
        );
    }
    script.push_str(CLOSING);
    script
}

/// Says whether a member is what others run on.
fn is_runtime(member: &Member) -> bool {
    member.bin.iter().any(|bin| bin == NODE)
}

/// Returns the word for where a member comes from.
fn kind(member: &Member) -> &'static str {
    match &member.source {
        MemberSource::Npm { .. } => "npm",
        MemberSource::Pypi { .. } => "pypi",
        MemberSource::Download { .. } => "url",
    }
}

/// Returns the package of a member, or the address of the download.
fn package(member: &Member) -> &str {
    match &member.source {
        MemberSource::Npm { npm } => npm,
        MemberSource::Pypi { pypi, .. } => pypi,
        MemberSource::Download { url, .. } => url.as_str(),
    }
}

/// Returns the directory of a member below `/tools/m`.
pub(in crate::protocol) fn directory(member: &Member) -> String {
    let version = &member.version;
    let identity = match &member.source {
        MemberSource::Npm { npm } => format!("{npm}@{version}"),
        MemberSource::Pypi { pypi, python, parts } if parts.is_empty() => {
            format!("{pypi}=={version} on {python}")
        }
        MemberSource::Pypi { pypi, python, parts } => {
            let parts = digest(canonical(parts).as_bytes());
            format!("{pypi}=={version} on {python} with {parts}")
        }
        MemberSource::Download { sha256, .. } => format!("sha256:{sha256}"),
    };
    format!("{}-{version}-{}", member.name, &digest(identity.as_bytes())[..8])
}

/// Returns where the job finds a program that was downloaded, from its root on.
pub(super) fn download(member: &Member, bin: &str) -> String {
    Workplace::path(&format!("download.{}/{bin}", directory(member)))
        .trim_start_matches('/')
        .to_owned()
}

/// Returns what a member must be made of, if anybody knows.
fn integrity(member: &Member) -> String {
    match &member.source {
        MemberSource::Npm { .. } | MemberSource::Pypi { .. } => member.integrity.clone().unwrap_or_default(),
        MemberSource::Download { sha256, .. } => sha256.integrity(),
    }
}

/// Returns what a member is installed with, as lines of a file: name, version, file and digests.
fn pins(member: &Member) -> Option<String> {
    let MemberSource::Pypi { parts, .. } = &member.source else {
        return None;
    };
    let line = |(name, part): (&PythonPackage, &Part)| {
        let Part {
            version,
            file,
            integrity,
        } = part;
        let file = file.as_ref().map_or("-", FileName::as_str);
        let digests = integrity
            .as_ref()
            .map(|integrity| Sha256::of_integrity(integrity.as_str()));
        let digests: Vec<String> = digests
            .into_iter()
            .flatten()
            .map(|one| one.as_str().to_owned())
            .collect();
        let sha256 = if digests.is_empty() {
            "-".to_owned()
        } else {
            digests.join(",")
        };
        quote(&format!("{name} {version} {file} {sha256}"))
    };
    (!parts.is_empty()).then(|| parts.iter().map(line).collect::<Vec<_>>().join(" "))
}

/// Returns what the script is told of a member.
fn words(member: &Member) -> String {
    let bins: Vec<String> = member.bin.iter().map(|bin| quote(bin)).collect();
    format!(
        "{} {} {} {} {} {} {} {}",
        kind(member),
        quote(&member.name),
        quote(package(member)),
        quote(&member.version),
        quote(&integrity(member)),
        quote(&directory(member)),
        member.timeout.as_secs().max(1),
        bins.join(" ")
    )
}

/// Says what an exit code of the job means.
pub(super) fn explain(code: i64, log: &[String]) -> String {
    let full = log
        .iter()
        .any(|line| line.contains("ENOSPC") || line.contains("No space left on device"));
    if full {
        return "the disk of the engine is full".to_owned();
    }
    if let Some(why) = python::explain(code, log) {
        return why;
    }
    match code {
        NO_NPM => "the image of the foundation has no npm to install harnesses with".to_owned(),
        INSTALL => "npm could not install a harness".to_owned(),
        PIP => "pip could not install a harness".to_owned(),
        DOWNLOAD => "a harness that was downloaded could not be copied into its set".to_owned(),
        OTHER_LIBC => "the image of the foundation has musl, and the Node.js that harnesses bring is made for the GNU C \
                       library: take an image with that, or one that has its own Node.js and `runtime: image`"
            .to_owned(),
        LATE => "a harness is not installed in time: `timeout` of the harness says how long it may take"
            .to_owned(),
        PROBE if log.iter().any(|line| line.ends_with(FOREIGN)) => {
            "a harness is made for another processor than the engine's: nothing of it would run there".to_owned()
        }
        PROBE => {
            "a harness does not bring a program that it declares, or the program does not run".to_owned()
        }
        MISMATCH => "a package is not made of what the lock says; nothing of it is used".to_owned(),
        STOCK => "what was installed cannot be read".to_owned(),
        137 => "the installer was killed".to_owned(),
        code => format!("the installer ended with code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_lacks_is_told() {
        assert!(explain(70, &[]).contains("python3-venv"));
        assert!(explain(1, &[]).contains("ended with code 1"));
    }

    #[test]
    fn a_full_disk_is_called_one() {
        let log = ["npm ERR! ENOSPC: no space left".to_owned()];
        assert_eq!(explain(65, &log), "the disk of the engine is full");
        assert_eq!(
            explain(64, &[]),
            "the image of the foundation has no npm to install harnesses with"
        );
    }
}

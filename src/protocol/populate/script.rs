//! The shell script that a populate job runs, and what its exit codes mean.

use std::fmt::Write as _;

use crate::key::digest;
use crate::step::PopulateWork;

/// The image brings no npm.
const NO_NPM: i64 = 64;
/// An installer failed.
const INSTALL: i64 = 65;
/// A program that a member declares is not there or does not run.
const PROBE: i64 = 66;

/// Returns the script. It runs under any POSIX shell, as an unprivileged user that owns `/tools`.
pub(super) fn populate(work: &PopulateWork) -> String {
    let mut script = String::from(PRELUDE);
    let mut receipt = String::new();
    for (index, member) in work.members.iter().enumerate() {
        let identity = digest(format!("{}@{}", member.npm, member.version).as_bytes());
        let directory = format!("{}-{}-{}", member.name, member.version, &identity[..8]);
        let bins: Vec<String> = member.bin.iter().map(|bin| quote(bin)).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            script,
            "member {} {} {} {} {}",
            quote(&member.name),
            quote(&member.npm),
            quote(&member.version),
            quote(&directory),
            bins.join(" ")
        );
        let separator = if index == 0 { "" } else { "," };
        let _ = writeln!(
            receipt,
            "printf '%s' {}; integrity {} {}; printf '}}'",
            quote(&format!(
                r#"{separator}{{"name":"{}","version":"{}","npm":"{}","integrity":"#,
                member.name, member.version, member.npm
            )),
            quote(&directory),
            quote(&member.npm)
        );
    }
    script.push_str(FARM);
    let _ = writeln!(
        script,
        "{{\nprintf '%s' '{{\"schema\":1,\"key\":\"{}\",\"members\":['",
        work.key
    );
    script.push_str(&receipt);
    script.push_str(CLOSING);
    script
}

/// Says what an exit code of the job means.
pub(super) fn explain(code: i64, log: &[String]) -> String {
    let full = log
        .iter()
        .any(|line| line.contains("ENOSPC") || line.contains("No space left on device"));
    match code {
        _ if full => "the disk of the engine is full".to_owned(),
        NO_NPM => "the image of the foundation has no npm to install harnesses with".to_owned(),
        INSTALL => "npm could not install a harness".to_owned(),
        PROBE => {
            "a harness does not bring a program that it declares, or the program does not run".to_owned()
        }
        137 => "the installer was killed".to_owned(),
        code => format!("the installer ended with code {code}"),
    }
}

/// Quotes a word for a POSIX shell.
pub(in crate::protocol) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

const PRELUDE: &str = r#"set -eu
umask 022
command -v npm >/dev/null 2>&1 || { echo 'npm: not found in the image'; exit 64; }
export npm_config_cache="$HOME/cache" npm_config_update_notifier=false npm_config_fund=false
export npm_config_audit=false npm_config_progress=false
mkdir -p /tools/.aishell /tools/m
# First of all: nothing vouches for what is about to change.
rm -f /tools/.aishell/receipt.json
farm=/tools/.aishell/bin.new
rm -rf "$farm"
mkdir "$farm"

probe() {
    directory=$1
    shift
    for bin in "$@"; do
        [ -x "/tools/m/$directory/bin/$bin" ] || { echo "$bin: not installed"; return 1; }
        PATH="/tools/m/$directory/bin:$PATH" "/tools/m/$directory/bin/$bin" --version >/dev/null 2>"$HOME/probe" </dev/null || {
            echo "$bin --version: ended with $?"
            tail -n 5 "$HOME/probe"
            return 1
        }
    done
}

member() {
    name=$1 package=$2 version=$3 directory=$4
    shift 4
    if [ -f "/tools/m/$directory/.installed" ] && probe "$directory" "$@"; then
        echo "$name $version: present"
    else
        echo "$name $version: installing"
        rm -rf "/tools/m/$directory"
        mkdir "/tools/m/$directory"
        npm install --global --prefix "/tools/m/$directory" "$package@$version" || exit 65
        probe "$directory" "$@" || exit 66
        : >"/tools/m/$directory/.installed"
        echo "$name $version: installed"
    fi
    for bin in "$@"; do
        ln -s "../m/$directory/bin/$bin" "$farm/$bin"
    done
}

integrity() {
    node -e '
        const fs = require("fs");
        let found = null;
        try {
            const lock = JSON.parse(fs.readFileSync(process.argv[1], "utf8"));
            found = lock.packages["node_modules/" + process.argv[2]].integrity || null;
        } catch {}
        process.stdout.write(JSON.stringify(found));
    ' "/tools/m/$1/lib/node_modules/.package-lock.json" "$2"
}

"#;

const FARM: &str = r#"
rm -rf /tools/.aishell/bin.old
if [ -e /tools/bin ]; then mv /tools/bin /tools/.aishell/bin.old; fi
mv "$farm" /tools/bin
rm -rf /tools/.aishell/bin.old
cd /tools
echo 'taking stock'
files=$(find . -path ./.aishell -prune -o -type f -print | wc -l)
digest=$(find . -path ./.aishell -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-64)
"#;

const CLOSING: &str = r#"printf '],"files":%d,"digest":"%s"}' "$files" "$digest"
} >.aishell/receipt.json.new
sync .aishell/receipt.json.new 2>/dev/null || sync
mv .aishell/receipt.json.new .aishell/receipt.json
echo 'done'
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_quoting() {
        assert_eq!(quote("it's"), r"'it'\''s'");
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

//! The shell script that a populate job runs, and what its exit codes mean.

use std::fmt::Write as _;

use crate::desired::Member;
use crate::key::digest;
use crate::protocol::workshop::NO_NPM;
use crate::shell::quote;
use crate::step::PopulateWork;

/// An installer failed.
const INSTALL: i64 = 65;
/// A program that a member declares is not there or does not run.
const PROBE: i64 = 66;
/// What was installed cannot be read.
const STOCK: i64 = 67;
/// A package is not made of what the lock says.
const MISMATCH: i64 = 69;
/// How long a program may take to say its version, in seconds.
const PATIENCE: u32 = 30;
/// The program that is a runtime.
const NODE: &str = "node";

/// Returns the script. It runs under any POSIX shell, as an unprivileged user that owns `/tools`.
pub(super) fn populate(work: &PopulateWork) -> String {
    let mut script = PRELUDE.replace("PATIENCE", &PATIENCE.to_string());
    let mut receipt = String::new();
    // What runs the others comes first.
    let (runtime, others): (Vec<_>, Vec<_>) = work.members.iter().partition(|member| is_runtime(member));
    for member in runtime {
        // Writing to a String cannot fail.
        let _ = writeln!(
            script,
            "{}\nruns_with {}",
            install(member),
            quote(&directory(member))
        );
    }
    for member in others {
        let _ = writeln!(script, "{}", install(member));
    }
    for (index, member) in work.members.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        let _ = writeln!(
            receipt,
            "printf '%s' {}; integrity {} {}; printf '}}'",
            quote(&format!(
                r#"{separator}{{"name":"{}","version":"{}","npm":"{}","integrity":"#,
                member.name, member.version, member.npm
            )),
            quote(&member.npm),
            quote(&member.version)
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

/// Says whether a member is what others run on.
fn is_runtime(member: &Member) -> bool {
    member.bin.iter().any(|bin| bin == NODE)
}

/// Returns the directory of a member below `/tools/m`.
fn directory(member: &Member) -> String {
    let identity = digest(format!("{}@{}", member.npm, member.version).as_bytes());
    format!("{}-{}-{}", member.name, member.version, &identity[..8])
}

fn install(member: &Member) -> String {
    let bins: Vec<String> = member.bin.iter().map(|bin| quote(bin)).collect();
    format!(
        "member {} {} {} {} {} {}",
        quote(&member.name),
        quote(&member.npm),
        quote(&member.version),
        quote(member.integrity.as_deref().unwrap_or_default()),
        quote(&directory(member)),
        bins.join(" ")
    )
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
        MISMATCH => "a package is not made of what the lock says; nothing of it is used".to_owned(),
        STOCK => "what was installed cannot be read".to_owned(),
        137 => "the installer was killed".to_owned(),
        code => format!("the installer ended with code {code}"),
    }
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
number=0
checks=
runtime=
launcher=

install() {
    if [ -n "$launcher" ]; then
        PATH=$runtime$PATH "$launcher" "$(command -v npm)" install --global --prefix "$@"
    else
        PATH=$runtime$PATH npm install --global --prefix "$@"
    fi
}

# What is installed from here on finds this runtime first. An npm that does not run on it (distributions make theirs
# for their own) goes on with what it was made for, and only the scripts of packages get the new one.
runs_with() {
    if [ -z "$(copied "$1")" ] && ! PATH="/tools/m/$1/bin:$PATH" npm --version >/dev/null 2>&1; then
        IFS= read -r first <"$(command -v npm)" || :
        case $first in
        '#!'*node*) launcher=$(command -v node) ;;
        esac
    fi
    runtime=/tools/m/$1/bin:
}

copied() {
    [ ! -e "$HOME/copied" ] || cat "$HOME/copied"
}

# Where the image has the very package, as the built-in foundation has, it need not be fetched.
copy() {
    package=$1 version=$2 directory=$3
    [ "$package" = node ] || return 1
    own=$(readlink -f "$(command -v node)") || return 1
    case $own in
    */lib/node_modules/node/bin/node) ;;
    *) return 1 ;;
    esac
    [ "$("$own" --version)" = "v$version" ] || return 1
    mkdir -p "/tools/m/$directory/bin" "/tools/m/$directory/lib/node_modules" || return 1
    cp -R "${own%/bin/node}" "/tools/m/$directory/lib/node_modules/" || return 1
    ln -s ../lib/node_modules/node/bin/node "/tools/m/$directory/bin/node" || return 1
    echo "$directory" >"$HOME/copied"
} 2>/dev/null

# Ends also when the program neither answers nor listens to signals.
probe() {
    directory=$1
    shift
    for bin in "$@"; do
        [ -x "/tools/m/$directory/bin/$bin" ] || { echo "$bin: not installed"; return 1; }
        said=$HOME/said.$number.$bin
        PATH="/tools/m/$directory/bin:$runtime$PATH" "/tools/m/$directory/bin/$bin" --version >"$said" 2>&1 </dev/null &
        pid=$!
        (sleep PATIENCE && : >"$said.late" && kill -9 "$pid") >/dev/null 2>&1 &
        guard=$!
        code=0
        wait "$pid" || code=$?
        kill "$guard" 2>/dev/null || :
        [ ! -e "$said.late" ] || { echo "$bin --version: no answer within PATIENCE s"; return 1; }
        [ "$code" = 0 ] || { echo "$bin --version: ended with $code"; tail -n 5 "$said"; return 1; }
    done
}

sums() {
    cd /tools &&
        find "m/$1" -type f -exec sha256sum {} + >"$HOME/sums.$number.new" &&
        mv "$HOME/sums.$number.new" "$HOME/sums.$number"
}

# Looks through a member while others are installed. A program may write beside itself when it is run, so what was
# added up meanwhile counts only if nothing is newer.
check() {
    : >"$HOME/mark.$number"
    sums "$1" &
    adding=$!
    probe "$@" || return 66
    wait "$adding" || return 67
    changed=$(find "/tools/m/$1" -newer "$HOME/mark.$number") || return 67
    [ -z "$changed" ] || sums "$1" || return 67
}

member() {
    name=$1 package=$2 version=$3 integrity=$4 directory=$5
    shift 5
    number=$((number + 1))
    if [ -f "/tools/m/$directory/.installed" ] && (probe "$directory" "$@") >/dev/null; then
        echo "$name $version: present"
    else
        echo "$name $version: installing"
        rm -rf "/tools/m/$directory"
        mkdir "/tools/m/$directory"
        # What is copied has nothing that could be compared.
        { [ -z "$integrity" ] && copy "$package" "$version" "$directory"; } ||
            install "/tools/m/$directory" "$package@$version" || exit 65
        is_locked "$package" "$version" "$integrity" || exit 69
        : >"/tools/m/$directory/.installed"
        echo "$name $version: installed"
    fi
    for bin in "$@"; do
        ln -s "../m/$directory/bin/$bin" "$farm/$bin"
    done
    check "$directory" "$@" >"$HOME/check.$number" 2>&1 &
    checks="$checks $number:$!"
}

# What the installer has verified is in the index of its cache.
verified() {
    grep -rhF -- "/$1/-/${1##*/}-$2.tgz\"" "$HOME/cache/_cacache" 2>/dev/null |
        sed -n 's/.*"integrity":"\([A-Za-z0-9+/=-]*\)".*/\1/p' 2>/dev/null | tail -n 1
}

is_locked() {
    [ -n "$3" ] || return 0
    found=$(verified "$1" "$2") || :
    # Some registries name their files otherwise; then what npm verifies against is what they say.
    [ -n "$found" ] || found=$(PATH=$runtime$PATH npm view "$1@$2" dist.integrity </dev/null 2>/dev/null | tail -n 1) || :
    case " $3 " in
    *" ${found:-?} "*) return 0 ;;
    esac
    echo "$1@$2 in the lock:     $3"
    echo "$1@$2 in the registry: ${found:-nothing to compare with}"
    return 1
}

integrity() {
    found=$(verified "$1" "$2") || :
    if [ -n "$found" ]; then printf '"%s"' "$found"; else printf null; fi
}

"#;

const FARM: &str = r#"
echo 'taking stock'
for check in $checks; do
    wait "${check#*:}" || {
        code=$?
        cat "$HOME/check.${check%%:*}"
        exit "$code"
    }
done
rm -rf /tools/.aishell/bin.old
if [ -e /tools/bin ]; then mv /tools/bin /tools/.aishell/bin.old; fi
mv "$farm" /tools/bin
rm -rf /tools/.aishell/bin.old
cd /tools
LC_ALL=C sort "$HOME"/sums.* >"$HOME/sums"
files=$(wc -l <"$HOME/sums")
digest=$(sha256sum <"$HOME/sums")
digest=${digest%% *}
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
    fn a_full_disk_is_called_one() {
        let log = ["npm ERR! ENOSPC: no space left".to_owned()];
        assert_eq!(explain(65, &log), "the disk of the engine is full");
        assert_eq!(
            explain(64, &[]),
            "the image of the foundation has no npm to install harnesses with"
        );
    }
}

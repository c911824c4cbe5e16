//! The shell script that asks npm, and what its exit codes mean.

use std::fmt::Write as _;

use crate::lock::{Ask, PackageName};
use crate::protocol::python::{self, PYTHON};
use crate::protocol::workshop::NO_NPM;
use crate::shell::quote;

/// The name of the script in its directory.
pub(super) const NAME: &str = "resolve.sh";
/// How long all answers together may take, in seconds. What asks must end also when nobody waits for it any more.
const PATIENCE: u32 = 120;
/// The same where pip is asked, which has to fetch what a package needs to see what that needs.
const PATIENCE_WITH_PIP: u32 = 600;
/// The most that is kept of one answer, in bytes: a popular package has thousands of versions.
pub(super) const LONGEST: usize = 4 << 20;
/// It took too long.
const LATE: i64 = 68;

/// Returns the script: it asks for everything at the same time, and writes the answers one after the other into a
/// file, each after a line with its exit code and its length.
pub(super) fn resolve(asks: &[Ask], answers: &str) -> String {
    let is_pip = |ask: &Ask| matches!(ask.name, PackageName::Pypi(_));
    let patience = if asks.iter().any(is_pip) {
        PATIENCE_WITH_PIP
    } else {
        PATIENCE
    };
    let mut script = format!("{PRELUDE}{PYTHON}{ASKING}").replace("PATIENCE", &patience.to_string());
    if asks.iter().any(|ask| !is_pip(ask)) {
        script.push_str("needs_npm\n");
    }
    if asks.iter().any(is_pip) {
        script.push_str("needs_python\nmake_pip\n");
    }
    for (index, ask) in asks.iter().enumerate() {
        let manager = ask.name.manager();
        // Writing to a String cannot fail.
        let _ = writeln!(script, "ask {manager} {index} {} &", quote(&ask.to_string()));
    }
    let _ = writeln!(
        script,
        "wait_for {}\nfor index in $(seq_to {}); do gather; done >{answers}",
        asks.len(),
        asks.len()
    );
    script
}

/// Says what an exit code of the job means.
pub(super) fn explain(code: i64, log: &[String]) -> String {
    if let Some(why) = python::explain(code, log) {
        return why;
    }
    match code {
        NO_NPM => "the image of the foundation has no npm to ask what versions there are".to_owned(),
        LATE => "the package manager did not say in time what versions there are".to_owned(),
        137 => "the package manager was killed before it could say what versions there are".to_owned(),
        code => format!("asking what versions there are ended with code {code}"),
    }
}

const PRELUDE: &str = r#"set -u
umask 022
cd "$HOME"
export npm_config_cache="$HOME/cache" npm_config_update_notifier=false npm_config_progress=false
# Whoever waits would rather know soon than be told in the end.
export npm_config_fetch_retries=1 npm_config_fetch_retry_mintimeout=1000 npm_config_fetch_timeout=45000
export PIP_RETRIES=1
mkdir out

needs_npm() {
    command -v npm >/dev/null 2>&1 || { echo 'npm: not found in the image'; exit 64; }
}

"#;

const ASKING: &str = r#"
ask() {
    # Where nobody answers, package managers wait longer than anybody should.
    case $1 in
    npm) npm view "$3" name version dist.integrity dist-tags.latest deprecated --json ;;
    pip) view "$3" "$HOME/report.$2" ;;
    esac >"out/$2" 2>"out/$2.error" </dev/null
    echo $? >"out/$2.code.new"
    mv "out/$2.code.new" "out/$2.code"
}

view() {
    "$pip" -m pip install --quiet --dry-run --ignore-installed --report "$2" "$1" >&2 && told "$2" "$1"
}

seq_to() {
    number=0
    while [ "$number" -lt "$1" ]; do
        echo "$number"
        number=$((number + 1))
    done
}

answered() {
    for index in $(seq_to "$1"); do
        [ -e "out/$index.code" ] || return 1
    done
}

wait_for() {
    waited=0
    until answered "$1"; do
        if [ "$waited" -ge $((PATIENCE * 5)) ]; then
            echo 'npm: no answer within PATIENCE s'
            tail -n 5 out/*.error
            exit 68
        fi
        waited=$((waited + 1))
        sleep 0.2
    done
}

gather() {
    echo "$(cat "out/$index.code") $(wc -c <"out/$index") $(wc -c <"out/$index.error")"
    cat "out/$index" "out/$index.error"
}

"#;

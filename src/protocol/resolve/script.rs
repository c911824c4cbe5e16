//! The shell script that asks npm, and what its exit codes mean.

use std::fmt::Write as _;

use crate::lock::Ask;
use crate::protocol::workshop::NO_NPM;
use crate::shell::quote;

/// The name of the script in its directory.
pub(super) const NAME: &str = "resolve.sh";
/// How long all answers together may take, in seconds. What asks must end also when nobody waits for it any more.
const PATIENCE: u32 = 120;
/// The most that is kept of one answer, in bytes: a popular package has thousands of versions.
pub(super) const LONGEST: usize = 4 << 20;
/// It took too long.
const LATE: i64 = 68;

/// Returns the script: it asks for everything at the same time, and writes the answers one after the other into a
/// file, each after a line with its exit code and its length.
pub(super) fn resolve(asks: &[Ask], answers: &str) -> String {
    let mut script = PRELUDE.replace("PATIENCE", &PATIENCE.to_string());
    for (index, Ask { npm, requirement }) in asks.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(script, "ask {index} {} &", quote(&format!("{npm}@{requirement}")));
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
pub(super) fn explain(code: i64) -> String {
    match code {
        NO_NPM => "the image of the foundation has no npm to ask what versions there are".to_owned(),
        LATE => format!("npm did not say within {PATIENCE} s what versions there are"),
        137 => "npm was killed before it could say what versions there are".to_owned(),
        code => format!("asking npm what versions there are ended with code {code}"),
    }
}

const PRELUDE: &str = r#"set -u
umask 022
cd "$HOME"
command -v npm >/dev/null 2>&1 || { echo 'npm: not found in the image'; exit 64; }
export npm_config_cache="$HOME/cache" npm_config_update_notifier=false npm_config_progress=false
# Whoever waits would rather know soon than be told in the end.
export npm_config_fetch_retries=1 npm_config_fetch_retry_mintimeout=1000 npm_config_fetch_timeout=45000
mkdir out

ask() {
    # Where nobody answers, npm waits longer than anybody should.
    npm view "$2" name version dist.integrity dist-tags.latest deprecated --json >"out/$1" 2>"out/$1.error" </dev/null
    echo $? >"out/$1.code.new"
    mv "out/$1.code.new" "out/$1.code"
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

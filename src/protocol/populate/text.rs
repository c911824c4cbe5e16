//! The text of the script that a populate job runs, as far as it is the same for every set.

/// What comes first: settings, and functions that install and probe.
pub(super) const PRELUDE: &str = r#"set -eu
umask 022
export npm_config_cache="$HOME/cache" npm_config_update_notifier=false npm_config_fund=false
export npm_config_audit=false npm_config_progress=false
# A registry or a line that fails for a moment is asked again for half a minute: 1, 2, 4, 8 and 16 s later.
export npm_config_fetch_retries=5 npm_config_fetch_retry_mintimeout=1000 npm_config_fetch_retry_factor=2
# What packages bring is run in sandboxes anyway. Without their scripts, which newer installers leave out unless they are
# told, half of them have no program.
export npm_config_dangerously_allow_all_scripts=true
# What is said while something else is said to a file.
exec 3>&1
mkdir -p /tools/.aishell/members /tools/m "$HOME/stock" "$HOME/shape" "$HOME/new"
# First of all: nothing vouches for what is about to change.
rm -f /tools/.aishell/receipt.json
rm -rf /tools/.aishell/copy.*
farm=/tools/.aishell/bin.new
rm -rf "$farm"
mkdir "$farm"
begun=0
working=
failed=
runtime=
launcher=
lacks_npm=
pip=

needs_npm() {
    command -v npm >/dev/null 2>&1 || { echo 'npm: not found in the image'; exit 64; }
}

# What says that an image has another C library, and none of the usual loaders, cannot run what is made for that one.
needs_glibc() {
    for loader in /lib/ld-linux* /lib64/ld-linux* /lib64/ld64* /usr/lib/ld-linux* /usr/lib64/ld-linux*; do
        [ ! -e "$loader" ] || return 0
    done
    for loader in /lib/ld-musl-* /usr/lib/ld-musl-*; do
        [ ! -e "$loader" ] || { echo "$loader: no GNU C library in the image"; exit 74; }
    done
}

say() {
    echo "$*" >&3
}

install() {
    if [ -n "$launcher" ]; then
        PATH=$runtime$PATH "$launcher" "$(command -v npm)" install --global --prefix "$@"
    else
        PATH=$runtime$PATH npm install --global --prefix "$@"
    fi
}

# Runs something that has so many seconds. What it began ends with the job.
within() {
    limit=$1
    shift
    "$@" &
    pid=$!
    (sleep "$limit" && : >"$HOME/late.$number" && kill -9 "$pid") >/dev/null 2>&1 &
    guard=$!
    code=0
    wait "$pid" || code=$?
    kill "$guard" 2>/dev/null || :
    [ -e "$HOME/late.$number" ] || return "$code"
    echo "$name: not installed within $limit s; what was at work:"
    for process in /proc/[0-9]*; do
        # Of the shell that runs this, and of what it waits with, there is nothing to learn.
        words=$(tr '\0' ' ' <"$process/cmdline") || continue
        case $words in
        '' | *populate.sh* | "sleep $limit "* | 'sleep PATIENCE '* | 'tr '*) ;;
        *) echo "  $words" ;;
        esac
    done 2>/dev/null
    return 73
}

# What is installed from here on finds this runtime first. An npm that does not run on it (distributions make theirs
# for their own) goes on with what it was made for, and only the scripts of packages get the new one.
runs_with() {
    if [ ! -e "$HOME/brought.$begun" ] && ! PATH="/tools/m/$1/bin:$PATH" npm --version >/dev/null 2>&1; then
        IFS= read -r first <"$(command -v npm)" || :
        case $first in
        '#!'*node*) launcher=$(command -v node) ;;
        esac
    fi
    runtime=/tools/m/$1/bin:
}

# Where the image has the very package, as the built-in foundation has, it need not be fetched.
bring() {
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
    : >"$HOME/brought.$number"
} 2>/dev/null

# Says whether a program is made for another processor than the one that says so.
is_foreign() {
    own=$(od -An -tx1 -j18 -N2 /proc/self/exe 2>/dev/null) || return 1
    [ "$(od -An -tx1 -N4 "$1")" = ' 7f 45 4c 46' ] && [ "$(od -An -tx1 -j18 -N2 "$1")" != "$own" ]
}

# Ends also when the program neither answers nor listens to signals.
probe() {
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
        [ "$code" = 0 ] || {
            echo "$bin --version: ended with $code"
            # A shell takes what the kernel does not run for a script, with whatever code that ends.
            ! is_foreign "/tools/m/$directory/bin/$bin" || { echo "$bin: made for another processor"; return 1; }
            case $code in
            126) echo "$bin is made for other machines than this one, or is no program" ;;
            127) echo "what runs $bin, its loader or interpreter, is not in the image" ;;
            esac
            tail -n 5 "$said"
            return 1
        }
    done
}

"#;

/// Functions that make a member what it should be.
pub(super) const INSTALLING: &str = r#"# Says what a member is made of: the digest of every file; the kind and mode of everything, and where links lead.
look() {
    rm -f "$HOME/stock/$number" "$HOME/shape/$number"
    cd /tools &&
        find "m/$directory" -type f -exec sha256sum {} + >"$HOME/new/stock.$number" &&
        find "m/$directory" -type f -exec stat -c 'f %a %n' {} + >"$HOME/new/shape.$number" &&
        find "m/$directory" -type d -exec stat -c 'd %a %n' {} + >>"$HOME/new/shape.$number" &&
        find "m/$directory" -type l -exec sh -c 'for one; do echo "l $(readlink "$one") $one"; done' sh {} + \
            >>"$HOME/new/shape.$number" &&
        LC_ALL=C sort "$HOME/new/shape.$number" >"$HOME/shape/$number" &&
        LC_ALL=C sort "$HOME/new/stock.$number" >"$HOME/stock/$number"
}

# Says whether what was looked at is what is recorded.
is_as() {
    [ "$(cat "$HOME/stock/$number" "$HOME/shape/$number" | sha256sum)" = "$(sha256sum <"$1")" ]
}

# Removes whatever it is, also where nobody may write.
clear() {
    [ -L "$1" ] || [ ! -d "$1" ] || chmod -R u+rwX "$1" 2>/dev/null || :
    rm -rf "$1"
}

# What is known to be broken is not asked whether it is whole.
distrust() {
    [ ! -L "/tools/m/$1" ] || rm "/tools/m/$1"
    rm -rf "/tools/.aishell/members/$1" "/tools/m/$1/.installed" || clear "/tools/m/$1"
}

# Removes what nobody installed.
tidy() {
    for one in /tools/* /tools/.[!.]* /tools/m/* /tools/m/.[!.]*; do
        case " /tools/m /tools/bin /tools/.aishell /tools/lost+found $belongs " in
        *" $one "*) ;;
        # Where it belongs to others it stays: nobody of ours looks at it.
        *) { [ ! -e "$one" ] && [ ! -L "$one" ]; } || clear "$one" 2>/dev/null || : ;;
        esac
    done
}

# Finds out whether a member is there and whole. Where whoever installed it was killed before anything was recorded, it is
# whole if it runs.
is_there() {
    [ -f "/tools/m/$directory/.installed" ] || return 1
    if [ -e "$record" ]; then
        look && is_as "$record" || return 1
        # What is recorded did run, and runs where its Python is.
        [ "$kind" != pypi ] || [ -n "$pip" ] || return 0
    fi
    probe "$@"
}

# Takes a member from an older set that has it, whole, and made of what the lock says.
take_over() {
    for older in /older/*; do
        [ -f "$older/.aishell/members/$directory" ] || continue
        found=$(cat "$older/m/$directory/.installed") && agrees "$integrity" "$found" || continue
        clear "/tools/m/$directory"
        rm -rf "/tools/.aishell/copy.$number"
        cp -a "$older/m/$directory" "/tools/.aishell/copy.$number" || continue
        mv "/tools/.aishell/copy.$number" "/tools/m/$directory" || continue
        if look && is_as "$older/.aishell/members/$directory" && probe "$@"; then
            return 0
        fi
    done
    return 1
}

# Looks through a member while others are installed. A program may write beside itself when it is run, so what was
# added up meanwhile counts only if nothing is newer.
check() {
    : >"$HOME/mark.$number"
    adding=
    [ -e "$HOME/stock/$number" ] || { look & adding=$!; }
    [ -e "$HOME/probed.$number" ] || probe "$@" || return 66
    [ -z "$adding" ] || wait "$adding" || return 67
    changed=$(find "/tools/m/$directory" -newer "$HOME/mark.$number") || return 67
    [ -z "$changed" ] || look || return 67
    cat "$HOME/stock/$number" "$HOME/shape/$number" >"$record.new" || return 67
    mv "$record.new" "$record" || return 67
}

# Says whether an installer failed by what the next try may not meet. Installers ask again where nobody answers, but not
# where an answer ends in its middle.
broke_off() {
    [ "$1" = 65 ] || return 1
    grep -qE 'ECONNRESET|ETIMEDOUT|EAI_AGAIN|ERR_SOCKET_TIMEOUT|PREMATURE_CLOSE|EINTEGRITY|E429|E50[0-9]|socket hang up|IncompleteRead|Connection (broken|reset)|[Rr]ead timed out' \
        "$HOME/log.$number"
}

# Makes one member what it should be.
member() {
    kind=$1 name=$2 package=$3 version=$4 integrity=$5 directory=$6 seconds=$7
    shift 7
    record=/tools/.aishell/members/$directory
    if is_there "$@" >/dev/null 2>&1; then
        : >"$HOME/probed.$number"
        say "$name $version: present"
    elif take_over "$@" >/dev/null 2>&1; then
        : >"$HOME/probed.$number"
        say "$name $version: copied from an older set"
    else
        say "$name $version: installing"
        clear "/tools/m/$directory"
        rm -rf "$record" "$HOME/stock/$number" "$HOME/shape/$number"
        mkdir "/tools/m/$directory"
        within "$seconds" "install_$kind" "$@" || {
            code=$?
            broke_off "$code" || return "$code"
            say "$name $version: a connection broke off, installing again"
            clear "/tools/m/$directory"
            mkdir "/tools/m/$directory"
            within "$seconds" "install_$kind" "$@" || return $?
        }
        mv "/tools/m/$directory/.installing" "/tools/m/$directory/.installed"
        say "$name $version: installed"
    fi
    for bin in "$@"; do
        ln -s "../m/$directory/bin/$bin" "$farm/$bin"
    done
    cat "/tools/m/$directory/.installed" >"$HOME/integrity.$number"
}

install_npm() {
    # What is copied has nothing that could be compared.
    { [ -z "$integrity" ] && bring; } || install "/tools/m/$directory" "$package@$version" || return 65
    is_locked || return 69
    verified >"/tools/m/$directory/.installing" || :
}

install_pypi() {
    [ -n "$pip" ] || { echo "$name: the image has no python3"; return 70; }
    if [ -e "$HOME/pins.$directory" ]; then
        install_locked
        return
    fi
    # First the package itself, of which something may be known; then what it needs.
    hash=
    [ -z "$integrity" ] || hash=" --hash=$(hash_of "$integrity")"
    echo "$package==$version$hash" >"$HOME/wanted.$number"
    into "/tools/m/$directory" --no-deps --report "$HOME/report.$number" --requirement "$HOME/wanted.$number" || {
        ! grep -q 'DO NOT MATCH THE HASHES' "$HOME/log.$number" || return 69
        return 75
    }
    into "/tools/m/$directory" "$package==$version" || return 75
    made_of "$HOME/report.$number" "$package" >"/tools/m/$directory/.installing" || return 75
}

# Installs a package with exactly what the lock says that it is installed with. On another machine, or another Python, than
# where that was pinned, files are other ones, and so may be what is needed.
install_locked() {
    pins=$HOME/pins.$directory
    report=$HOME/report.$number
    keep_to "$pins" "$package" "$HOME/keep.$number" || return 75
    done=
    if [ -e "$HOME/keep.$number.files" ]; then
        if into "/tools/m/$directory" --report "$report" --require-hashes --requirement "$HOME/keep.$number.files"; then
            done=1
        elif grep -q 'DO NOT MATCH THE HASHES' "$HOME/log.$number"; then
            return 69
        elif ! grep -q 'In --require-hashes mode' "$HOME/log.$number"; then
            return 75
        fi
    fi
    [ -n "$done" ] || into "/tools/m/$directory" --report "$report" --constraint "$HOME/keep.$number.versions" \
        "$package==$version" || return 75
    is_kept "$pins" "$report" "$package" "$HOME/told.$number" || return 69
    made_of "$report" "$package" >"/tools/m/$directory/.installing" || return 75
}

# The host has checked what it downloaded.
install_url() {
    mkdir "/tools/m/$directory/bin" || return 76
    for bin in "$@"; do
        cp "$HOME/download.$directory/$bin" "/tools/m/$directory/bin/$bin" || return 76
        chmod 755 "/tools/m/$directory/bin/$bin" || return 76
    done
    echo "$integrity" >"/tools/m/$directory/.installing" || return 76
}

# Waits for whoever began first, and shows what went wrong there.
finish() {
    first=${working%% *}
    working=${working#* }
    code=0
    wait "${first#*:}" || code=$?
    [ "$code" = 0 ] || { cat "$HOME/log.${first%%:*}" >&2; : "${failed:=$code}"; }
}

# Makes a member while others are made, a few at a time.
begin() {
    begun=$((begun + 1))
    [ -z "$failed" ] || return 0
    [ "$1" != npm ] || [ -z "$lacks_npm" ] || return 0
    (
        number=$begun
        set +e
        member "$@" || exit $?
        shift 7
        check "$@"
    ) >"$HOME/log.$begun" 2>&1 &
    working="$working$begun:$! "
    case $working in
    *' '*' '*' '*' ') finish ;;
    esac
}

# Makes a member that others need, and lets them begin while it is looked through.
begin_with() {
    begun=$((begun + 1))
    [ "$1" != npm ] || [ -z "$lacks_npm" ] || return 0
    number=$begun
    code=0
    # Where a function is asked for its success, nothing in it ends it.
    (set +e; member "$@"; exit $?) >"$HOME/log.$begun" 2>&1 || code=$?
    [ "$code" = 0 ] || { cat "$HOME/log.$begun" >&2; exit "$code"; }
    kind=$1 name=$2 directory=$6 record=/tools/.aishell/members/$6
    runs_with "$6"
    shift 7
    (set +e; check "$@") >"$HOME/log.$begun" 2>&1 &
    working="$working$begun:$! "
}

# What the installer has verified is in the index of its cache.
verified() {
    grep -rhF -- "/$package/-/${package##*/}-$version.tgz\"" "$HOME/cache/_cacache" 2>/dev/null |
        sed -n 's/.*"integrity":"\([A-Za-z0-9+/=-]*\)".*/\1/p' 2>/dev/null | tail -n 1
}

# Says whether something is among what a lock says; a lock may say nothing.
agrees() {
    [ -n "$1" ] || return 0
    case " $1 " in
    *" ${2:-?} "*) return 0 ;;
    esac
    return 1
}

is_locked() {
    [ -n "$integrity" ] || return 0
    found=$(verified) || :
    # Some registries name their files otherwise; then what npm verifies against is what they say.
    [ -n "$found" ] || found=$(PATH=$runtime$PATH npm view "$package@$version" dist.integrity </dev/null 2>/dev/null | tail -n 1) || :
    agrees "$integrity" "$found" && return 0
    echo "$package@$version in the lock:     $integrity"
    echo "$package@$version in the registry: ${found:-nothing to compare with}"
    return 1
}

integrity() {
    found=$(cat "$HOME/integrity.$1")
    if [ -n "$found" ]; then printf '"%s"' "$found"; else printf null; fi
}

"#;

/// The farm of links, once every member is there.
pub(super) const FARM: &str = r#"
while [ -n "$working" ]; do finish; done
[ -z "$failed" ] || exit "$failed"
# What is left is installed where there is an npm.
[ -z "$lacks_npm" ] || { echo 'npm: not found in the image'; exit 64; }
say 'taking stock'
tidy
rm -rf /tools/.aishell/bin.old
if [ -e /tools/bin ] || [ -L /tools/bin ]; then mv /tools/bin /tools/.aishell/bin.old; fi
mv "$farm" /tools/bin
rm -rf /tools/.aishell/bin.old
cd /tools
LC_ALL=C sort "$HOME"/stock/* >"$HOME/all.stock"
LC_ALL=C sort "$HOME"/shape/* >"$HOME/all.shape"
files=$(wc -l <"$HOME/all.stock")
digest=$(sha256sum <"$HOME/all.stock")
digest=${digest%% *}
shape=$(sha256sum <"$HOME/all.shape")
shape=${shape%% *}
"#;

/// The end of the receipt.
pub(super) const CLOSING: &str = r#"printf '],"files":%d,"digest":"%s","shape":"%s"}' "$files" "$digest" "$shape"
} >.aishell/receipt.json.new
sync .aishell/receipt.json.new 2>/dev/null || sync
mv .aishell/receipt.json.new .aishell/receipt.json
echo 'done'
"#;

//! What jobs do with Python: words for their scripts, and what their exit codes mean.
//!
//! Programs from the Python package index live in virtual environments, which are links to the Python of an image. So
//! they are made on the image that sandboxes start from, and nothing can take its place.

/// What a job ends with on an image without Python.
const NO_PYTHON: i64 = 70;
/// What it ends with where Python lacks what makes virtual environments.
const NO_VENV: i64 = 71;
/// What it ends with where pip is older than what is asked of it.
const OLD_PIP: i64 = 72;

/// Says what an exit code of a job means, if it is about Python.
pub(super) fn explain(code: i64, log: &[String]) -> Option<String> {
    let said = |start: &str| log.iter().find_map(|line| line.strip_prefix(start));
    Some(match code {
        NO_PYTHON => "the image of the foundation has no python3, which harnesses from the Python package index run on; \
                      with `builtin: { packages: [python3-venv] }` the built-in foundation has one"
            .to_owned(),
        NO_VENV => "the python3 of the foundation cannot make virtual environments: it lacks venv or ensurepip, which \
                    Debian has in the package python3-venv"
            .to_owned(),
        OLD_PIP => format!(
            "the pip of the foundation is {}, and 22.3 is the oldest that can do what is asked of it",
            said("pip: ").unwrap_or("too old")
        ),
        _ => return None,
    })
}

/// Functions for scripts: what Python can do, and what pip reports.
pub(super) const PYTHON: &str = r#"
export PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off PIP_NO_COLOR=1 PIP_CACHE_DIR="$HOME/pip-cache"
export PYTHONNOUSERSITE=1
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_USER PIP_REQUIRE_VIRTUALENV || :

needs_python() {
    command -v python3 >/dev/null 2>&1 || { echo 'python3: not found in the image'; exit 70; }
    python3 -c 'import venv, ensurepip' 2>/dev/null || { echo 'python3: no venv in the image'; exit 71; }
}

# The pip that comes with the Python of the image, and nothing else of that.
make_pip() {
    pip=$HOME/pip/bin/python
    python3 -m venv "$HOME/pip" || exit 71
    "$pip" -c 'import sys, pip
sys.exit([int(part) for part in pip.__version__.split(".")[:2]] < [22, 3])' || {
        "$pip" -c 'import pip; print("pip:", pip.__version__)'
        exit 72
    }
}

# Installs into a virtual environment, which is made where it is missing.
into() {
    place=$1
    shift
    [ -e "$place/pyvenv.cfg" ] || python3 -m venv --without-pip "$place" || return 1
    "$pip" -m pip --python "$place/bin/python" install --quiet "$@"
}

# Returns what package managers write as pip does.
hash_of() {
    "$pip" -c 'import base64, sys
kind, digest = sys.argv[1].split("-", 1)
print(kind + ":" + base64.b64decode(digest).hex())' "$1"
}

# Tells what a package of a report is made of, as package managers write it.
made_of() {
    told "$1" "$2" | "$pip" -c 'import base64, json, sys
sha256 = json.load(sys.stdin)["sha256"]
print("sha256-" + base64.b64encode(bytes.fromhex(sha256)).decode() if sha256 else "")'
}

# Tells the version, the file and the digest of a package of a report, and of all that it needs.
told() {
    "$pip" -c 'import json, re, sys
from urllib.parse import unquote, urlsplit

def plain(name):
    return re.sub("[-_.]+", "-", name).lower()

def made(one):
    info = one["download_info"].get("archive_info", {})
    hashes = info.get("hashes") or dict([info["hash"].split("=", 1)] if "=" in info.get("hash", "") else [])
    path = urlsplit(one["download_info"]["url"]).path
    file = unquote(path.rsplit("/", 1)[-1]) if hashes else None
    return {"version": one["metadata"]["version"], "sha256": hashes.get("sha256"), "file": file}

found = {plain(one["metadata"]["name"]): made(one) for one in json.load(open(sys.argv[1]))["install"]}
own = plain(re.match("[A-Za-z0-9._-]+", sys.argv[2])[0])
json.dump(dict(found[own], packages=found), sys.stdout)' "$1" "$2"
}

# What follows knows of each package that a lock names its version, its file and the digests of that, and whether the file
# is for this machine and this Python; another one is in no lock that was written elsewhere.
PINS='import json, re, sys
from pip._vendor.packaging import tags

def plain(name):
    return re.sub("[-_.]+", "-", name).lower()

own = set(tags.sys_tags())

def fits(file):
    return not file.endswith(".whl") or not own.isdisjoint(tags.parse_tag("-".join(file[:-4].split("-")[-3:])))

pins = [line.rstrip("\n").split(" ") for line in open(sys.argv[1])]
'

# Writes what pip is to keep to: the versions, and where every file is for this machine, the files.
keep_to() {
    "$pip" -c "$PINS"'
wanted, to = sys.argv[2:4]
wanted = {plain(re.match("[A-Za-z0-9._-]+", wanted)[0]): wanted}
with open(to + ".versions", "w") as file:
    file.writelines(f"{name}=={version}\n" for name, version, _, _ in pins)
if all(file != "-" and sha256 != "-" and fits(file) for _, _, file, sha256 in pins):
    with open(to + ".files", "w") as file:
        for name, version, _, sha256 in pins:
            hashes = "".join(f" --hash=sha256:{one}" for one in sha256.split(","))
            file.write(f"{wanted.get(name, name)}=={version}{hashes}\n")
' "$1" "$2" "$3"
}

# Says whether what a report tells is what a lock says, as far as that is for this machine.
is_kept() {
    told "$2" "$3" >"$4" && "$pip" -c "$PINS"'
found, wrong = json.load(open(sys.argv[2]))["packages"], 0
for name, version, file, sha256 in pins:
    one = found.get(name)
    if one is None or sha256 == "-" or one["sha256"] in sha256.split(","):
        continue
    if one["file"] == file or (file.endswith(".whl") and fits(file)):
        print(f"{name} {version} in the lock:  {sha256}")
        print(f"{name} {version} in the index: " + str(one["sha256"]))
        wrong = 1
sys.exit(wrong)
' "$1" "$4"
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_pip_is_told_with_its_version() {
        let log = ["x".to_owned(), "pip: 20.3.4".to_owned()];
        assert!(explain(OLD_PIP, &log).is_some_and(|why| why.contains("is 20.3.4, and 22.3")));
        assert_eq!(explain(1, &log), None);
    }
}

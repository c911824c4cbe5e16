//! What a person may have meant: words that are close, and how other tools spell it.

/// Spellings of Compose and of command lines, with what they are called here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("build", "foundation"),
    ("cap_add", "security.capAdd"),
    ("cap_drop", "security.capDrop"),
    ("command_args", "args"),
    ("cpu_limit", "resources.cpus"),
    ("cpu_quota", "resources.cpus"),
    ("cpus", "resources.cpus"),
    ("depends_on", "dependsOn"),
    ("devices", "security.devices"),
    ("environment", "env"),
    ("extra_hosts", "extraHosts"),
    ("group_add", "groups"),
    ("healthcheck", "ready"),
    ("mem_limit", "resources.memory"),
    ("mem_reservation", "resources.reservation"),
    ("memory", "resources.memory"),
    ("memswap_limit", "resources.memorySwap"),
    ("network_mode", "network"),
    ("networks", "network"),
    ("pids_limit", "resources.pids"),
    ("pre_start", "preStart"),
    ("privileged", "security.privileged"),
    ("read_only", "security.readOnly"),
    ("restart_policy", "restart"),
    ("security_opt", "security"),
    ("services", "containers"),
    ("shm_size", "resources.shm"),
    ("stop_grace_period", "stop.timeout"),
    ("stop_signal", "stop.signal"),
    ("tmpfs", "mounts"),
    ("ulimits", "resources.ulimits"),
    ("volumes", "mounts"),
    ("working_dir", "workdir"),
    ("workingDir", "workdir"),
];

/// Keys of Compose that are answered with a sentence.
const ANSWERS: &[(&str, &str)] = &[
    ("container_name", "the key under `containers` is the name"),
    ("env_file", "write the variables under `env`"),
    ("init", "every container has an init"),
    ("tty", "`aishell run` and `aishell attach` bring the terminal"),
    (
        "stdin_open",
        "`aishell run` and `aishell attach` bring the terminal",
    ),
    ("version", "the version of the schema is `apiVersion: aishell/v1`"),
    ("docker_args", "write what they do as keys of the container"),
    ("expose", "containers of one manifest reach each other without it"),
    ("links", "containers of one manifest reach each other by name"),
];

/// Returns the hint for a key that is not known here, given those that are.
pub fn for_key<'a>(key: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    let folded = fold(key);
    if let Some(same) = known.clone().find(|other| fold(other) == folded) {
        return Some(format!("did you mean `{same}`?"));
    }
    let first = |path: &str| path.split('.').next().unwrap_or_default().to_owned();
    let elsewhere = ELSEWHERE
        .iter()
        .filter(|(theirs, _)| fold(theirs) == folded)
        .map(|(_, ours)| *ours);
    if let Some(ours) = elsewhere
        .into_iter()
        .find(|ours| known.clone().any(|other| other == first(ours)))
    {
        return Some(format!("it is called `{ours}` here"));
    }
    if let Some(near) = nearest(key, known.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    if let Some((_, answer)) = ANSWERS.iter().find(|(theirs, _)| fold(theirs) == folded) {
        return Some((*answer).to_owned());
    }
    let known: Vec<_> = known.map(|key| format!("`{key}`")).collect();
    (!known.is_empty() && known.len() <= 12).then(|| format!("known here: {}", known.join(", ")))
}

/// Returns the word a person most likely meant, if any is close enough.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > 64 {
        return None;
    }
    let most = (length / 3).max(1);
    let distances = known.map(|other| (distance(word, other), other));
    distances
        .filter(|(far, other)| *far <= most && *far < other.chars().count())
        .min()
        .map(|(_, other)| other)
}

/// Makes `cap_add`, `cap-add` and `capAdd` the same.
fn fold(word: &str) -> String {
    word.chars()
        .filter(|c| !matches!(c, '_' | '-'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Counts the letters to insert, remove, replace or swap with their neighbour to make one word the other.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().flat_map(char::to_lowercase).collect();
    let to: Vec<char> = to.chars().flat_map(char::to_lowercase).collect();
    let mut before = vec![0; to.len() + 1];
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in to.iter().enumerate() {
            let replaced = above[j] + usize::from(letter != other);
            let mut least = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == to[j - 1] && from[i - 1] == *other {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_words_are_suggested_and_others_are_not() {
        let known = ["claude", "codex", "gemini"];
        assert_eq!(nearest("cluade", known.into_iter()), Some("claude"));
        assert_eq!(nearest("Codex", known.into_iter()), Some("codex"));
        assert_eq!(nearest("copilot", known.into_iter()), None);
        assert_eq!(nearest(&"x".repeat(10_000), known.into_iter()), None);
    }

    #[test]
    fn spellings_of_other_tools_are_answered_with_ours() {
        let known = ["env", "mounts", "security", "resources", "memorySwap", "onDrift"];
        let hint = |key| for_key(key, known.into_iter()).unwrap();
        assert_eq!(hint("environment"), "it is called `env` here");
        assert_eq!(hint("volumes"), "it is called `mounts` here");
        assert_eq!(hint("cap_add"), "it is called `security.capAdd` here");
        assert_eq!(hint("memory_swap"), "did you mean `memorySwap`?");
        assert_eq!(hint("container_name"), "the key under `containers` is the name");
        assert_eq!(
            hint("zzz"),
            "known here: `env`, `mounts`, `security`, `resources`, `memorySwap`, `onDrift`"
        );
    }
}

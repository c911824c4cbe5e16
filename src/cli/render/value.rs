//! Values and reasons in a person's words.

use jiff::{SpanRound, Timestamp, Unit};
use serde_json::Value;

use super::super::output::clean;
use crate::step::{Because, Cause};
use crate::units::{Cpus, Duration, Memory};

/// One line of a reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason {
    /// The field, where the reason has one.
    pub field: Option<String>,
    /// What is to be said.
    pub text: String,
    /// Where it comes from: a line of the manifest, or `drift`.
    pub note: Option<String>,
}

impl Reason {
    /// Makes a reason that is only words.
    pub fn words(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }
}

/// Returns a reason as people read it; `arrow` stands between two values, `note` is where it comes from.
pub fn reason(because: &Because, arrow: &str, note: Option<String>) -> Reason {
    let Because {
        cause,
        field,
        from,
        to,
        at: _,
    } = because;
    let note = if *cause == Cause::Drift {
        Some("drift".to_owned())
    } else {
        note
    };
    let words = |text: &str| Reason {
        field: None,
        text: text.to_owned(),
        note: note.clone(),
    };
    let Some(field) = field else {
        return match cause {
            Cause::Missing => words(""),
            Cause::Manifest => words("the manifest changed"),
            Cause::Drift => words("changed by hand"),
            Cause::Image => words("its image changed"),
            Cause::Dependency => words("something it needs changed"),
            Cause::Stale => words("its inputs changed"),
            Cause::Orphan => words("not in the manifest"),
            Cause::Requested => words("asked for"),
        };
    };
    if let Some(network) = field.strip_prefix("network.") {
        let network = clean(network);
        let hand = *cause == Cause::Drift;
        return match (from.is_null(), to.is_null()) {
            (false, true) if hand => words(&format!("network {network} attached by hand")),
            (true, false) if hand => words(&format!("network {network} detached by hand")),
            (false, true) => words(&format!("network {network} is not wanted any more")),
            (true, false) => words(&format!("network {network} is wanted")),
            (true, true) | (false, false) => Reason {
                field: Some(format!("network {network}")),
                text: format!(
                    "aliases {} {arrow} {}",
                    value("aliases", from),
                    value("aliases", to)
                ),
                note,
            },
        };
    }
    if let Some((what, path)) = field
        .strip_prefix("harnesses")
        .and_then(|rest| rest.split_once(": "))
    {
        let what = what.strip_prefix('.').unwrap_or("harnesses");
        return Reason {
            field: Some(clean(&format!("{what}: {path}"))),
            text: content((from, to), arrow),
            note,
        };
    }
    if from.is_null() && to.is_null() {
        return Reason {
            field: Some(clean(field)),
            text: "changed".to_owned(),
            note,
        };
    }
    Reason {
        field: Some(clean(field)),
        text: format!("{} {arrow} {}", value(field, from), value(field, to)),
        note,
    }
}

/// Says what became of a file of a harness.
fn content((from, to): (&Value, &Value), arrow: &str) -> String {
    match (from.as_str(), to.as_str()) {
        (None, None) => "changed".to_owned(),
        (None, Some(_)) => "deleted".to_owned(),
        (Some(_), None) => "added".to_owned(),
        (Some(from), Some(to)) if from.starts_with("sha256:") && to.starts_with("sha256:") => {
            "changed".to_owned()
        }
        (Some(from), Some(to)) => format!("{} {arrow} {}", clean(from), clean(to)),
    }
}

/// Leaves out what follows from another reason: a limit on swap that is twice that on memory, before and after.
pub fn telling(because: &[Because]) -> impl Iterator<Item = &Because> {
    let field = |name: &str| {
        because
            .iter()
            .find(move |because| because.field.as_deref() == Some(name))
    };
    let follows = match (field("resources.memory"), field("resources.memorySwap")) {
        (Some(memory), Some(swap)) => {
            let twice = |memory: &Value, swap: &Value| match (memory.as_u64(), swap.as_u64()) {
                (Some(memory), Some(swap)) => memory.checked_mul(2) == Some(swap),
                (None, None) => memory.is_null() && swap.is_null(),
                (Some(_), None) | (None, Some(_)) => false,
            };
            memory.cause == swap.cause && twice(&memory.from, &swap.from) && twice(&memory.to, &swap.to)
        }
        (None, _) | (_, None) => false,
    };
    because
        .iter()
        .filter(move |because| !(follows && because.field.as_deref() == Some("resources.memorySwap")))
}

/// Returns the value of a field as a person would write it.
pub fn value(field: &str, value: &Value) -> String {
    let number = value.as_u64();
    let last = field.rsplit('.').next().unwrap_or(field);
    match value {
        Value::Null => "(none)".to_owned(),
        Value::Number(_) if field.starts_with("resources.") || field == "stop.timeout" => {
            match (last, number) {
                ("memory" | "memorySwap" | "reservation" | "shm", Some(bytes)) => {
                    Memory::bytes(bytes).to_string()
                }
                ("memorySwap", None) => "unlimited".to_owned(),
                ("cpus", Some(nano)) => Cpus::nano(nano).to_string(),
                ("timeout", Some(seconds)) => Duration::seconds(seconds).to_string(),
                _ => value.to_string(),
            }
        }
        Value::String(text) if is_free(field) && text != "(secret)" => quoted(text),
        Value::String(text) => clean(text),
        Value::Array(values) if field.starts_with("ports.") && values.len() == 1 => {
            clean(values.first().and_then(Value::as_str).unwrap_or_default())
        }
        Value::Array(values) => {
            let shown: Vec<String> = values
                .iter()
                .map(|value| value.as_str().map_or_else(|| value.to_string(), quoted))
                .collect();
            format!("[{}]", shown.join(", "))
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => clean(&value.to_string()),
    }
}

/// Says whether anything at all can be the value of a field, so that it has to be quoted.
fn is_free(field: &str) -> bool {
    field.starts_with("env.") || field.starts_with("labels.")
}

/// Returns text in quotes, with everything a terminal would obey escaped.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .flat_map(|character| {
            let ordinary = !character.is_control() && !matches!(character, '"' | '\\');
            let escaped = (!ordinary
                || super::super::output::clean(character.encode_utf8(&mut [0; 4])).contains('\u{fffd}'))
            .then(|| character.escape_default().to_string());
            escaped
                .unwrap_or_else(|| character.to_string())
                .chars()
                .collect::<Vec<_>>()
        })
        .collect();
    format!("\"{escaped}\"")
}

/// Returns how long something took.
pub fn seconds(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1}s");
    }
    // Rounded to whole seconds and never negative.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float becomes the nearest integer there is"
    )]
    let whole = seconds.round() as u64;
    Duration::seconds(whole).to_string()
}

/// Returns how much room something takes.
pub fn bytes(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let Some((unit, shift)) = units.into_iter().find(|(_, shift)| bytes >> shift > 0) else {
        return format!("{bytes}B");
    };
    let tenths = (bytes >> (shift - 10)).saturating_mul(10) >> 10;
    match (tenths / 10, tenths % 10) {
        (whole, tenth) if whole < 10 => format!("{whole}.{tenth}{unit}"),
        (whole, _) => format!("{whole}{unit}"),
    }
}

/// Returns how long ago a time was, in its largest unit; the time itself when it cannot be read.
pub fn ago(time: &str, now: Timestamp) -> String {
    let Ok(then) = time.parse::<Timestamp>() else {
        return clean(time);
    };
    match (now - then).round(SpanRound::new().largest(Unit::Hour).smallest(Unit::Second)) {
        Ok(span) if span.is_negative() || span.is_zero() => "just now".to_owned(),
        Ok(span) => {
            let (hours, minutes, seconds) = (
                i64::from(span.get_hours()),
                span.get_minutes(),
                span.get_seconds(),
            );
            match (hours / 24, hours, minutes) {
                (0, 0, 0) => format!("{seconds}s ago"),
                (0, 0, _) => format!("{minutes}m ago"),
                (0, _, _) => format!("{hours}h ago"),
                (days, _, _) => format!("{days}d ago"),
            }
        }
        Err(_) => clean(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_told_in_its_largest_unit() {
        let told = [0, 1023, 1024, 1_600_000, 29_000_000, 1 << 40].map(bytes);
        assert_eq!(told, ["0B", "1023B", "1.0KiB", "1.5MiB", "27MiB", "1.0TiB"]);
    }
    use serde_json::json;

    #[test]
    fn values_are_written_as_in_a_manifest() {
        for (field, given, expected) in [
            ("resources.memory", json!(2_147_483_648_u64), "2GiB"),
            ("resources.memory", json!(1_610_612_736), "1536MiB"),
            ("resources.memorySwap", json!(-1), "unlimited"),
            ("resources.cpus", json!(1_500_000_000), "1.5"),
            ("resources.pids", json!(512), "512"),
            ("stop.timeout", json!(90), "1m30s"),
            ("env.MODE", json!("safe"), "\"safe\""),
            (
                "env.MODE",
                json!("a\u{1b}[31m\u{202e}\""),
                "\"a\\u{1b}[31m\\u{202e}\\\"\"",
            ),
            ("env.TOKEN", json!("(secret)"), "(secret)"),
            ("restart", json!("unless-stopped"), "unless-stopped"),
            ("ports.3000/tcp", json!(["127.0.0.1:3000"]), "127.0.0.1:3000"),
            ("command", json!(["sh", "-c"]), "[\"sh\", \"-c\"]"),
            ("init", json!(true), "true"),
            ("hostname", Value::Null, "(none)"),
        ] {
            assert_eq!(value(field, &given), expected, "{field}");
        }
    }

    #[test]
    fn a_network_that_somebody_attached_is_said_in_words() {
        let because = Because::field(Cause::Drift, "network.legacy", json!([]), Value::Null);
        assert_eq!(
            reason(&because, "→", None),
            Reason {
                field: None,
                text: "network legacy attached by hand".to_owned(),
                note: Some("drift".to_owned()),
            }
        );
    }

    #[test]
    fn swap_that_follows_memory_is_not_told_twice() {
        let field = |name, from: u64, to: u64| Because::field(Cause::Manifest, name, json!(from), json!(to));
        let memory = field("resources.memory", 1, 2);
        let following = [memory.clone(), field("resources.memorySwap", 2, 4)];
        let its_own = [memory, field("resources.memorySwap", 2, 3)];
        assert_eq!(telling(&following).count(), 1);
        assert_eq!(telling(&its_own).count(), 2);
    }

    #[test]
    fn times_are_told_by_their_largest_unit() {
        let now: Timestamp = "2025-06-10T12:00:00Z".parse().unwrap();
        for (time, expected) in [
            ("2025-06-10T11:59:58.5Z", "2s ago"),
            ("2025-06-10T11:45:00Z", "15m ago"),
            ("2025-06-10T09:00:00+00:00", "3h ago"),
            ("2025-06-01T12:00:00Z", "9d ago"),
            ("2025-06-11T12:00:00Z", "just now"),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(ago(time, now), expected);
        }
        assert_eq!(
            (seconds(0.04), seconds(9.9), seconds(75.2)),
            ("0.0s".into(), "9.9s".into(), "1m15s".into())
        );
    }
}

//! Quantities as people write them: memory sizes, durations, cpu counts, file modes.
//!
//! Each is a newtype that is parsed where it enters and printed the way it would be written again.

use std::fmt;
use std::str::FromStr;

use crate::written::written_as_text;

/// Why a text is not the quantity it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The text is not a size.
    #[error("`{0}` is not a size; write a number with a unit, as in 512MiB or 4GiB")]
    Size(String),
    /// The text is not a duration.
    #[error("`{0}` is not a duration; write a number with a unit, as in 10s, 10m or 1h30m")]
    Duration(String),
    /// The text is not a number of cpus.
    #[error("`{0}` is not a number of cpus; write 2 or 0.5, greater than 0")]
    Cpus(String),
    /// The text is not a file mode.
    #[error("`{0}` is not a file mode; write four octal digits, as in \"0644\"")]
    Mode(String),
    /// The quantity does not fit.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

/// A decimal number in billionths, so that `0.1` is exact; `None` when the text is no such number.
fn billionths(text: &str) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 20 || fraction.len() > 9 || !digits(whole) || !digits(fraction) {
        return None;
    }
    if text.ends_with('.') {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let fraction: u128 = format!("{fraction:0<9}").parse().ok()?;
    whole.checked_mul(BILLION)?.checked_add(fraction)
}

const BILLION: u128 = 1_000_000_000;

/// Splits `4GiB` into `4` and `GiB`.
fn number_and_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    text.split_at(end)
}

/// An amount of memory or disk, in bytes.
///
/// `4g`, `4G`, `4Gi`, `4GB` and `4GiB` all mean 4 × 1024³ bytes; a number without a unit is bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory(u64);

impl Memory {
    /// Makes a size of so many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Makes a size of so many mebibytes.
    pub const fn mebibytes(mebibytes: u32) -> Self {
        Self((mebibytes as u64) << 20)
    }

    /// Returns the size in bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }
}

const SIZES: [(&str, u32); 6] = [("P", 50), ("T", 40), ("G", 30), ("M", 20), ("K", 10), ("", 0)];

impl FromStr for Memory {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError::Size(text.to_owned());
        let (number, unit) = number_and_unit(text.trim());
        let number = billionths(number).ok_or_else(wrong)?;
        let unit = unit.trim_start().to_ascii_uppercase();
        let unit = match unit.as_str() {
            "B" => "",
            other => {
                let scale = other.strip_suffix("IB").or(other.strip_suffix(['B', 'I']));
                scale.filter(|scale| !scale.is_empty()).unwrap_or(other)
            }
        };
        let Some((_, shift)) = SIZES.iter().find(|(name, _)| *name == unit) else {
            return Err(wrong());
        };
        let too_large = || UnitError::TooLarge(text.to_owned());
        let scaled = number.checked_mul(1 << shift).ok_or_else(too_large)? / BILLION;
        // Engines count bytes in a signed number.
        let scaled = i64::try_from(scaled).map_err(|_| too_large())?;
        Ok(Self(scaled.unsigned_abs()))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, shift) in SIZES {
            if shift > 0 && self.0 > 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{name}iB", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

written_as_text!(Memory, "Memory", {
    "description": "An amount of memory or disk. `4g`, `4G`, `4Gi` and `4GiB` all mean 4 × 1024³ bytes; a number without a unit is bytes.",
    "type": ["string", "integer"],
    "pattern": "^ *[0-9]+(\\.[0-9]{1,9})? *[kKmMgGtTpP]?([iI]?[bB]|[iI])? *$",
    "minimum": 0,
    "examples": ["512MiB", "4GiB"]
});

/// A span of time.
///
/// Written as numbers with units, largest first: `500ms`, `10s`, `10m`, `1h30m`, `2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

impl Duration {
    /// Makes a duration of so many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// Returns it as the standard library's duration.
    pub const fn as_std(self) -> std::time::Duration {
        self.0
    }

    /// Returns it in whole seconds, rounded up, as engines count stop timeouts.
    pub fn as_seconds(self) -> u64 {
        self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

const TIMES: [(&str, u128); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A hundred years, in milliseconds: longer is a typing error and would overflow deadlines.
const LONGEST: u128 = 100 * 366 * 86_400_000;

impl FromStr for Duration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError::Duration(text.to_owned());
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Self::seconds(0));
        }
        let mut total: u128 = 0;
        let mut smaller = 0;
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let (number, tail) = number_and_unit(rest);
            let number = billionths(number).ok_or_else(wrong)?;
            let end = tail
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            let index = TIMES
                .iter()
                .position(|(name, _)| *name == unit)
                .ok_or_else(wrong)?;
            if index < smaller {
                return Err(wrong());
            }
            smaller = index + 1;
            let milliseconds = number.checked_mul(TIMES[index].1).ok_or_else(wrong)? / BILLION;
            total = total.saturating_add(milliseconds);
            rest = tail;
        }
        if total > LONGEST {
            return Err(UnitError::TooLarge(text.to_owned()));
        }
        let total = u64::try_from(total).map_err(|_| wrong())?;
        Ok(Self(std::time::Duration::from_millis(total)))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, length) in TIMES {
            if rest >= length {
                write!(f, "{}{name}", rest / length)?;
                rest %= length;
            }
        }
        Ok(())
    }
}

written_as_text!(Duration, "Duration", {
    "description": "A span of time: numbers with units, largest first, as in `500ms`, `10s`, `10m`, `1h30m`, `2d`.",
    "type": ["string", "integer"],
    "pattern": "^ *(0|([0-9]+(\\.[0-9]{1,9})?(d|h|m|s|ms))+) *$",
    "examples": ["10s", "1h30m"]
});

/// A number of cpus, in billionths of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpus(u64);

impl Cpus {
    /// Makes a count of so many billionths.
    pub const fn nano(nano: u64) -> Self {
        Self(nano)
    }

    /// Returns the count in billionths, as engines take it.
    pub const fn as_nano(self) -> u64 {
        self.0
    }
}

impl FromStr for Cpus {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError::Cpus(text.to_owned());
        let nano = billionths(text.trim()).ok_or_else(wrong)?;
        if nano == 0 {
            return Err(wrong());
        }
        let nano = i64::try_from(nano).map_err(|_| UnitError::TooLarge(text.to_owned()))?;
        Ok(Self(nano.unsigned_abs()))
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let fraction = format!("{fraction:09}");
        write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
    }
}

written_as_text!(Cpus, "Cpus", {
    "description": "A number of cpus, greater than 0, as in `2`, `0.5`.",
    "type": ["number", "string"],
    "exclusiveMinimum": 0,
    "pattern": "^ *[0-9]+(\\.[0-9]{1,9})? *$",
    "examples": [2, 0.5]
});

/// The permission bits of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileMode(u32);

impl FileMode {
    /// Makes a mode from its bits.
    pub const fn bits(bits: u32) -> Self {
        Self(bits & 0o7777)
    }

    /// Returns the bits.
    pub const fn as_bits(self) -> u32 {
        self.0
    }
}

impl FromStr for FileMode {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        match u32::from_str_radix(text, 8) {
            Ok(bits) if octal => Ok(Self(bits)),
            _ => Err(UnitError::Mode(text.to_owned())),
        }
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

written_as_text!(FileMode, "FileMode", {
    "description": "Permission bits as a quoted string of three or four octal digits, as in \"0644\".",
    "type": "string",
    "pattern": "^[0-7]{3,4}$"
});

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_all_1024_based() {
        for text in [
            "4g",
            "4G",
            "4Gi",
            "4GiB",
            "4gb",
            "4 GiB",
            "4096m",
            "4294967296",
            "4294967296b",
        ] {
            assert_eq!(text.parse(), Ok(Memory::bytes(4 << 30)), "{text}");
        }
        assert_eq!("1.5g".parse(), Ok(Memory::mebibytes(1536)));
        for bad in ["", "g", "4x", "-1", "4 4", "1e3", ".5g", "5.g", "4gg", "4ib"] {
            assert!(matches!(bad.parse::<Memory>(), Err(UnitError::Size(_))), "{bad}");
        }
        for large in ["8192p", "99999999999999999999"] {
            assert!(
                matches!(large.parse::<Memory>(), Err(UnitError::TooLarge(_))),
                "{large}"
            );
        }
        assert!("999999999999999999999p".parse::<Memory>().is_err());
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!("1h30m".parse(), Ok(Duration::seconds(5400)));
        assert_eq!("0".parse(), Ok(Duration::seconds(0)));
        assert_eq!("1.5s".parse::<Duration>().unwrap().as_seconds(), 2);
        for bad in ["", "10", "m", "10x", "30m1h", "1h1h", "-1s", "1 h"] {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
        assert!(matches!(
            "99999999d".parse::<Duration>(),
            Err(UnitError::TooLarge(_))
        ));
    }

    #[test]
    fn cpus_are_exact() {
        assert_eq!("0.1".parse(), Ok(Cpus::nano(100_000_000)));
        assert_eq!("2".parse(), Ok(Cpus::nano(2_000_000_000)));
        for bad in ["", "0", "-1", "two", "1.0000000001"] {
            assert!(bad.parse::<Cpus>().is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!("0755".parse(), Ok(FileMode::bits(0o755)));
        assert_eq!("644".parse(), Ok(FileMode::bits(0o644)));
        for bad in ["", "8", "0o755", "07555", "+755", "rwx"] {
            assert!(bad.parse::<FileMode>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_back(bytes in 0..i64::MAX.unsigned_abs(), nano in 1..i64::MAX.unsigned_abs(), milliseconds in 0..10_u64.pow(12)) {
            prop_assert_eq!(Memory::bytes(bytes).to_string().parse(), Ok(Memory::bytes(bytes)));
            prop_assert_eq!(Cpus::nano(nano).to_string().parse(), Ok(Cpus::nano(nano)));
            let duration = Duration(std::time::Duration::from_millis(milliseconds));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in ".*") {
            let _ = (text.parse::<Memory>(), text.parse::<Duration>(), text.parse::<Cpus>(), text.parse::<FileMode>());
        }
    }
}

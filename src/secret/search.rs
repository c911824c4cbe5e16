//! [`Needles`]: what a secret looks like where it was left behind, as it is or written otherwise.
//!
//! What is compressed or encrypted is not recognised: nobody can look for that.

use aho_corasick::{AhoCorasick, MatchKind};

use super::{REDACTED, Secret};

/// The shortest value that can be told from what is there anyway.
pub const SHORTEST: usize = 8;
/// The shortest line of a value of several lines that is looked for by itself.
const SHORTEST_LINE: usize = 16;

/// Secrets, ready to be looked for.
#[derive(Clone, Debug)]
pub struct Needles {
    finder: AhoCorasick,
    /// What each pattern is: the variable, and how it is written.
    about: Vec<(String, &'static str)>,
    longest: usize,
}

/// A secret that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The variable that has the value.
    pub variable: String,
    /// How it is written there.
    pub form: &'static str,
}

impl Needles {
    /// Makes secrets ready to be looked for; nothing, if there are none.
    pub fn of<'s>(secrets: impl IntoIterator<Item = (&'s str, &'s Secret)>) -> Option<Self> {
        let (mut patterns, mut about) = (Vec::new(), Vec::new());
        for (variable, secret) in secrets {
            let whole = secret.expose();
            let lines = whole.lines().map(str::trim);
            let lines = lines.filter(|line| line.len() >= SHORTEST_LINE && *line != whole);
            for text in std::iter::once(whole).chain(lines) {
                for (form, bytes) in forms(text) {
                    if bytes.len() >= SHORTEST.min(whole.len()) && !patterns.contains(&bytes) {
                        patterns.push(bytes);
                        about.push((variable.to_owned(), form));
                    }
                }
            }
        }
        let longest = patterns.iter().map(Vec::len).max()?;
        // It fails where there are more patterns than anybody has memory for.
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&patterns)
            .ok()?;
        Some(Self {
            finder,
            about,
            longest,
        })
    }

    /// Looks through a text.
    pub fn find(&self, text: &[u8]) -> Option<Hit> {
        let found = self.finder.find(text)?;
        let (variable, form) = self.about.get(found.pattern().as_usize())?;
        Some(Hit {
            variable: variable.clone(),
            form,
        })
    }

    /// Returns a text without them.
    pub fn hide(&self, text: &str) -> String {
        let mut shown = Vec::new();
        let mut end = 0;
        for found in self.finder.find_iter(text) {
            shown.extend_from_slice(&text.as_bytes()[end..found.start()]);
            shown.extend_from_slice(REDACTED.as_bytes());
            end = found.end();
        }
        shown.extend_from_slice(&text.as_bytes()[end..]);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Begins to look through something that comes in pieces.
    pub fn search(&self) -> Search<'_> {
        Search {
            needles: self,
            whole: Vec::new(),
            flat: Vec::new(),
        }
    }
}

/// Something that comes in pieces and is looked through.
#[derive(Debug)]
pub struct Search<'n> {
    needles: &'n Needles,
    /// The end of what was seen.
    whole: Vec<u8>,
    /// The same without line breaks: what is encoded may be cut into lines.
    flat: Vec<u8>,
}

impl Search<'_> {
    /// Looks through the next piece.
    pub fn push(&mut self, piece: &[u8]) -> Option<Hit> {
        let kept = self.needles.longest.saturating_sub(1);
        let breaks = |byte: &u8| matches!(byte, b'\n' | b'\r');
        self.whole.extend_from_slice(piece);
        self.flat
            .extend(piece.iter().copied().filter(|byte| !breaks(byte)));
        for seen in [&mut self.whole, &mut self.flat] {
            if let Some(hit) = self.needles.find(seen) {
                return Some(hit);
            }
            let begin = seen.len().saturating_sub(kept);
            seen.drain(..begin);
        }
        None
    }
}

/// Returns how a text may be written.
fn forms(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = text.as_bytes();
    let mut forms = vec![("as it is", bytes.to_vec())];
    for before in 0..3 {
        for (form, last) in [("in base64", *b"+/"), ("in base64 for addresses", *b"-_")] {
            forms.push((form, base64(before, bytes, last)));
        }
    }
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let hex: String = halves
        .filter_map(|half| char::from_digit(half.into(), 16))
        .collect();
    forms.push(("in hexadecimal digits", hex.to_uppercase().into_bytes()));
    forms.push(("in hexadecimal digits", hex.into_bytes()));
    for upper in [true, false] {
        for spaces in ["%20", "+"] {
            forms.push(("as part of an address", percent(bytes, upper, spaces)));
        }
    }
    let json = serde_json::to_string(text).unwrap_or_default();
    let json = json
        .get(1..json.len().saturating_sub(1))
        .unwrap_or_default()
        .to_owned();
    forms.push(("as in JSON", json.replace('/', "\\/").into_bytes()));
    forms.push(("as in JSON", json.into_bytes()));
    let quoted = |characters: &[char]| -> Vec<u8> {
        let escaped = text.chars().flat_map(|one| {
            let escape = characters.contains(&one).then_some('\\');
            escape.into_iter().chain([one])
        });
        escaped.collect::<String>().into_bytes()
    };
    forms.push(("as in a shell", text.replace('\'', "'\\''").into_bytes()));
    forms.push(("as in a shell", quoted(&['$', '`', '"', '\\'])));
    let plain = |one: char| one.is_ascii_alphanumeric() || !one.is_ascii() || "_./:=@%+,-".contains(one);
    let special: Vec<char> = text.chars().filter(|one| !plain(*one)).collect();
    forms.push(("as in a shell", quoted(&special)));
    let markup = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    forms.push(("as in markup", markup.into_bytes()));
    let wide = || text.encode_utf16();
    forms.push(("in UTF-16", wide().flat_map(u16::to_le_bytes).collect()));
    forms.push(("in UTF-16", wide().flat_map(u16::to_be_bytes).collect()));
    forms.push(("backwards", text.chars().rev().collect::<String>().into_bytes()));
    forms
}

/// Returns the digits that bytes have in base 64 after so many others, as far as these alone decide them.
fn base64(before: usize, bytes: &[u8], last: [u8; 2]) -> Vec<u8> {
    let digit = |value: u8| match value {
        0..26 => b'A' + value,
        26..52 => b'a' + value - 26,
        52..62 => b'0' + value - 52,
        62 => last[0],
        _ => last[1],
    };
    let bit = |at: usize| {
        let byte = at.checked_sub(before * 8).and_then(|at| bytes.get(at / 8));
        byte.map_or(0, |byte| byte >> (7 - at % 8) & 1)
    };
    let (begin, end) = ((before * 8).div_ceil(6), (before + bytes.len()) * 8 / 6);
    let value = |place: usize| (0..6).fold(0, |value, offset| value << 1 | bit(place * 6 + offset));
    (begin..end).map(|place| digit(value(place))).collect()
}

/// Returns bytes as they stand in addresses.
fn percent(bytes: &[u8], upper: bool, spaces: &str) -> Vec<u8> {
    let one = |byte: &u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(*byte).to_string(),
        b' ' => spaces.to_owned(),
        byte if upper => format!("%{byte:02X}"),
        byte => format!("%{byte:02x}"),
    };
    bytes.iter().map(one).collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "s3cr3t/with \"quotes\" & $igns+";

    fn needles(value: &str) -> Needles {
        let secret = Secret::of_text("TOKEN", value.to_owned()).expect("a secret");
        Needles::of([("TOKEN", &secret)]).expect("something to look for")
    }

    fn form(text: &[u8]) -> Option<&'static str> {
        needles(VALUE).find(text).map(|hit| hit.form)
    }

    #[test]
    fn a_secret_is_found_however_it_is_written() {
        // What `base64`, `basenc --base64url`, `xxd -p`, Python's `quote` and `quote_plus`, and `json.dumps` make of it.
        for (text, expected) in [
            (VALUE, "as it is"),
            ("czNjcjN0L3dpdGggInF1b3RlcyIgJiAkaWducys=", "in base64"),
            ("dXNlcjpzM2NyM3Qvd2l0aCAicXVvdGVzIiAmICRpZ25zKw==", "in base64"),
            ("eHM6czNjcjN0L3dpdGggInF1b3RlcyIgJiAkaWducys=", "in base64"),
            ("YTpzM2NyM3Qvd2l0aCAicXVvdGVzIiAmICRpZ25zKw==", "in base64"),
            ("7333637233742f77697468202271756f7465732220262024", ""),
            (
                "7333637233742f77697468202271756f746573222026202469676e732b",
                "in hexadecimal digits",
            ),
            (
                "https://x:s3cr3t%2Fwith%20%22quotes%22%20%26%20%24igns%2B@host/",
                "as part of an address",
            ),
            (
                "s3cr3t%2fwith+%22quotes%22+%26+%24igns%2b",
                "as part of an address",
            ),
            (r#"{"a":"s3cr3t/with \"quotes\" & $igns+"}"#, "as in JSON"),
            (r#"s3cr3t\/with \"quotes\" & $igns+"#, "as in JSON"),
            (r#"export A="s3cr3t/with \"quotes\" & \$igns+""#, "as in a shell"),
            ("s3cr3t/with &quot;quotes&quot; &amp; $igns+", "as in markup"),
            ("+sngi$ & \"setouq\" htiw/t3rc3s", "backwards"),
            ("s3cr3t/with", ""),
            ("", ""),
        ] {
            assert_eq!(form(text.as_bytes()).unwrap_or_default(), expected, "{text}");
        }
        let wide: Vec<u8> = VALUE.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(form(&wide), Some("in UTF-16"));
    }

    #[test]
    fn a_secret_is_found_wherever_it_is_cut() {
        let text = format!("{}{VALUE}{}", "x".repeat(100), "y".repeat(100));
        for size in 1..text.len() {
            let needles = needles(VALUE);
            let mut search = needles.search();
            let pieces = text.as_bytes().chunks(size);
            let mut hits = pieces.filter_map(|piece| search.push(piece));
            assert!(hits.next().is_some(), "{size}");
        }
        // `base64` cuts what it writes into lines.
        let needles = needles(VALUE);
        let lines = b"AAAAAAczNjcjN0L3dpdGggIn\nF1b3RlcyIgJiAk\r\naWducys=\n";
        assert!(
            needles
                .search()
                .push(b"czNjcjN0L3dpdGggIn\nF1b3RlcyIgJiAk\r\naWducys=\n")
                .is_some()
        );
        assert!(needles.search().push(&lines[10..30]).is_none());
    }

    #[test]
    fn each_long_line_of_a_secret_is_one() {
        let needles = needles("-----BEGIN KEY-----\nabcdefghijklmnopqrstuvwxyz\nshort\n-----END KEY-----");
        assert!(needles.find(b"{abcdefghijklmnopqrstuvwxyz}").is_some());
        assert!(needles.find(b"short").is_none());
    }

    #[test]
    fn nothing_of_a_secret_is_shown() {
        let needles = needles(VALUE);
        let shown = needles.hide(&format!("a {VALUE} b czNjcjN0L3dpdGggInF1b3RlcyIgJiAkaWducys= ü"));
        assert_eq!(shown, "a (secret) b (secret)s= ü");
        assert!(Needles::of([]).is_none());
    }
}

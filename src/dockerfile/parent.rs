//! Where a Dockerfile says `aishell:foundation` or `aishell:base`, by which it means the stage before it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::part::{Keyword, Part, escape, parts, unquoted};

/// The repository that stands for what aishell makes.
const REPOSITORY: &str = "aishell";

/// A place of a Dockerfile that names an image of aishell's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// What stands behind `aishell:`; nothing, where there is only `aishell`.
    pub tag: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The column in characters, counted from 1.
    pub column: u32,
    /// How many characters it has.
    pub length: u32,
    /// The bytes of the text.
    place: Range<usize>,
}

/// What a Dockerfile says of where its image comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Every place that names an image of aishell's.
    pub mentions: Vec<Mention>,
    /// Whether the image that is built is made on one of them.
    pub is_based: bool,
}

/// Reads where the image of a Dockerfile comes from.
///
/// `args` are the arguments of the build: `FROM` may use them. `target` is the stage of the Dockerfile that is built.
pub fn origin(text: &str, args: &BTreeMap<String, String>, target: Option<&str>) -> Origin {
    let escape = escape(text);
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    let mut origin = Origin::default();
    // The stages of the Dockerfile so far: their names, and whether they are made on one of ours.
    let mut stages: Vec<(String, bool)> = Vec::new();
    for part in parts(text, escape) {
        match part.keyword {
            Keyword::Arg if stages.is_empty() => declare(&part, escape, args, &mut variables),
            Keyword::From => {
                let words = part.words(escape);
                let mut words = words.iter().skip_while(|word| is_flag(&part, word));
                let Some(word) = words.next() else { continue };
                let place = unquoted(part.text, word.clone());
                let image = expand(&part.text[place.clone()], &variables);
                let named = stages
                    .iter()
                    .rev()
                    .find(|(name, _)| name.eq_ignore_ascii_case(&image));
                let is_based = match (named, tag(&image)) {
                    (Some((_, is_based)), _) => *is_based,
                    (None, Some(tag)) => {
                        origin.mentions.push(mention(text, &part, place, tag));
                        true
                    }
                    (None, None) => false,
                };
                let is_as = words
                    .next()
                    .is_some_and(|word| part.text[word.clone()].eq_ignore_ascii_case("as"));
                let name = words.next().filter(|_| is_as);
                let name = name.map_or_else(String::new, |name| part.text[name.clone()].to_owned());
                stages.push((name, is_based));
            }
            Keyword::Copy | Keyword::Run => {
                for place in taken_from(&part, escape) {
                    if let Some(tag) = tag(&part.text[place.clone()]) {
                        origin.mentions.push(mention(text, &part, place, tag));
                    }
                }
            }
            Keyword::Arg | Keyword::OnBuild | Keyword::Other => {}
        }
    }
    let built = match target {
        Some(target) => stages
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(target))
            .or_else(|| stages.get(target.parse::<usize>().ok()?)),
        None => stages.last(),
    };
    origin.is_based = built.is_some_and(|(_, is_based)| *is_based);
    origin
}

impl Origin {
    /// Returns the text with another reference in the place of every image of aishell's.
    pub fn on(&self, text: &str, reference: &str) -> String {
        let mut places: Vec<&Range<usize>> = self.mentions.iter().map(|mention| &mention.place).collect();
        // From the last to the first, so that places stay right.
        places.sort_by_key(|place| std::cmp::Reverse(place.start));
        let mut text = text.to_owned();
        for place in places {
            text.replace_range(place.clone(), reference);
        }
        text
    }
}

fn mention(text: &str, part: &Part<'_>, place: Range<usize>, tag: String) -> Mention {
    let place = part.start + place.start..part.start + place.end;
    let before = &text[..place.start];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let count = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    Mention {
        tag,
        line: u32::try_from(before.matches('\n').count())
            .unwrap_or(u32::MAX)
            .saturating_add(1),
        column: count(before[line_start..].trim_start_matches('\u{feff}')).saturating_add(1),
        length: count(&text[place.clone()]),
        place,
    }
}

/// Returns what an image of aishell's is called behind the repository.
pub(super) fn tag(image: &str) -> Option<String> {
    let rest = image.strip_prefix(REPOSITORY)?;
    match rest.chars().next() {
        None => Some(String::new()),
        Some(':' | '@') => Some(rest[1..].to_owned()),
        Some(_) => None,
    }
}

pub(super) fn is_flag(part: &Part<'_>, word: &Range<usize>) -> bool {
    part.text[word.clone()].starts_with("--")
}

/// Returns the places that name what an instruction takes something from, other than the context.
pub(super) fn taken_from(part: &Part<'_>, escape: char) -> Vec<Range<usize>> {
    let words = part.words(escape);
    let flags = words.into_iter().take_while(|word| is_flag(part, word));
    let mut places = Vec::new();
    for flag in flags {
        let text = &part.text[flag.clone()];
        if part.keyword == Keyword::Copy && text.starts_with("--from=") {
            places.push(unquoted(part.text, flag.start + "--from=".len()..flag.end));
        }
        let Some(options) = text
            .strip_prefix("--mount=")
            .filter(|_| part.keyword == Keyword::Run)
        else {
            continue;
        };
        let mut start = flag.end - options.len();
        for option in options.split(',') {
            if let Some(from) = option.strip_prefix("from=") {
                let end = start + option.len();
                places.push(end - from.len()..end);
            }
            start += option.len() + 1;
        }
    }
    places
}

/// Takes in the arguments that `FROM` can use.
pub(super) fn declare(
    part: &Part<'_>,
    escape: char,
    args: &BTreeMap<String, String>,
    variables: &mut BTreeMap<String, String>,
) {
    for word in part.words(escape) {
        let word = &part.text[word];
        let (name, default) = match word.split_once('=') {
            Some((name, default)) => (name, Some(default)),
            None => (word, None),
        };
        let default = default.map(|default| expand(default.trim_matches(['"', '\'']), variables));
        if let Some(value) = args.get(name).cloned().or(default) {
            variables.insert(name.to_owned(), value);
        }
    }
}

/// Returns a word with the values of its variables; whatever cannot be made sense of stays as it is.
pub(super) fn expand(word: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some((inner, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            let end = inner
                .find(|character| !is_of_name(character))
                .unwrap_or(inner.len());
            let (name, operator) = inner.split_at(end);
            let value = variables.get(name).filter(|value| !value.is_empty());
            match (operator.get(..2), value) {
                (Some(":-"), None) => out.push_str(&expand(&operator[2..], variables)),
                (Some(":+"), Some(_)) => out.push_str(&expand(&operator[2..], variables)),
                (Some(":+"), None) => {}
                (_, value) => out.push_str(value.map_or("", String::as_str)),
            }
            rest = after;
        } else {
            let end = rest
                .find(|character| !is_of_name(character))
                .unwrap_or(rest.len());
            out.push_str(variables.get(&rest[..end]).map_or("", String::as_str));
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    out
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    /// Returns the text on another image, and whether what is built is made on it.
    fn on(text: &str) -> (String, bool) {
        let origin = origin(text, &args(&[("OTHER", "node:24")]), None);
        (origin.on(text, "P"), origin.is_based)
    }

    #[test]
    fn the_stage_before_is_named_wherever_a_dockerfile_names_images() {
        for (text, expected, is_based) in [
            ("FROM aishell:foundation\n", "FROM P\n", true),
            ("from   aishell:base", "from   P", true),
            (
                "FROM aishell:base AS one\nFROM one\n",
                "FROM P AS one\nFROM one\n",
                true,
            ),
            (
                "FROM aishell:base AS One\nFROM oNE\n",
                "FROM P AS One\nFROM oNE\n",
                true,
            ),
            (
                "FROM a AS b\nFROM aishell:base\nCOPY --from=b /x /\n",
                "FROM a AS b\nFROM P\nCOPY --from=b /x /\n",
                true,
            ),
            (
                "FROM --platform=$BUILDPLATFORM aishell:base\n",
                "FROM --platform=$BUILDPLATFORM P\n",
                true,
            ),
            (
                "FROM --platform=linux/amd64 \\\n  aishell:base \\\n  AS x\n",
                "FROM --platform=linux/amd64 \\\n  P \\\n  AS x\n",
                true,
            ),
            (
                "# syntax=x\n# escape=`\nFROM `\n aishell:base\n",
                "# syntax=x\n# escape=`\nFROM `\n P\n",
                true,
            ),
            (
                "# FROM aishell:base\nFROM a\n",
                "# FROM aishell:base\nFROM a\n",
                false,
            ),
            (
                "FROM \\\n# aishell:base\naishell:foundation\n",
                "FROM \\\n# aishell:base\nP\n",
                true,
            ),
            ("FROM \"aishell:base\"\n", "FROM \"P\"\n", true),
            ("ARG S=base\nFROM aishell:$S\n", "ARG S=base\nFROM P\n", true),
            (
                "ARG S=aishell:base\nFROM ${S}\n",
                "ARG S=aishell:base\nFROM P\n",
                true,
            ),
            (
                "ARG A=foundation\nARG S=\"aishell:${A}\"\nFROM ${S:-x}\n",
                "ARG A=foundation\nARG S=\"aishell:${A}\"\nFROM P\n",
                true,
            ),
            ("FROM aishell:${NONE:-base}\n", "FROM P\n", true),
            // An argument of the build is more than a default.
            (
                "ARG OTHER=aishell:base\nFROM $OTHER\n",
                "ARG OTHER=aishell:base\nFROM $OTHER\n",
                false,
            ),
            // Arguments of a stage are none of `FROM`.
            (
                "FROM a\nARG S=aishell:base\nFROM $S\n",
                "FROM a\nARG S=aishell:base\nFROM $S\n",
                false,
            ),
            (
                "FROM a\nCOPY --from=aishell:base /x /\n",
                "FROM a\nCOPY --from=P /x /\n",
                false,
            ),
            (
                "FROM a\nCOPY --chown=1 --from=aishell:base --link /x /\n",
                "FROM a\nCOPY --chown=1 --from=P --link /x /\n",
                false,
            ),
            (
                "FROM a\nRUN --mount=type=bind,from=aishell:base,target=/b x\n",
                "FROM a\nRUN --mount=type=bind,from=P,target=/b x\n",
                false,
            ),
            (
                "FROM a\nRUN echo --from=aishell:base FROM aishell:base\n",
                "FROM a\nRUN echo --from=aishell:base FROM aishell:base\n",
                false,
            ),
            (
                "FROM a\nRUN <<E\nFROM aishell:base\nE\n",
                "FROM a\nRUN <<E\nFROM aishell:base\nE\n",
                false,
            ),
            (
                "FROM a\nLABEL x=aishell:base\nENV y aishell:base\n",
                "FROM a\nLABEL x=aishell:base\nENV y aishell:base\n",
                false,
            ),
            (
                "FROM aishells:base\nFROM x/aishell:base\n",
                "FROM aishells:base\nFROM x/aishell:base\n",
                false,
            ),
            (
                "\u{feff}FROM aishell:base\r\nRUN x\r\n",
                "\u{feff}FROM P\r\nRUN x\r\n",
                true,
            ),
            ("", "", false),
        ] {
            assert_eq!(on(text), (expected.to_owned(), is_based), "{text}");
        }
    }

    #[test]
    fn a_mention_knows_its_place() {
        let text =
            "ARG A=1\n\nFROM debian AS one\n  FROM --platform=x aishell:nothing\nCOPY --from=aishell /x /\n";
        let found: Vec<_> = origin(text, &BTreeMap::new(), None)
            .mentions
            .into_iter()
            .map(|mention| (mention.tag, mention.line, mention.column, mention.length))
            .collect();
        assert_eq!(
            found,
            [("nothing".to_owned(), 4, 21, 15), (String::new(), 5, 13, 7)]
        );
    }

    #[test]
    fn a_target_tells_which_image_is_built() {
        let text = "FROM aishell:base AS one\nFROM debian AS two\nFROM one\n";
        for (target, is_based) in [
            (None, true),
            (Some("ONE"), true),
            (Some("two"), false),
            (Some("1"), false),
            (Some("2"), true),
            (Some("three"), false),
        ] {
            assert_eq!(
                origin(text, &BTreeMap::new(), target).is_based,
                is_based,
                "{target:?}"
            );
        }
    }
}

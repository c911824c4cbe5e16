//! Which images of registries a build needs: those that the stages of a Dockerfile start from and copy from.

use std::collections::{BTreeMap, BTreeSet};

use super::parent::{declare, expand, is_flag, tag, taken_from};
use super::part::{Keyword, Part, escape, parts, unquoted};

/// An image that a build needs, and where it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseImage {
    /// The reference, its variables filled in.
    pub image: String,
    /// The line, counted from 1.
    pub line: u32,
}

impl BaseImage {
    /// Says whether aishell did not make it.
    pub fn is_foreign(&self) -> bool {
        is_foreign(&self.image)
    }
}

/// Says whether a Dockerfile means an image by a name that aishell did not make.
pub fn is_foreign(image: &str) -> bool {
    tag(image).is_none()
}

/// A stage of a Dockerfile.
#[derive(Default)]
struct Section {
    name: String,
    /// What it begins with, unless that is another stage of the same Dockerfile, or nothing.
    start: Option<BaseImage>,
    images: Vec<BaseImage>,
    /// The earlier sections that it needs.
    needs: Vec<usize>,
}

/// Returns the images that a build needs, in their order, each once. Those of aishell are left out, and so is what only
/// the builder can name: images for another platform than its own, or whose name is made of what only it knows.
///
/// `args` are the arguments of the build. `target` is the stage of the Dockerfile that is built.
pub fn base_images(text: &str, args: &BTreeMap<String, String>, target: Option<&str>) -> Vec<BaseImage> {
    let mut found: Vec<BaseImage> = Vec::new();
    for section in needed(text, args, target) {
        for base in section.images {
            if found.iter().all(|other| other.image != base.image) {
                found.push(base);
            }
        }
    }
    found
}

/// Returns the images that the stages of a build begin with, in their order: what these have the next build do is done
/// there. Of those of aishell the reference is as it is written.
pub fn starts(text: &str, args: &BTreeMap<String, String>, target: Option<&str>) -> Vec<BaseImage> {
    let needed = needed(text, args, target).into_iter();
    needed.filter_map(|section| section.start).collect()
}

/// Returns the stages of a Dockerfile that the one that is built needs, that one included.
fn needed(text: &str, args: &BTreeMap<String, String>, target: Option<&str>) -> Vec<Section> {
    let sections = sections(text, args);
    let last = sections.len().checked_sub(1);
    let built = match target {
        Some(target) => called(&sections, target),
        None => last,
    };
    let mut needed: BTreeSet<usize> = built.into_iter().collect();
    for index in (0..sections.len()).rev() {
        if needed.contains(&index) {
            needed.extend(&sections[index].needs);
        }
    }
    let sections = sections.into_iter().enumerate();
    let own = sections.filter(|(index, _)| needed.contains(index));
    own.map(|(_, section)| section).collect()
}

/// Returns the section that a name or a number means.
fn called(sections: &[Section], name: &str) -> Option<usize> {
    let by_name = sections
        .iter()
        .rposition(|section| section.name.eq_ignore_ascii_case(name) && !section.name.is_empty());
    by_name.or_else(|| name.parse().ok().filter(|index| *index < sections.len()))
}

fn sections(text: &str, args: &BTreeMap<String, String>) -> Vec<Section> {
    let escape = escape(text);
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    let mut sections: Vec<Section> = Vec::new();
    for part in parts(text, escape) {
        match part.keyword {
            Keyword::Arg if sections.is_empty() => declare(&part, escape, args, &mut variables),
            Keyword::From => {
                let section = section(&part, (text, escape), &variables, &sections);
                sections.push(section);
            }
            Keyword::Copy | Keyword::Run => {
                for place in taken_from(&part, escape) {
                    let image = part.text[place].to_owned();
                    let number = called(&sections, &image);
                    if let Some(section) = sections.last_mut() {
                        match number {
                            Some(number) => section.needs.push(number),
                            None => section.images.extend(named(image, part.line(text))),
                        }
                    }
                }
            }
            Keyword::Arg | Keyword::OnBuild | Keyword::Other => {}
        }
    }
    sections
}

fn section(
    part: &Part<'_>,
    (text, escape): (&str, char),
    variables: &BTreeMap<String, String>,
    before: &[Section],
) -> Section {
    let mut section = Section::default();
    let words = part.words(escape);
    let (flags, words): (Vec<_>, Vec<_>) = words.into_iter().partition(|word| is_flag(part, word));
    if let [_, keyword, name, ..] = words.as_slice()
        && part.text[keyword.clone()].eq_ignore_ascii_case("as")
    {
        part.text[name.clone()].clone_into(&mut section.name);
    }
    let Some(word) = words.first() else {
        return section;
    };
    let written = &part.text[unquoted(part.text, word.clone())];
    let image = expand(written, variables);
    let foreign = flags.iter().any(|flag| {
        let platform = part.text[flag.clone()].strip_prefix("--platform=");
        let own = [
            "$BUILDPLATFORM",
            "$TARGETPLATFORM",
            "${BUILDPLATFORM}",
            "${TARGETPLATFORM}",
        ];
        platform.is_some_and(|platform| !own.contains(&platform))
    });
    let number = before
        .iter()
        .rposition(|section| section.name.eq_ignore_ascii_case(&image) && !section.name.is_empty());
    match number {
        Some(number) => section.needs.push(number),
        None if foreign => {}
        None => {
            let line = part.line(text);
            section.start = match tag(&image) {
                Some(_) => Some(BaseImage {
                    image: image.clone(),
                    line,
                }),
                None => named(image.clone(), line),
            };
            section.images.extend(named(image, line));
        }
    }
    section
}

/// Returns an image of a registry, if that is what a name can be.
fn named(image: String, line: u32) -> Option<BaseImage> {
    let is_one = !image.is_empty() && image != "scratch" && tag(&image).is_none();
    let is_known = !image.contains(['$', '{', '}']) && !image.ends_with(':') && !image.starts_with(':');
    (is_one && is_known).then_some(BaseImage { image, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(text: &str, target: Option<&str>) -> Vec<String> {
        let args = [("V".to_owned(), "2".to_owned())].into();
        let found = base_images(text, &args, target).into_iter();
        found
            .map(|base| format!("{}:{}", base.line, base.image))
            .collect()
    }

    #[test]
    fn what_a_build_needs_is_named_once_with_its_line() {
        for (text, target, expected) in [
            ("FROM debian", None, "1:debian"),
            ("ARG V=1\nFROM debian:$V AS a\nFROM a", None, "2:debian:2"),
            ("FROM one AS a\nFROM two AS b\n", None, "2:two"),
            ("FROM one AS a\nFROM two AS b\n", Some("A"), "1:one"),
            ("FROM one AS a\nFROM two AS b\n", Some("0"), "1:one"),
            (
                "FROM one AS a\nFROM two\nCOPY --from=a /x /\n",
                None,
                "1:one 2:two",
            ),
            ("FROM one\nFROM two\nCOPY --from=0 /x /\n", None, "1:one 2:two"),
            (
                "FROM one\nCOPY --from=two:1 /x /\nRUN --mount=from=three,target=/x true",
                None,
                "1:one 2:two:1 3:three",
            ),
            ("FROM one\nCOPY --from=one /x /", None, "1:one"),
            (
                "FROM scratch\nFROM aishell:base\nCOPY --from=aishell /x /",
                None,
                "",
            ),
            ("FROM --platform=$BUILDPLATFORM one", None, "1:one"),
            ("FROM --platform=linux/s390x one", None, ""),
            ("FROM one:$UNKNOWN", None, ""),
            ("FROM", None, ""),
        ] {
            assert_eq!(bases(text, target).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn what_stages_begin_with_is_told_with_those_of_aishell() {
        let text = "FROM one AS a\nFROM aishell:base AS b\nCOPY --from=two /x /\nFROM three\nCOPY --from=b /x /\nFROM scratch\nCOPY --from=2 / /\n";
        let found = starts(text, &BTreeMap::new(), None).into_iter();
        let found: Vec<String> = found
            .map(|start| format!("{}:{}", start.line, start.image))
            .collect();
        assert_eq!(found, ["2:aishell:base", "4:three"]);
    }
}

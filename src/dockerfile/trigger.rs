//! What an image has the next build do that starts from it: the instructions behind `ONBUILD`.

use super::part::{Keyword, escape, parts};
use super::{Reads, line_of_argument, reads};

/// Returns the instructions that the image of a Dockerfile has the next build do, as a text of their own; nothing, where
/// there are none. `target` is the stage of the Dockerfile that is built.
pub fn triggers(text: &str, target: Option<&str>) -> String {
    let escape = escape(text);
    let mut sections: Vec<(String, String)> = Vec::new();
    for part in parts(text, escape) {
        match part.keyword {
            Keyword::From => {
                let words = part.words(escape);
                let mut words = words.iter().map(|word| &part.text[word.clone()]);
                let named = words.find(|word| word.eq_ignore_ascii_case("as"));
                let name = named.and(words.next()).unwrap_or_default();
                sections.push((name.to_owned(), String::new()));
            }
            Keyword::OnBuild => {
                if let Some((_, section)) = sections.last_mut() {
                    // It may stand on a line of its own.
                    let between = |character: char| character.is_whitespace() || character == escape;
                    section.push_str(part.text[part.word_end..].trim_start_matches(between).trim_end());
                    section.push('\n');
                }
            }
            Keyword::Arg | Keyword::Run | Keyword::Copy | Keyword::Other => {}
        }
    }
    let last = sections.len().checked_sub(1);
    let by_name = |name: &str| {
        let named = sections
            .iter()
            .position(|(own, _)| own.eq_ignore_ascii_case(name));
        named.or_else(|| name.parse().ok())
    };
    let built = match target {
        Some(target) => by_name(target),
        None => last,
    };
    let section = built.and_then(|index| sections.into_iter().nth(index));
    match section {
        Some((_, section)) if !section.is_empty() && escape == '`' => format!("# escape=`\n{section}"),
        Some((_, section)) => section,
        None => String::new(),
    }
}

/// Returns what a build can see of its context: what its Dockerfile says, and what it starts from has it do.
pub fn reads_with(text: &str, triggers: &str) -> Reads {
    match (reads(text), reads(triggers)) {
        (Reads::Below(mut paths), Reads::Below(more)) => {
            paths.extend(more);
            paths.sort();
            paths.dedup();
            Reads::Below(paths)
        }
        (Reads::Everything, _) | (_, Reads::Everything) => Reads::Everything,
    }
}

/// Says whether a Dockerfile, or what it starts from, declares an argument.
pub fn declares(text: &str, triggers: &str, name: &str) -> bool {
    line_of_argument(text, name).is_some() || line_of_argument(triggers, name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_build_does_what_the_image_that_is_built_says() {
        let text = "FROM a AS one\nONBUILD COPY one /\nFROM b\nRUN x\nonbuild  arg WORD\nONBUILD \\\n  ADD two three /\n";
        assert_eq!(triggers(text, None), "arg WORD\nADD two three /\n");
        assert_eq!(triggers(text, Some("ONE")), "COPY one /\n");
        assert_eq!(triggers(text, Some("0")), "COPY one /\n");
        assert_eq!(triggers("FROM a\nRUN x\n", None), "");
        assert_eq!(
            triggers("# escape=`\nFROM a\nONBUILD COPY a `\n b /\n", None),
            "# escape=`\nCOPY a `\n b /\n"
        );
    }

    #[test]
    fn what_it_does_is_seen_with_the_dockerfile() {
        let below = |paths: &[&str]| Reads::Below(paths.iter().map(|path| (*path).to_owned()).collect());
        let own = "FROM a\nCOPY own /\n";
        assert_eq!(reads_with(own, ""), below(&["own"]));
        assert_eq!(reads_with(own, "COPY b own /\n"), below(&["b", "own"]));
        assert_eq!(reads_with(own, "COPY . /\n"), Reads::Everything);
        assert!(declares(own, "ARG WORD=1\n", "WORD"));
        assert!(!declares(own, "COPY WORD /\n", "WORD"));
    }
}

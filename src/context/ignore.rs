//! What `.dockerignore` leaves out of a context, as the builder of docker decides it.
//!
//! Patterns are matched in order against a path, and the last one that decides wins; a pattern that matched a
//! directory counts for everything below it. Only a pattern that could change the verdict so far is looked at, which
//! is also what everything below inherits: `a`, `!a/b`, `a` keeps `a/b`.

use std::path::Path;

/// Patterns that leave out, and exceptions that do not.
#[derive(Clone, Debug, Default)]
pub(super) struct Ignore(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    exception: bool,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// Begins with two stars and has nothing else that is special: how a path ends.
    Ends(String),
    Tokens(Vec<Token>),
}

#[derive(Clone, Debug)]
enum Token {
    One(char),
    /// Any character but a slash.
    Any,
    /// Any number of them.
    Star,
    /// The next one may be left out.
    Maybe,
    /// Any directories, up to the slash of the last.
    Directories,
    /// Whatever comes.
    Rest,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// What is known of a directory: whether it is left out, and which patterns it matched.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    pub(super) ignored: bool,
    matched: Vec<bool>,
}

impl Ignore {
    /// Reads patterns.
    ///
    /// # Errors
    /// The one that is none.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut patterns = Vec::new();
        for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let (written, exception) = match line.trim().strip_prefix('!') {
                Some(rest) => (rest.trim(), true),
                None => (line.trim(), false),
            };
            if written.is_empty() {
                return Err(line.trim().to_owned());
            }
            let form = form(&cleaned(written)).ok_or_else(|| written.to_owned())?;
            patterns.push(Pattern { exception, form });
        }
        Ok(Self(patterns))
    }

    /// Decides about a path, given what was decided about the directory that it is in.
    pub(super) fn verdict(&self, path: &Path, parent: &Verdict) -> Verdict {
        let path = path.to_string_lossy();
        let mut verdict = Verdict {
            ignored: false,
            matched: vec![false; self.0.len()],
        };
        for (index, pattern) in self.0.iter().enumerate() {
            let inherited = parent.matched.get(index).copied().unwrap_or_default();
            let counts = inherited || (pattern.exception == verdict.ignored && pattern.form.matches(&path));
            verdict.matched[index] = counts;
            if counts {
                verdict.ignored = !pattern.exception;
            }
        }
        verdict
    }

    pub(super) fn has_exceptions(&self) -> bool {
        self.0.iter().any(|pattern| pattern.exception)
    }
}

/// Returns a path without what leads nowhere; one slash at its beginning means the root of the context.
fn cleaned(path: &str) -> String {
    let mut steps: Vec<&str> = Vec::new();
    let absolute = path.starts_with('/');
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." if steps.last().is_some_and(|last| *last != "..") => {
                steps.pop();
            }
            ".." if absolute => {}
            step => steps.push(step),
        }
    }
    let path = steps.join("/");
    if path.is_empty() { ".".to_owned() } else { path }
}

fn form(pattern: &str) -> Option<Form> {
    if let Some(end) = pattern.strip_prefix("**")
        && !end.contains(['*', '?', '[', ']', '\\'])
    {
        return Some(Form::Ends(end.to_owned()));
    }
    let mut tokens = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        let token = match character {
            '*' if rest.next_if_eq(&'*').is_some() => {
                rest.next_if_eq(&'/');
                if rest.peek().is_none() {
                    Token::Rest
                } else {
                    tokens.push(Token::Maybe);
                    Token::Directories
                }
            }
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => Token::One(rest.next()?),
            '[' => class(&mut rest)?,
            character => Token::One(character),
        };
        tokens.push(token);
    }
    Some(Form::Tokens(tokens))
}

/// Reads what is between brackets.
fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let one = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| match rest.next()? {
            '\\' => rest.next(),
            character => Some(character),
        };
        if !ranges.is_empty() && rest.next_if_eq(&']').is_some() {
            return Some(Token::Class { negated, ranges });
        }
        if rest.peek() == Some(&']') {
            return None;
        }
        let low = one(rest)?;
        let high = if rest.next_if_eq(&'-').is_some() {
            if rest.peek() == Some(&']') {
                return None;
            }
            one(rest)?
        } else {
            low
        };
        if high < low {
            return None;
        }
        ranges.push((low, high));
    }
}

impl Form {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Ends(end) => path.ends_with(end.as_str()) || end.strip_prefix('/') == Some(path),
            Self::Tokens(tokens) => matches(tokens, path),
        }
    }
}

/// Says whether tokens match a whole path: every place in the tokens that may be reached is followed at once, so that
/// no pattern takes longer than its length times the path's.
fn matches(tokens: &[Token], path: &str) -> bool {
    let mut reached = vec![false; tokens.len() + 1];
    reached[0] = true;
    skip(tokens, &mut reached);
    for character in path.chars() {
        let mut next = vec![false; tokens.len() + 1];
        for (index, token) in tokens.iter().enumerate() {
            if !reached[index] {
                continue;
            }
            match token {
                Token::One(one) => next[index + 1] |= *one == character,
                Token::Any => next[index + 1] |= character != '/',
                Token::Class { negated, ranges } => {
                    let within = ranges
                        .iter()
                        .any(|(low, high)| (*low..=*high).contains(&character));
                    next[index + 1] |= within != *negated;
                }
                Token::Star => next[index] |= character != '/',
                Token::Rest => next[index] = true,
                Token::Maybe => {}
                Token::Directories => {
                    next[index] = true;
                    next[index + 1] |= character == '/';
                }
            }
        }
        skip(tokens, &mut next);
        reached = next;
    }
    reached[tokens.len()]
}

/// Goes past what may stand for nothing.
fn skip(tokens: &[Token], reached: &mut [bool]) {
    for (index, token) in tokens.iter().enumerate() {
        if reached[index] {
            match token {
                Token::Star | Token::Rest => reached[index + 1] = true,
                // What it is about always follows.
                Token::Maybe => {
                    reached[index + 1] = true;
                    reached[index + 2] = true;
                }
                Token::One(_) | Token::Any | Token::Directories | Token::Class { .. } => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says whether a path is left out, deciding about every directory on the way.
    fn ignores(ignore: &Ignore, path: &str) -> bool {
        let mut ancestors: Vec<&Path> = Path::new(path).ancestors().collect();
        ancestors.retain(|ancestor| !ancestor.as_os_str().is_empty());
        let start = Verdict::default();
        let verdict = ancestors
            .iter()
            .rev()
            .fold(start, |parent, path| ignore.verdict(path, &parent));
        verdict.ignored
    }

    #[test]
    fn patterns_mean_what_they_mean_to_docker() {
        for (patterns, ignored, kept) in [
            (
                "# comment\n*.log\n!keep.log",
                "a.log",
                "keep.log sub/a.log # comment",
            ),
            (" #no-comment ", "#no-comment", ""),
            (
                "node_modules",
                "node_modules node_modules/x/y.js",
                "src/node_modules",
            ),
            ("/build/", "build build/out", "builder a/build"),
            ("./a/../b", "b b/c", "a"),
            ("../x", "", "x"),
            (".", "", "a"),
            ("/", "", "a"),
            ("*/temp*", "a/temp a/temperature a/temp/x", "temp a/b/temp"),
            ("temp?", "tempa tempb", "temp tempab temp/"),
            ("**/*.go", "a.go a/b/c.go", "a.gox"),
            ("**/foo", "foo a/foo a/b/foo a/b/foo/x", "afoo a/foox"),
            ("**foo", "foo afoo a/bfoo", "foox"),
            ("**", "a a/b .x", ""),
            ("a/**", "a/b a/b/c", "a b/a"),
            ("a**", "a ab a/b abc/d", "b"),
            ("a/**/b", "a/b a/x/b a/x/y/b", "a/xb ab a/b2"),
            ("a/**/b/**/c", "a/b/c a/1/b/2/3/c", "a/c a/bc"),
            ("**/a/**", "a/b x/a/b", "a x/a"),
            ("[a-c]x", "ax bx cx", "dx"),
            ("[^a-c]x", "dx", "ax"),
            ("[\\]]x", "]x", "ax"),
            ("\\*", "*", "a"),
            ("\\!x", "!x", "x"),
            ("a.b", "a.b", "aXb"),
            ("a+(b)|{c}$", "a+(b)|{c}$", "aa"),
            ("*", "a a/b", ""),
            ("*\n!a", "b b/a", "a a/b"),
            ("a\n!a/b", "a a/c a/bc", "a/b a/b/c"),
            ("a\n!**/keep", "a a/x", "a/keep a/b/keep"),
            ("!a\na", "a a/b", ""),
            // Exceptions that are looked at too late, or not at all.
            ("!a\na/c", "a/c a/c/x", "a a/b"),
            ("a/c\n!a", "a/c", "a a/b"),
            ("D\n!D/x\nD", "D D/y", "D/x"),
            (
                "*.md\n!README*.md\nREADME-secret.md",
                "a.md README-secret.md",
                "README.md README-x.md",
            ),
            ("ü*", "über", "ube"),
            ("\u{feff}a", "a", ""),
            ("a \r\nb\r\n", "a b", ""),
            ("! a", "", "a"),
        ] {
            let ignore = Ignore::parse(patterns).expect(patterns);
            for path in ignored.split(' ').filter(|path| !path.is_empty()) {
                assert!(ignores(&ignore, path), "{patterns:?} leaves out {path}");
            }
            for path in kept.split(' ').filter(|path| !path.is_empty()) {
                assert!(!ignores(&ignore, path), "{patterns:?} keeps {path}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for text in ["!", "a[", "[]", "[a-]", "[z-a]", "a\\"] {
            let line = Ignore::parse(&format!("ok\n{text}\n")).expect_err(text);
            assert_eq!(line, text);
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_longer_than_its_length() {
        let pattern = "**/*a".repeat(200);
        let ignore = Ignore::parse(&pattern).expect("a pattern");
        assert!(!ignores(&ignore, &format!("{}b", "a".repeat(2000))));
    }
}

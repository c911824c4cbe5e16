//! `${VAR}`, `${VAR:-default}` and `$$` in what phases say, resolved in dependency order.
//!
//! What the image that a stage starts from has as its `PATH` is not known before it is there, so a [`Text`] may leave
//! room for it.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// The variable that may be left open.
const PATH: &str = "PATH";
/// How many variables may need each other in a row.
const DEEPEST: usize = 100;
/// How much a value may grow to.
const LONGEST: usize = 64 * 1024;

/// A text in which nothing is left to resolve but perhaps the `PATH` of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Plain(String),
    ImagePath,
}

/// Why a text cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A name that nothing sets.
    #[error("nothing sets `{0}`")]
    Unknown(String),
    /// `${` without `}`, or around what is no name.
    #[error("`{0}` is not a variable; `$$` is a dollar sign")]
    Malformed(String),
    /// A variable that needs itself.
    #[error("variables need each other: {}", .0.join(" → "))]
    Circle(Vec<String>),
    /// Values that double and double.
    #[error("`{0}` becomes longer than 64 KiB")]
    Long(String),
    /// Variables that need each other for ever, or nearly.
    #[error("`{0}` is more than 100 variables away from its value")]
    Deep(String),
    /// A place that an image decides, where that is too late.
    #[error("the `PATH` of the image cannot be used here")]
    ImagePath,
}

impl Text {
    /// Returns a text without variables.
    pub fn plain(text: &str) -> Self {
        Self(vec![Part::Plain(text.to_owned())])
    }

    /// Returns the text, where the image has this `PATH`.
    pub fn with_path(&self, path: &str) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Plain(text) => text.as_str(),
            Part::ImagePath => path,
        });
        parts.collect()
    }

    /// Returns the text, unless an image decides what it is.
    ///
    /// # Errors
    /// It does.
    pub fn settled(&self) -> Result<String, ExpandError> {
        if self.0.contains(&Part::ImagePath) {
            return Err(ExpandError::ImagePath);
        }
        Ok(self.with_path(""))
    }

    fn push(&mut self, other: &Self) {
        for part in &other.0 {
            match (self.0.last_mut(), part) {
                (Some(Part::Plain(last)), Part::Plain(text)) => last.push_str(text),
                (_, part) => self.0.push(part.clone()),
            }
        }
    }

    fn length(&self) -> usize {
        self.with_path("").len()
    }
}

impl Serialize for Text {
    /// Two texts are written alike only if they are alike.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parts = self.0.iter().map(|part| match part {
            Part::Plain(text) => text.replace('$', "$$"),
            Part::ImagePath => format!("${{{PATH}}}"),
        });
        serializer.serialize_str(&parts.collect::<String>())
    }
}

/// Variables with their values, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, Text>);

impl Variables {
    /// Returns the variables by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Text)> {
        self.0.iter()
    }

    /// Returns these variables with others that may refer to them and to each other; what refers to itself means what
    /// it was before.
    ///
    /// # Errors
    /// Every variable that cannot be resolved, with why.
    pub fn and(&self, written: &BTreeMap<String, String>) -> Result<Self, BTreeMap<String, ExpandError>> {
        let mut resolving = Resolving {
            outer: self,
            written,
            done: BTreeMap::new(),
            way: Vec::new(),
        };
        let mut wrong = BTreeMap::new();
        for name in written.keys() {
            resolving.way.clear();
            if let Err(error) = resolving.value(name) {
                wrong.insert(name.clone(), error);
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let mut all = self.0.clone();
        all.extend(resolving.done);
        Ok(Self(all))
    }

    /// Resolves a text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn expand(&self, text: &str) -> Result<Text, ExpandError> {
        expand(text, &mut |name| Ok(self.value(name)))
    }

    fn value(&self, name: &str) -> Option<Text> {
        let image = (name == PATH).then(|| Text(vec![Part::ImagePath]));
        self.0.get(name).cloned().or(image)
    }
}

struct Resolving<'a> {
    outer: &'a Variables,
    written: &'a BTreeMap<String, String>,
    done: BTreeMap<String, Text>,
    /// The variables that are being resolved, each for the one before it.
    way: Vec<String>,
}

impl Resolving<'_> {
    fn value(&mut self, name: &str) -> Result<Option<Text>, ExpandError> {
        if let Some(text) = self.done.get(name) {
            return Ok(Some(text.clone()));
        }
        let itself = self.way.last().is_some_and(|last| last == name);
        let Some(text) = self.written.get(name).filter(|_| !itself) else {
            return match self.outer.value(name) {
                None if itself => Err(ExpandError::Circle(vec![name.to_owned(), name.to_owned()])),
                value => Ok(value),
            };
        };
        if let Some(start) = self.way.iter().position(|other| other == name) {
            let mut circle = self.way[start..].to_vec();
            circle.push(name.to_owned());
            return Err(ExpandError::Circle(circle));
        }
        if self.way.len() >= DEEPEST {
            return Err(ExpandError::Deep(name.to_owned()));
        }
        self.way.push(name.to_owned());
        let value = expand(text, &mut |other| self.value(other))?;
        self.way.pop();
        if value.length() > LONGEST {
            return Err(ExpandError::Long(name.to_owned()));
        }
        self.done.insert(name.to_owned(), value.clone());
        Ok(Some(value))
    }
}

fn expand(
    text: &str,
    value: &mut dyn FnMut(&str) -> Result<Option<Text>, ExpandError>,
) -> Result<Text, ExpandError> {
    let mut found = Text::default();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        found.push(&Text::plain(before));
        if let Some(after) = after.strip_prefix('$') {
            found.push(&Text::plain("$"));
            rest = after;
            continue;
        }
        let Some(after) = after.strip_prefix('{') else {
            found.push(&Text::plain("$"));
            rest = after;
            continue;
        };
        let malformed = || {
            let shown: String = after.chars().take(40).collect();
            ExpandError::Malformed(format!("${{{shown}"))
        };
        let (inner, after_it) = after.split_once('}').ok_or_else(malformed)?;
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if !is_name(name) {
            return Err(malformed());
        }
        let text = match (value(name)?, default) {
            (Some(text), None) => text,
            (Some(text), Some(_)) if text != Text::plain("") && text != Text::default() => text,
            (_, Some(default)) => Text::plain(default),
            (None, None) => return Err(ExpandError::Unknown(name.to_owned())),
        };
        found.push(&text);
        if found.length() > LONGEST {
            return Err(ExpandError::Long(name.to_owned()));
        }
        rest = after_it;
    }
    found.push(&Text::plain(rest));
    Ok(found)
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(written: &[(&str, &str)]) -> Result<Variables, BTreeMap<String, ExpandError>> {
        Variables::default().and(&map(written))
    }

    fn map(written: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        written.iter().map(own).collect()
    }

    #[test]
    fn values_are_resolved_in_the_order_they_need_each_other() {
        let found = variables(&[
            ("A", "${Z}/a"),
            ("Z", "/z"),
            ("PATH", "${A}/bin:${PATH}"),
            ("EMPTY", ""),
            ("E", "${EMPTY:-e}${NONE:-n}${Z:-x}"),
            ("COST", "$$5 $HOME $"),
        ])
        .expect("values");
        let value = |name: &str| found.value(name).expect("a value").with_path("/usr/bin");
        assert_eq!(value("A"), "/z/a");
        assert_eq!(value("PATH"), "/z/a/bin:/usr/bin");
        assert_eq!(value("E"), "en/z");
        assert_eq!(value("COST"), "$5 $HOME $");
        assert_eq!(
            found.expand("${A}b").expect("a text").settled(),
            Ok("/z/ab".to_owned())
        );
        assert_eq!(
            found.expand("${PATH}").expect("a text").settled(),
            Err(ExpandError::ImagePath)
        );
        let later = found
            .and(&map(&[("PATH", "/x:${PATH}"), ("Z", "${Z}${Z}")]))
            .expect("values");
        assert_eq!(
            later.value("PATH").expect("a value").with_path("P"),
            "/x:/z/a/bin:P"
        );
        assert_eq!(later.value("Z").expect("a value").with_path(""), "/z/z");
    }

    #[test]
    fn what_cannot_be_resolved_is_told() {
        let wrong = |written: &[(&str, &str)]| {
            let wrong = variables(written).expect_err("a mistake");
            wrong.values().next().expect("a mistake").to_string()
        };
        assert_eq!(wrong(&[("A", "${B}")]), "nothing sets `B`");
        assert_eq!(wrong(&[("A", "${A}")]), "variables need each other: A → A");
        assert_eq!(
            wrong(&[("A", "${B}"), ("B", "${C}"), ("C", "${B}")]),
            "variables need each other: B → C → B"
        );
        assert_eq!(
            wrong(&[("A", "x${B")]),
            "`${B` is not a variable; `$$` is a dollar sign"
        );
        assert!(wrong(&[("A", "${a b}")]).contains("is not a variable"));
        let chain: BTreeMap<String, String> = (0..50_000)
            .map(|index| (format!("A{index:05}"), format!("${{A{:05}}}", index + 1)))
            .chain([("A50000".to_owned(), String::new())])
            .collect();
        let deep = Variables::default().and(&chain).expect_err("a chain");
        assert!(deep.values().all(|error| matches!(error, ExpandError::Deep(_))));
        let bomb: Vec<(String, String)> = (0..40)
            .map(|index| (format!("A{index}"), format!("${{A{0}}}${{A{0}}}", index + 1)))
            .chain([("A40".to_owned(), "xxxxxxxx".to_owned())])
            .collect();
        let wrong = Variables::default()
            .and(&bomb.into_iter().collect())
            .expect_err("a bomb");
        assert!(wrong.values().any(|error| matches!(error, ExpandError::Long(_))));
    }

    #[test]
    fn texts_that_differ_are_written_otherwise() {
        let written = |text: &Text| serde_json::to_string(text).expect("JSON");
        let open = Variables::default().expand("${PATH}").expect("a text");
        assert_eq!(written(&open), r#""${PATH}""#);
        assert_eq!(written(&Text::plain("${PATH}")), r#""$${PATH}""#);
    }
}

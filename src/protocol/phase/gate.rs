//! What commands were given that nobody may see is in nothing that a phase leaves: its files and its configuration are
//! looked through before it has a name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{At, DoPhase};
use crate::call::{Answer, FileChange, Leak};
use crate::desired::phase::Act;
use crate::observed::ImageReply;
use crate::protocol::unexpected;
use crate::report::Failure;
use crate::secret::Secret;
use crate::secret::search::{Hit, Needles};

/// How many places are asked for one by one; where there are more, whole directories are read.
const MANY: usize = 64;

/// What is left to look through.
#[derive(Clone, Debug)]
pub(super) struct Left {
    /// The paths to ask for, the next one last.
    pub paths: Vec<String>,
    /// The paths that count there.
    pub only: Arc<BTreeSet<String>>,
}

impl DoPhase {
    /// Returns everything that commands were given and nobody may see, by variable and where it stands.
    pub(super) fn secrets(&self) -> Arc<BTreeMap<String, Secret>> {
        let commands = self.work.acts.iter().filter_map(|act| match act {
            Act::Run(command) => Some(command),
            _ => None,
        });
        let known = commands.flat_map(|command| {
            let known = command.secrets.known();
            known.map(move |(name, secret)| (format!("{name} of {}", command.field), secret.clone()))
        });
        Arc::new(known.collect())
    }

    pub(super) fn has_secrets(&self) -> bool {
        !self.secrets().is_empty()
    }

    /// Takes in what the container has that its image has not, and says what is looked through.
    pub(super) fn changed(&self, changes: &[FileChange]) -> At {
        let there = changes.iter().filter(|change| !change.removed);
        let only: BTreeSet<String> = there.map(|change| change.path.clone()).collect();
        if let Some(needles) = self.needles() {
            let named = only
                .iter()
                .find_map(|path| Some((path, needles.find(path.as_bytes())?)));
            if let Some((path, hit)) = named {
                return self.leaked(&hit, &format!("in the name {path}"));
            }
        }
        search(Left {
            paths: asked(&only),
            only: Arc::new(only),
        })
    }

    fn needles(&self) -> Option<Needles> {
        let secrets = self.secrets();
        Needles::of(secrets.iter().map(|(name, secret)| (name.as_str(), secret)))
    }

    /// Takes in what was found at one place.
    pub(super) fn searched(&self, mut left: Left, found: Option<Leak>) -> At {
        if let Some(Leak { path, hit }) = found {
            return self.leaked(&hit, &format!("in {path}"));
        }
        left.paths.pop();
        search(left)
    }

    /// Looks through the configuration of the image, which has no name yet that counts.
    pub(super) fn checked(&self, id: &str, answer: Answer) -> At {
        let Answer::Image(image) = answer else {
            return At::Discard(unexpected("an image"));
        };
        let ImageReply { image, config, .. } = *image;
        let rest = format!("{config:?}");
        let variables = image.labels.iter().chain(&config.env);
        let plain: String = variables
            .flat_map(|(name, value)| [name.as_str(), "=", value, "\n"])
            .collect();
        let words = [&config.command, &config.entrypoint];
        let words: String = words
            .into_iter()
            .flatten()
            .flatten()
            .flat_map(|word| [word.as_str(), "\n"])
            .collect();
        let hit = self
            .needles()
            .and_then(|needles| needles.find(format!("{plain}{words}{rest}").as_bytes()));
        match hit {
            Some(hit) => match self.leaked(&hit, "in the configuration of the image") {
                At::Remove(Some(failure)) => At::Discard(failure),
                at => at,
            },
            None => self.named(id),
        }
    }

    /// Fails because of a secret that would stay. The container goes as well: it has it, too.
    fn leaked(&self, hit: &Hit, place: &str) -> At {
        let Hit { variable, form } = hit;
        let message = format!(
            "phase {}: it leaves the secret {variable} {place} ({form})",
            self.work.name
        );
        let message = self
            .needles()
            .map_or(message.clone(), |needles| needles.hide(&message));
        let failure = Failure::new(message).hint(
            "use it without writing it down, or remove what holds it in the same phase; nothing was kept",
        );
        At::Remove(Some(failure))
    }

    /// Returns a text without what nobody may see.
    pub(super) fn hidden(&self, text: &str) -> String {
        self.needles()
            .map_or_else(|| text.to_owned(), |needles| needles.hide(text))
    }
}

/// Goes on with what is left to look through.
fn search(left: Left) -> At {
    if left.paths.is_empty() {
        At::Forget
    } else {
        At::Search(left)
    }
}

/// Returns the paths to ask for so that everything is seen: each of a few, or the directories at the top that have many.
fn asked(only: &BTreeSet<String>) -> Vec<String> {
    let is_above = |path: &&String| {
        let below = format!("{path}/");
        only.range(below.clone()..)
            .next()
            .is_some_and(|next| next.starts_with(&below))
    };
    let ends: Vec<&String> = only.iter().filter(|path| !is_above(path)).collect();
    if ends.len() <= MANY {
        return ends.into_iter().rev().cloned().collect();
    }
    let tops = ends.into_iter().map(|path| {
        let end = path.get(1..).and_then(|rest| rest.find('/'));
        end.map_or_else(|| path.clone(), |end| path[..=end].to_owned())
    });
    let tops: BTreeSet<String> = tops.collect();
    tops.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_places_are_asked_for_one_by_one_and_many_with_what_is_around() {
        let only = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        let few = only(&["/etc", "/etc/a", "/etc-b", "/home/x", "/home", "/top"]);
        assert_eq!(asked(&few), ["/top", "/home/x", "/etc/a", "/etc-b"]);
        let mut many: BTreeSet<String> = (0..100).map(|index| format!("/usr/lib/{index}")).collect();
        many.extend(only(&["/usr", "/usr/lib", "/etc/a", "/top"]));
        assert_eq!(asked(&many), ["/usr", "/top", "/etc"]);
    }
}

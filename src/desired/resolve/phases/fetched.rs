//! What phases fetch: repositories at the commits that the lock knows, tools by their digests.

use serde_json::json;

use super::reading::Reading;
use super::words::count;
use crate::desired::phase::Act;
use crate::manifest::phases::PhaseRepo;
use crate::remote::{Commit, RefName, Source};

/// Where tools are put.
const TOOLS: &str = "/usr/local/bin";

impl Reading<'_> {
    pub(super) fn repos(&mut self) -> String {
        for (index, repo) in self.written.repos.iter().enumerate() {
            let field = format!("repos.{index}");
            let named = [repo.branch.is_some(), repo.tag.is_some(), repo.commit.is_some()];
            if named.iter().filter(|is_named| **is_named).count() > 1 {
                self.wrong(
                    &field,
                    "a repository has at most one of `branch`, `tag`, `commit`",
                );
            }
            let target = self.path(&format!("{field}.path"), &repo.path);
            if target == "/" {
                self.wrong(&format!("{field}.path"), "a repository cannot be the whole image");
            }
            let (commit, branch) = self.revision(repo);
            let Some(commit) = commit else { continue };
            self.input(&format!("{field}.url"), json!(repo.url));
            self.input(&format!("{field}.path"), json!(target));
            self.input(&format!("{field}.owner"), json!(repo.owner));
            self.input(&format!("{field}.depth"), json!(repo.depth));
            self.input(
                &format!("{field}.branch"),
                json!(branch.as_ref().map(RefName::as_str)),
            );
            self.input(&format!("{field}.tag"), json!(repo.tag));
            self.input(&format!("{field}.commit"), json!(commit.short()));
            self.acts.push(Act::Fetch {
                source: Source::Repository {
                    url: repo.url.clone(),
                    commit,
                    branch,
                    tag: repo.tag.clone(),
                    depth: repo.depth,
                },
                target,
                owner: repo.owner.clone(),
                place: self.place(&format!("{field}.url")),
                field,
            });
        }
        count(self.written.repos.len(), "repository").replace("repositorys", "repositories")
    }

    /// Returns the commit of a repository and the branch it is on, as far as anybody knows.
    fn revision(&mut self, repo: &PhaseRepo) -> (Option<Commit>, Option<RefName>) {
        let Some(reference) = repo.reference() else {
            return (repo.commit.clone(), None);
        };
        let Some(revision) = self.lock.repos.get(&reference) else {
            self.unknown.get_or_insert(format!("{reference} is not pinned"));
            return (None, None);
        };
        let branch = repo.branch.clone().or_else(|| revision.branch.clone());
        (Some(revision.commit.clone()), branch)
    }

    pub(super) fn tools(&mut self) -> String {
        for (index, tool) in self.written.tools.iter().enumerate() {
            let field = format!("tools.{index}");
            if !is_command(&tool.name) {
                self.wrong(
                    &format!("{field}.name"),
                    format!("`{}` is no name of a command", tool.name),
                );
            }
            let bin = tool.bin.clone().unwrap_or_else(|| tool.name.clone());
            if !is_member(&bin) {
                self.wrong(
                    &format!("{field}.bin"),
                    format!("`{bin}` is no path in an archive"),
                );
            }
            let url = match tool.download() {
                Ok(url) => url,
                Err(message) => {
                    self.wrong(&format!("{field}.url"), message);
                    continue;
                }
            };
            let sha256 = tool.sha256.clone().or_else(|| self.lock.tools.get(&url).cloned());
            let Some(sha256) = sha256 else {
                self.unknown.get_or_insert(format!("{url} is not pinned"));
                continue;
            };
            self.input(&format!("{field}.name"), json!(tool.name));
            self.input(&format!("{field}.bin"), json!(bin));
            self.input(&format!("{field}.sha256"), json!(sha256.short()));
            self.acts.push(Act::Fetch {
                source: Source::Tool { url, sha256, bin },
                target: format!("{TOOLS}/{}", tool.name),
                owner: None,
                place: self.place(&format!("{field}.sha256")),
                field,
            });
        }
        count(self.written.tools.len(), "tool")
    }
}

/// Says whether a text can be the name of a command.
fn is_command(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    !name.is_empty() && name.len() <= 100 && !name.starts_with(['.', '-']) && name.bytes().all(known)
}

/// Says whether a text can be the path of a file in an archive.
fn is_member(path: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    !path.contains(char::is_control) && path.split('/').all(part)
}

//! What phases check: files that must be there, commands that must succeed.

use std::collections::BTreeMap;

use serde_json::json;

use super::reading::{Reading, SHELL};
use super::words::count;
use crate::desired::phase::{Act, Command, Expected};
use crate::manifest::phases::PhaseTest;
use crate::spec::Secrets;

/// Where scripts of the host are put that test an image; nothing of it is kept.
const TESTS: &str = "/.aishell-test";

impl Reading<'_> {
    pub(super) fn verify(&mut self) -> String {
        let Some(verify) = &self.written.verify else {
            return String::new();
        };
        let mut files = Vec::new();
        for (index, file) in verify.files.iter().enumerate() {
            let field = format!("verify.files.{index}");
            let expected = Expected {
                path: self.path(&field, &file.path),
                mode: file.mode.map(crate::units::FileMode::as_bits),
                owner: file.owner.clone(),
            };
            self.input(&field, json!(expected));
            files.push(expected);
        }
        let about = count(files.len(), "file");
        if !files.is_empty() {
            self.acts.push(Act::Verify(files));
        }
        about
    }

    pub(super) fn tests(&mut self) -> String {
        for (index, test) in self.written.test.iter().enumerate() {
            let field = format!("test.{index}");
            let user = self.user.clone();
            match test {
                PhaseTest::Command(command) => self.command(&field, command, &user),
                PhaseTest::File(file) => {
                    let name = file.file_name().map(|name| name.display().to_string());
                    let target = format!("{TESTS}/{index}-{}", name.unwrap_or_default());
                    self.copy(&field, file, target.clone(), None, Some(0o755));
                    self.acts.push(Act::Run(Command {
                        run: crate::shell::quote(&target),
                        shell: SHELL.to_owned(),
                        user,
                        workdir: None,
                        env: BTreeMap::new(),
                        secrets: Secrets::default(),
                        seconds: None,
                        place: self.place(&field),
                        field,
                    }));
                }
            }
        }
        count(self.written.test.len(), "test")
    }
}

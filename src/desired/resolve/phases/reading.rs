//! Phases as they are written, read one after the other: what each does, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::words::{count, install_apt, is_account, shown};
use crate::desired::expand::{ExpandError, Variables};
use crate::desired::inputs::Inputs;
use crate::desired::phase::{Act, Command, NewUser, Settings};
use crate::facts::Facts;
use crate::lock::Lock;
use crate::manifest::load::Loaded;
use crate::manifest::phase::PhaseName;
use crate::manifest::phases::{PhaseCommand, Phases};
use crate::manifest::place::Problem;
use crate::manifest::stage::StageName;
use crate::spec::Secrets;

/// The superuser.
pub(super) const ROOT: &str = "root";
/// What commands are run by unless they say otherwise.
pub(super) const SHELL: &str = "/bin/sh";

/// What a phase does.
pub(super) struct Done {
    pub acts: Vec<Act>,
    pub settings: Settings,
    pub inputs: Inputs,
    pub about: String,
    /// Why nobody knows yet what it leaves.
    pub unknown: Option<String>,
    /// Why secrets cannot be had here, by variable.
    pub lacks: BTreeMap<String, String>,
}

/// Phases as they are read, one after the other.
pub(super) struct Reading<'a> {
    pub(super) stage: StageName,
    pub(super) written: &'a Phases,
    loaded: &'a Loaded,
    pub(super) facts: &'a Facts,
    pub(super) lock: &'a Lock,
    /// What `env` sets.
    variables: Variables,
    /// Who works in the image.
    pub(super) user: String,
    pub problems: Vec<Problem>,
    /// What has been read of the phase at hand.
    pub(super) acts: Vec<Act>,
    settings: Settings,
    inputs: Inputs,
    pub(super) unknown: Option<String>,
    pub(super) lacks: BTreeMap<String, String>,
}

impl<'a> Reading<'a> {
    pub fn of(
        stage: StageName,
        written: &'a Phases,
        loaded: &'a Loaded,
        facts: &'a Facts,
        lock: &'a Lock,
    ) -> Self {
        let finish = written.finish.as_ref().and_then(|finish| finish.user.clone());
        let first = written.users.first().map(|user| user.name.clone());
        let mut reading = Self {
            stage,
            written,
            loaded,
            facts,
            lock,
            variables: Variables::default(),
            user: finish.or(first).unwrap_or_else(|| ROOT.to_owned()),
            problems: Vec::new(),
            acts: Vec::new(),
            settings: Settings::default(),
            inputs: Inputs::default(),
            unknown: None,
            lacks: BTreeMap::new(),
        };
        reading.variables = reading.and("env", &Variables::default(), &written.env);
        reading
    }

    fn and(&mut self, field: &str, outer: &Variables, written: &BTreeMap<String, String>) -> Variables {
        outer.and(written).unwrap_or_else(|wrong| {
            let mut circles = BTreeSet::new();
            for (name, error) in wrong {
                // A circle is one mistake, however many variables are in it or need one that is.
                if let ExpandError::Circle(names) = &error
                    && !circles.insert(names.iter().cloned().collect::<BTreeSet<_>>())
                {
                    continue;
                }
                self.wrong(&format!("{field}.{name}"), error.to_string());
            }
            outer.clone()
        })
    }

    pub(super) fn wrong(&mut self, field: &str, message: impl Into<String>) {
        let place = self
            .loaded
            .source
            .place(&format!("{}.phases.{field}", self.stage))
            .or_else(|| self.loaded.source.place(&format!("{}.phases", self.stage)));
        self.problems.push(Problem {
            place,
            ..Problem::new(message.into())
        });
    }

    /// Says whether a phase does anything.
    pub fn does(&self, name: PhaseName) -> bool {
        let written = self.written;
        match name {
            PhaseName::Verify => written
                .verify
                .as_ref()
                .is_some_and(|verify| !verify.files.is_empty()),
            PhaseName::Test => !written.test.is_empty(),
            _ => true,
        }
    }

    /// Reads a phase; nothing, if it does nothing.
    pub fn phase(&mut self, name: PhaseName) -> Option<Done> {
        let hooks = self.written.hooks.iter();
        let hooks = hooks
            .filter(|(written, _)| PhaseName::parse(written) == Some(name))
            .map(|(written, hooks)| (written.clone(), hooks.clone()))
            .next();
        let user = if matches!(name, PhaseName::Test | PhaseName::Final) {
            self.user.clone()
        } else {
            ROOT.to_owned()
        };
        let around = |reading: &mut Self, when: &str| {
            let Some((written, hooks)) = &hooks else { return };
            let commands = if when == "before" {
                &hooks.before
            } else {
                &hooks.after
            };
            for (index, command) in commands.iter().enumerate() {
                reading.command(&format!("hooks.{written}.{when}.{index}"), command, &user);
            }
        };
        around(self, "before");
        let about = self.core(name);
        around(self, "after");
        let done = Done {
            acts: std::mem::take(&mut self.acts),
            settings: std::mem::take(&mut self.settings),
            inputs: std::mem::take(&mut self.inputs),
            lacks: std::mem::take(&mut self.lacks),
            about,
            unknown: self.unknown.take(),
        };
        let empty = done.acts.is_empty() && done.unknown.is_none() && done.settings == Settings::default();
        // The last one always is: it says how the image runs.
        (!empty || name == PhaseName::Final).then_some(done)
    }

    /// Reads what a phase itself does, without its hooks.
    fn core(&mut self, name: PhaseName) -> String {
        let written = self.written;
        match name {
            PhaseName::Dockerfile | PhaseName::Base => String::new(),
            PhaseName::Users => self.users(),
            PhaseName::Env => {
                for (name, value) in &written.env {
                    self.input(&format!("env.{name}"), json!(value));
                }
                self.settings.env = self
                    .variables
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                count(written.env.len(), "variable")
            }
            PhaseName::Workdir => match &written.workdir {
                None => String::new(),
                Some(workdir) => {
                    let path = self.path("workdir.path", &workdir.path);
                    self.input("workdir.owner", json!(workdir.owner));
                    self.acts.push(Act::Directory {
                        path: path.clone(),
                        owner: workdir.owner.clone(),
                    });
                    self.settings.workdir = Some(path.clone());
                    path
                }
            },
            PhaseName::Habitat => self.habitat(),
            PhaseName::Files => self.files(),
            PhaseName::Setup => self.setup(),
            PhaseName::Repos => self.repos(),
            PhaseName::Tools => self.tools(),
            PhaseName::Verify => self.verify(),
            PhaseName::Test => self.tests(),
            PhaseName::Final => self.finish(),
        }
    }

    fn users(&mut self) -> String {
        let users: Vec<NewUser> = self
            .written
            .users
            .iter()
            .map(|user| NewUser {
                name: user.name.clone(),
                uid: user.uid,
                gid: user.gid,
                groups: user.groups.clone(),
                shell: user.shell.clone().unwrap_or_else(|| SHELL.to_owned()),
                home: user
                    .home
                    .clone()
                    .unwrap_or_else(|| format!("/home/{}", user.name)),
            })
            .collect();
        let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
        let about = names.join(", ");
        for (index, user) in users.iter().enumerate() {
            self.input(&format!("users.{index}"), json!(user));
        }
        if !users.is_empty() {
            self.acts.push(Act::Users(users));
        }
        about
    }

    fn habitat(&mut self) -> String {
        let Some(habitat) = &self.written.habitat else {
            return String::new();
        };
        let path = self.path("habitat.path", &habitat.path);
        self.input("habitat.owner", json!(habitat.owner));
        self.input("habitat.dirs", json!(habitat.dirs));
        let owner = &habitat.owner;
        self.acts.push(Act::Directory {
            path: path.clone(),
            owner: owner.clone(),
        });
        for (index, directory) in habitat.dirs.iter().enumerate() {
            if directory.is_empty() || directory.contains('/') || directory == "." || directory == ".." {
                let message = format!("`{directory}` is not the name of a directory");
                self.wrong(&format!("habitat.dirs.{index}"), message);
            }
            self.acts.push(Act::Directory {
                path: format!("{path}/{directory}"),
                owner: owner.clone(),
            });
        }
        for (layer, source) in &habitat.layers {
            let field = format!("habitat.layers.{layer}");
            if !habitat.dirs.contains(layer) {
                self.wrong(&field, format!("`{layer}` is not one of `dirs`"));
            }
            self.copy(&field, source, format!("{path}/{layer}"), owner.clone(), None);
        }
        path
    }

    fn files(&mut self) -> String {
        for (index, file) in self.written.files.iter().enumerate() {
            let field = format!("files.{index}");
            let is_inside = file.target.ends_with('/');
            let mut target = self.path(&format!("{field}.target"), &file.target);
            if is_inside && let Some(name) = file.source.file_name() {
                target = format!("{}/{}", target.trim_end_matches('/'), name.display());
            }
            self.input(&format!("{field}.target"), json!(target));
            self.input(&format!("{field}.owner"), json!(file.owner));
            let mode = file.mode.map(crate::units::FileMode::as_bits);
            self.input(&format!("{field}.mode"), json!(mode));
            self.copy(&field, &file.source, target, file.owner.clone(), mode);
        }
        count(self.written.files.len(), "copy").replace("copys", "copies")
    }

    pub(super) fn copy(
        &mut self,
        field: &str,
        source: &Path,
        target: String,
        owner: Option<String>,
        mode: Option<u32>,
    ) {
        // What cannot be read was told when it was tried.
        let Some(tree) = self.facts.trees.get(source) else {
            return;
        };
        let shown = source.file_name().map(|name| name.display().to_string());
        let shown = format!("{field} {}", shown.unwrap_or_default());
        let place = self.place(field);
        // What has a mode of its own there may have any here.
        let digest = mode.map_or(&tree.digest, |_| &tree.modeless);
        self.inputs.add(shown, json!(digest[..12]), place);
        self.acts.push(Act::Copy {
            tree: Arc::clone(tree),
            digest: digest.clone(),
            target,
            owner,
            mode,
        });
    }

    fn setup(&mut self) -> String {
        let Some(setup) = &self.written.setup else {
            return String::new();
        };
        let packages = &setup.packages;
        let managers = [
            ("apt", &packages.apt, install_apt as fn(&str) -> String),
            ("npm", &packages.npm, |list| {
                format!("npm install --global --no-fund --no-audit -- {list}")
            }),
            ("pip", &packages.pip, |list| {
                format!("python3 -m pip install --no-cache-dir --disable-pip-version-check -- {list}")
            }),
        ];
        let mut number = 0;
        for (manager, list, install) in managers {
            let field = format!("setup.packages.{manager}");
            let mut quoted = Vec::new();
            for package in list {
                if package.is_empty() || package.starts_with('-') || package.contains(char::is_control) {
                    self.wrong(&field, format!("`{package}` is no package"));
                }
                quoted.push(crate::shell::quote(package));
            }
            if quoted.is_empty() {
                continue;
            }
            number += quoted.len();
            self.input(&field, json!(list));
            let env = [
                ("DEBIAN_FRONTEND", "noninteractive"),
                ("PIP_BREAK_SYSTEM_PACKAGES", "1"),
            ];
            let env = if manager == "npm" {
                &[]
            } else {
                &env[usize::from(manager == "pip")..][..1]
            };
            self.acts.push(Act::Run(Command {
                run: install(&quoted.join(" ")),
                shell: SHELL.to_owned(),
                user: ROOT.to_owned(),
                workdir: Some("/".to_owned()),
                env: env
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                secrets: Secrets::default(),
                seconds: None,
                place: self.place(&field),
                field,
            }));
        }
        for (index, command) in setup.root.iter().enumerate() {
            self.command(&format!("setup.root.{index}"), command, ROOT);
        }
        let user = self.user.clone();
        for (index, command) in setup.user.iter().enumerate() {
            self.command(&format!("setup.user.{index}"), command, &user);
        }
        let commands = count(setup.root.len() + setup.user.len(), "command");
        if number > 0 {
            format!("{}, {commands}", count(number, "package"))
        } else {
            commands
        }
    }

    pub(super) fn command(&mut self, field: &str, command: &PhaseCommand, user: &str) {
        let workdir = command.workdir.as_ref();
        let workdir = workdir.map(|path| self.path(&format!("{field}.workdir"), path));
        let shell = command.shell.clone().unwrap_or_else(|| SHELL.to_owned());
        if !shell.starts_with('/') {
            self.wrong(
                &format!("{field}.shell"),
                format!("`{shell}` is not an absolute path"),
            );
        }
        let (env, secrets) = self.environment(field, command);
        let command = Command {
            run: command.run.clone(),
            shell,
            user: command.user.clone().unwrap_or_else(|| user.to_owned()),
            workdir,
            env,
            secrets,
            seconds: command.timeout.map(|timeout| timeout.as_std().as_secs().max(1)),
            field: field.to_owned(),
            place: self.place(field),
        };
        self.input(field, json!(shown(&command)));
        self.acts.push(Act::Run(command));
    }

    fn finish(&mut self) -> String {
        let finish = self.written.finish.clone().unwrap_or_default();
        let env = self.and("final.env", &self.variables.clone(), &finish.env);
        self.settings.env = env
            .iter()
            .filter(|(name, _)| finish.env.contains_key(*name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        self.settings.user = (self.user != ROOT || finish.user.is_some()).then(|| self.user.clone());
        let workdir = finish.workdir.as_ref();
        self.settings.workdir = workdir.map(|path| self.path("final.workdir", path));
        self.settings.entrypoint.clone_from(&finish.entrypoint);
        self.settings.command.clone_from(&finish.command);
        let settings = json!(self.settings);
        for (field, value) in settings.as_object().into_iter().flatten() {
            self.input(&format!("final.{field}"), value.clone());
        }
        // What was verified and tested is part of what it is.
        format!("user {}", self.user)
    }

    /// Adds an input with the line that says it.
    pub(super) fn input(&mut self, field: &str, value: serde_json::Value) {
        if !value.is_null() {
            let place = self.place(field);
            self.inputs.add(field, value, place);
        }
    }

    pub(super) fn place(&self, field: &str) -> Option<crate::manifest::place::Place> {
        self.loaded
            .source
            .place(&format!("{}.phases.{field}", self.stage))
    }

    /// Resolves a path in the image: absolute, or in somebody's home.
    pub(super) fn path(&mut self, field: &str, written: &str) -> String {
        let expanded = self.variables.expand(written).and_then(|text| text.settled());
        let path = match expanded {
            Ok(path) => path,
            Err(error) => {
                let message = match error {
                    ExpandError::Unknown(name) => format!("`env` does not set `{name}`"),
                    other => other.to_string(),
                };
                self.wrong(field, message);
                return "/".to_owned();
            }
        };
        let rest = match path.strip_prefix('~').map(|rest| rest.split_once('/')) {
            Some(Some((name, rest))) if is_account(name) => rest,
            Some(_) => {
                self.wrong(
                    field,
                    format!("`{path}` is not in the home of a user, as ~dev/.profile is"),
                );
                return "/".to_owned();
            }
            None if path.starts_with('/') => &path,
            None => {
                self.wrong(field, format!("`{path}` is not an absolute path"));
                return "/".to_owned();
            }
        };
        if rest.split('/').any(|part| part == ".." || part == ".") || path.contains(char::is_control) {
            self.wrong(field, format!("`{path}` is not a plain path"));
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        if path.starts_with('~') {
            parts.join("/")
        } else {
            format!("/{}", parts.join("/"))
        }
    }
}

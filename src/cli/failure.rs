//! [`Failure`]: every error as a message with a place, at most one hint, and the code the program ends with.

use std::error::Error;
use std::io;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::exit::Exit;
use super::output::Layout;
use crate::claim::ClaimError;
use crate::context::ContextError;
use crate::controller::Refusal;
use crate::engine::EngineError;
use crate::engine::docker::ConnectError;
use crate::host::HostError;
use crate::manifest::load::LoadError;
use crate::manifest::place::{Place, Problem, Texts};
use crate::pin::PinError;
use crate::prepare::{LockError, PrepareError, SourceError};
use crate::reconcile::PassError;
use crate::session::SessionError;
use crate::session::environment::EnvironmentError;

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// The code the program ends with.
    pub exit: Exit,
    /// Everything that is wrong, at least one.
    pub problems: Vec<Problem>,
    /// The texts that places point into.
    pub texts: Texts,
}

impl Failure {
    /// Makes a failure of one problem.
    pub fn new(exit: Exit, problem: Problem) -> Self {
        Self {
            exit,
            problems: vec![problem],
            texts: Texts::default(),
        }
    }

    /// Says that the command was used in a way that makes no sense.
    pub fn usage(message: impl Into<String>, hint: &str) -> Self {
        Self::new(Exit::Usage, Problem::new(message).hint(hint))
    }

    /// Says that somebody else watches the same objects.
    pub fn watched(error: &ClaimError) -> Self {
        let problem = Problem::new(chain(error));
        Self::new(
            Exit::Claimed,
            problem.hint("one watch is enough; end that one to take its place"),
        )
    }

    /// Says that the manifest is wrong.
    pub fn invalid(problems: Vec<Problem>, texts: Texts) -> Self {
        Self {
            exit: Exit::Invalid,
            problems,
            texts,
        }
    }

    /// Returns the failure as people read it, with colours.
    pub fn render(&self, layout: Layout, directory: &Path) -> String {
        let mut lines: Vec<String> = self
            .problems
            .iter()
            .map(|problem| report(problem, &self.texts, layout, directory))
            .collect();
        if self.problems.len() > 1 {
            lines.push(format!("{} problems", self.problems.len()));
        }
        let mut text = lines.join("\n\n");
        text.push('\n');
        text
    }
}

/// How wide a source line may be where no terminal sets a limit.
const UNLIMITED: usize = 10_000;

/// Returns one problem as people read it, with colours.
fn report(problem: &Problem, texts: &Texts, layout: Layout, directory: &Path) -> String {
    let mut group = Group::with_title(Level::ERROR.primary_title(problem.message.as_str()));
    if let Some(place) = &problem.place {
        let path = place.seen_from(directory).file.display().to_string();
        let text = texts.text(&place.file);
        group = match text.and_then(|text| Some((text, span(text, place, problem.length)?))) {
            Some((text, span)) => group.element(
                Snippet::source(text)
                    .path(path)
                    .annotation(AnnotationKind::Primary.span(span)),
            ),
            None => group.element(
                Origin::path(path)
                    .line(index(place.line))
                    .char_column(index(place.column)),
            ),
        };
    }
    let renderer = Renderer::styled().term_width(layout.width.unwrap_or(UNLIMITED).max(40));
    let Some(hint) = &problem.hint else {
        return renderer.render(&[group]);
    };
    let level = Level::HELP.with_name("hint");
    if problem.place.is_some() {
        return renderer.render(&[group.element(level.message(hint.as_str()))]);
    }
    // Without a source line there is no frame a hint could hang in.
    let hint = Group::with_title(level.secondary_title(hint.as_str()));
    [renderer.render(&[group]), renderer.render(&[hint])].join("\n")
}

/// Returns the bytes of a text that are meant; `None` when the place is not in it.
fn span(text: &str, place: &Place, length: u32) -> Option<Range<usize>> {
    let line = index(place.line).checked_sub(1)?;
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..)?;
    let content = rest.split('\n').next().unwrap_or_default();
    let offset = |characters: usize| {
        content
            .char_indices()
            .nth(characters)
            .map_or(content.len(), |(offset, _)| offset)
    };
    let column = index(place.column).saturating_sub(1);
    let (from, to) = (offset(column), offset(column.saturating_add(index(length))));
    Some(start + from..start + to.max(from))
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Returns an error with its causes, each said once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        let hint = match &error {
            HostError::Directory(_) => "change to a directory that exists",
            HostError::Home { .. } => "set HOME to the home directory",
        };
        Self::usage(chain(&error), hint)
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let message = chain(&error);
        let problem = match error {
            LoadError::Invalid { problems, texts } => return Self::invalid(problems, texts),
            LoadError::NotFound { .. } => Problem::new(message).hint(
                "create `.aishell/manifest.yaml`, change to a directory that has one, or name it with --file",
            ),
            LoadError::Ambiguous { .. } => {
                Problem::new(message).hint("keep one of them, or say which is meant with --file")
            }
            LoadError::Unreadable { cause, .. } => unreadable(message, &cause),
            LoadError::NotAFile { .. } => {
                Problem::new(message).hint("name the manifest itself, or `-` to read standard input")
            }
        };
        Self::new(Exit::Invalid, problem)
    }
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Load(error) => error.into(),
            PrepareError::Lock(error) => error.into(),
            PrepareError::Problems { problems, loaded } => {
                Self::invalid(problems, loaded.source.texts().clone())
            }
        }
    }
}

impl From<EnvironmentError> for Failure {
    fn from(error: EnvironmentError) -> Self {
        let message = chain(&error);
        match error {
            EnvironmentError::Widens { .. } => Self::new(
                Exit::Blocked,
                Problem::new(message).hint("`aishell apply` lists what sessions get, and consents to it"),
            ),
            EnvironmentError::Secrets { problems, .. } => Self {
                exit: Exit::Failed,
                problems,
                texts: Texts::default(),
            },
        }
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        let message = chain(&error);
        match error {
            LockError::Invalid { problems, texts } => Self::invalid(problems, texts),
            LockError::Unreadable { .. } | LockError::NotAFile { .. } => {
                let hint = "move it away; `aishell apply` writes a new one";
                Self::new(Exit::Invalid, Problem::new(message).hint(hint))
            }
            LockError::Unwritable { .. } => {
                let hint = "check who may write to its directory";
                Self::new(Exit::Failed, Problem::new(message).hint(hint))
            }
        }
    }
}

impl From<Refusal> for Failure {
    fn from(error: Refusal) -> Self {
        match error {
            Refusal::Invalid(error) => error.into(),
            Refusal::Moved { .. } => {
                let problem = Problem::new(chain(&error));
                Self::new(
                    Exit::Invalid,
                    problem.hint("start `aishell watch` again to follow it"),
                )
            }
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        let problem = Problem::new(chain(&error));
        Self::new(
            Exit::Invalid,
            problem.hint("make it yourself, or leave out the mount that shows it"),
        )
    }
}

impl From<ContextError> for Failure {
    fn from(error: ContextError) -> Self {
        Self::new(Exit::Invalid, Problem::new(chain(&error)))
    }
}

fn unreadable(message: String, cause: &io::Error) -> Problem {
    let problem = Problem::new(message);
    match cause.kind() {
        io::ErrorKind::NotFound => problem.hint("check its path"),
        io::ErrorKind::PermissionDenied => problem.hint("check who may read the file and its directories"),
        io::ErrorKind::InvalidData => problem.hint("a manifest is UTF-8 text; save it as such"),
        _ => problem,
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let hint = match &error {
            ConnectError::Address { .. } => {
                Some("write it like unix:///var/run/docker.sock or tcp://127.0.0.1:2375")
            }
            ConnectError::Unavailable { .. } => {
                Some("forward the engine's socket here, and name that with --host")
            }
            ConnectError::NoContext { .. } => Some("`docker context ls` lists the contexts there are"),
            ConnectError::NoEndpoint { .. } => Some("`docker context inspect` shows what the context has"),
            ConnectError::Read { .. } => Some("check who may read the file, or name the engine with --host"),
            ConnectError::Malformed { .. } => Some("repair the file, or name the engine with --host"),
            ConnectError::Client { .. } => None,
        };
        let mut problem = Problem::new(chain(&error));
        problem.hint = hint.map(str::to_owned);
        Self::new(Exit::Engine, problem)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let problem = Problem::new(error.to_string());
        let problem = match &error {
            EngineError::Unreachable { host, denied, .. } => problem.hint(reaching(host, *denied)),
            EngineError::Refused { .. }
            | EngineError::NotFound { .. }
            | EngineError::Conflict { .. }
            | EngineError::Failed { .. }
            | EngineError::Work { .. }
            | EngineError::Absent { .. }
            | EngineError::Unexpected { .. } => problem,
        };
        Self::new(Exit::Engine, problem)
    }
}

impl From<ClaimError> for Failure {
    fn from(error: ClaimError) -> Self {
        let problem = Problem::new(chain(&error));
        let unblock = error.unblock().unwrap_or_default();
        match error {
            ClaimError::Held { volume: None, .. } => Self::new(
                Exit::Claimed,
                problem.hint("nothing was touched; wait for it with --lock-timeout 60s"),
            ),
            ClaimError::Held { volume: Some(_), .. } => Self::new(
                Exit::Claimed,
                problem.hint(format!(
                    "nothing was touched; wait for it with --lock-timeout 60s. If it was killed: {unblock}"
                )),
            ),
            ClaimError::Stranger { .. } => Self::new(
                Exit::Blocked,
                problem.hint(format!(
                    "nothing was touched; if nobody needs it there: {unblock}"
                )),
            ),
            ClaimError::Engine(error) => error.into(),
            ClaimError::Unusable { .. } => Self::new(
                Exit::Claimed,
                problem.hint("check who may write to the directory, or set XDG_RUNTIME_DIR to another one"),
            ),
        }
    }
}

impl From<PinError> for Failure {
    fn from(error: PinError) -> Self {
        match error {
            PinError::Engine(error) => error.into(),
            PinError::Claimed(error) => error.into(),
            PinError::Lock(error) => error.into(),
            PinError::Incomplete { problems, loaded } => {
                Self::invalid(problems, loaded.source.texts().clone())
            }
            PinError::Refused {
                problems,
                loaded,
                of_the_manifest,
            } => Self {
                exit: if of_the_manifest {
                    Exit::Invalid
                } else {
                    Exit::Failed
                },
                ..Self::invalid(problems, loaded.source.texts().clone())
            },
            PinError::Unasked(failure) => {
                let last = failure.log.iter().rev().find(|line| !line.trim().is_empty());
                let said = last.map(|line| format!(": {line}")).unwrap_or_default();
                let mut problem = Problem::new(format!("{}{said}", failure.message));
                problem.hint = failure.hint;
                Self::new(Exit::Failed, problem)
            }
        }
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let hint = match &error {
            SessionError::NotFound { .. } => {
                Some("programs are looked for on the PATH of the container; a shell's own words need `sh -c`")
            }
            SessionError::NoDirectory { .. } => Some("say where it is to run with --workdir"),
            SessionError::Lost | SessionError::Unheld => {
                Some("what ran in it is ended where it can be; `aishell ps` shows how things stand")
            }
            SessionError::ContainerEnded => Some("`aishell status` shows how it stands"),
            SessionError::Engine(_)
            | SessionError::NotExecutable { .. }
            | SessionError::Held { .. }
            | SessionError::Terminal(_)
            | SessionError::Streams { .. }
            | SessionError::System(_) => None,
        };
        let exit = match error.code() {
            125 => Exit::NotRun,
            code => Exit::Own(code),
        };
        let mut problem = Problem::new(chain(&error));
        problem.hint = hint.map(str::to_owned);
        match error {
            SessionError::Engine(error) => Self::from(error),
            _ => Self::new(exit, problem),
        }
    }
}

impl From<PassError> for Failure {
    fn from(error: PassError) -> Self {
        match error {
            PassError::Engine(error) => error.into(),
            PassError::Claimed(error) => error.into(),
        }
    }
}

/// Returns what most often helps to reach an engine.
fn reaching(host: &str, denied: bool) -> String {
    match (host.strip_prefix("unix://"), denied) {
        (Some(socket), true) => format!(
            "{socket} is not open to you: add yourself to the group that owns it \
             (`sudo usermod -aG docker $USER`, then log in again), or run aishell with sudo"
        ),
        (Some(_), false) => {
            "start the engine (`sudo systemctl start docker`, or open Docker Desktop), or say where it is \
             with --host, --context or DOCKER_HOST"
                .to_owned()
        }
        (None, _) => format!(
            "check that an engine listens at {host}, or say where it is with --host, --context or DOCKER_HOST"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(failure: &Failure) -> String {
        let layout = Layout {
            width: None,
            unicode: true,
        };
        let text = failure.render(layout, Path::new("/srv/demo"));
        anstream::adapter::strip_str(&text).to_string()
    }

    fn failure(problems: Vec<Problem>) -> Failure {
        let mut texts = Texts::default();
        let text = "name: demo\ncontainers:\n  api:\n    resources: { memory: 4q }\n";
        texts.insert("/srv/demo/aishell.yaml".into(), text.to_owned());
        Failure::invalid(problems, texts)
    }

    fn problem(line: u32, column: u32, length: u32) -> Problem {
        Problem {
            place: Some(Place {
                file: "/srv/demo/aishell.yaml".into(),
                line,
                column,
            }),
            message: "`4q` is not a size".to_owned(),
            hint: Some("write it like `4GiB`".to_owned()),
            length,
        }
    }

    #[test]
    fn a_problem_shows_its_place_its_line_and_its_hint() {
        insta::assert_snapshot!(plain(&failure(vec![problem(4, 26, 2)])), @r"
        error: `4q` is not a size
         --> aishell.yaml:4:26
          |
        4 |     resources: { memory: 4q }
          |                          ^^
          |
          = hint: write it like `4GiB`
        ");
    }

    #[test]
    fn problems_are_shown_all_and_counted() {
        let text = plain(&failure(vec![problem(1, 1, 4), problem(9, 1, 1)]));
        insta::assert_snapshot!(text, @r"
        error: `4q` is not a size
         --> aishell.yaml:1:1
          |
        1 | name: demo
          | ^^^^
          |
          = hint: write it like `4GiB`

        error: `4q` is not a size
         --> aishell.yaml:4:31
          |
        4 |     resources: { memory: 4q }
          |                              ^
          |
          = hint: write it like `4GiB`

        2 problems
        ");
    }

    #[test]
    fn a_hint_without_a_place_stands_on_its_own() {
        let error = EngineError::Unreachable {
            host: "unix:///var/run/docker.sock".to_owned(),
            message: "permission denied".to_owned(),
            denied: true,
            heard: false,
        };
        insta::assert_snapshot!(plain(&error.into()), @r"
        error: the engine at unix:///var/run/docker.sock cannot be reached: permission denied
        hint: /var/run/docker.sock is not open to you: add yourself to the group that owns it (`sudo usermod -aG docker $USER`, then log in again), or run aishell with sudo
        ");
    }
}

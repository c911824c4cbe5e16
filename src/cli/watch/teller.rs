//! [`Teller`]: says what the loop does, a line for each thing that happens.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch::Sender;
use tokio::time::Instant;

use super::fold::Fold;
use crate::apply::Listener;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::cli::json::{self, Happening};
use crate::cli::output::{Output, Tone, clean};
use crate::cli::progress::Watcher;
use crate::cli::render::row::Columns;
use crate::cli::viewpoint::Viewpoint;
use crate::controller::{Audience, News};
use crate::progress::Event;
use crate::report::{Condition, Done, Outcome, Truth};
use crate::step::{Plan, Step};

/// Says what the loop does. On stdout, for people or for programs; how long work comes along is shown on stderr.
pub struct Teller {
    output: Arc<Output>,
    json: bool,
    directory: std::path::PathBuf,
    watcher: Watcher,
    /// Expressed when nobody reads any more.
    wish: Sender<bool>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    columns: Columns,
    fold: Fold,
}

impl Teller {
    /// Makes a teller; `base` is the directory of the manifest.
    pub fn new(invocation: &Invocation, base: &Path, wish: Sender<bool>) -> Self {
        Self {
            output: Arc::clone(&invocation.output),
            json: invocation.is_json(),
            directory: invocation.host.directory.clone(),
            watcher: Watcher::new(invocation, base),
            wish,
            state: Mutex::default(),
        }
    }

    /// Returns what shows the steps that are under way.
    pub fn watcher(&self) -> &Watcher {
        &self.watcher
    }

    /// Says what was held back, and takes the bars away.
    pub fn close(&self) {
        self.watcher.close();
        let rest = self.state().fold.rest();
        self.write(&rest);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says a line, unless the same was said lately.
    fn say(&self, topic: &str, text: &str) {
        let lines = self.state().fold.say(topic, text, Instant::now());
        self.write(&lines);
    }

    fn write(&self, lines: &[String]) {
        for line in lines {
            self.watcher.answer(line);
        }
        self.look_for_reader();
    }

    fn event<'e>(&self, event: Happening, fill: impl FnOnce(&mut json::Event<'e>)) {
        let mut document = json::Event::new(event, Timestamp::now().to_string());
        fill(&mut document);
        self.output.line(&document);
        self.look_for_reader();
    }

    fn look_for_reader(&self) {
        if self.output.is_unread() {
            self.wish.send_replace(true);
        }
    }

    fn condition(&self, condition: &Condition, failure: Option<&Failure>) {
        let viewpoint = Viewpoint::of(&self.directory);
        if self.json {
            self.event(Happening::Condition, |event| {
                event.condition = Some(condition);
                event.problems = failure.map(|failure| json::Problem::all(&failure.problems, viewpoint));
            });
            return;
        }
        let text = if condition.status == Truth::True {
            let mark = Tone::Bad.paint("degraded");
            format!("  {mark}  {}: {}\n", condition.reason, clean(&condition.message))
        } else {
            format!("  {}  {}\n", Tone::Good.paint("recovered"), condition.reason)
        };
        self.say(&text, &text);
        if let Some(failure) = failure {
            let layout = self.output.layout();
            self.watcher.talk(&failure.render(layout, &self.directory));
        }
    }
}

impl Listener for Teller {
    fn planned(&self, plan: &Plan) {
        let columns = self.watcher.style().columns(plan);
        let mut state = self.state();
        state.columns = state.columns.fit(columns);
        drop(state);
        self.watcher.begun(plan);
    }

    fn started(&self, step: &Step) {
        self.watcher.started(step);
        if self.json {
            self.started_event(step);
        }
    }

    fn progress(&self, step: &Step, event: Event) {
        self.watcher.progress(step, event);
    }

    fn finished(&self, done: &Done) {
        self.watcher.ended(done);
        if self.json {
            let mut event = json::Event::of(&done.step, Timestamp::now().to_string());
            event.finished(done, self.watcher.style().viewpoint);
            self.output.line(&event);
            self.look_for_reader();
            return;
        }
        if self.output.is_quiet() && done.outcome == Outcome::Done {
            return;
        }
        let columns = self.state().columns;
        let text = self.watcher.style().done(done, columns);
        let message = done.error.as_ref().map(|error| error.message.as_str());
        let topic = format!(
            "{} {} {:?} {} {}",
            done.step.resource.kind.as_str(),
            done.step.resource.name,
            done.step.action,
            done.outcome.as_str(),
            message.unwrap_or_default()
        );
        self.say(&topic, &text);
    }
}

impl Teller {
    fn started_event(&self, step: &Step) {
        self.output
            .line(&json::Event::of(step, Timestamp::now().to_string()));
        self.look_for_reader();
    }
}

impl Audience for Teller {
    fn waited(&self) {
        let lines = self.state().fold.due(Instant::now());
        self.write(&lines);
    }

    fn told(&self, news: News<'_>) {
        let viewpoint = self.watcher.style().viewpoint;
        let quiet = self.output.is_quiet();
        match news {
            News::Watching { manifest, engine } => {
                if self.json {
                    self.event(Happening::Watching, |event| {
                        event.manifest = Some(manifest);
                        event.engine = Some(engine.into());
                    });
                } else {
                    self.watcher.header(manifest, engine);
                }
            }
            News::Reloaded(manifest) => {
                if self.json {
                    self.event(Happening::Reloaded, |event| event.manifest = Some(manifest));
                } else if !quiet {
                    let text = format!("  {}   {}\n", Tone::Faint.paint("changed"), clean(&manifest.path));
                    self.say("reloaded", &text);
                }
            }
            News::Condition(condition, refusal) => {
                self.condition(condition, refusal.map(Failure::from).as_ref());
            }
            News::Blocked(blocked) => {
                if self.json {
                    self.event(Happening::Blocked, |event| {
                        event.blocked = json::Blocked::all(std::slice::from_ref(blocked), viewpoint).pop();
                    });
                } else {
                    let columns = self.state().columns;
                    let text = self.watcher.style().needs_person(blocked, columns);
                    self.say(&text, &text);
                }
            }
            News::Waits {
                resource,
                attempts,
                delay,
            } => {
                if self.json {
                    self.event(Happening::Waiting, |event| {
                        event.resource = Some(resource);
                        event.attempts = Some(attempts);
                        event.seconds = delay.map(|delay| delay.as_secs_f64());
                    });
                } else if !quiet {
                    let when = delay.map_or_else(
                        || "not before its part of the manifest changes".to_owned(),
                        |delay| format!("in {:.0} s", delay.as_secs_f64()),
                    );
                    let what = format!("{} {}", resource.kind.as_str(), clean(&resource.name));
                    let mark = Tone::Change.paint("again");
                    self.say(
                        &format!("again {what}"),
                        &format!("  {mark}     {what}: {when}\n"),
                    );
                }
            }
            News::Converged(plan) => {
                if self.json {
                    self.event(Happening::Converged, |event| {
                        event.manifest = Some(&plan.manifest);
                    });
                } else if !quiet {
                    let mark = Tone::Good.paint("converged");
                    self.say(
                        "converged",
                        &format!("  {mark} {} as wanted\n", plan.unchanged.len()),
                    );
                }
            }
        }
    }
}

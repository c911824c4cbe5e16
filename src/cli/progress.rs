//! [`Watcher`]: tells what happens while a plan is carried out.
//!
//! Lines of finished steps are the answer and go to stdout; everything else is talk. Output of builds and installs
//! reaches the terminal without anything a terminal would obey.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use tokio::time::Instant;

use super::invocation::Invocation;
use super::json;
use super::output::{Format, Output, clean};
use super::render::row::Columns;
use super::render::{Style, value};
use super::signal::Signal;
use super::viewpoint::Viewpoint;
use crate::apply::Listener;
use crate::observed::EngineInfo;
use crate::progress::Event;
use crate::report::{Done, Outcome};
use crate::step::{Action, ManifestInfo, Plan, Step, Work};

mod course;
mod running;

use course::{Courses, Signs};
use running::{Heard, Running};

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Bars on a terminal, lines elsewhere
    #[default]
    Auto,
    /// One line for each milestone
    Plain,
    /// One JSON document for each event, on stderr
    Json,
    /// Not at all
    None,
}

/// How progress is really shown.
enum Shown {
    Bars(MultiProgress),
    Plain,
    Json,
    Nothing,
}

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(120);

/// Tells what happens while a plan is carried out.
pub struct Watcher {
    output: Arc<Output>,
    directory: PathBuf,
    base: PathBuf,
    shown: Shown,
    /// Whether standard output is somebody else's.
    aside: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    header: bool,
    begun: bool,
    columns: Columns,
    running: BTreeMap<u32, Running>,
    courses: Courses,
}

impl Watcher {
    /// Makes a watcher; `base` is the directory of the manifest.
    pub fn new(invocation: &Invocation, base: &Path) -> Self {
        let output = Arc::clone(&invocation.output);
        let bars = output.talks_to_terminal() && invocation.global.verbose == 0;
        let shown = match invocation.global.progress {
            Mode::Auto if output.is_quiet() => Shown::Nothing,
            Mode::Auto if bars => Shown::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr())),
            Mode::Auto | Mode::Plain => Shown::Plain,
            Mode::Json => Shown::Json,
            Mode::None => Shown::Nothing,
        };
        Self {
            output,
            directory: invocation.host.directory.clone(),
            base: base.to_path_buf(),
            shown,
            aside: false,
            state: Mutex::default(),
        }
    }

    /// Makes a watcher that writes nothing to standard output: that belongs to what is run.
    pub fn aside(invocation: &Invocation, base: &Path) -> Self {
        Self {
            aside: true,
            ..Self::new(invocation, base)
        }
    }

    /// Returns how things are shown to the person.
    pub fn style(&self) -> Style<'_> {
        Style {
            layout: self.output.layout(),
            viewpoint: Viewpoint {
                directory: &self.directory,
                base: &self.base,
            },
        }
    }

    /// Writes the line that says what is talked about, once.
    pub fn header(&self, manifest: &ManifestInfo, engine: &EngineInfo) {
        let mut state = self.state();
        if !state.header && !self.aside && self.writes_lines() && !self.output.is_quiet() {
            self.answer(&self.style().header(manifest, engine));
        }
        state.header = true;
    }

    /// Tells the person something, above the bars if there are any.
    pub fn talk(&self, text: &str) {
        match &self.shown {
            Shown::Bars(bars) => bars.suspend(|| self.output.talk(text)),
            Shown::Plain | Shown::Json | Shown::Nothing => self.output.talk(text),
        }
    }

    /// Answers a signal, and says whether anything is under way that should be finished.
    pub fn signalled(&self, signal: Signal) -> bool {
        let state = self.state();
        let titles: Vec<String> = state
            .running
            .values()
            .map(|running| running.title.clone())
            .collect();
        let begun = state.begun;
        drop(state);
        if begun && !titles.is_empty() {
            let again = match signal {
                Signal::Interrupt => "; press Ctrl-C again to stop at once",
                Signal::Terminate | Signal::HangUp => "",
            };
            self.talk(&format!(
                "finishing what is under way: {}{again}\n",
                titles.join(", ")
            ));
        }
        begun
    }

    /// Takes the bars away.
    pub fn close(&self) {
        for running in std::mem::take(&mut self.state().running).into_values() {
            if let Some(bar) = running.bar {
                bar.finish_and_clear();
            }
        }
        if let Shown::Bars(bars) = &self.shown {
            // Nobody to draw for is no reason to fail.
            let _ = bars.clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writes_lines(&self) -> bool {
        self.output.format() == Format::Text
    }

    /// Writes a part of the answer, above the bars if there are any.
    pub fn answer(&self, text: &str) {
        if self.aside {
            if !self.output.is_quiet() {
                self.talk(text);
            }
            return;
        }
        match &self.shown {
            Shown::Bars(bars) => bars.suspend(|| self.output.answer(text)),
            Shown::Plain | Shown::Json | Shown::Nothing => self.output.answer(text),
        }
    }

    fn event(&self, step: &Step, fill: impl FnOnce(&mut json::Event<'_>)) {
        self.write(json::Event::of(step, Timestamp::now().to_string()), fill);
    }

    /// Says something that is no step's, to programs.
    fn say(&self, what: json::Happening, fill: impl FnOnce(&mut json::Event<'_>)) {
        self.write(json::Event::new(what, Timestamp::now().to_string()), fill);
    }

    fn write<'e>(&self, mut event: json::Event<'e>, fill: impl FnOnce(&mut json::Event<'e>)) {
        fill(&mut event);
        if let Ok(text) = serde_json::to_string(&event) {
            self.output.talk(&format!("{text}\n"));
        }
    }
}

impl Listener for Watcher {
    fn said(&self, text: &str) {
        if !matches!(self.shown, Shown::Nothing | Shown::Json) {
            self.talk(&format!("{}\n", clean(text)));
        }
    }

    fn planned(&self, plan: &Plan) {
        self.header(&plan.manifest, &plan.engine);
        let columns = self.style().columns(plan);
        let mut state = self.state();
        state.columns = state.columns.fit(columns);
        drop(state);
        self.begun(plan);
    }

    fn started(&self, step: &Step) {
        let title = title(step);
        let bar = match &self.shown {
            Shown::Bars(bars) => Some(spinner(bars, &title)),
            Shown::Plain => {
                if is_long(step.action) {
                    self.output.talk(&format!("{title}\n"));
                }
                None
            }
            Shown::Json => {
                self.event(step, |event| event.event = json::Happening::Started);
                None
            }
            Shown::Nothing => None,
        };
        let mut state = self.state();
        state.begun = true;
        state.running.insert(
            step.id,
            Running {
                title,
                bar,
                amounts: BTreeMap::new(),
                begun: Instant::now(),
                said: Instant::now(),
            },
        );
    }

    fn progress(&self, step: &Step, event: Event) {
        let mut state = self.state();
        let Some(running) = state.running.get_mut(&step.id) else {
            return;
        };
        let heard = running.hear(&event);
        match &self.shown {
            Shown::Plain => {
                let said = running
                    .due(heard)
                    .map(|text| format!("{}: {text}\n", running.title));
                drop(state);
                if let Some(said) = said {
                    self.output.talk(&said);
                }
            }
            Shown::Json if heard != Heard::Nothing => {
                drop(state);
                self.event(step, |document| document.happened(event));
            }
            Shown::Json | Shown::Bars(_) | Shown::Nothing => {}
        }
    }

    fn postponed(&self, done: &Done) {
        self.put_away(&done.step);
    }

    fn finished(&self, done: &Done) {
        self.ended(done);
        let columns = self.state().columns;
        let failed = done.outcome != Outcome::Done;
        if self.writes_lines() && (failed || !self.output.is_quiet()) {
            self.answer(&self.style().done(done, columns));
        }
    }
}

impl Watcher {
    /// Says which phases are not done, since what they leave is there.
    pub fn begun(&self, plan: &Plan) {
        let cached = self.state().courses.planned(plan);
        for phase in cached {
            match &self.shown {
                Shown::Json => self.say(json::Happening::Cached, |event| event.phase = Some(phase.event())),
                Shown::Bars(_) | Shown::Plain => self.talk(&format!("{}\n", phase.told(self.signs()))),
                Shown::Nothing => {}
            }
        }
    }

    fn signs(&self) -> Signs {
        Signs::of(self.output.layout().unicode)
    }

    /// Takes away what shows that a step is under way.
    pub fn ended(&self, done: &Done) {
        self.put_away(&done.step);
        let ready = self.state().courses.finished(done);
        if let Shown::Bars(_) | Shown::Plain = &self.shown
            && let Some(told) = course::told(done, self.signs())
        {
            self.talk(&format!("{}\n", clean(&told)));
        }
        self.shown_end(done);
        let Some(ready) = ready else { return };
        match &self.shown {
            Shown::Json => self.say(json::Happening::Ready, |event| {
                let (phase, cached, seconds) = ready.event();
                event.phase = Some(phase);
                event.cached = Some(cached);
                event.seconds = Some(seconds);
            }),
            Shown::Bars(_) | Shown::Plain => self.talk(&format!("{}\n", ready.told())),
            Shown::Nothing => {}
        }
    }

    /// Says that a step has ended where its line is not written.
    fn shown_end(&self, done: &Done) {
        match &self.shown {
            Shown::Json => self.event(&done.step, |event| event.finished(done, self.style().viewpoint)),
            Shown::Plain if !self.writes_lines() => {
                let error = done
                    .error
                    .as_ref()
                    .map(|error| format!(": {}", clean(&error.message)));
                self.output.talk(&format!(
                    "{}: {}{} ({})\n",
                    title(&done.step),
                    done.outcome.as_str(),
                    error.unwrap_or_default(),
                    value::seconds(done.seconds)
                ));
            }
            Shown::Bars(_) | Shown::Plain | Shown::Nothing => {}
        }
    }

    /// Ends what is shown of a step while it is under way.
    fn put_away(&self, step: &Step) {
        let running = self.state().running.remove(&step.id);
        if let (Some(bar), Shown::Bars(bars)) = (running.and_then(|running| running.bar), &self.shown) {
            bar.finish_and_clear();
            bars.remove(&bar);
        }
    }

    /// Says whether a step is under way.
    pub fn is_busy(&self) -> bool {
        !self.state().running.is_empty()
    }
}

fn spinner(bars: &MultiProgress, title: &str) -> ProgressBar {
    let bar = bars.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("  {spinner} {prefix} {elapsed} {wide_msg:.dim}") {
        bar.set_style(style);
    }
    bar.set_prefix(title.to_owned());
    bar.enable_steady_tick(TURN);
    bar
}

fn title(step: &Step) -> String {
    if let Work::Phase(work) = &step.work {
        return course::title(work);
    }
    format!(
        "{} {} {}",
        step.action.as_str(),
        step.resource.kind.as_str(),
        clean(&step.resource.name)
    )
}

/// Says whether an action may take so long that a person wants to know that it began.
fn is_long(action: Action) -> bool {
    match action {
        Action::Pull | Action::Build | Action::Snapshot | Action::Populate => true,
        Action::Create
        | Action::Start
        | Action::Unpause
        | Action::Update
        | Action::Connect
        | Action::Disconnect
        | Action::Rename
        | Action::Restart
        | Action::Replace
        | Action::Stop
        | Action::Tag
        | Action::Remove => false,
    }
}

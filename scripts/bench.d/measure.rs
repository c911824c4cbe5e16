//! Time of whole processes, in rounds that take turns, so that a machine that slows down slows all alike.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A command to measure.
#[derive(Clone)]
pub struct Job {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub directory: PathBuf,
    pub environment: Vec<(String, String)>,
    /// Exit codes that are right.
    pub codes: Vec<i32>,
}

impl Job {
    pub fn new(program: impl Into<PathBuf>, arguments: &[&str], directory: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            directory: directory.into(),
            environment: Vec::new(),
            codes: vec![0],
        }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(&self.directory)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end, output included.
    pub fn run(&self) -> Output {
        let output = self.command().output().expect("the program starts");
        self.check(&output);
        output
    }

    /// Runs it whatever comes of it: for cleaning up.
    pub fn try_run(&self) {
        if let Err(error) = self.command().output() {
            eprintln!("{}: {error}", self.program.display());
        }
    }

    /// Runs it and returns how long that took, from before it started until it was gone.
    pub fn time(&self) -> Duration {
        let began = Instant::now();
        let output = self.command().output().expect("the program starts");
        let took = began.elapsed();
        self.check(&output);
        took
    }

    fn check(&self, output: &Output) {
        let code = output.status.code().unwrap_or(-1);
        assert!(
            self.codes.contains(&code),
            "{} {} ended with {code}\n{}{}",
            self.program.display(),
            self.arguments.join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Times several jobs in turns; the order is turned round every time.
pub fn in_turns(rounds: usize, jobs: &[&Job]) -> Vec<Vec<f64>> {
    let mut times = vec![Vec::with_capacity(rounds); jobs.len()];
    for job in jobs {
        job.time(); // what the first run reads is in memory for the others
    }
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            times[index].push(jobs[index].time().as_secs_f64());
        }
    }
    times
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

/// The median of the ratios of each round: what slows one round slows both.
pub fn ratio(ours: &[f64], floor: &[f64]) -> f64 {
    let ratios: Vec<f64> = ours.iter().zip(floor).map(|(ours, floor)| ours / floor).collect();
    median(&ratios)
}

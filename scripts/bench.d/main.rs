//! Measures what aishell costs beside the least that the same engine calls cost: `scripts/bench`.
//!
//! Every figure is a ratio within one run, because times on a shared machine drift.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "a program that measures reads clocks and files, talks, and stops where the world is not as expected"
)]

mod cases;
mod claiming;
mod engine;
mod floor;
mod measure;
mod peer;
mod phasing;
mod proxy;
mod reading;
mod replacing;
mod table;
mod watching;

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::cases::Bench;
use crate::proxy::Request;

const USAGE: &str = "usage: scripts/bench [--quick|--full] [--dist] [CASE...]

cases: P1 P2 P3 P4 P5 P6 P7 P8 P12 P13 P14; without any, all of them
       only if asked for: watch (P9 and P10), replace (P11 and R4), claims (R5), context (1 GiB)
  --quick  fewer rounds, and no case above 10 containers
  --full   also 1,000 containers (some minutes)
  --dist   also the size of the dist profile (some minutes)

environment:
  BENCH_IDLE     seconds that `watch` is observed idle (180)
set by scripts/bench:
  BENCH_AISHELL  the binary to measure
  BENCH_IMAGE    an image with a static program /sleeper
  BENCH_NPM      an image with npm
  BENCH_COMPOSE  Compose as a program of its own, if there is one
";

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let socket = socket();
    match words[..] {
        // What is measured as a process of its own, so that starting one counts on both sides.
        ["floor-look", manifest] => floor::look(&socket, manifest),
        ["floor-context", manifest, directory] => {
            floor::look(&socket, manifest);
            reading::walk(Path::new(directory));
        }
        ["floor-create", file, name, id] => {
            let recorded = fs::read_to_string(file).expect("what was recorded");
            let requests: Vec<Request> = recorded.lines().map(Request::of_create).collect();
            floor::create_and_start(&socket, &requests, (name, id));
        }
        ["help" | "--help" | "-h"] => print!("{USAGE}"),
        _ => {
            if let Some(bench) = Bench::parse(&words, socket) {
                bench.run();
            } else {
                eprint!("{USAGE}");
                std::process::exit(2);
            }
        }
    }
}

/// The socket of the engine, as the docker client without a context chooses it.
fn socket() -> PathBuf {
    let host = env::var("DOCKER_HOST").unwrap_or_default();
    let path = host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock");
    Path::new(path).to_owned()
}

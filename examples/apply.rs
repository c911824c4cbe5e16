//! Reconciles one manifest from code: `cargo run --example apply -- manifest.yaml`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use aishell::apply::{Silent, Stop};
use aishell::engine::docker::{DockerEngine, Host as EngineHost};
use aishell::host::Host;
use aishell::plan::Consent;
use aishell::prepare::Prepared;
use aishell::reconcile::{Subject, look, reconcile};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: apply MANIFEST")?;
    let host = Host::detect()?;
    let prepared = Prepared::load(Path::new(&path), &host)?;
    let engine = DockerEngine::at(&EngineHost::parse("unix:///var/run/docker.sock")?)?;
    let subject = Subject {
        intent: &prepared,
        consent: Consent::default(),
    };

    let plan = look(&engine, &subject).await?.plan;
    for step in &plan.steps {
        println!(
            "{} {} {:?}",
            step.action.as_str(),
            step.resource.name,
            step.because
        );
    }
    let report = reconcile(&engine, &subject, &Arc::new(Silent), &Stop::never()).await?;
    for done in &report.steps {
        println!(
            "{} {} {:?}",
            done.outcome.as_str(),
            done.step.resource.name,
            done.error
        );
    }
    println!("converged: {}", report.converged);
    Ok(())
}

//! `aishell schema`: what documents look like.

use clap::{Args, ValueEnum};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema as JsonSchemaDocument};

use super::exit::Exit;
use super::invocation::Invocation;
use super::json;
use crate::lock::Lock;
use crate::saved::Saved;

/// Print the JSON Schema of a document
///
/// The schema of the manifest lets editors complete and check it; the others describe the answers of `-o json`.
#[derive(Debug, Args)]
pub struct Schema {
    /// The document
    #[arg(value_enum, default_value = "manifest")]
    document: Document,
}

/// A document that has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// The manifest
    Manifest,
    /// What `diff` answers
    Plan,
    /// What `apply` and `delete` answer
    Report,
    /// What `update` answers
    Update,
    /// What `status` answers
    Status,
    /// What `init` answers
    Starter,
    /// What `validate` answers
    Validation,
    /// What `prune` answers
    Garbage,
    /// What `ps` answers
    List,
    /// What `phases` answers
    Phases,
    /// What `doctor` answers
    Diagnosis,
    /// What a command answers that failed
    Error,
    /// The file `aishell.lock`
    Lock,
    /// The file that `diff --out` writes
    SavedPlan,
    /// One line of `--progress json` and of `watch -o json`
    Events,
}

impl Document {
    /// Returns the schema.
    pub fn schema(self) -> JsonSchemaDocument {
        match self {
            Self::Manifest => crate::manifest::schema(),
            Self::Plan => of::<json::Plan<'_>>(),
            Self::Report => of::<json::Report<'_>>(),
            Self::Update => of::<json::Update<'_>>(),
            Self::Lock => Lock::schema(),
            Self::SavedPlan => Saved::schema(),
            Self::Status => of::<json::Status<'_>>(),
            Self::Starter => of::<json::Starter<'_>>(),
            Self::Validation => of::<json::Validation<'_>>(),
            Self::Garbage => of::<json::Garbage<'_>>(),
            Self::List => of::<json::ContainerList<'_>>(),
            Self::Phases => of::<json::Phases<'_>>(),
            Self::Diagnosis => of::<json::Diagnosis<'_>>(),
            Self::Error => of::<json::Error<'_>>(),
            Self::Events => of::<json::Event<'_>>(),
        }
    }
}

fn of<T: JsonSchema>() -> JsonSchemaDocument {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>()
}

impl Schema {
    /// Prints the schema.
    pub fn run(self, invocation: &Invocation) -> Exit {
        invocation.output.document(&self.document.schema().to_value());
        Exit::Done
    }
}

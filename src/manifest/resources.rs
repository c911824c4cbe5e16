//! Limits of containers.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use super::form::{self, Absent, Form, formed};
use crate::units::{Cpus, Memory};
use crate::written::written_as_text;

/// Limits of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// How many cpus it may use; default: all.
    pub cpus: Option<Cpus>,
    /// How much memory it may use; default: all.
    pub memory: Option<Memory>,
    /// How much memory and swap together it may use, or `unlimited`; default: twice `memory`.
    pub memory_swap: Option<Limit<Memory>>,
    /// How much memory it gets when memory is short; default: none.
    pub reservation: Option<Memory>,
    /// How many processes it may have, or `unlimited`; default: 512.
    pub pids: Option<Limit<Count>>,
    /// How large its `/dev/shm` is; default: 64MiB.
    pub shm: Option<Memory>,
    /// Limits of its processes, by name, as in `nofile`.
    pub ulimits: BTreeMap<String, Ulimit>,
}

/// A limit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit<T> {
    /// At most so much.
    At(T),
    /// No limit; written `unlimited` or -1.
    Unlimited,
}

impl<T: FromStr> FromStr for Limit<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "unlimited" || text == "-1" {
            Ok(Self::Unlimited)
        } else {
            text.parse().map(Self::At)
        }
    }
}

impl<T: fmt::Display> fmt::Display for Limit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(limit) => limit.fmt(f),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

written_as_text!(Limit<Memory>, "MemoryLimit", {
    "description": "An amount of memory, or `unlimited`.",
    "type": ["string", "integer"],
    "pattern": "^(-1|unlimited| *[0-9]+(\\.[0-9]{1,9})? *[kKmMgGtTpP]?([iI]?[bB]|[iI])? *)$",
    "minimum": -1
});

written_as_text!(Limit<Count>, "CountLimit", {
    "description": "A number greater than 0, or `unlimited`.",
    "type": ["string", "integer"],
    "pattern": "^(-1|unlimited|[1-9][0-9]*)$",
    "minimum": -1
});

/// A number greater than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count(u32);

impl Count {
    /// Makes a count; 0 is none.
    pub const fn new(count: u32) -> Option<Self> {
        if count == 0 { None } else { Some(Self(count)) }
    }

    /// Returns the number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Why a text is no count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a number from 1 to 2147483647, nor unlimited")]
pub struct CountError(String);

impl FromStr for Count {
    type Err = CountError;

    fn from_str(text: &str) -> Result<Self, CountError> {
        let count = text.parse().ok().filter(|count| i32::try_from(*count).is_ok());
        count
            .and_then(Self::new)
            .ok_or_else(|| CountError(text.to_owned()))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A limit of processes: one number, or a soft and a hard one; -1 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// What processes start with.
    pub soft: i64,
    /// What they may raise it to.
    pub hard: i64,
}

/// The fields of a limit of processes.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UlimitFields {
    /// What processes start with.
    #[schemars(range(min = -1))]
    soft: i64,
    /// What they may raise it to.
    #[schemars(range(min = -1))]
    hard: i64,
}

impl Form for Ulimit {
    const EXPECTED: &'static str = "a number, or a map with `soft` and `hard`";
    type Map = UlimitFields;
    type Item = Absent;

    fn from_text(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(limit) if limit >= -1 => Ok(Self {
                soft: limit,
                hard: limit,
            }),
            Ok(_) | Err(_) => Err(format!("expected {}, found `{text}`", Self::EXPECTED)),
        }
    }

    fn from_map(UlimitFields { soft, hard }: UlimitFields) -> Result<Self, String> {
        if hard != -1 && (soft == -1 || soft > hard) {
            return Err("`soft` is greater than `hard`".into());
        }
        Ok(Self { soft, hard })
    }
}

impl JsonSchema for Ulimit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Ulimit".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let choices = vec![
            generator.subschema_for::<i64>(),
            generator.subschema_for::<UlimitFields>(),
        ];
        form::one_of("One number, or a soft and a hard one; -1 is no limit.", choices)
    }
}

formed!(Ulimit);

impl Resources {
    /// The least memory an engine accepts as a limit.
    pub const LEAST_MEMORY: Memory = Memory::mebibytes(6);

    /// Returns what is wrong with the limits taken together, with the key to blame.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let Self {
            cpus: _,
            memory,
            memory_swap,
            reservation,
            pids: _,
            shm: _,
            ulimits: _,
        } = self;
        let mut faults = Vec::new();
        if let Some(memory) = memory.filter(|memory| *memory < Self::LEAST_MEMORY) {
            faults.push((
                "memory",
                format!("a memory limit is at least {}, not {memory}", Self::LEAST_MEMORY),
            ));
        }
        match (memory_swap, memory) {
            (Some(_), None) => faults.push((
                "memorySwap",
                "`memorySwap` needs `memory`: it counts both together".into(),
            )),
            (Some(Limit::At(swap)), Some(memory)) if swap < memory => {
                faults.push((
                    "memorySwap",
                    format!("`memorySwap` counts memory and swap together, so it is at least {memory}"),
                ));
            }
            (Some(_), Some(_)) | (None, _) => {}
        }
        if let (Some(reservation), Some(memory)) = (reservation, memory)
            && reservation > memory
        {
            faults.push((
                "reservation",
                format!("`reservation` is greater than the limit of {memory}"),
            ));
        }
        faults
    }
}

//! Which version of its API is spoken with an engine, and what it says about itself.

use jiff::Timestamp;

use super::bounds::READ_LIMIT;
use super::error::Failure;
use super::request::question;
use super::{DockerEngine, decode, within};
use crate::engine::EngineError;
use crate::observed::EngineInfo;

/// The version of the API that is spoken where the engine can: what it means was tried. Engines up to 28 speak
/// older ones too, later ones have a minimum above 1.41.
const SPOKEN: Api = Api(1, 45);
/// The oldest version of the API that serves, of engine 20.10.
const OLDEST: Api = Api(1, 41);

/// The newest version of the API of an engine that is known to speak [`SPOKEN`] too.
const TRIED: Api = Api(1, 52);

/// A version of the engine's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Api(pub(super) u32, pub(super) u32);

impl Api {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }

    /// Chooses a version from an engine's oldest to its newest.
    pub(super) fn choose(oldest: Self, newest: Self) -> Option<Self> {
        (newest >= OLDEST).then(|| SPOKEN.min(newest).max(oldest))
    }
}

impl std::fmt::Display for Api {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

/// What is known of an engine.
#[derive(Clone, Default)]
pub(super) enum Known {
    /// Nothing.
    #[default]
    Nothing,
    /// A version of the API was agreed on.
    Api,
    /// Everything that it says about itself.
    All(EngineInfo),
}

impl DockerEngine {
    /// Agrees with the engine on the version of the API, once; whoever comes meanwhile waits for it.
    ///
    /// A ping is answered a hundred times sooner than the question for everything about the engine, and says enough
    /// where the engine is one of those that were tried.
    pub(super) async fn negotiate(&self) -> Result<(), Failure> {
        let mut known = self.known.lock().await;
        if !matches!(*known, Known::Nothing) {
            return Ok(());
        }
        let ping = within(READ_LIMIT, async { Ok((self.open)(question("/_ping")?).await?) }).await?;
        let newest = ping.api.as_deref().and_then(Api::parse);
        if let Some(newest) = newest.filter(|newest| (OLDEST..=TRIED).contains(newest)) {
            self.prefix.set(Some(SPOKEN.min(newest).to_string()));
            *known = Known::Api;
            return Ok(());
        }
        *known = Known::All(self.ask().await?);
        Ok(())
    }

    /// Asks the engine about itself, and speaks the version of its API that suits both from then on.
    async fn ask(&self) -> Result<EngineInfo, Failure> {
        let version = within(READ_LIMIT, async { Ok(self.client.version().await?) }).await?;
        let oldest = version
            .min_api_version
            .as_deref()
            .and_then(Api::parse)
            .unwrap_or(OLDEST);
        let info = decode::engine(&self.host, version);
        let Some(newest) = Api::parse(&info.api_version) else {
            return Err(EngineError::Unexpected {
                call: "Version: it has no API version".to_owned(),
            }
            .into());
        };
        let Some(api) = Api::choose(oldest, newest) else {
            let message = format!(
                "the engine {} speaks API {newest}; {OLDEST} (Docker 20.10) is the oldest that serves",
                info.version
            );
            return Err(EngineError::Refused { message }.into());
        };
        self.prefix.set(Some(api.to_string()));
        Ok(info)
    }

    /// Returns the id of the engine. It takes a question for everything that the engine knows of its
    /// machine, and is asked for once as long as the connection holds.
    pub(super) async fn identity(&self) -> Result<String, Failure> {
        let mut identity = self.identity.lock().await;
        if let Some(known) = &*identity {
            return Ok(known.clone());
        }
        let id = self.client.info().await?.id;
        let id = id.filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| EngineError::Unexpected {
            call: "Identify: it has no id".to_owned(),
        })?;
        *identity = Some(id.clone());
        Ok(id)
    }

    /// Returns the time that the engine has.
    pub(super) async fn clock(&self) -> Result<Timestamp, Failure> {
        let time = self.client.info().await?.system_time;
        let time = time.and_then(|time| time.parse().ok());
        Ok(time.ok_or_else(|| EngineError::Unexpected {
            call: "Clock: it has no time".to_owned(),
        })?)
    }

    /// Returns what the engine says about itself, asked for once as long as the connection holds.
    pub(super) async fn info(&self) -> Result<EngineInfo, Failure> {
        if let Known::All(info) = &*self.known.lock().await {
            return Ok(info.clone());
        }
        let info = self.ask().await?;
        *self.known.lock().await = Known::All(info.clone());
        Ok(info)
    }

    /// Forgets everything about the engine: it may be another one when it answers again.
    pub(super) async fn forget(&self) {
        *self.known.lock().await = Known::Nothing;
        *self.identity.lock().await = None;
    }
}

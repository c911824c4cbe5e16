//! What went wrong, told by what the caller may do about it. Pure.

use std::io;
use std::time::Duration;

use bollard::errors::Error;

use crate::call::Call;
use crate::engine::EngineError;

/// A failure on the way to an answer.
pub(super) enum Failure {
    /// bollard's error, to be read in the light of the call.
    Api(Error),
    /// Already told.
    Told(EngineError),
    /// No answer in time.
    Late(Duration),
    /// The engine never heard of the call: what failed came before it.
    Before(Box<Failure>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Api(error)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Told(error)
    }
}

impl Failure {
    /// Says what the failure of a call means.
    pub(super) fn tell(self, call: &Call, host: &str) -> EngineError {
        match self {
            Self::Told(error) => error,
            Self::Before(failure) => match failure.tell(call, host) {
                EngineError::Unreachable {
                    host,
                    message,
                    denied,
                    heard: _,
                } => EngineError::Unreachable {
                    host,
                    message,
                    denied,
                    heard: false,
                },
                other => other,
            },
            Self::Late(limit) => EngineError::Unreachable {
                host: host.to_owned(),
                message: format!("no answer within {} s", limit.as_secs()),
                denied: false,
                heard: true,
            },
            Self::Api(Error::DockerResponseServerError { status_code, message }) => {
                status(call, status_code, message.trim().to_owned())
            }
            Self::Api(Error::DockerStreamError { error }) => worked(call, error.trim().to_owned()),
            Self::Api(
                error @ (Error::JsonDataError { .. }
                | Error::JsonSerdeError { .. }
                | Error::StrParseError { .. }),
            ) => EngineError::Unexpected {
                call: format!("{}: {error}", name(call)),
            },
            Self::Api(error) => unreachable(host, &error),
        }
    }
}

/// Reads a status of HTTP. Engines say 500 for much that is no failure of theirs, so the call matters.
fn status(call: &Call, code: u16, message: String) -> EngineError {
    let taken = message.contains("is already in use") || message.contains("already exists");
    match (code, call) {
        (500.., Call::PullImage { .. } | Call::BuildImage(_)) if is_stopping(&message) => {
            EngineError::Failed { message }
        }
        (_, Call::PullImage { .. } | Call::BuildImage(_)) => EngineError::Work {
            message,
            line: None,
            log: Vec::new(),
        },
        // Whoever is not let in there is not let in the next time.
        (_, Call::AskRegistry { .. }) if is_refusal(&message) => EngineError::Refused { message },
        (404, _) => EngineError::NotFound { message },
        (409, _) => EngineError::Conflict { message },
        // Podman.
        (500, Call::CreateContainer(_) | Call::CreateNetwork { .. } | Call::CreateVolume { .. }) if taken => {
            EngineError::Conflict { message }
        }
        // It ended between the two requests for a command; 20.10 says so as if something were broken.
        (500, Call::FollowExec { .. } | Call::InspectExec { .. }) if message.contains("is not running") => {
            EngineError::Conflict { message }
        }
        // A missing command, a taken port, a limit below what is in use, a read-only root.
        (500, Call::StartContainer { .. } | Call::UpdateContainer { .. } | Call::Upload { .. })
            if !is_passing(&message) =>
        {
            EngineError::Refused { message }
        }
        (408 | 429 | 500 | 502.., _) => EngineError::Failed { message },
        _ => EngineError::Refused { message },
    }
}

/// Says whether the words are of a registry that does not know us, or does not let us in.
fn is_refusal(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["unauthorized", "no basic auth credentials", "denied"]
        .iter()
        .any(|words| message.contains(words))
}

/// Says whether the words of a 500 are of a trouble that may be gone the next time.
fn is_passing(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "no space left",
        "timeout",
        "timed out",
        "deadline exceeded",
        "unavailable",
        "try again",
        "connection",
    ]
    .iter()
    .any(|words| message.contains(words))
        || is_stopping(&message)
}

/// Says whether the words are of an engine that is being stopped while it works.
fn is_stopping(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "context canceled",
        "transport is closing",
        "shutting down",
        "error reading from server: eof",
        "database not open",
        "failed to update store",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// An error in the stream of an answer that began well.
fn worked(call: &Call, message: String) -> EngineError {
    match call {
        Call::PullImage { .. } | Call::BuildImage(_) if !is_stopping(&message) => EngineError::Work {
            message,
            line: None,
            log: Vec::new(),
        },
        _ => EngineError::Failed { message },
    }
}

/// Says what the system said, not the layers between.
fn unreachable(host: &str, error: &Error) -> EngineError {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    let (mut denied, mut heard) = (false, true);
    loop {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            denied |= error.kind() == io::ErrorKind::PermissionDenied;
            heard &= !is_unconnected(error);
        }
        match cause.source() {
            Some(source) => cause = source,
            None => break,
        }
    }
    EngineError::Unreachable {
        host: host.to_owned(),
        message: cause.to_string(),
        denied,
        heard,
    }
}

/// Says whether an error is one that only whoever is not connected yet meets.
pub(super) fn is_unconnected(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    )
}

/// Returns the word for a call.
pub(super) fn name(call: &Call) -> String {
    call.name()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Create;
    use crate::label::Labels;
    use crate::spec::ContainerSpec;

    fn told(call: &Call, status_code: u16, message: &str) -> EngineError {
        let message = message.to_owned();
        Failure::Api(Error::DockerResponseServerError { status_code, message }).tell(call, "unix:///s")
    }

    #[test]
    fn a_status_means_what_it_means_for_its_call() {
        let start = Call::StartContainer {
            container: "x".to_owned(),
        };
        let pull = Call::PullImage {
            reference: "x:1".to_owned(),
        };
        let create = Create {
            name: "x".to_owned(),
            labels: Labels::new(),
            spec: ContainerSpec::default(),
        };
        let create = Call::CreateContainer(Box::new(create));
        for (call, code, message, expected) in [
            (&start, 404, "No such container: x", "NotFound"),
            (&create, 409, "Conflict", "Conflict"),
            (
                &create,
                500,
                "the container name \"x\" is already in use",
                "Conflict",
            ),
            (&create, 500, "something broke", "Failed"),
            (&create, 400, "invalid mount config", "Refused"),
            (&create, 403, "denied by a plugin", "Refused"),
            (&start, 400, "exec: \"x\": executable file not found", "Refused"),
            (&start, 500, "driver failed: port is already allocated", "Refused"),
            (&start, 500, "write /x: no space left on device", "Failed"),
            (&start, 500, "context deadline exceeded", "Failed"),
            (&start, 503, "busy", "Failed"),
            (&Call::Version, 429, "slow down", "Failed"),
            (&Call::Version, 500, "what", "Failed"),
            (&pull, 404, "manifest unknown", "Work"),
            (&pull, 500, "dial tcp: no such host", "Work"),
            (&pull, 500, "Get \"https://r/v2/\": context canceled", "Failed"),
            (
                &start,
                500,
                "rpc error: code = Canceled desc = grpc: the client connection is closing",
                "Failed",
            ),
            (
                &start,
                500,
                "error reading from server: EOF: unavailable",
                "Failed",
            ),
        ] {
            let error = told(call, code, message);
            assert!(
                format!("{error:?}").starts_with(expected),
                "{code} {message}: {error:?}"
            );
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn silence_is_unreachable_and_says_how_long_it_lasted() {
        let error = Failure::Late(Duration::from_secs(60)).tell(&Call::Version, "unix:///s");
        assert!(error.is_retryable());
        assert_eq!(
            error.to_string(),
            "the engine at unix:///s cannot be reached: no answer within 60 s"
        );
    }

    #[test]
    fn the_word_for_a_call_is_its_name() {
        assert_eq!(name(&Call::Version), "Version");
        assert_eq!(
            name(&Call::InspectImage {
                image: "x".to_owned()
            }),
            "InspectImage"
        );
    }
}

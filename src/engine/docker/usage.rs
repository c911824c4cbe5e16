//! How much room things take, as the engine measures it.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;

use super::DockerEngine;
use super::connect::Stream;
use super::error::Failure;
use super::request::question;
use crate::call::Usage;
use crate::engine::EngineError;

/// The size of the largest answer that is read: some hundred thousand objects.
const LARGEST: usize = 256 << 20;
/// What an engine says that measures for somebody else.
const AT_WORK: &str = "operation is already running";
/// How long until it is asked again.
const AGAIN: Duration = Duration::from_millis(100);

impl DockerEngine {
    /// Measures. The engine looks at every file of every volume, so this takes its time; and it does that for one at a
    /// time, so whoever comes meanwhile asks again, as long as the call may take.
    pub(super) async fn usage(&self) -> Result<Usage, Failure> {
        self.negotiate().await?;
        let body = loop {
            let (status, body) = self.measured().await?;
            if status == 200 {
                break body;
            }
            let told: Value = serde_json::from_slice(&body).unwrap_or_default();
            let told = told["message"].as_str().map(str::to_owned);
            let message = told.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
            if !message.contains(AT_WORK) {
                return Err(EngineError::Failed { message }.into());
            }
            tokio::time::sleep(AGAIN).await;
        };
        let answer: Value = serde_json::from_slice(&body).map_err(|error| EngineError::Unexpected {
            call: format!("MeasureUsage: {error}"),
        })?;
        Ok(decode(&answer))
    }

    /// Asks once, and returns the status and the whole answer.
    async fn measured(&self) -> Result<(u16, Vec<u8>), Failure> {
        let Stream {
            status, mut pieces, ..
        } = (self.open)(question("/system/df?verbose=1")?).await?;
        let mut body = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|message| EngineError::Failed { message })?;
            body.extend_from_slice(&piece);
            if body.len() > LARGEST {
                let message = "it measures more than can be read".to_owned();
                return Err(EngineError::Refused { message }.into());
            }
        }
        Ok((status, body))
    }
}

/// Reads both forms of the answer: lists of their own, or lists beside their sums.
fn decode(answer: &Value) -> Usage {
    let items = |old: &str, new: &str| {
        let list = answer[old].as_array().or_else(|| answer[new]["Items"].as_array());
        list.map(Vec::as_slice).unwrap_or_default()
    };
    // A number below zero is one that was not measured.
    let sized = |item: &Value, name: &str, size: Option<i64>| {
        Some((item[name].as_str()?.to_owned(), u64::try_from(size?).ok()?))
    };
    let alone = |item: &Value| {
        let shared = item["SharedSize"].as_i64().filter(|size| *size >= 0)?;
        Some(item["Size"].as_i64()?.saturating_sub(shared))
    };
    Usage {
        images: items("Images", "ImageUsage")
            .iter()
            .filter_map(|item| sized(item, "Id", alone(item)))
            .collect(),
        volumes: items("Volumes", "VolumeUsage")
            .iter()
            .filter_map(|item| sized(item, "Name", item["UsageData"]["Size"].as_i64()))
            .collect(),
        containers: items("Containers", "ContainerUsage")
            .iter()
            .filter_map(|item| sized(item, "Id", Some(item["SizeRw"].as_i64().unwrap_or_default())))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_of_the_answer_say_the_same() {
        let images = json!([{ "Id": "sha256:a", "Size": 10, "SharedSize": 4 }, { "Id": "b", "Size": 3, "SharedSize": -1 }]);
        let volumes = json!([{ "Name": "v", "UsageData": { "Size": 7 } }, { "Name": "w", "UsageData": { "Size": -1 } }]);
        let containers = json!([{ "Id": "c", "SizeRw": 5 }, { "Id": "d" }]);
        let usage = decode(&json!({ "Images": images, "Volumes": volumes, "Containers": containers }));
        let recent = json!({
            "ImageUsage": { "Items": images }, "VolumeUsage": { "Items": volumes }, "ContainerUsage": { "Items": containers },
        });
        assert_eq!(decode(&recent), usage);
        assert_eq!(usage.images, [("sha256:a".to_owned(), 6)].into());
        assert_eq!(usage.volumes, [("v".to_owned(), 7)].into());
        assert_eq!(
            usage.containers,
            [("c".to_owned(), 5), ("d".to_owned(), 0)].into()
        );
        assert_eq!(decode(&json!("nonsense")), Usage::default());
    }
}

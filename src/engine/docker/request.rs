//! Requests whose answers are read while they come.

use bollard::BollardRequest;
use bollard::errors::Error;

/// Returns a request that only asks.
pub(super) fn question(path: &str) -> Result<BollardRequest, Error> {
    let mut request = BollardRequest::new(bollard::body_full(Vec::new().into()));
    *request.uri_mut() = path.parse()?;
    Ok(request)
}

/// Returns a request for work. The body is that of a request without address.
pub(super) fn order(
    path: &str,
    query: &[(&str, String)],
    mut request: BollardRequest,
) -> Result<BollardRequest, Error> {
    let query: Vec<String> = query
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    *request.method_mut() = hyper::Method::POST;
    *request.uri_mut() = format!("{path}?{}", query.join("&")).parse()?;
    Ok(request)
}

/// Returns text as a part of a query.
pub(super) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_survives_in_a_query() {
        assert_eq!(encoded(r#"{"a":["b c"]}"#), "%7B%22a%22%3A%5B%22b%20c%22%5D%7D");
        let request = question("/x").and_then(|empty| {
            let query = [
                ("a", "1 2".to_owned()),
                ("b", String::new()),
                ("c", "3".to_owned()),
            ];
            order("/build", &query, empty)
        });
        let request = request.map_err(|error| error.to_string()).expect("a request");
        assert_eq!(request.uri().to_string(), "/build?a=1%202&c=3");
    }
}

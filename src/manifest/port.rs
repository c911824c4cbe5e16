//! Published ports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::written::written_as_text;

/// A port of a container, published on an address of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSpec {
    /// The address on the host; 127.0.0.1 unless one is given.
    pub address: IpAddr,
    /// The port on the host.
    pub host: u16,
    /// The port in the container.
    pub container: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            host,
            container,
            protocol,
        } = self;
        match address {
            IpAddr::V4(address) => write!(f, "{address}:{host}:{container}/{protocol}"),
            IpAddr::V6(address) => write!(f, "[{address}]:{host}:{container}/{protocol}"),
        }
    }
}

/// The protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP (default).
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// One entry of `ports`: a port, or a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    address: IpAddr,
    host: (u16, u16),
    container: (u16, u16),
    protocol: Protocol,
}

impl PortRange {
    /// Returns the ports of the range.
    pub fn ports(&self) -> impl Iterator<Item = PortSpec> {
        let Self {
            address,
            host,
            container,
            protocol,
        } = *self;
        (host.0..=host.1)
            .zip(container.0..=container.1)
            .map(move |(host, container)| PortSpec {
                address,
                host,
                container,
                protocol,
            })
    }

    /// Returns what it takes of the host: of two entries that take the same, the later replaces the earlier.
    pub fn published(&self) -> (IpAddr, (u16, u16), Protocol) {
        (self.address, self.host, self.protocol)
    }
}

/// Why a text is no port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a port: {reason}")]
pub struct PortError {
    text: String,
    reason: &'static str,
}

const SHAPE: &str = "write 3000, 3000:3000, 127.0.0.1:3000:3000 or 3000:3000/udp";

impl FromStr for PortRange {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let wrong = |reason| PortError {
            text: text.to_owned(),
            reason,
        };
        let (ports, protocol) = match text.trim().rsplit_once('/') {
            None => (text.trim(), Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((ports, "sctp")) => (ports, Protocol::Sctp),
            Some(_) => return Err(wrong("the protocol after `/` is tcp, udp or sctp")),
        };
        let (address, ports) = match ports.strip_prefix('[') {
            Some(rest) => {
                let (address, ports) = rest.split_once("]:").ok_or_else(|| wrong(SHAPE))?;
                let address = address
                    .parse()
                    .map_err(|_| wrong("the address in brackets is not an IPv6 address"))?;
                (IpAddr::V6(address), ports)
            }
            None if ports.matches(':').count() == 2 => {
                let (address, ports) = ports.split_once(':').ok_or_else(|| wrong(SHAPE))?;
                let address = address
                    .parse()
                    .map_err(|_| wrong("the address before the ports is not an IPv4 address"))?;
                (IpAddr::V4(address), ports)
            }
            None => (IpAddr::V4(Ipv4Addr::LOCALHOST), ports),
        };
        let (host, container) = ports.split_once(':').unwrap_or((ports, ports));
        let host = range(host).map_err(wrong)?;
        let container = range(container).map_err(wrong)?;
        if host.1 - host.0 != container.1 - container.0 {
            return Err(wrong("the two ranges have different lengths"));
        }
        Ok(Self {
            address,
            host,
            container,
            protocol,
        })
    }
}

fn range(text: &str) -> Result<(u16, u16), &'static str> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SHAPE);
        }
        text.parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or("a port is a number from 1 to 65535")
    };
    let (first, last) = (port(first)?, port(last)?);
    if first <= last {
        Ok((first, last))
    } else {
        Err("the range ends before it begins")
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}:")?,
            IpAddr::V6(address) => write!(f, "[{address}]:")?,
        }
        let range = |(first, last): (u16, u16)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        };
        write!(
            f,
            "{}:{}/{}",
            range(self.host),
            range(self.container),
            self.protocol
        )
    }
}

written_as_text!(PortRange, "Port", {
    "description": "A published port: `3000`, `3000:3000` (host, container), `127.0.0.1:3000:3000/udp`, `[::1]:3000:3000`, `3000-3005:3000-3005`. Without an address it is published on 127.0.0.1.",
    "type": ["string", "integer"],
    "pattern": "^ *([0-9.]+:|\\[[0-9a-fA-F:.]+\\]:)?[0-9]+(-[0-9]+)?(:[0-9]+(-[0-9]+)?)?(/(tcp|udp|sctp))? *$",
    "minimum": 1,
    "maximum": 65535
});

/// Reads the entries of `ports` and takes ranges apart.
pub fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PortSpec>, D::Error> {
    let ranges = Vec::<PortRange>::deserialize(deserializer)?;
    Ok(ranges.iter().flat_map(PortRange::ports).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        text.parse::<PortRange>()
            .unwrap()
            .ports()
            .map(|port| port.to_string())
            .collect()
    }

    #[test]
    fn ports_are_published_on_loopback_unless_an_address_is_given() {
        assert_eq!(all("3000"), ["127.0.0.1:3000:3000/tcp"]);
        assert_eq!(all("3000:80"), ["127.0.0.1:3000:80/tcp"]);
        assert_eq!(all("0.0.0.0:3000:80/udp"), ["0.0.0.0:3000:80/udp"]);
        assert_eq!(all("[::1]:3000:80"), ["[::1]:3000:80/tcp"]);
        assert_eq!(
            all("3000-3001:80-81"),
            ["127.0.0.1:3000:80/tcp", "127.0.0.1:3001:81/tcp"]
        );
        assert_eq!(all("65535"), ["127.0.0.1:65535:65535/tcp"]);
    }

    #[test]
    fn bad_ports_say_what_is_wrong() {
        let refused = |text: &str| text.parse::<PortRange>().unwrap_err().to_string();
        let refusals: Vec<_> = [
            "",
            "0",
            "70000",
            "3000:",
            "a:b",
            "3000/http",
            "1.2.3:1:2",
            "[::x]:1:2",
            "2-1",
            "1-2:1-3",
            "+1",
        ]
        .into_iter()
        .map(refused)
        .collect();
        insta::assert_snapshot!(refusals.join("\n"), @r"
        `` is not a port: write 3000, 3000:3000, 127.0.0.1:3000:3000 or 3000:3000/udp
        `0` is not a port: a port is a number from 1 to 65535
        `70000` is not a port: a port is a number from 1 to 65535
        `3000:` is not a port: write 3000, 3000:3000, 127.0.0.1:3000:3000 or 3000:3000/udp
        `a:b` is not a port: write 3000, 3000:3000, 127.0.0.1:3000:3000 or 3000:3000/udp
        `3000/http` is not a port: the protocol after `/` is tcp, udp or sctp
        `1.2.3:1:2` is not a port: the address before the ports is not an IPv4 address
        `[::x]:1:2` is not a port: the address in brackets is not an IPv6 address
        `2-1` is not a port: the range ends before it begins
        `1-2:1-3` is not a port: the two ranges have different lengths
        `+1` is not a port: write 3000, 3000:3000, 127.0.0.1:3000:3000 or 3000:3000/udp
        ");
    }
}

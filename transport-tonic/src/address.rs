//! `host:port`.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// Where a server listens: a host name or IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// Text that is not `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address of the form host:port: {problem}")]
pub struct AddressError {
    text: String,
    problem: &'static str,
}

impl Address {
    /// The host: a name, or an IP address (IPv6 without brackets).
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads `name:port`, `1.2.3.4:port` or `[::1]:port`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |problem| AddressError {
            text: text.to_owned(),
            problem,
        };
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| error("the port is missing"))?;
        let port = port
            .parse()
            .map_err(|_| error("the port is not a number up to 65535"))?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let inner = rest
                    .strip_suffix(']')
                    .ok_or_else(|| error("a bracket is missing"))?;
                inner
                    .parse::<Ipv6Addr>()
                    .map_err(|_| error("what is in brackets is not an IPv6 address"))?;
                inner
            }
            None => host,
        };
        if host.is_empty() {
            return Err(error("the host is missing"));
        }
        if host.contains(['/', '@', '?', '#', '[', ']', ' ']) {
            return Err(error("the host has a character that no host has"));
        }
        if host.contains(':') && host.parse::<Ipv6Addr>().is_err() {
            return Err(error("the host has a colon"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_both_kinds_of_ip() {
        for (text, host, port) in [
            ("pd-0.pd:2379", "pd-0.pd", 2379),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]:20160", "::1", 20160),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port));
            assert_eq!(address.to_string(), text);
        }
        assert_eq!("::1:80".parse::<Address>().unwrap().to_string(), "[::1]:80");
    }

    #[test]
    fn refuses_what_cannot_be_dialled() {
        for text in [
            "",
            "host",
            ":80",
            "host:",
            "host:99999",
            "http://host:80",
            "[::1:80",
            "[x]:80",
            "a b:1",
            "a:b:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}

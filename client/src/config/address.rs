//! Addresses of PD, as people write them.

use tikv_transport_tonic::Address;

use super::url;

/// An address with what was in front of it.
pub(super) struct Endpoint {
    pub(super) address: String,
    /// It was written with `https://`.
    pub(super) secure: bool,
}

/// Reads `host:port`, with or without `http://` or `https://`.
pub(super) fn parse(text: &str) -> Result<Endpoint, String> {
    if url::is_one(text) {
        // Addresses do not look like this; it is a URL that could not be read when it was given.
        return match url::parse(text) {
            Ok(_) => Err(format!(
                "`{text}` is a URL: give it alone, to Config::from or Config::from_url"
            )),
            Err(problem) => Err(problem),
        };
    }
    let (scheme, rest) = match text.trim().split_once("://") {
        Some((scheme, rest)) => (
            scheme.to_ascii_lowercase(),
            rest.strip_suffix('/').unwrap_or(rest),
        ),
        None => (String::new(), text.trim()),
    };
    let secure = match scheme.as_str() {
        "" | "http" => false,
        "https" => true,
        _ => {
            return Err(format!(
                "`{text}`: `{scheme}://` is not known; write host:port"
            ));
        }
    };
    if rest.is_empty() {
        return Err("an address is empty; write host:port".into());
    }
    let bare = rest.matches(':').count() > 1 && !rest.starts_with('[');
    if bare {
        return Err(format!(
            "`{text}`: write an IPv6 address in brackets, as in [::1]:2379"
        ));
    }
    if !rest.contains(':') || rest.ends_with(']') {
        return Err(format!(
            "`{text}` has no port; PD listens on 2379 unless told otherwise: {rest}:2379"
        ));
    }
    match rest.parse::<Address>() {
        Ok(address) if address.port() == 0 => Err(format!("`{text}`: nothing listens on port 0")),
        Ok(address) => Ok(Endpoint {
            address: address.to_string(),
            secure,
        }),
        Err(problem) => Err(problem.to_string()),
    }
}

/// All addresses, each once; or everything that is wrong with them.
pub(super) fn all(endpoints: &[String]) -> Result<Vec<String>, Vec<String>> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for endpoint in endpoints {
        match parse(endpoint) {
            Ok(Endpoint { address, .. }) if good.contains(&address) => {}
            Ok(Endpoint { address, .. }) => good.push(address),
            Err(problem) => bad.push(problem),
        }
    }
    if endpoints.is_empty() {
        bad.push("there is no address of PD; give at least one, as host:port".into());
    }
    if bad.is_empty() { Ok(good) } else { Err(bad) }
}

//! `tikv://` URLs.

use super::{Config, address, names};

const SCHEME: &str = "tikv://";

/// Whether the text means to be a `tikv://` URL.
pub(super) fn is_one(text: &str) -> bool {
    text.trim_start()
        .get(..SCHEME.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
}

pub(super) fn parse(text: &str) -> Result<Config, String> {
    let text = text.trim();
    if !is_one(text) {
        return Err(match text.split_once("://") {
            Some((scheme, _)) => format!("`{text}`: the scheme must be tikv, not {scheme}"),
            None => format!("`{text}` is not a URL of the form tikv://host:port,host:port"),
        });
    }
    let rest = &text[SCHEME.len()..];
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() {
        return Err(format!(
            "`{text}`: a path means nothing here; remove `/{path}`"
        ));
    }
    if text.contains('#') {
        return Err(format!(
            "`{text}`: a fragment means nothing here; remove what begins with `#`"
        ));
    }
    let mut config = Config::new(hosts.split(',').map(str::trim));
    address::all(&config.endpoints).map_err(|problems| problems.join("; "))?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        set(&mut config, &decode(name)?, &decode(value)?)?;
    }
    Ok(config)
}

fn set(config: &mut Config, name: &str, value: &str) -> Result<(), String> {
    match name {
        "keyspaceName" => config.keyspace = Some(value.to_owned()).filter(|name| !name.is_empty()),
        "disableGC" => {
            if !["", "true", "false"]
                .iter()
                .any(|known| value.eq_ignore_ascii_case(known))
            {
                return Err(format!("disableGC: `{value}` is neither true nor false"));
            }
        }
        "cluster" => {}
        _ => names::assign(config, name, value).map_err(|refused| refused.text)?,
    }
    Ok(())
}

/// Decodes `%41` and `+`.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next(), rest.next()]
                    .map(|digit| digit.and_then(|d| char::from(d).to_digit(16)));
                let [Some(high), Some(low)] = digits else {
                    return Err(format!(
                        "`{text}`: two hexadecimal digits must follow each %"
                    ));
                };
                u8::try_from(high * 16 + low).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| format!("`{text}` is not UTF-8"))
}

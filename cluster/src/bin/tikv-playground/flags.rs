//! The command line.

use std::net::IpAddr;

use tikv_cluster::{ApiVersion, server::PlaygroundOptions};
use tikv_core::codec::{KeyCodec, KeyMode};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
A TiKV cluster to play with: PD and stores behind real gRPC, in one process that keeps nothing.

Usage: tikv-playground [FLAG VALUE]...

  --pd-port PORT     port of PD's first member; 0 for any free one         [2379]
  --stores N         number of stores, 1 to 100                            [3]
  --pds N            number of members of PD, 1 to 9                       [1]
  --splits K1,K2,..  split the key space at these raw keys; `hex:6B31` is
                     a region bound as stores have it                      [none]
  --api VERSION      how stores understand keys: v1, v1ttl or v2           [v1]
  --seed N           what choices that nobody dictates are made from       [0]
  --host IP          address to listen on, and to tell clients             [127.0.0.1]
  --help, --version

When it is ready it prints one line of JSON with all addresses:
  {\"pd\":[\"127.0.0.1:2379\"],\"stores\":{\"1\":\"127.0.0.1:40001\"},\"api\":\"v1\",\"seed\":0}
It ends with exit code 0 on SIGINT and SIGTERM.";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Help,
    Version,
    Run(Box<PlaygroundOptions>),
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Asked, String> {
    let mut options = PlaygroundOptions::default();
    options.pd_port = 2379;
    let mut splits = None;
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let (flag, attached) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        match flag {
            "--help" | "-h" => return Ok(Asked::Help),
            "--version" | "-V" => return Ok(Asked::Version),
            "--pd-port" | "--stores" | "--pds" | "--splits" | "--api" | "--seed" | "--host" => {}
            _ if flag.starts_with('-') => return Err(format!("there is no flag {flag}")),
            _ => return Err(format!("`{argument}` is not a flag")),
        }
        let value = attached.or_else(|| arguments.next());
        let value = value.ok_or_else(|| format!("{flag} needs a value"))?;
        match flag {
            "--pd-port" => options.pd_port = number(flag, &value, 0, u16::MAX)?,
            "--stores" => options.cluster.stores = number(flag, &value, 1, 100)?,
            "--pds" => options.cluster.pds = number(flag, &value, 1, 9)?,
            "--splits" => splits = Some(value),
            "--api" => options.cluster.api_version = api(&value)?,
            "--seed" => options.cluster.seed = number(flag, &value, 0, u64::MAX)?,
            _ => options.host = host(&value)?,
        }
    }
    let api = options.cluster.api_version;
    for key in splits.iter().flat_map(|keys| keys.split(',')) {
        options.cluster.split_keys.push(split_key(key, api)?);
    }
    options.cluster.split_keys.sort();
    options.cluster.split_keys.dedup();
    Ok(Asked::Run(Box::new(options)))
}

fn number<T>(flag: &str, value: &str, least: T, most: T) -> Result<T, String>
where
    T: std::str::FromStr + std::fmt::Display + PartialOrd,
{
    let number = value.parse().ok().filter(|n| *n >= least && *n <= most);
    number.ok_or_else(|| format!("{flag} takes a number from {least} to {most}, not `{value}`"))
}

fn api(value: &str) -> Result<ApiVersion, String> {
    match value {
        "v1" => Ok(ApiVersion::V1),
        "v1ttl" => Ok(ApiVersion::V1Ttl),
        "v2" => Ok(ApiVersion::V2),
        _ => Err(format!("--api takes v1, v1ttl or v2, not `{value}`")),
    }
}

fn host(value: &str) -> Result<IpAddr, String> {
    let bare = value.trim_start_matches('[').trim_end_matches(']');
    bare.parse()
        .map_err(|_| format!("--host takes an IP address, not `{value}`"))
}

/// The bound between two regions that a raw key makes.
fn split_key(key: &str, api: ApiVersion) -> Result<Vec<u8>, String> {
    if key.is_empty() {
        return Err("--splits takes keys that are not empty, with commas between them".to_owned());
    }
    if let Some(digits) = key.strip_prefix("hex:") {
        return unhex(digits).ok_or_else(|| format!("`{digits}` is not a string of bytes in hex"));
    }
    let key = bytes::Bytes::copy_from_slice(key.as_bytes());
    Ok(match api {
        ApiVersion::V1 | ApiVersion::V1Ttl => key.to_vec(),
        // In the default keyspace, which fits.
        ApiVersion::V2 => match KeyCodec::v2(KeyMode::Raw, 0) {
            Ok(codec) => codec.encode_region_key(key).to_vec(),
            Err(error) => return Err(error.to_string()),
        },
    })
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    let pairs = (0..digits.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<PlaygroundOptions, String> {
        match parse(line.split_whitespace().map(str::to_owned))? {
            Asked::Run(options) => Ok(*options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_flags_it_is_a_small_cluster_on_the_usual_port() {
        let options = run("").unwrap();
        assert_eq!(
            (options.pd_port, options.cluster.stores, options.cluster.pds),
            (2379, 3, 1)
        );
    }

    #[test]
    fn every_flag_is_heard() {
        let line = "--pd-port 0 --stores=5 --pds 3 --splits m,c,hex:6B31,m --api v1ttl --seed 7 --host ::1";
        let options = run(line).unwrap();
        let cluster = &options.cluster;
        assert_eq!(
            (options.pd_port, cluster.stores, cluster.pds, cluster.seed),
            (0, 5, 3, 7)
        );
        assert_eq!(cluster.split_keys, [&b"c"[..], b"k1", b"m"]);
        assert_eq!(cluster.api_version, ApiVersion::V1Ttl);
        assert_eq!(options.host.to_string(), "::1");
    }

    #[test]
    fn bounds_in_a_keyspace_are_encoded() {
        let options = run("--splits m --api v2").unwrap();
        assert_eq!(options.cluster.split_keys, [b"r\0\0\0m\0\0\0\xfc"]);
    }

    #[test]
    fn help_and_version_come_first() {
        let of = |flag: &str| parse([flag.to_owned(), "--what".to_owned()]);
        assert_eq!(of("--help"), Ok(Asked::Help));
        assert_eq!(of("-V"), Ok(Asked::Version));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, words) in [
            ("--port 1", "there is no flag --port"),
            ("2379", "`2379` is not a flag"),
            ("--stores", "--stores needs a value"),
            (
                "--stores 0",
                "--stores takes a number from 1 to 100, not `0`",
            ),
            (
                "--pd-port 65536",
                "--pd-port takes a number from 0 to 65535",
            ),
            ("--seed x", "--seed takes a number"),
            ("--api v3", "--api takes v1, v1ttl or v2, not `v3`"),
            ("--host here", "--host takes an IP address, not `here`"),
            ("--splits a,,b", "keys that are not empty"),
            ("--splits hex:6", "`6` is not a string of bytes in hex"),
        ] {
            let error = run(line).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}

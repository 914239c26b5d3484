//! The command line.

use std::time::Duration;

pub(crate) const USAGE: &str = "\
Runs a TiKV cluster in this process, and a client that reads and writes while regions split, leaders move and a store stops.

usage: cargo run --example quickstart -- [options]

  --runtime tokio|async-std|smol   the async runtime of the client (tokio)
  --sockets                        real gRPC on loopback instead of calls within the process
  --pd HOST:PORT                   a cluster of your own instead of the embedded one; nothing is done to it but reading and
                                   writing keys that begin with \"quickstart/\"
  --seconds N                      how long to read and write (6)
  --seed N                         the embedded cluster's seed (1)
  --help                           this text";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Tokio,
    AsyncStd,
    Smol,
}

#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub(crate) runtime: Runtime,
    pub(crate) sockets: bool,
    pub(crate) pd: Option<String>,
    pub(crate) time: Duration,
    pub(crate) seed: u64,
}

/// What the command line asks for: a run, or only the usage.
pub(crate) enum Asked {
    Run(Args),
    Help,
}

pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut args = Args {
        runtime: Runtime::Tokio,
        sockets: false,
        pd: None,
        time: Duration::from_secs(6),
        seed: 1,
    };
    while let Some(word) = words.next() {
        let mut value = |what: &str| words.next().ok_or_else(|| format!("{word} needs {what}"));
        match word.as_str() {
            "--help" | "-h" => return Ok(Asked::Help),
            "--sockets" => args.sockets = true,
            "--runtime" => args.runtime = runtime(&value("a runtime")?)?,
            "--pd" => args.pd = Some(value("an address, as in 127.0.0.1:2379")?),
            "--seconds" => {
                args.time = Duration::from_secs(number(&word, &value("a number")?)?.clamp(1, 3_600))
            }
            "--seed" => args.seed = number(&word, &value("a number")?)?,
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    if args.sockets && args.pd.is_some() {
        return Err(
            "--sockets starts an embedded cluster, --pd uses one of your own: choose one".into(),
        );
    }
    Ok(Asked::Run(args))
}

fn runtime(name: &str) -> Result<Runtime, String> {
    match name {
        "tokio" => Ok(Runtime::Tokio),
        "async-std" => Ok(Runtime::AsyncStd),
        "smol" => Ok(Runtime::Smol),
        other => Err(format!(
            "unknown runtime {other:?}: choose tokio, async-std or smol"
        )),
    }
}

fn number(option: &str, text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{option} needs a number, not {text:?}"))
}

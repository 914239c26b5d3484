//! A TiKV cluster to play with: PD and stores behind real gRPC, in one small process that keeps nothing.
#![forbid(unsafe_code)]

mod flags;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use flags::{Asked, HELP};
use tikv_cluster::server::Playground;
use tokio::runtime::Builder;

fn main() -> ExitCode {
    let done = match flags::parse(std::env::args().skip(1)) {
        Ok(Asked::Help) => say(HELP),
        Ok(Asked::Version) => say(concat!("tikv-playground ", env!("CARGO_PKG_VERSION"))),
        Ok(Asked::Run(options)) => Playground::start(*options)
            .map_err(|error| error.to_string())
            .and_then(run),
        Err(wrong) => {
            complain(&format!("{wrong}\nTry tikv-playground --help"));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Says where everything is, and serves until a signal comes.
fn run(playground: Playground) -> Result<(), String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        // First the signals, so that one that comes right after the line is not missed.
        let ended = Ended::new().map_err(|error| format!("cannot wait for signals: {error}"))?;
        say(&playground.to_json())?;
        ended.wait().await;
        playground.shutdown().await;
        Ok(())
    })
}

#[cfg(unix)]
struct Ended(tokio::signal::unix::Signal, tokio::signal::unix::Signal);

#[cfg(unix)]
impl Ended {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self(
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        ))
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Ended;

#[cfg(not(unix))]
impl Ended {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn wait(self) {
        // If signals cannot be waited for, the process has to be killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn say(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot write to the standard output: {error}"))
}

fn complain(text: &str) {
    // Where should one complain about that failing?
    let _ = writeln!(io::stderr(), "tikv-playground: {text}");
}

//! A TiKV cluster in this process, and a client that works while the cluster is shaken.
//!
//! `cargo run --example quickstart -- --help` tells the options.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to a person"
)]

mod args;
mod load;
mod stage;
mod tour;

use std::{process::ExitCode, time::Duration};

use futures_util::future::{join, join_all};
use tikv::{Config, ErrorKind, KeyRange, RawClient, config::ApiVersion, runtime::AnyRuntime};

use args::{Args, Asked, Runtime};
use load::Tally;
use stage::Stage;

fn main() -> ExitCode {
    let args = match args::parse(std::env::args().skip(1)) {
        Ok(Asked::Run(args)) => args,
        Ok(Asked::Help) => {
            println!("{}", args::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(mistake) => {
            eprintln!("{mistake}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    let end = match args.runtime {
        Runtime::Tokio => match tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
        {
            Ok(tokio) => tokio.block_on(async {
                story(&args, AnyRuntime::current().ok_or("not inside tokio")?).await
            }),
            Err(e) => Err(format!("tokio does not start: {e}")),
        },
        Runtime::AsyncStd => async_std::task::block_on(story(
            &args,
            AnyRuntime::with_net(tikv_runtime_async_std::AsyncStd::new()),
        )),
        Runtime::Smol => smol::block_on(story(
            &args,
            AnyRuntime::with_net(tikv_runtime_async_std::Smol::new()),
        )),
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\n{why}");
            ExitCode::FAILURE
        }
    }
}

async fn story(args: &Args, runtime: AnyRuntime) -> Result<(), String> {
    println!("runtime: {:?}", args.runtime);
    let stage = Stage::set(args, &runtime)?;
    let db = connect(args, &runtime, &stage).await?;
    println!(
        "connected to cluster {} through PD {}",
        db.cluster_id(),
        db.pd().leader().unwrap_or_default()
    );
    tour::tour(&db, stage.keeps_ttl())
        .await
        .map_err(|e| format!("the tour ended early: {e}"))?;
    storm(args, &runtime, &stage, &db).await?;
    let range = KeyRange::prefix(tour::PREFIX);
    db.delete_range(range)
        .await
        .map_err(|e| format!("cleaning up failed: {e}"))?;
    db.close(Duration::from_secs(5))
        .await
        .map_err(|e| format!("closing failed: {e}"))?;
    stage.strike().await;
    println!("\nNothing was lost, nothing was doubled.");
    Ok(())
}

async fn connect(args: &Args, runtime: &AnyRuntime, stage: &Stage) -> Result<RawClient, String> {
    let config = match &args.pd {
        Some(address) => Config::from(address.as_str()),
        None => stage.config(),
    };
    let config = config.runtime(runtime.clone());
    RawClient::connect(config).await.map_err(|e| {
        let hint = match e.kind() {
            ErrorKind::InvalidConfig => "",
            _ => "\nIs that the address of a PD (not of a store), and is it reachable from here?",
        };
        format!("cannot connect: {e}{hint}")
    })
}

/// Workers read and write while the cluster is shaken.
async fn storm(
    args: &Args,
    runtime: &AnyRuntime,
    stage: &Stage,
    db: &RawClient,
) -> Result<(), String> {
    println!(
        "\n{} workers write and read back, for {} s:",
        load::WORKERS,
        args.time.as_secs()
    );
    let tally = Tally::default();
    let workers = join_all((0..load::WORKERS).map(|worker| load::work(db.clone(), worker, &tally)));
    let (ends, ()) = join(workers, shake(args, runtime, stage, &tally)).await;
    for end in ends {
        end?;
    }
    let count = |of: &std::sync::atomic::AtomicU64| of.load(std::sync::atomic::Ordering::Relaxed);
    println!(
        "\nDone: {} puts, {} gets, {} scans.",
        count(&tally.puts),
        count(&tally.gets),
        count(&tally.scans)
    );
    println!(
        "The slowest took {:.1} ms.",
        count(&tally.slowest) as f64 / 1_000.0
    );
    let retries = db.retries();
    if retries.is_empty() {
        println!("Nothing had to be tried again.");
    } else {
        println!("Tried again because of:");
        for (why, times) in retries {
            println!("  {times:>6} x {why}");
        }
    }
    stage.who_led_what();
    Ok(())
}

/// Shakes the cluster in ten steps, and says what was done meanwhile.
async fn shake(args: &Args, runtime: &AnyRuntime, stage: &Stage, tally: &Tally) {
    let began = runtime.now();
    let mut since = (0, 0);
    for step in 0..10 {
        let what = stage.shake(step);
        runtime
            .sleep_until(began + args.time * (step + 1) / 10)
            .await;
        load::progress(tally, &mut since, runtime.now() - began, &what);
    }
    tally.stop.store(true, std::sync::atomic::Ordering::Relaxed);
}

/// How the embedded cluster understands keys and values: with times to live.
const API: ApiVersion = ApiVersion::V1Ttl;

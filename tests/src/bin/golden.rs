//! Replays recordings of real servers against the embedded cluster:
//! `golden DIR [--only FAMILY,...] [--show N]`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

use std::{path::PathBuf, process::ExitCode};

use tikv_tests::golden::{Report, recordings, replay_file};

const USAGE: &str = "usage: golden DIR [--only FAMILY,...] [--show N]\n\n\
    Replays every *.jsonl and *.jsonl.gz in DIR, prints how many steps of each family were equal, different and not\n\
    yet supported, and fails if one was different. --only: just these families. --show: print N differences.";

struct Arguments {
    directory: PathBuf,
    only: Vec<String>,
    show: usize,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed = Arguments {
        directory: PathBuf::new(),
        only: Vec::new(),
        show: 0,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--only" => parsed.only = value()?.split(',').map(str::to_owned).collect(),
            "--show" => {
                parsed.show = value()?
                    .parse()
                    .map_err(|_| "--show needs a number".to_owned())?
            }
            "--help" | "-h" => return Err(String::new()),
            flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}")),
            directory => parsed.directory = directory.into(),
        }
    }
    if parsed.directory.as_os_str().is_empty() {
        return Err("no directory".to_owned());
    }
    Ok(parsed)
}

fn run(arguments: &Arguments) -> Result<Report, String> {
    let wanted =
        |family: &str| arguments.only.is_empty() || arguments.only.iter().any(|f| f == family);
    let name = |path: &PathBuf, error| format!("{}: {error}", path.display());
    let files =
        recordings(&arguments.directory).map_err(|error| name(&arguments.directory, error))?;
    if files.is_empty() {
        return Err(format!("{}: no recordings", arguments.directory.display()));
    }
    let mut report = Report::default();
    for file in files {
        report.merge(replay_file(&file, wanted).map_err(|error| name(&file, error))?);
    }
    Ok(report)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) if error.is_empty() => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let report = match run(&arguments) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let total = report.total();
    for difference in total.different.iter().take(arguments.show) {
        println!("{difference}\n");
    }
    println!("{report}");
    println!("{}", report.summary());
    if total.different.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

//! `kinesis-reader`: reads Amazon Kinesis streams into SQLite or files, each message exactly once.

use std::process::ExitCode;

use clap::Parser;
use kinesis_reader::args::Args;
use kinesis_reader::run;

fn main() -> ExitCode {
    let args = Args::parse();
    run::log(args.log_level());
    match run::run(args) {
        Ok(exit) => exit.into(),
        Err(error) => {
            run::tell(&error);
            error.exit().into()
        }
    }
}

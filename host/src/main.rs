//! `kinesis-reader`: reads Amazon Kinesis streams into SQLite or files, each message exactly once.

use std::process::ExitCode;

use kinesis_reader::args::Args;
use kinesis_reader::{run, terminal};

fn main() -> ExitCode {
    terminal::say_panics();
    let args = match Args::from_command_line(std::env::args_os()) {
        Ok(args) => args,
        Err(exit) => return exit.into(),
    };
    run::log(args.log_level());
    match run::run(args) {
        Ok(exit) => exit.into(),
        Err(error) => {
            run::tell(&error);
            error.exit().into()
        }
    }
}

//! `kinesis-reader`: reads Amazon Kinesis streams into SQLite or files, each message exactly once.

use std::panic::catch_unwind;
use std::process::ExitCode;

use kinesis_reader::cli::args::Args;
use kinesis_reader::cli::error::Exit;
use kinesis_reader::cli::run;
use kinesis_reader::terminal;

fn main() -> ExitCode {
    terminal::say_panics();
    let args = match Args::from_command_line(std::env::args_os()) {
        Ok(args) => args,
        Err(exit) => return exit.into(),
    };
    run::log(args.log_level());
    match catch_unwind(|| run::catch_signals().and_then(|()| run::run(args))) {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(error)) => {
            run::report_error(&error);
            error.exit().into()
        }
        // The panic was reported when it happened.
        Err(_) => Exit::Failed.into(),
    }
}

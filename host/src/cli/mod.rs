//! The command line: everything that knows flags, exit codes and hints, above the rest of the crate.
//!
//! This is the program `kinesis-reader`, and not meant as a library: its items may change with any version.
//!
//! | module | what |
//! |---|---|
//! | [`args`] | the flags as typed |
//! | [`plan`] | the flags as resolved: what to do |
//! | `run`, `shards`, [`show`], `replay` | the commands |
//! | [`report`] | progress, warnings, the summary and the report |
//! | [`error`] | exit codes, and hints that name flags |
//! | `files` | refuses to use one file for two purposes |
//! | `setup`, `stdout` | what the commands need from their surroundings |

pub mod args;
pub mod error;
mod files;
pub mod plan;
mod replay;
pub mod report;
mod run;
mod setup;
mod shards;
pub mod show;
mod stdout;

use std::ffi::OsString;
use std::panic::catch_unwind;
use std::process::ExitCode;

use clap::Parser;

use crate::destination::{self, stream_error};
use crate::terminal;
use args::Args;
use error::{Error, Exit};
use plan::{Environment, Job};

/// Runs the program.
pub fn main() -> ExitCode {
    terminal::say_panics();
    let args = match parse(std::env::args_os()) {
        Ok(args) => args,
        Err(exit) => return exit.into(),
    };
    setup::log(args.log_level());
    match catch_unwind(|| setup::catch_signals().and_then(|()| run_command(args))) {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(error)) => {
            report_error(&error);
            error.exit().into()
        }
        // The panic was reported when it happened.
        Err(_) => Exit::Failed.into(),
    }
}

/// Parses the command line, which starts with the program's name. If there is nothing to run, prints the help, the
/// version or a usage error, and returns how the program ends.
fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Args, Exit> {
    let line: Vec<OsString> = line.into_iter().collect();
    Args::try_parse_from(&line).map_err(|error| {
        if !error.use_stderr() {
            // Help or version. A closed stdout is not an error, but a full disk is.
            return match error.print() {
                Ok(()) => Exit::Reached,
                Err(error) => {
                    let error = Error::Destination(stream_error(error));
                    report_error(&error);
                    error.exit()
                }
            };
        }
        args::usage_error(error, &line).lines().for_each(terminal::say);
        Exit::Usage
    })
}

fn run_command(args: Args) -> Result<Exit, Error> {
    match Job::new(args, &Environment::read())? {
        Job::Read(plan) => run::read(&plan),
        Job::Shards(plan) => shards::list(&plan),
        Job::Show(plan) => match show::show(&plan.database, setup::terminal_width(), &mut setup::stdout()?) {
            Err(destination::Error::ClosedPipe) | Ok(()) => Ok(Exit::Reached),
            Err(error) => Err(error.into()),
        },
        Job::Replay(plan) => replay::replay(&plan),
    }
}

/// Reports on stderr why the program ends.
fn report_error(error: &Error) {
    if let Error::Destination(destination::Error::ClosedPipe) = error {
        return;
    }
    terminal::say(format_args!("error: {error}"));
    if let Some(hint) = error.hint() {
        terminal::say(format_args!("hint: {hint}"));
    }
}

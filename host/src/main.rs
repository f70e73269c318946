//! `kinesis-reader`: reads Amazon Kinesis streams into SQLite or files, each message exactly once.

use std::process::ExitCode;

fn main() -> ExitCode {
    kinesis_reader::cli::main()
}

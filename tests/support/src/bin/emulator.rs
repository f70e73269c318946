//! `cargo xtask emulator [PORT]`: runs ferrokinesis, an emulator of Kinesis, until its standard input ends.
//!
//! It prints its URL as the first line of standard output. Tests in other languages start it as a child process. It
//! ends with its parent, which holds the other end of its standard input.

use std::io::Read;
use std::process::ExitCode;

use test_support::emulator::{Emulator, REGION};

#[tokio::main]
async fn main() -> ExitCode {
    let port = match std::env::args().nth(1).map(|port| port.parse()) {
        None => 0,
        Some(Ok(port)) => port,
        Some(Err(_)) => {
            eprintln!("usage: cargo xtask emulator [PORT]");
            return ExitCode::from(2);
        }
    };
    match Emulator::ferrokinesis_on(port).await {
        Ok(emulator) => println!("{}", emulator.url),
        Err(error) => {
            eprintln!("error: cannot listen on port {port}: {error}");
            return ExitCode::FAILURE;
        }
    }
    eprintln!("region {REGION}, any credentials; ends with its standard input");
    let ended = tokio::task::spawn_blocking(|| {
        let mut ignored = [0; 256];
        while std::io::stdin().read(&mut ignored).is_ok_and(|read| read > 0) {}
    });
    match ended.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

//! Measures the time from starting the process to its first request, and how much of it is spent on loading the
//! component.

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use kinesis_reader::component::{Bounds, COMPONENT, Sandbox};

use super::Setting;
use super::cost::Spread;
use super::lines::program;

const STARTS: usize = 30;

pub(crate) fn bench(setting: &Setting) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").map_err(words)?;
    let url = format!("http://{}", listener.local_addr().map_err(words)?);
    let folder = tempfile::tempdir().map_err(words)?;
    let mut starts = Vec::new();
    for _ in 0..=STARTS {
        let mut command = program(setting, folder.path(), &url);
        command.args(["--to", "ndjson:-"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        let mut child = command.spawn().map_err(words)?;
        let (mut socket, _) = listener.accept().map_err(words)?;
        socket.read_exact(&mut [0]).map_err(words)?;
        starts.push(begun.elapsed().as_secs_f64() * 1000.0);
        child.kill().and_then(|()| child.wait()).map_err(words)?;
    }
    // The first run compiles the component, unless an earlier run did.
    let starts = Spread::of(starts.into_iter().skip(1));
    let itself = std::env::current_exe().map_err(words)?;
    let output = Command::new(itself).arg("--instantiate").output().map_err(words)?;
    println!("#### Start\n");
    println!("| | |");
    println!("|---|---|");
    println!(
        "| time from starting the process to its first request, already compiled | {:.1} ms ({:.1} to {:.1}) |",
        starts.median, starts.min, starts.max
    );
    print!("{}", String::from_utf8_lossy(&output.stdout));
    println!("| size of the component | {} bytes |\n", COMPONENT.len());
    Ok(())
}

/// Prints how long it takes to compile and instantiate the component.
pub(crate) fn instantiate() -> ExitCode {
    let sandbox = Sandbox::new(Bounds::default(), None).expect("a sandbox");
    let begun = Instant::now();
    let compiled = sandbox.compile(COMPONENT).expect("a valid component");
    let compiling = begun.elapsed().as_secs_f64() * 1000.0;
    let instantiating = Spread::of((0..STARTS).map(|_| {
        let begun = Instant::now();
        let loaded = compiled.instantiate().expect("an instance");
        let spent = begun.elapsed().as_secs_f64() * 1000.0;
        drop(loaded);
        spent
    }));
    println!("| compile the component | {compiling:.0} ms |");
    println!(
        "| instantiate it | {:.2} ms ({:.2} to {:.2}) |",
        instantiating.median, instantiating.min, instantiating.max
    );
    ExitCode::SUCCESS
}

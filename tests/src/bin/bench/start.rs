//! From the start of the process to its first request, and what loading the component takes of it.

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
    // The first one compiles, unless an earlier run did.
    let starts = Spread::of(starts.into_iter().skip(1));
    let itself = std::env::current_exe().map_err(words)?;
    let told = Command::new(itself).arg("--instantiate").output().map_err(words)?;
    println!("#### Start\n");
    println!("| | |");
    println!("|---|---|");
    println!(
        "| from the start of the process to its first request, code compiled before | {:.1} ms ({:.1} to {:.1}) |",
        starts.median, starts.min, starts.max
    );
    print!("{}", String::from_utf8_lossy(&told.stdout));
    println!("| the component | {} bytes |\n", COMPONENT.len());
    Ok(())
}

/// Tells how long it takes to compile the component and to make an instance of it.
pub(crate) fn instantiate() -> ExitCode {
    let sandbox = Sandbox::new(Bounds::default(), None).expect("a sandbox");
    let begun = Instant::now();
    let compiled = sandbox.compile(COMPONENT).expect("it compiles");
    let compiling = begun.elapsed().as_secs_f64() * 1000.0;
    let instantiating = Spread::of((0..STARTS).map(|_| {
        let begun = Instant::now();
        let loaded = compiled.instantiate().expect("an instance");
        let spent = begun.elapsed().as_secs_f64() * 1000.0;
        drop(loaded);
        spent
    }));
    println!("| compiling the component, once | {compiling:.0} ms |");
    println!(
        "| making an instance of it | {:.2} ms ({:.2} to {:.2}) |",
        instantiating.median, instantiating.min, instantiating.max
    );
    ExitCode::SUCCESS
}

//! `cargo xtask bench`: builds our reader and its peers, and compares them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Result, cargo, root, run, step, target_dir};
use crate::{edge, native, packages, setup};

/// Builds everything and runs the benchmark.
pub(crate) fn run_all(args: &[String]) -> Result<()> {
    match packages::includes(args, "edge") {
        true => edge::prepare()?,
        false => native::prepare()?,
    }
    step("programs", || native::compile(&["bench", "page_server", native::program()]))?;
    let peers = target_dir()?.join("peers");
    if !packages::only_packages(args) {
        step("peers: aws-sdk-kinesis", || build(&peers, "sdk", None))?;
        // Turn off the SHA instructions, which wasm does not have.
        step("peers: the machine natively", || {
            let v3 = if cfg!(target_arch = "x86_64") { "-C target-cpu=x86-64-v3 " } else { "" };
            build(&peers, "native", Some(&format!("{v3}--cfg sha2_backend=\"soft\"")))
        })?;
    }
    let dlt = args.iter().any(|arg| arg == "--dlt-source");
    let python = step("peers: boto3", || setup::python_peers(dlt));
    let mut bench = Command::new(native::built("bench")?);
    bench.args(args).current_dir(root());
    bench.env("KINESIS_READER_BIN", native::built(native::program())?);
    bench.env("KINESIS_READER_PEERS", &peers).env("KINESIS_READER_SCRIPTS", root().join("bench/peers"));
    packages::prepare(args, &mut bench);
    match python {
        Ok(python) => {
            bench.env("KINESIS_READER_PYTHON", python);
        }
        Err(_) => eprintln!("skipping Python: see above"),
    }
    run(&mut bench)
}

/// Builds a peer. Peers are separate workspaces with separate target directories, so their dependencies do not affect
/// ours.
fn build(target: &Path, peer: &str, flags: Option<&str>) -> Result<()> {
    let manifest: PathBuf = root().join("bench/peers").join(peer).join("Cargo.toml");
    let mut cargo = cargo();
    cargo
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target.join(peer));
    if let Some(flags) = flags {
        cargo.env("RUSTFLAGS", flags);
    }
    run(&mut cargo)
}

//! `cargo xtask edge`: the components that drain a stream from an HTTP request, each alone and with the reader within.

use std::path::PathBuf;
use std::process::Command;

use crate::guest::{self, EDGE_HTTP, EDGE_KV, Way};
use crate::native;
use crate::process::{Result, cargo, root, run, step};

/// Below half a megabyte each, so that a host fetches and starts them as it does the reader.
const SIZE_MAX: u64 = 450_000;

/// The same with the reader within.
const COMPOSED_SIZE_MAX: u64 = 750_000;

/// Makes the reader's component and all of these.
pub(crate) fn prepare() -> Result<()> {
    native::prepare()?;
    step("edge components", build)
}

/// Makes all of these, where the reader's component is built.
pub(crate) fn build() -> Result<()> {
    run(cargo().args(["build", "--release", "--workspace", "--bin", "compose"]))?;
    for (name, guest) in [("edge-kv", &EDGE_KV), ("edge-http", &EDGE_HTTP)] {
        run(&mut Way::find(guest)?.cargo(guest, "build")?)?;
        let made = guest.made(&format!("{}.wasm", name.replace('-', "_")))?;
        guest::place(&made, &folder().join(format!("{name}.wasm")), SIZE_MAX)?;
        let composed = made.with_file_name(format!("{name}.composed.wasm"));
        run(Command::new(native::built("compose")?).arg(&made).arg(guest::reader()).arg(&composed))?;
        guest::place(&composed, &folder().join(format!("{name}.composed.wasm")), COMPOSED_SIZE_MAX)?;
    }
    Ok(())
}

/// Where the components lie.
fn folder() -> PathBuf {
    root().join("guest/edge/component")
}

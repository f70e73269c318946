//! `compose SOCKET PLUG OUT`: satisfies the imports of one component with the exports of another, like `wac plug`.

use std::process::ExitCode;

use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, plug};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [socket, filling, out] = args.as_slice() else {
        eprintln!("usage: compose SOCKET PLUG OUT");
        return ExitCode::from(2);
    };
    match compose(socket, filling).and_then(|bytes| Ok(std::fs::write(out, bytes)?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot compose {socket} with {filling}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compose(socket: &str, filling: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut graph = CompositionGraph::new();
    let filling = Package::from_file("plug", None, filling, graph.types_mut())?;
    let filling = graph.register_package(filling)?;
    let socket = Package::from_file("socket", None, socket, graph.types_mut())?;
    let socket = graph.register_package(socket)?;
    plug(&mut graph, vec![filling], socket)?;
    Ok(graph.encode(EncodeOptions::default())?)
}

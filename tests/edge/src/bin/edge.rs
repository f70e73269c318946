//! `edge serve OPTIONS` serves the edge component over HTTP until it is killed, and prints its URL.
//! `edge wasmtime PROGRAM` drains a stream in `wasmtime serve`.

use std::path::Path;
use std::sync::Arc;

use edge_tests::host::{Host, engine};
use edge_tests::{Options, wasmtime};

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", options] => {
            let options: Options = serde_json::from_str(options).expect("the options are JSON");
            println!("{}", Arc::new(Host::new(&engine(), options)).serve().await);
            std::future::pending::<()>().await;
        }
        ["wasmtime", program] => {
            let calls = wasmtime::drain_stream(Path::new(program)).await;
            println!("10,000 messages over {calls} calls, each once; a concurrent call got 409");
        }
        _ => {
            eprintln!("usage: edge serve OPTIONS | edge wasmtime PROGRAM");
            std::process::exit(2);
        }
    }
}

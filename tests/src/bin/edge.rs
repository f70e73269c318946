//! `edge serve OPTIONS`: the edge component behind HTTP, until it is killed; it prints its URL.

use std::sync::Arc;

use tests::edge::Options;
use tests::edge::host::{Host, engine};

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", options] => {
            let options: Options = serde_json::from_str(options).expect("the options are JSON");
            println!("{}", Arc::new(Host::new(&engine(), options)).serve().await);
            std::future::pending::<()>().await;
        }
        _ => {
            eprintln!("usage: edge serve OPTIONS");
            std::process::exit(2);
        }
    }
}

//! `page_server SIZE MESSAGES SHARDS [aggregated]`: serves prepared pages until its standard input ends.
//!
//! Each shard has this many messages of about this many bytes. Once all pages are rendered, the URL is printed as the
//! first line of standard output.

use std::io::Read;
use std::net::TcpListener;
use std::process::ExitCode;

use bench::page_server::{Form, Pages, Server};

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_aggregated = arguments.pop_if(|last| last == "aggregated").is_some();
    let numbers: Vec<usize> = arguments.iter().map_while(|text| text.parse().ok()).collect();
    let &[size, messages, shards] = numbers.as_slice() else {
        eprintln!("usage: page_server SIZE MESSAGES SHARDS [aggregated]");
        return ExitCode::from(2);
    };
    let form = if is_aggregated { Form::aggregated(size, messages) } else { Form::of(size, messages) };
    let server = Server::new(Pages::render(form), shards);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("http://{}", listener.local_addr().expect("the listener is bound"));
    std::thread::spawn(move || server.serve(&listener));
    // The parent process holds the other end, so the server never outlives it.
    let mut ignored = [0; 256];
    while std::io::stdin().read(&mut ignored).is_ok_and(|read| read > 0) {}
    ExitCode::SUCCESS
}

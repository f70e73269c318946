//! The floor: the least that any reader has to do. Requests the same pages on a bare socket and writes their bytes to a
//! file without looking at them.
//!
//! `floor URL STREAM FILE`

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, stream, file] = arguments.as_slice() else { return Err("usage: floor URL STREAM FILE".into()) };
    let host = url.strip_prefix("http://").ok_or("not plain http")?;
    let socket = TcpStream::connect(host)?;
    socket.set_nodelay(true)?;
    let mut client = Client { host, socket: BufReader::with_capacity(256 << 10, socket), body: Vec::new() };
    let mut out = File::create(file)?;

    client.ask("ListShards", &format!(r#"{{"StreamName":"{stream}"}}"#))?;
    for shard in client.texts("ShardId") {
        let query = format!(r#"{{"StreamName":"{stream}","ShardId":"{shard}","ShardIteratorType":"TRIM_HORIZON"}}"#);
        client.ask("GetShardIterator", &query)?;
        let mut next = client.texts("ShardIterator").into_iter().next();
        while let Some(iterator) = next {
            client.ask("GetRecords", &format!(r#"{{"ShardIterator":"{iterator}","Limit":10000}}"#))?;
            out.write_all(&client.body)?;
            // The end of a page contains the next iterator. An empty page is the tip.
            let end = client.body.len().saturating_sub(1000);
            client.body.drain(..end);
            next = client.texts("NextShardIterator").into_iter().next().filter(|_| end > 0);
        }
    }
    Ok(())
}

struct Client<'a> {
    host: &'a str,
    socket: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Client<'_> {
    fn ask(&mut self, operation: &str, body: &str) -> Result<(), Box<dyn Error>> {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nX-Amz-Target: Kinesis_20131202.{operation}\r\n\
             Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.socket.get_mut().write_all(request.as_bytes())?;
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            self.socket.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse()?,
                Some(_) => {}
                None if line.trim_end().is_empty() => break,
                None => {}
            }
        }
        self.body.resize(length, 0);
        self.socket.read_exact(&mut self.body)?;
        Ok(())
    }

    /// Returns the values of all text members with this name.
    fn texts(&self, name: &str) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.body);
        let mark = format!("\"{name}\":\"");
        text.split(&mark).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
    }
}

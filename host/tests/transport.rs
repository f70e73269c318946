//! The transport against a server that misbehaves on purpose.
//!
//! The server is plain TCP, so that the tests determine every byte of a response.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use kinesis_reader::transport::endpoint::{Endpoint, Known};
use kinesis_reader::transport::{Body, Failure, Kinesis, Request, Response, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

const SECRET: &str = "MARKED-SECRET-KEY";
const TOKEN: &str = "MARKED-SESSION-TOKEN";
const BODY: &str = r#"{"StreamName":"MARKED-BODY"}"#;

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = Server::start(|_| ok("{}")).await;
    let kinesis = server.kinesis();
    for _ in 0..5 {
        let before = now_ms();
        let response = send(&kinesis).await.unwrap();
        let signed = response.signed.unwrap();
        assert!((before..=now_ms()).contains(&signed), "{signed}");
        assert_eq!((response.status, response.body), (200, Body::Json("{}".to_owned())));
        assert_eq!(response.aws_request_id.as_deref(), Some("request-1"));
        assert_eq!(response.date, Some(1_763_901_296_000));
    }
    assert_eq!((server.requests(), server.connections()), (5, 1));
}

#[tokio::test]
async fn a_request_is_complete_and_signed() {
    let server = Server::start(|_| ok("{}")).await;
    send(&server.kinesis()).await.unwrap();
    let seen = server.seen.lock().unwrap()[0].to_ascii_lowercase();
    assert!(seen.starts_with("post / http/1.1\r\n"), "{seen}");
    for header in [
        "content-type: application/x-amz-json-1.1\r\n".to_owned(),
        "x-amz-target: kinesis_20131202.getrecords\r\n".to_owned(),
        format!("host: {}\r\n", server.address),
        format!("content-length: {}\r\n", BODY.len()),
        format!("x-amz-security-token: {}\r\n", TOKEN.to_ascii_lowercase()),
        "user-agent: kinesis-reader/".to_owned(),
        "/us-east-1/kinesis/aws4_request, signedheaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target,".to_owned(),
    ] {
        assert!(seen.contains(&header), "{header}: {seen}");
    }
    assert!(seen.ends_with(&BODY.to_ascii_lowercase()), "{seen}");
}

#[tokio::test]
async fn bodies_of_any_kind_are_returned_unchanged() {
    let server = Server::start(|seen| match seen.number {
        0 => response("200 OK", "Content-Type: application/x-amz-cbor-1.1\r\n", &[0xa0, 0xff]),
        1 => response("503 Service Unavailable", "Content-Type: text/html\r\n", b"<html>busy</html>"),
        2 => response("200 OK", "Content-Type: application/x-amz-json-1.1\r\n", b"{\"a\":\"\xff\"}"),
        3 => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n".to_vec(),
        _ => response("302 Found", "Location: http://127.0.0.1:1/\r\n", b""),
    })
    .await;
    let kinesis = server.kinesis();
    for (status, body) in [
        (200, Body::Cbor(vec![0xa0, 0xff])),
        (503, Body::Json("<html>busy</html>".to_owned())),
        (200, Body::Json("{\"a\":\"\u{fffd}\"}".to_owned())),
        (200, Body::Json("{\"a\":1}".to_owned())),
        (302, Body::Json(String::new())),
    ] {
        let response = send(&kinesis).await.unwrap();
        assert!((response.status, &response.body) == (status, &body), "{status}: {:?}", response.body);
    }
    assert_eq!(server.requests(), 5, "a redirect is not followed");
}

#[tokio::test]
async fn no_response_in_time_is_transient() {
    let server = Server::start(|_| Vec::new()).await;
    let started = Instant::now();
    let mut request = request();
    request.timeout = Duration::from_millis(50);
    let failure = server.kinesis().send(request).await.unwrap_err();
    assert_eq!(failure, Failure::Transient("no response within: 50ms".to_owned()));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_broken_connection_is_transient() {
    for (bytes, words) in [
        (&b""[..], "the response ended early"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "the response ended early"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"Records\":[", "the response ended early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"Re", "the response ended early"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "the response is not HTTP"),
    ] {
        let server = Server::start(move |_| [bytes, CLOSE].concat()).await;
        let failure = send(&server.kinesis()).await.unwrap_err();
        assert!(
            matches!(&failure, Failure::Transient(why) if why.contains(words) && why.contains("127.0.0.1")),
            "{words}: {failure:?}"
        );
    }
}

#[tokio::test]
async fn a_reset_is_transient_and_the_next_request_succeeds() {
    let server = Server::start(|seen| if seen.number == 0 { RESET.to_vec() } else { ok("{}") }).await;
    let kinesis = server.kinesis();
    let failure = send(&kinesis).await.unwrap_err();
    assert!(matches!(&failure, Failure::Transient(why) if why.contains("connection reset")), "{failure:?}");
    assert_eq!(send(&kinesis).await.unwrap().status, 200);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_refused_connection_and_an_unknown_host_are_transient() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let failure = send(&kinesis(&format!("http://{unused}"), keys())).await.unwrap_err();
    assert_eq!(failure, Failure::Transient(format!("connection refused: {unused}")));

    let failure = send(&kinesis("http://kinesis.invalid", keys())).await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Transient(why) if why.contains("host not found: kinesis.invalid")),
        "{failure:?}"
    );
}

#[tokio::test]
async fn https_to_a_server_without_tls_is_permanent() {
    let server = Server::start(|_| b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let kinesis = kinesis(&format!("https://{}", server.address), keys());
    let failure = send(&kinesis).await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Permanent(why) if why.contains("the server does not speak TLS")),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_response_that_stalls_or_trickles_times_out() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{";
    let forms: [&'static [u8]; 3] =
        [&head.as_bytes()[..20], head.as_bytes(), b"HTTP/1.1 200 OK\r\nContent-Length: 60000000\r\n\r\n\0trickle"];
    for bytes in forms {
        let server = Server::start(move |_| bytes.to_vec()).await;
        let request = Request { timeout: Duration::from_millis(100), ..request() };
        let failure = server.kinesis().send(request).await.unwrap_err();
        assert_eq!(failure, Failure::Transient("no response within: 100ms".to_owned()));
    }
}

#[tokio::test]
async fn each_operation_has_a_limit_on_its_response() {
    for (operation, size_max, size) in [
        ("DescribeStreamSummary", 64 << 10, "64 KiB"),
        ("GetShardIterator", 64 << 10, "64 KiB"),
        ("ListShards", 16 << 20, "16 MiB"),
        ("GetRecords", 64 << 20, "64 MiB"),
        ("SomethingElse", 64 << 10, "64 KiB"),
    ] {
        let large = |length: usize| {
            // In chunks, so that the length is not announced.
            let piece = [format!("{:x}\r\n", length / 16).as_bytes(), &vec![b' '; length / 16], b"\r\n"].concat();
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &*piece.repeat(16), b"0\r\n\r\n"].concat()
        };
        let announced =
            move |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{{").into_bytes();
        let server = Server::start(move |seen| match seen.number {
            0 => large(size_max),
            1 => [&*large(size_max + 16), CLOSE].concat(),
            2 => [&*announced(size_max + 1), CLOSE].concat(),
            _ => [&*announced(99_999_999_999), CLOSE].concat(),
        })
        .await;
        let kinesis = server.kinesis();
        let send = || kinesis.send(Request { target: format!("Kinesis_20131202.{operation}"), ..request() });
        assert_eq!(send().await.unwrap().body, Body::Json(" ".repeat(size_max)), "{operation}");
        for _ in 0..3 {
            let failure = send().await.unwrap_err();
            let words = format!("the response is larger than {size}: {}", server.address);
            // The same page would be as large again. Other large responses may come from a middlebox.
            let expected = if size.ends_with("MiB") { Failure::Permanent(words) } else { Failure::Transient(words) };
            assert_eq!(failure, expected, "{operation}");
        }
    }
}

#[tokio::test]
async fn only_the_beginning_of_a_large_error_is_read() {
    for length in [1 << 20, 99_999_999_999_u64] {
        let server = Server::start(move |_| {
            let head = format!("HTTP/1.1 503 Service Unavailable\r\nContent-Length: {length}\r\n\r\n");
            [head.as_bytes(), &[b'x'; 1 << 20]].concat()
        })
        .await;
        let response = send(&server.kinesis()).await.unwrap();
        assert!(response.status == 503 && response.body == Body::Json("x".repeat(64 << 10)), "{response:?}");
    }
}

#[tokio::test]
async fn headers_are_limited() {
    for headers in ["X-A: b\r\n".repeat(1000), format!("X-A: {}\r\n", "b".repeat(1 << 20))] {
        let server = Server::start(move |_| {
            [b"HTTP/1.1 200 OK\r\n", headers.as_bytes(), b"Content-Length: 2\r\n\r\n{}", CLOSE].concat()
        })
        .await;
        let failure = send(&server.kinesis()).await.unwrap_err();
        assert!(matches!(&failure, Failure::Transient(why) if why.contains("the response is not HTTP")), "{failure:?}");
    }
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_once() {
    // The service's clock is an hour ahead. It sends its time when it refuses a signature.
    let server = Server::start(|seen| {
        let ahead = SystemTime::now() + Duration::from_secs(3600);
        let near = [0, 10].map(|seconds| amz_date(ahead - Duration::from_secs(seconds)));
        let date = seen.header("x-amz-date").unwrap();
        // Accept the same or the previous ten seconds.
        if near.iter().any(|near| near[..14] == date[..14]) {
            return ok("{}");
        }
        rejection("InvalidSignatureException", ahead)
    })
    .await;
    let kinesis = server.kinesis();
    assert_eq!(send(&kinesis).await.unwrap().status, 200);
    assert_eq!(server.requests(), 2);
    assert_eq!(send(&kinesis).await.unwrap().status, 200);
    assert_eq!(server.requests(), 3, "the offset is kept");
}

#[tokio::test]
async fn a_clock_is_not_corrected_twice_nor_for_a_small_difference() {
    for (ahead, requests) in [(3600, 2), (60, 1), (-3600, 2)] {
        let server = Server::start(move |_| {
            let now = SystemTime::now();
            let offset = Duration::from_secs(i64::unsigned_abs(ahead));
            rejection("SignatureDoesNotMatch", if ahead < 0 { now - offset } else { now + offset })
        })
        .await;
        let response = send(&server.kinesis()).await.unwrap();
        assert_eq!((response.status, server.requests()), (400, requests), "{ahead}");
    }
}

#[tokio::test]
async fn a_date_outside_of_2015_to_2100_corrects_no_clock() {
    for date in [
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 01 Jan 2100 00:00:00 GMT",
        "Wed, 31 Dec 2014 23:59:59 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Wed, 31 Dec 1969 23:59:59 GMT",
        "Mon, 01 Jan 1900 00:00:00 GMT",
        "Sat, 01 Jan 0000 00:00:00 GMT",
        "Sat, 01 Jan -999 00:00:00 GMT",
        "Sat, 31 Feb 2026 00:00:00 GMT",
        "Sat, 01 Jan 2026 24:61:61 GMT",
        "yesterday",
    ] {
        let server = Server::start(move |seen| match seen.number {
            0 => refusal("RequestTimeTooSkewed", date),
            _ => is_signed_at(seen, SystemTime::now()),
        })
        .await;
        let kinesis = server.kinesis();
        let (first, second) = (send(&kinesis).await.unwrap(), send(&kinesis).await.unwrap());
        assert_eq!((first.status, second.status, server.requests()), (400, 200, 2), "{date}");
    }
}

#[tokio::test]
async fn the_next_refusal_undoes_a_false_correction() {
    for date in ["Tue, 19 Jan 2038 03:14:08 GMT", "Thu, 31 Dec 2099 23:59:59 GMT", "Thu, 01 Jan 2015 00:00:00 GMT"] {
        // A middlebox with a wrong clock answers first.
        let server = Server::start(move |seen| match seen.number {
            0 => refusal("RequestTimeTooSkewed", date),
            _ => is_signed_at(seen, SystemTime::now()),
        })
        .await;
        let kinesis = server.kinesis();
        let response = send(&kinesis).await.unwrap();
        assert_eq!((response.status, server.requests()), (200, 3), "{date}");
        assert!(response.signed.unwrap().abs_diff(now_ms()) < 60_000, "{response:?}");
        assert_eq!((send(&kinesis).await.unwrap().status, server.requests()), (200, 4), "{date}");
    }
}

#[tokio::test]
async fn a_clock_that_is_decades_off_is_corrected() {
    for year in ["2015", "2038", "2099"] {
        let date = format!("Fri, 02 Jan {year} 03:04:05 GMT");
        let server = Server::start(move |seen| match seen.header("x-amz-date") {
            Some(signed) if signed.starts_with(&format!("{year}0102T0304")) => ok("{}"),
            _ => refusal("InvalidSignatureException", &date),
        })
        .await;
        let response = send(&server.kinesis()).await.unwrap();
        assert_eq!((response.status, server.requests()), (200, 2), "{year}");
    }
}

#[tokio::test]
async fn a_clock_is_corrected_at_most_twice_for_a_request() {
    let server = Server::start(|seen| {
        let ahead = Duration::from_secs(3600 * (seen.number as u64 + 1));
        rejection("RequestTimeTooSkewed", SystemTime::now() + ahead)
    })
    .await;
    let response = send(&server.kinesis()).await.unwrap();
    assert_eq!((response.status, server.requests()), (400, 3));
}

#[tokio::test]
async fn expired_credentials_are_replaced_once() {
    let server = Server::start(|seen| match seen.access_key().as_str() {
        "KEY2" => ok("{}"),
        _ => rejection("ExpiredTokenException", SystemTime::now()),
    })
    .await;
    let fetches = Arc::new(AtomicUsize::new(0));
    let kinesis = Arc::new(kinesis(&server.url(), Rotating { fetches: fetches.clone(), refuse_from: 9 }));

    // Several requests find the credentials expired at the same time, and share one fetch.
    let requests: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn({
                let kinesis = kinesis.clone();
                async move { send(&kinesis).await }
            })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().status, 200);
    }
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
    assert!(server.requests() <= 16, "{}", server.requests());
}

#[tokio::test]
async fn credentials_are_not_tried_again_if_fetching_does_not_help() {
    for name in ["UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException"] {
        // The provider returns the same keys again, so a second request would be useless.
        let server = Server::start(move |_| rejection(name, SystemTime::now())).await;
        let response = send(&server.kinesis()).await.unwrap();
        assert_eq!((response.status, server.requests()), (400, 1), "{name}");

        // New keys are tried once, then the response is final.
        let server = Server::start(move |_| rejection(name, SystemTime::now())).await;
        let rotating = Rotating { fetches: Arc::default(), refuse_from: 9 };
        let response = send(&kinesis(&server.url(), rotating)).await.unwrap();
        assert_eq!((response.status, server.requests()), (400, 2), "{name}");
    }
}

#[tokio::test]
async fn other_errors_are_returned_unchanged() {
    let server = Server::start(|_| rejection("ProvisionedThroughputExceededException", SystemTime::UNIX_EPOCH)).await;
    let response = send(&server.kinesis()).await.unwrap();
    assert_eq!((response.status, server.requests()), (400, 1));
    assert_eq!(
        response.body,
        Body::Json(r#"{"__type":"ProvisionedThroughputExceededException","message":"no"}"#.to_owned())
    );
}

#[tokio::test]
async fn missing_credentials_are_a_permanent_failure() {
    let server = Server::start(|_| ok("{}")).await;
    let failure =
        send(&kinesis(&server.url(), Rotating { fetches: Arc::default(), refuse_from: 0 })).await.unwrap_err();
    assert_eq!(failure, Failure::Permanent("no AWS credentials were found".to_owned()));
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn neither_log_nor_debug_output_contains_a_secret_or_a_body() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let sink = Sink(written.clone());
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(move || sink.clone())
        .with_filter(LevelFilter::TRACE);
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(log));

    let server = Server::start(|seen| match seen.number {
        0 => rejection("InvalidSignatureException", SystemTime::now() + Duration::from_secs(3600)),
        1 => ok(r#"{"Records":"MARKED-RESPONSE"}"#),
        _ => RESET.to_vec(),
    })
    .await;
    let kinesis = server.kinesis();
    let response = send(&kinesis).await.unwrap();
    let failure = send(&kinesis).await.unwrap_err();
    let debug = format!("{kinesis:?} {response:?} {failure:?} {failure} {:?}", request());

    let log = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    assert!(log.contains("GetRecords") && log.contains("the clock is wrong"), "{log}");
    for secret in [SECRET, TOKEN, "MARKED-BODY", "MARKED-RESPONSE", "Signature="] {
        assert!(!debug.contains(secret), "{secret} in: {debug}");
        assert!(!log.contains(secret), "{secret} in: {log}");
    }
}

// ------------------------------------------------------------------ helpers ---

fn request() -> Request {
    Request {
        target: "Kinesis_20131202.GetRecords".to_owned(),
        body: Body::Json(BODY.to_owned()),
        timeout: Duration::from_secs(20),
    }
}

async fn send(kinesis: &Kinesis) -> Result<Response, Failure> {
    kinesis.send(request()).await
}

fn kinesis(url: &str, provider: impl ProvideCredentials + 'static) -> Kinesis {
    let endpoint = Endpoint::resolve(Known {
        region: Some("us-east-1".to_owned()),
        url: Some(url.to_owned()),
        ..Known::default()
    });
    Kinesis::with_credentials(endpoint.unwrap(), provider, None).unwrap()
}

fn keys() -> Credentials {
    Credentials::new("KEY", SECRET, Some(TOKEN.to_owned()), None, "test")
}

/// Provides KEY1, then KEY2 and so on, and from fetch number `refuse_from` on nothing.
#[derive(Debug)]
struct Rotating {
    fetches: Arc<AtomicUsize>,
    refuse_from: usize,
}

impl ProvideCredentials for Rotating {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let number = self.fetches.fetch_add(1, Ordering::SeqCst);
        future::ProvideCredentials::ready(if number >= self.refuse_from {
            Err(CredentialsError::not_loaded_no_source())
        } else {
            Ok(Credentials::new(format!("KEY{}", number + 1), SECRET, None, None, "test"))
        })
    }
}

/// Accepts a request that was signed at `time`, to the minute, and otherwise refuses it like a service with that time.
fn is_signed_at(seen: &Seen, time: SystemTime) -> Vec<u8> {
    let near = [0, 60].map(|seconds| amz_date(time - Duration::from_secs(seconds)));
    let date = seen.header("x-amz-date").unwrap();
    if near.iter().any(|near| near[..13] == date[..13]) { ok("{}") } else { rejection("RequestTimeTooSkewed", time) }
}

/// At the end of a response: close the connection.
const CLOSE: &[u8] = b"\0close";
/// At the end of a response: continue with one byte at a time for as long as the client reads.
const TRICKLE: &[u8] = b"\0trickle";
/// Instead of a response: reset the connection.
const RESET: &[u8] = b"\0reset";

/// A request as the server received it.
struct Seen {
    number: usize,
    text: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn access_key(&self) -> String {
        let authorization = self.header("authorization").unwrap();
        let (_, rest) = authorization.split_once("Credential=").unwrap();
        rest.split('/').next().unwrap().to_owned()
    }
}

struct Server {
    address: std::net::SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(script: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let script = Arc::new(script);
        let task = tokio::spawn({
            let (seen, connections) = (seen.clone(), connections.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (seen, script) = (seen.clone(), script.clone());
                    tokio::spawn(async move { serve(stream, &seen, &*script).await });
                }
            }
        });
        Self { address, seen, connections, task }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn kinesis(&self) -> Kinesis {
        kinesis(&self.url(), keys())
    }

    fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, seen: &Mutex<Vec<String>>, script: &(impl Fn(&Seen) -> Vec<u8> + ?Sized)) {
    let mut buffer = Vec::new();
    loop {
        let text = loop {
            if let Some(text) = whole_request(&mut buffer) {
                break text;
            }
            let mut piece = [0; 4096];
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(length) => buffer.extend_from_slice(&piece[..length]),
            }
        };
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(text.clone());
            seen.len() - 1
        };
        let response = script(&Seen { number, text });
        if response == RESET {
            stream.set_zero_linger().unwrap();
            return;
        }
        if let Some(head) = response.strip_suffix(TRICKLE) {
            let mut result = stream.write_all(head).await;
            while result.is_ok() {
                result = stream.write_all(b" ").await;
                tokio::task::yield_now().await;
            }
            return;
        }
        let (bytes, closes) = match response.strip_suffix(CLOSE) {
            Some(bytes) => (bytes, true),
            None => (&response[..], false),
        };
        if stream.write_all(bytes).await.is_err() || closes {
            return;
        }
    }
}

/// Removes one request from the buffer. If it is not HTTP, such as a TLS hello, everything counts as one request.
fn whole_request(buffer: &mut Vec<u8>) -> Option<String> {
    if buffer.first().is_some_and(|byte| !byte.is_ascii_uppercase()) {
        return Some(String::from_utf8_lossy(&std::mem::take(buffer)).into_owned());
    }
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok()).unwrap_or(0);
    if buffer.len() < head + length {
        return None;
    }
    Some(String::from_utf8_lossy(&buffer.drain(..head + length).collect::<Vec<_>>()).into_owned())
}

fn ok(body: &str) -> Vec<u8> {
    let headers = "Content-Type: application/x-amz-json-1.1\r\nx-amzn-RequestId: request-1\r\nDate: Sun, 23 Nov 2025 12:34:56 GMT\r\n";
    response("200 OK", headers, body.as_bytes())
}

fn rejection(name: &str, date: SystemTime) -> Vec<u8> {
    refusal(name, &aws_smithy_types::DateTime::from(date).fmt(aws_smithy_types::date_time::Format::HttpDate).unwrap())
}

fn refusal(name: &str, date: &str) -> Vec<u8> {
    let headers = format!("Content-Type: application/x-amz-json-1.1\r\nDate: {date}\r\n");
    response("400 Bad Request", &headers, format!(r#"{{"__type":"{name}","message":"no"}}"#).as_bytes())
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Formats a time as in `X-Amz-Date`.
fn amz_date(time: SystemTime) -> String {
    let date = aws_smithy_types::DateTime::from(time).fmt(aws_smithy_types::date_time::Format::DateTime).unwrap();
    date.replace(['-', ':'], "")
}

#[derive(Clone)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

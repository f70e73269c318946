//! Calls the drain, and starts hosts in their own processes.

use std::path::PathBuf;
use std::process::Stdio;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{Options, TOKEN};

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The report of a drain, which is in a header if the body has lines.
    pub fn report(&self) -> Value {
        match self.header("x-kinesis-report") {
            "" => self.json(),
            report => serde_json::from_str(report).expect("the report is JSON"),
        }
    }
}

/// Sends a request and returns the answer.
pub async fn call(method: &str, url: &str, token: Option<&str>) -> Result<Answer, String> {
    let mut request = Request::builder().method(method).uri(url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    send(request.body(Full::default()).map_err(|error| error.to_string())?).await
}

/// Sends a request of any form.
pub async fn send(request: Request<Full<Bytes>>) -> Result<Answer, String> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request).await.map_err(|error| error.to_string())?;
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let text = String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())?;
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, text })
}

/// `POST /drain`, with enough time for a slow machine unless the query sets a time.
pub async fn drain(url: &str, query: &str) -> Answer {
    let time = if query.contains("max-ms=") { "" } else { "max-ms=600000&" };
    call("POST", &format!("{url}/drain?{time}{query}"), Some(TOKEN)).await.expect("the host answers")
}

/// `GET /status`.
pub async fn status(url: &str) -> Value {
    let answer = call("GET", &format!("{url}/status"), Some(TOKEN)).await.expect("the host answers");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// A host in its own process, which is killed when this is dropped.
pub struct Process {
    child: Child,
    pub url: String,
}

impl Process {
    pub async fn start(options: &Options) -> Process {
        let options = serde_json::to_string(options).expect("options can be serialized");
        let mut child = Command::new(program())
            .args(["serve", &options])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the host starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let url = lines.next_line().await.ok().flatten().expect("the host prints its URL");
        Process { child, url }
    }

    /// Waits until the process, which is about to kill itself, is gone.
    pub async fn wait_for_kill(&mut self) {
        let status = self.child.wait().await.expect("the process can be waited for");
        assert_eq!(status.code(), None, "the process was not ended by a signal: {status}");
    }
}

/// The path of the host's program, which is built next to the tests.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let folder = own.parent().and_then(|deps| deps.parent()).expect("tests are in `deps`");
    folder.join(format!("edge{}", std::env::consts::EXE_SUFFIX))
}

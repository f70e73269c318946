//! A caller of the drain, and hosts in processes of their own.

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

use super::Options;

/// What a caller shows.
pub const TOKEN: &str = "a long secret";

/// What was answered.
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

    /// The report of a drain: its body, or beside lines a header.
    pub fn report(&self) -> Value {
        match self.header("x-kinesis-report") {
            "" => self.json(),
            report => serde_json::from_str(report).expect("the report is JSON"),
        }
    }
}

/// Sends a request, and gives the answer, if there is one.
pub async fn ask(method: &str, url: &str, token: Option<&str>) -> Result<Answer, String> {
    let mut request = Request::builder().method(method).uri(url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    send(request.body(Full::default()).map_err(|error| error.to_string())?).await
}

/// Sends any request.
pub async fn send(request: Request<Full<Bytes>>) -> Result<Answer, String> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request).await.map_err(|error| error.to_string())?;
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let text = String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())?;
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, text })
}

/// `POST /drain`, where an answer is certain, with time enough for a slow machine unless another is asked for.
pub async fn drain(url: &str, query: &str) -> Answer {
    let time = if query.contains("max-ms=") { "" } else { "max-ms=600000&" };
    ask("POST", &format!("{url}/drain?{time}{query}"), Some(TOKEN)).await.expect("the host answers")
}

/// `GET /status`.
pub async fn status(url: &str) -> Value {
    let answer = ask("GET", &format!("{url}/status"), Some(TOKEN)).await.expect("the host answers");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// A host in a process of its own. It ends with this.
pub struct Process {
    child: Child,
    pub url: String,
}

impl Process {
    pub async fn start(options: &Options) -> Process {
        let options = serde_json::to_string(options).expect("it is JSON");
        let mut child = Command::new(program())
            .args(["serve", &options])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the host starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let url = lines.next_line().await.ok().flatten().expect("it says where it listens");
        Process { child, url }
    }

    /// Waits for its end, which is near and by `kill -9`.
    pub async fn killed(&mut self) {
        let status = self.child.wait().await.expect("it can be waited for");
        assert_eq!(status.code(), None, "a signal ends it, and not itself: {status}");
    }
}

/// The program of the host, which is built beside the tests.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let folder = own.parent().and_then(|deps| deps.parent()).expect("tests lie in `deps`");
    folder.join(format!("edge{}", std::env::consts::EXE_SUFFIX))
}

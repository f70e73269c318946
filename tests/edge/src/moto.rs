//! Starts moto, a Python program that emulates DynamoDB. `MOTO_SERVER` is its path.

use std::process::Stdio;

use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::client::send;
use test_support::emulator::REGION;

/// A moto server, which is killed when this is dropped.
pub struct Moto {
    child: Child,
    pub url: String,
}

impl Moto {
    pub async fn start() -> Moto {
        let program = std::env::var_os("MOTO_SERVER").expect("`cargo xtask` sets MOTO_SERVER");
        let mut child = Command::new(program)
            .args(["--host", "127.0.0.1", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("moto starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let url = loop {
            let line = lines.next_line().await.ok().flatten().expect("moto prints its URL");
            if let Some((_, url)) = line.split_once("Running on ") {
                break url.trim().to_owned();
            }
        };
        // moto logs each request, and would block if its log were not read.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Moto { child, url }
    }

    /// Calls an operation of DynamoDB.
    pub async fn call(&self, operation: &str, query: Value) -> Value {
        let scope = format!("Credential=test/20250101/{REGION}/dynamodb/aws4_request");
        let request = Request::post(&self.url)
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .header("content-type", "application/x-amz-json-1.0")
            .header("authorization", format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"))
            .body(Full::from(query.to_string()))
            .expect("the request is valid");
        let answer = send(request).await.expect("moto answers");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Creates a table, as the README says.
    pub async fn create(&self, table: &str) {
        let query = json!({
            "TableName": table,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        });
        self.call("CreateTable", query).await;
    }

    pub async fn stop(&mut self) {
        self.child.kill().await.expect("moto can be killed");
    }
}

//! DynamoDB, as far as moto is one: a program in Python, which `MOTO_SERVER` names.

use std::process::Stdio;

use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::client::send;
use crate::emulator::REGION;

/// The server, which ends with this.
pub struct Moto {
    child: Child,
    pub url: String,
}

impl Moto {
    pub async fn start() -> Moto {
        let program = std::env::var_os("MOTO_SERVER").expect("run by `cargo xtask`");
        let mut child = Command::new(program)
            .args(["--host", "127.0.0.1", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("moto starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let url = loop {
            let line = lines.next_line().await.ok().flatten().expect("moto says where it listens");
            if let Some((_, url)) = line.split_once("Running on ") {
                break url.trim().to_owned();
            }
        };
        // It logs each request, and waits for who reads that.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Moto { child, url }
    }

    /// Asks it an operation.
    pub async fn ask(&self, operation: &str, query: Value) -> Value {
        let scope = format!("Credential=test/20250101/{REGION}/dynamodb/aws4_request");
        let request = Request::post(&self.url)
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .header("content-type", "application/x-amz-json-1.0")
            .header("authorization", format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"))
            .body(Full::from(query.to_string()))
            .expect("a request");
        let answer = send(request).await.expect("moto answers");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Makes the table as the README has it.
    pub async fn create(&self, table: &str) {
        let query = json!({
            "TableName": table,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        });
        self.ask("CreateTable", query).await;
    }

    /// Ends it.
    pub async fn stop(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }
}

//! In one item of a table in DynamoDB, whose key is the text `id`. Reads are consistent and writes conditional, so that
//! it keeps all that the lease asks of a store.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_PutItem.html>

use serde_json::{Value, json};

use crate::aws::{Endpoint, Post};
use crate::clock;
use crate::fetch::{Limit, Response};
use crate::settings::Settings;

/// The longest answer, in bytes: an item has 400 KB at most, each character of which may stand as an escape of six.
const ANSWER_MAX: usize = 4 << 20;

pub(crate) struct Store {
    endpoint: Endpoint,
    credentials: aws_credential_types::Credentials,
    table: String,
    key: String,
    /// What was read last: a write is upon it.
    base: Option<Option<String>>,
}

impl Store {
    pub(super) fn open(settings: &Settings) -> Result<Store, String> {
        Ok(Store {
            endpoint: settings.store.endpoint.clone(),
            credentials: settings.credentials.clone(),
            table: settings.store.table.clone(),
            key: settings.store.key.clone(),
            base: None,
        })
    }

    pub(super) fn read(&mut self, deadline: u64) -> Result<Option<Vec<u8>>, String> {
        self.base = None;
        let key = json!({"id": {"S": self.key}});
        let answer =
            self.ask("GetItem", &json!({"TableName": self.table, "Key": key, "ConsistentRead": true}), deadline)?;
        let value = match &answer["Item"] {
            Value::Null => None,
            // An item of another shape is refused by who reads the value.
            item => Some(item["value"]["S"].as_str().unwrap_or_default().to_owned()),
        };
        self.base = Some(value.clone());
        Ok(value.map(String::into_bytes))
    }

    /// The write upon nothing is conditional here, so everybody may try.
    pub(super) fn increment(&mut self, _slot: u64, by: i64) -> Result<i64, String> {
        Ok(by)
    }

    pub(super) fn swap(&mut self, value: Vec<u8>, deadline: u64) -> Result<(), String> {
        let Some(base) = self.base.take() else { return Err("nothing was read to swap".to_owned()) };
        let value = String::from_utf8(value).map_err(|error| error.to_string())?;
        let mut query = json!({
            "TableName": self.table,
            "Item": {"id": {"S": self.key}, "value": {"S": value}},
            "ConditionExpression": "attribute_not_exists(id)",
        });
        if let Some(base) = base {
            query["ConditionExpression"] = json!("#value = :base");
            query["ExpressionAttributeNames"] = json!({"#value": "value"});
            query["ExpressionAttributeValues"] = json!({":base": {"S": base}});
        }
        self.ask("PutItem", &query, deadline).map(drop)
    }

    fn ask(&self, operation: &str, query: &Value, deadline: u64) -> Result<Value, String> {
        let target = format!("DynamoDB_20120810.{operation}");
        let body = query.to_string().into_bytes();
        let post = Post {
            target: &target,
            kind: "application/x-amz-json-1.0",
            body,
            at: clock::wall(),
            deadline,
            limit: Limit::Whole(ANSWER_MAX),
        };
        let sent = self.endpoint.post(&self.credentials, post);
        let answer = sent.and_then(|exchange| exchange.wait()).map_err(|failure| failure.why().to_owned())?;
        let Response { status, body, .. } = answer;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        match status {
            200 if body.is_object() => return Ok(body),
            // A page that something else puts in its place must not look like a table without our item.
            200 => return Err(format!("what answers {operation} is not DynamoDB: no JSON object")),
            _ => {}
        }
        let name = body["__type"].as_str().and_then(|name| name.rsplit('#').next()).unwrap_or("no name");
        let message = body["message"].as_str().or(body["Message"].as_str()).unwrap_or_default();
        Err(format!("DynamoDB answers {status} to {operation} on the table {}: {name}: {message}", self.table))
    }
}

//! Keeps the value in one item of a DynamoDB table whose key is the string `id`. Reads are consistent and writes are
//! conditional, so this store has none of the quirks that the lease guards against.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_PutItem.html>

use serde_json::{Value, json};

use crate::aws::{Endpoint, Post};
use crate::clock;
use crate::fetch::{Limit, Response};
use crate::settings::Settings;

/// The longest answer, in bytes. An item has at most 400 KB, of which each character may be escaped with six.
const ANSWER_MAX: usize = 4 << 20;

pub(crate) struct Store {
    endpoint: Endpoint,
    credentials: aws_credential_types::Credentials,
    table: String,
    key: String,
    /// What was read last, and what a write replaces.
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
        let query = json!({"TableName": self.table, "Key": key, "ConsistentRead": true});
        let answer = self.call("GetItem", &query, deadline)?;
        let value = match &answer["Item"] {
            Value::Null => None,
            // An item without a text becomes an empty one, which the lease refuses.
            item => Some(item["value"]["S"].as_str().unwrap_or_default().to_owned()),
        };
        self.base = Some(value.clone());
        Ok(value.map(String::into_bytes))
    }

    /// Lets every process try to create the value, because that write is conditional too.
    pub(super) fn increment(&mut self, _slot: u64, by: i64) -> Result<i64, String> {
        Ok(by)
    }

    pub(super) fn swap(&mut self, value: Vec<u8>, deadline: u64) -> Result<(), String> {
        let Some(base) = self.base.take() else { return Err("swap without a read before it".to_owned()) };
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
        self.call("PutItem", &query, deadline).map(drop)
    }

    fn call(&self, operation: &str, query: &Value, deadline: u64) -> Result<Value, String> {
        let target = format!("DynamoDB_20120810.{operation}");
        let body = query.to_string().into_bytes();
        let post = Post {
            target: &target,
            content_type: "application/x-amz-json-1.0",
            body,
            signed: clock::wall(),
            deadline,
            limit: Limit::Whole(ANSWER_MAX),
        };
        let sent = self.endpoint.post(&self.credentials, post);
        let answer = sent.and_then(|exchange| exchange.wait()).map_err(|failure| failure.message().to_owned())?;
        let Response { status, body, .. } = answer;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        match status {
            200 if body.is_object() => return Ok(body),
            // A page from something else, such as a proxy, must not look like a table without our item.
            200 => return Err(format!("the answer to {operation} is not from DynamoDB: not a JSON object")),
            _ => {}
        }
        let name = body["__type"].as_str().and_then(|name| name.rsplit('#').next()).unwrap_or("unnamed error");
        let message = body["message"].as_str().or(body["Message"].as_str()).unwrap_or_default();
        Err(format!("DynamoDB answered {status} to {operation} on table {}: {name}: {message}", self.table))
    }
}

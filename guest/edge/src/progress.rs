//! What is kept between drains. The lease stores it as its checkpoint.
//!
//! ```json
//! {"kept":{…},"handed":{"ack":"9f…","checkpoint":{…}},"acked":"3c…",
//!  "behind":{"shardId-000000000000":0},"seen":1763900000000}
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::bindings::reading::ShardStatus;

/// How far the stream is drained.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Progress {
    /// The reader's checkpoint of what was delivered.
    kept: Option<Box<RawValue>>,
    /// Lines that were sent as an answer and are not acknowledged yet.
    handed: Option<Handed>,
    /// The last name that was acknowledged. A caller repeats it if it did not get the answer.
    acked: Option<String>,
    /// How far each shard was behind its tip when it was last read, in milliseconds.
    behind: BTreeMap<String, u64>,
    /// When `behind` was recorded, in milliseconds since the Unix epoch.
    seen: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Handed {
    ack: String,
    checkpoint: Box<RawValue>,
}

impl Progress {
    pub(crate) fn parse(text: Option<&str>) -> Result<Progress, String> {
        match text {
            None => Ok(Progress::default()),
            // serde would also accept an array of the members in order.
            Some(text) if !text.trim_start().starts_with('{') => {
                Err("cannot use the checkpoint in the store: not a JSON object".to_owned())
            }
            Some(text) => {
                serde_json::from_str(text).map_err(|error| format!("cannot use the checkpoint in the store: {error}"))
            }
        }
    }

    pub(crate) fn to_text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    pub(crate) fn checkpoint(&self) -> Option<&str> {
        self.kept.as_ref().map(|kept| kept.get())
    }

    /// The reader's checkpoints: of what was delivered, and of what is waiting to be acknowledged.
    pub(crate) fn checkpoints(&self) -> impl Iterator<Item = &str> {
        let handed = self.handed.as_ref().map(|handed| handed.checkpoint.get());
        self.checkpoint().into_iter().chain(handed)
    }

    /// Whether any shard has a position.
    pub(crate) fn has_positions(&self) -> bool {
        self.checkpoints().any(|text| shards(text).is_ok_and(|shards| !shards.is_empty()))
    }

    /// Stores the reader's checkpoint of what was delivered.
    pub(crate) fn keep(&mut self, checkpoint: String) {
        // This does not fail, because the reader's checkpoint is JSON.
        self.kept = RawValue::from_string(checkpoint).ok();
        self.handed = None;
    }

    /// Stores the reader's checkpoint that takes effect once these lines are acknowledged.
    pub(crate) fn hand(&mut self, ack: String, checkpoint: String) {
        self.handed = RawValue::from_string(checkpoint).ok().map(|checkpoint| Handed { ack, checkpoint });
    }

    /// Acknowledges the lines with this name. Returns false if no such lines are waiting.
    pub(crate) fn acknowledge(&mut self, ack: &str) -> bool {
        match self.handed.take() {
            Some(handed) if handed.ack == ack => {
                self.kept = Some(handed.checkpoint);
                self.acked = Some(handed.ack);
                true
            }
            other => {
                self.handed = other;
                self.acked.as_deref() == Some(ack)
            }
        }
    }

    /// Stores how far the shards are behind. A shard that was not read keeps its last value; one that is no longer
    /// listed is removed.
    pub(crate) fn record_lag(&mut self, shards: &[ShardStatus], present: u64) {
        let before = std::mem::take(&mut self.behind);
        for ShardStatus { shard, behind, .. } in shards {
            if let Some(behind) = behind.or_else(|| before.get(shard).copied()) {
                self.behind.insert(shard.clone(), behind);
            }
        }
        self.seen = Some(present);
    }

    /// Adds the positions and the lag of all shards to a status.
    pub(crate) fn add_to_status(&self, body: &mut Value) -> Result<(), String> {
        let mut kept = self.checkpoint().map(shards).transpose()?.unwrap_or_default();
        for (shard, position) in &mut kept {
            *position = json!({"position": position.take(), "behind_ms": self.behind.get(shard)});
        }
        body["shards"] = kept.into();
        body["seen"] = json!(self.seen);
        body["unacknowledged"] = json!(self.handed.as_ref().map(|handed| &handed.ack));
        Ok(())
    }
}

/// The positions in a checkpoint.
fn shards(checkpoint: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str::<Value>(checkpoint).map(|mut value| value.get_mut("shards").map(Value::take)) {
        Ok(Some(Value::Object(shards))) => Ok(shards),
        Ok(_) => Err("cannot use the checkpoint in the store: it has no shards".to_owned()),
        Err(error) => Err(format!("cannot use the checkpoint in the store: {error}")),
    }
}

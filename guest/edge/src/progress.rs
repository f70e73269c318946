//! What is kept between drains, in the place that the lease has for a checkpoint.
//!
//! ```json
//! {"kept":{…},"handed":{"ack":"9f…","checkpoint":{…}},"acked":"3c…","behind":{"shardId-000000000000":0},"seen":1763900000000}
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::reading::ShardStatus;

/// How far the stream is drained.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Progress {
    /// The reader's checkpoint of what is safe.
    kept: Option<Box<RawValue>>,
    /// Lines that were given as an answer and are not yet acknowledged.
    handed: Option<Handed>,
    /// The last that was acknowledged: it may be said twice, where the answer to it was lost.
    acked: Option<String>,
    /// How far each shard was behind its tip, in milliseconds, when it was last read.
    behind: BTreeMap<String, u64>,
    /// When that was, in milliseconds since the Unix epoch.
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
            // A list would be read as the members in their order.
            Some(text) if !text.trim_start().starts_with('{') => {
                Err("the checkpoint in the store cannot be used: it is no JSON object".to_owned())
            }
            Some(text) => serde_json::from_str(text)
                .map_err(|error| format!("the checkpoint in the store cannot be used: {error}")),
        }
    }

    pub(crate) fn to_text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    pub(crate) fn checkpoint(&self) -> Option<&str> {
        self.kept.as_ref().map(|kept| kept.get())
    }

    /// The reader's checkpoints: of what is safe, and of what waits for its acknowledgement.
    pub(crate) fn checkpoints(&self) -> impl Iterator<Item = &str> {
        let handed = self.handed.as_ref().map(|handed| handed.checkpoint.get());
        self.checkpoint().into_iter().chain(handed)
    }

    /// Whether it says of any shard how far that was read.
    pub(crate) fn has_positions(&self) -> bool {
        self.checkpoints().any(|text| shards(text).is_ok_and(|shards| !shards.is_empty()))
    }

    /// Takes in the reader's checkpoint of what is safe.
    pub(crate) fn keep(&mut self, checkpoint: String) {
        // The reader's own text is JSON.
        self.kept = RawValue::from_string(checkpoint).ok();
        self.handed = None;
    }

    /// Takes in the reader's checkpoint as it will be once these lines are acknowledged.
    pub(crate) fn hand(&mut self, ack: String, checkpoint: String) {
        self.handed = RawValue::from_string(checkpoint).ok().map(|checkpoint| Handed { ack, checkpoint });
    }

    /// The caller has made safe what came with this name. False: no such lines are out.
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

    /// Takes in how far the shards are behind. One that was not read keeps what was known of it, and one that is gone does
    /// not.
    pub(crate) fn look(&mut self, shards: &[ShardStatus], present: u64) {
        let before = std::mem::take(&mut self.behind);
        for ShardStatus { shard, behind, .. } in shards {
            if let Some(behind) = behind.or_else(|| before.get(shard).copied()) {
                self.behind.insert(shard.clone(), behind);
            }
        }
        self.seen = Some(present);
    }

    /// Adds what a caller may want to know.
    pub(crate) fn show(&self, body: &mut Value) -> Result<(), String> {
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
    match serde_json::from_str::<Value>(checkpoint).map(|mut read| read.get_mut("shards").map(Value::take)) {
        Ok(Some(Value::Object(shards))) => Ok(shards),
        Ok(_) => Err("the checkpoint in the store cannot be used: it has no shards".to_owned()),
        Err(error) => Err(format!("the checkpoint in the store cannot be used: {error}")),
    }
}

//! Gives destinations access to the component's batches.

use crate::bindings::wit;
use crate::component;
use crate::destination;

impl destination::Batch for component::Batch<'_> {
    fn shard(&self) -> &str {
        &self.shard
    }

    fn count(&self) -> u32 {
        self.count
    }

    fn lines(&mut self, skip: u32, size: u32) -> Result<destination::Lines, destination::BatchError> {
        let wit::Lines { text, count, invalid } = component::Batch::lines(self, skip, size)?;
        Ok(destination::Lines { text, count, invalid })
    }

    fn invalid_lines(&mut self, skip: u32, size: u32) -> Result<destination::InvalidLines, destination::BatchError> {
        let wit::InvalidLines { text, count, next } = component::Batch::invalid_lines(self, skip, size)?;
        Ok(destination::InvalidLines { text, count, next })
    }

    fn messages(&mut self, skip: u32, size: u32) -> Result<Vec<destination::Message>, destination::BatchError> {
        let messages = component::Batch::messages(self, skip, size)?;
        let convert = |message: wit::Message| destination::Message {
            id: message.id,
            sequence: message.sequence,
            subsequence: message.subsequence,
            partition_key: message.partition_key,
            arrived: message.arrived,
            data: message.data,
        };
        Ok(messages.into_iter().map(convert).collect())
    }
}

//! The resource `batch`.

use alloc::string::String;
use alloc::vec::Vec;

use kinesis_reader_machine as machine;

use crate::bindings::exports::kinesis::reader::reading as wit;
use crate::time::millis;

pub(crate) struct Batch(pub(crate) machine::Batch);

impl wit::GuestBatch for Batch {
    fn id(&self) -> u64 {
        self.0.id().0
    }

    fn shard(&self) -> String {
        self.0.shard().into()
    }

    fn count(&self) -> u32 {
        self.0.count()
    }

    fn size(&self) -> u64 {
        self.0.size()
    }

    fn behind(&self) -> u64 {
        millis(self.0.behind())
    }

    fn checkpoint(&self) -> String {
        self.0.checkpoint()
    }

    fn lines(&self, skip: u32, size: u32) -> wit::Lines {
        self.0.lines(skip, size).into()
    }

    fn invalid_lines(&self, skip: u32, size: u32) -> wit::InvalidLines {
        self.0.invalid_lines(skip, size).into()
    }

    fn messages(&self, skip: u32, size: u32) -> Vec<wit::Message> {
        self.0.messages(skip, size).into_iter().map(Into::into).collect()
    }
}

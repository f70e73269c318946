//! The `kinesis:reader` component: glue between the WIT interface and the machine, without any decisions of its own.
//!
//! `bindings` holds the generated types, and `convert` maps the types of either side to those of the other.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod batch;
pub mod bindings;
mod convert;
mod time;

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;

use kinesis_reader_machine as machine;

use batch::Batch;
use bindings::exports::kinesis::reader::reading as wit;

struct Component;

bindings::export!(Component with_types_in bindings);

struct Reader(RefCell<machine::Reader>);

impl wit::Guest for Component {
    type Reader = Reader;
    type Batch = Batch;

    fn defaults(source: wit::Source) -> wit::Config {
        machine::Config::new(source.into()).into()
    }

    fn merge_checkpoints(left: String, right: String) -> Result<String, wit::CheckpointError> {
        Ok(machine::merge_checkpoints(&left, &right)?)
    }
}

impl wit::GuestReader for Reader {
    fn open(
        config: wit::Config,
        checkpoint: Option<String>,
        seed: u64,
        now: u64,
        present: u64,
    ) -> Result<wit::Reader, wit::OpenError> {
        let (now, present) = (machine::Instant(now), machine::Timestamp(present));
        let reader = machine::Reader::open(config.into(), checkpoint.as_deref(), seed, now, present)?;
        Ok(wit::Reader::new(Reader(RefCell::new(reader))))
    }

    fn poll(&self) -> wit::Action {
        self.0.borrow_mut().poll_action().into()
    }

    fn handle_response(&self, id: u64, response: wit::Response, now: u64) -> Result<(), wit::Misuse> {
        let mut reader = self.0.borrow_mut();
        Ok(reader.handle_response(machine::RequestId(id), response.into(), machine::Instant(now))?)
    }

    fn handle_failure(&self, id: u64, failure: wit::Failure, now: u64) -> Result<(), wit::Misuse> {
        let mut reader = self.0.borrow_mut();
        Ok(reader.handle_failure(machine::RequestId(id), failure.into(), machine::Instant(now))?)
    }

    fn handle_delivered(&self, id: u64, now: u64) -> Result<(), wit::Misuse> {
        Ok(self.0.borrow_mut().handle_delivered(machine::BatchId(id), machine::Instant(now))?)
    }

    fn handle_timeout(&self, now: u64) {
        self.0.borrow_mut().handle_timeout(machine::Instant(now));
    }

    fn stop(&self, now: u64) {
        self.0.borrow_mut().stop(machine::Instant(now));
    }

    fn checkpoint(&self) -> String {
        self.0.borrow().checkpoint()
    }

    fn revision(&self) -> u64 {
        self.0.borrow().revision()
    }

    fn changes(&self, since: u64) -> Option<String> {
        self.0.borrow().changes(since)
    }

    fn shards(&self) -> Vec<wit::ShardStatus> {
        self.0.borrow().shards().into_iter().map(Into::into).collect()
    }

    fn totals(&self) -> wit::Totals {
        self.0.borrow().totals().into()
    }
}

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Turns a panic into a trap, which the host reports. The machine itself never panics, whatever its input.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

//! Where messages go, and how they become durable.
//!
//! A [`Destination`] accepts batches, and on [`commit`](Destination::commit) makes them durable together with the
//! reader's checkpoint: in one transaction if there are transactions, otherwise messages first. After a crash at any
//! time, its checkpoint covers exactly the messages that it holds, so a reader that continues from there delivers each
//! message once. Standard output is the exception: it cannot be rolled back, so a crash may cause messages to be
//! repeated.
//!
//! If a call fails, everything since the last commit is rolled back, at once or when the destination is opened the next
//! time, and every later call fails with [`Error::Broken`].

mod batch;
mod error;
mod invalid_records;
mod ndjson;
mod sqlite;
mod with_state;

pub use batch::{Batch, Destination, InvalidLines, Lines, Message, Written};
pub use error::{BatchError, Error};
pub(crate) use error::{database_error, stream_error};
pub use invalid_records::WithInvalidRecords;
pub use ndjson::{NdjsonFile, NdjsonStream};
pub use sqlite::{MEMBERS_MAX, Sqlite};
pub(crate) use sqlite::{columns, companions, open_read_only, quote, read_checkpoint};
pub use with_state::WithState;

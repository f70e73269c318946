//! Where a checkpoint is kept between runs if it is not kept together with the messages.
//!
//! A [`State`] holds one [`Saved`] value: the reader's checkpoint and, for an output file, the length that the
//! checkpoint covers. A state is locked while it is open, because two readers of one state would undo each other's
//! progress.
//!
//! The checkpoint is JSON text written by the reader. Nothing here depends on its contents.

mod error;
mod file;
pub(crate) mod lock;
mod memory;
mod saved;

pub use error::Error;
pub(crate) use error::io_hint;
pub use file::FileState;
pub use memory::MemoryState;
pub use saved::{Output, Saved, State};

//! Rendering: the messages of a page as a batch of lines.

pub(crate) mod batch;
pub mod envelope;
pub(crate) mod message_id;
mod stamp;

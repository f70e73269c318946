//! Pages: the records that an answer holds, and the messages in them.

pub(crate) mod digits;
pub(crate) mod hash_key;
pub(crate) mod kpl;
pub(crate) mod messages;
pub mod page;
pub mod sequence;

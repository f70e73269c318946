//! The transport: signs requests and sends them to the endpoint.
//!
//! The reader decides what to request and what a response means. The transport only limits time and size, and corrects
//! two problems that the reader cannot see: a wrong clock, and credentials that are no longer valid. It never follows a
//! redirect, and never logs a header or a body.
//!
//! A driver needs a [`Transport`]. [`Kinesis`] is the real one.

mod clock;
mod credentials;
pub mod endpoint;
mod error;
mod http;
mod kinesis;
mod request;
mod settings;
mod sign;

pub use error::Error;
pub use kinesis::Kinesis;
pub use request::{Body, Failure, Request, Response, Transport};
pub use settings::Settings;

//! Why a run was aborted.

use std::fmt::{self, Write as _};

use crate::component;
use crate::destination;
use crate::terminal::Clean;

/// Why a run was aborted.
#[derive(Debug)]
pub enum Error {
    /// The component failed.
    Component(component::Error),
    /// The destination failed.
    Destination(destination::Error),
}

impl Error {
    /// A batch that could not be rendered is the component's failure, although it passes through the destination.
    pub(super) fn from_write(error: destination::Error) -> Error {
        match error {
            destination::Error::Batch(error) => match error.downcast() {
                Ok(error) => Error::Component(*error),
                Err(error) => Error::Destination(destination::Error::Batch(error)),
            },
            error => Error::Destination(error),
        }
    }
}

impl From<component::Error> for Error {
    fn from(error: component::Error) -> Error {
        Error::Component(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Component(error) => write!(Clean(f), "{error}"),
            Error::Destination(error) => write!(Clean(f), "{error}"),
        }
    }
}

impl std::error::Error for Error {}

//! A destination that keeps its checkpoint in a separate state.

use super::batch::{Batch, Destination, Written};
use super::error::Error;
use crate::state::{Saved, State};

/// A destination whose checkpoint is kept elsewhere. Messages are made durable first, then the checkpoint. A crash
/// between the two causes messages to be repeated, unless the destination recognizes them by their message ids.
pub struct WithState<D> {
    destination: D,
    state: Box<dyn State>,
}

impl<D: Destination> WithState<D> {
    /// Keeps the checkpoint of `destination` in `state`.
    pub fn new(destination: D, state: Box<dyn State>) -> Self {
        WithState { destination, state }
    }
}

impl<D: Destination> Destination for WithState<D> {
    fn checkpoint(&mut self) -> Result<Option<String>, Error> {
        Ok(self.state.load()?.map(|saved| saved.checkpoint))
    }

    fn write(&mut self, batch: &mut dyn Batch) -> Result<Written, Error> {
        self.destination.write(batch)
    }

    fn commit(&mut self, checkpoint: &str) -> Result<(), Error> {
        self.destination.commit(checkpoint)?;
        self.state.save(&Saved { checkpoint: checkpoint.to_owned(), output: None })?;
        Ok(())
    }
}

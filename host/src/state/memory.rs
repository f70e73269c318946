//! A state in memory, for programs that store checkpoints themselves, and for tests.

use std::sync::{Arc, Mutex, PoisonError};

use super::error::Error;
use super::saved::{Saved, State};

/// A state in memory. Clones share their contents, so a program can keep one and give the other away.
#[derive(Clone, Debug, Default)]
pub struct MemoryState {
    saved: Arc<Mutex<Option<Saved>>>,
}

impl MemoryState {
    /// A state with these contents.
    pub fn new(saved: Option<Saved>) -> Self {
        MemoryState { saved: Arc::new(Mutex::new(saved)) }
    }

    /// What was saved last.
    pub fn saved(&self) -> Option<Saved> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl State for MemoryState {
    fn load(&mut self) -> Result<Option<Saved>, Error> {
        Ok(self.saved())
    }

    fn save(&mut self, saved: &Saved) -> Result<(), Error> {
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_what_is_saved() {
        let original = MemoryState::default();
        let mut clone = original.clone();
        assert_eq!(clone.load().unwrap(), None);
        let saved = Saved { checkpoint: "{}".to_owned(), output: None };
        clone.save(&saved).unwrap();
        assert_eq!(original.saved(), Some(saved));
    }
}

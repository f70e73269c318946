//! In `wasi:keyvalue`. What its implementations hold of their promises is told in the lease's own documentation.

use crate::settings::Settings;
use crate::wasi::keyvalue::atomics::{self, Cas, CasError};
use crate::wasi::keyvalue::store::{self, Bucket, Error};

pub(crate) struct Store {
    // Before the bucket that it is of.
    handle: Option<Cas>,
    bucket: Bucket,
    key: String,
}

impl Store {
    pub(super) fn open(settings: &Settings) -> Result<Store, String> {
        let label = &settings.store.label;
        let bucket = store::open(label).map_err(|error| format!("{}: {label}", words(&error)))?;
        Ok(Store { handle: None, bucket, key: settings.store.key.clone() })
    }

    pub(super) fn read(&mut self, _deadline: u64) -> Result<Option<Vec<u8>>, String> {
        self.handle = None;
        let handle = Cas::new(&self.bucket, &self.key).map_err(|error| words(&error))?;
        let value = handle.current().map_err(|error| words(&error))?;
        self.handle = Some(handle);
        Ok(value)
    }

    pub(super) fn increment(&mut self, slot: u64, by: i64) -> Result<i64, String> {
        atomics::increment(&self.bucket, &format!("{}/creating/{slot}", self.key), by).map_err(|error| words(&error))
    }

    pub(super) fn swap(&mut self, value: Vec<u8>, _deadline: u64) -> Result<(), String> {
        let Some(handle) = self.handle.take() else { return Err("nothing was read to swap".to_owned()) };
        atomics::swap(handle, &value).map_err(|error| match error {
            CasError::StoreError(error) => words(&error),
            // The handle that comes with it is not used: it may swap what nobody has looked at.
            CasError::CasFailed(_) => "the value has changed".to_owned(),
        })
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::NoSuchStore => "there is no such store".to_owned(),
        Error::AccessDenied => "the store is not among the component's key_value_stores".to_owned(),
        Error::Other(why) => why.clone(),
    }
}

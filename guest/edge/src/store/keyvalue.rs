//! Keeps the value in `wasi:keyvalue`. The documentation of the lease describes the quirks of its implementations.

use crate::bindings::wasi::keyvalue::atomics::{self, Cas, CasError};
use crate::bindings::wasi::keyvalue::store::{self, Bucket, Error};
use crate::settings::Settings;

pub(crate) struct Store {
    // Declared first so that it is dropped before its bucket.
    handle: Option<Cas>,
    bucket: Bucket,
    key: String,
}

impl Store {
    pub(super) fn open(settings: &Settings) -> Result<Store, String> {
        let label = &settings.store.label;
        let bucket = store::open(label).map_err(|error| format!("{}: {label}", describe(&error)))?;
        Ok(Store { handle: None, bucket, key: settings.store.key.clone() })
    }

    pub(super) fn read(&mut self, _deadline: u64) -> Result<Option<Vec<u8>>, String> {
        self.handle = None;
        let handle = Cas::new(&self.bucket, &self.key).map_err(|error| describe(&error))?;
        let value = handle.current().map_err(|error| describe(&error))?;
        self.handle = Some(handle);
        Ok(value)
    }

    pub(super) fn increment(&mut self, slot: u64, by: i64) -> Result<i64, String> {
        atomics::increment(&self.bucket, &format!("{}/creating/{slot}", self.key), by).map_err(|error| describe(&error))
    }

    pub(super) fn swap(&mut self, value: Vec<u8>, _deadline: u64) -> Result<(), String> {
        let Some(handle) = self.handle.take() else { return Err("swap without a read before it".to_owned()) };
        atomics::swap(handle, &value).map_err(|error| match error {
            CasError::StoreError(error) => describe(&error),
            // The handle in the error is not used, because it could replace a value that was never read.
            CasError::CasFailed(_) => "the value has changed".to_owned(),
        })
    }
}

fn describe(error: &Error) -> String {
    match error {
        Error::NoSuchStore => "no such store".to_owned(),
        Error::AccessDenied => "the store is not listed in the component's key_value_stores".to_owned(),
        Error::Other(why) => why.clone(),
    }
}

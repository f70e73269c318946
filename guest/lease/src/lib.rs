//! Who may read a stream now, and how far it was read: one value in a key-value store, as a state machine without I/O.
//!
//! Several drains of one stream may run at once, in processes that live for one request each and share nothing but a
//! store. A lease lets one of them work; the checkpoint tells it where to go on. Both are **one** [`Value`], changed by
//! compare-and-swap alone, so that who lost the lease cannot move the checkpoint.
//!
//! # What is promised
//!
//! - **No gap, whatever the store does.** Each value that is ever written holds a checkpoint of what was delivered
//!   before, or none and then the time of the first owner, from which a reader that begins at the latest begins. So any
//!   of them, also one that comes back by a fault of the store, is a place from which nothing is missed. (One case is
//!   left, on SQLite: two processes that are both stopped for more than a minute in the very call that creates the
//!   value. Then the later of them decides what the latest was.)
//! - A commit that was answered with [`Outcome::Written`] stays, and the next owner goes on from there. Duplicates come
//!   only of what an owner delivered and had not committed when another took over.
//! - Within an [epoch](Value::epoch), the time of one owner, nothing is delivered twice or out of order.
//!
//! # Stores as they are
//!
//! `wasi:keyvalue/atomics@0.2.0-draft2` promises more than its implementations hold. Of those in Spin 4: on SQLite a swap
//! where nothing was is an unconditional overwrite; on Redis a swap that was made is reported as failed; everywhere a
//! swap without a `current` before it is unconditional. An answer can also be lost on the way, and a replica may answer
//! with a value of a moment ago. Hence these rules:
//!
//! 1. Always read first, by a handle of its own, and swap that handle or none. A handle that came back with a failure
//!    is never swapped.
//! 2. After each swap, whatever was answered, read again, and believe only that. [`Value::owner`] is new for each
//!    acquisition and [`Value::revision`] grows with each attempt, so no value comes twice and ours is known as ours.
//! 3. Where there is nothing, swap only after an `increment` that answers 1. There is a counter for each minute, and of
//!    two minutes in a row only one is used, so that who died in creating holds the others up for two minutes at most,
//!    and two who create are a minute apart.
//! 4. What cannot be read, or is of a later version, is refused and never overwritten.
//!
//! # The loop
//!
//! Begin with [`Lease::acquire`], [`Lease::commit`] or [`Lease::release`]. Then [`Lease::poll`] gives a [`Call`] to
//! make, whose answer goes to [`Lease::handle`], until it gives an [`Outcome`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod fault;
mod lease;
mod value;

#[cfg(feature = "faults")]
pub use fault::Fault;
pub use lease::{Answer, Call, Lease, Outcome, Settings, Step, TIME_MAX};
pub use value::{Unreadable, Value};

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
//! # Clocks as they are
//!
//! Owners go by their calendars, which may differ by [`Settings::grace`]. Where one is wrong by more, a lease is taken too
//! early or waited for too long: messages come twice or late, and none is missed, as what moves the checkpoint is the
//! comparison and not the time. Two things are left to an operator:
//!
//! - A lease that is held until a time that no right clock has set is not waited for, but told: [`Outcome::Ahead`].
//!   [`Lease::revoke`] frees it, and keeps the checkpoint. So does `until` set to 0 by hand.
//! - The time of the first owner counts only until the first commit. If the first owner's clock was ahead and it
//!   committed nothing, a reader that begins at the latest cannot know what the latest was.
//!
//! On SQLite two that create the value are kept apart by the time, so there the exception above is also met by two whose
//! clocks are more than a minute apart and that create in the same moment.
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
//! 5. An operation ends after its patience and a number of calls, whatever the store and the clock do.
//!
//! # The loop
//!
//! Begin with [`Lease::acquire`] or [`Lease::revoke`], and go on with [`Lease::commit`] or [`Lease::release`]. Then [`Lease::poll`] gives a [`Call`] to
//! make, whose answer goes to [`Lease::handle`], until it gives an [`Outcome`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod fault;
mod lease;
mod value;

#[cfg(feature = "faults")]
pub use fault::Fault;
pub use lease::{AHEAD_MAX, Answer, Call, Lease, Outcome, Settings, Step, TIME_MAX};
pub use value::{Unreadable, Value};

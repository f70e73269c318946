//! The lease on a stream and its checkpoint, kept as one value in a key-value store, as a state machine without I/O.
//!
//! Several drains of one stream may run at once, in processes that serve one request each and share nothing but a
//! store. The lease lets one of them work at a time, and the checkpoint tells it where to continue. Both are in **one**
//! [`Value`] that is changed only by compare-and-swap, so a drain that has lost the lease cannot move the checkpoint.
//!
//! # Guarantees
//!
//! - **No gaps, whatever the store does.** Every value that is ever written holds a checkpoint of what had been
//!   delivered by then or, before the first commit, the time of the first owner, which is where a reader that starts at
//!   `latest` begins. So it is safe to continue from any of them, even from an old one that a faulty store brings back.
//!   (There is one exception, on SQLite: two processes that are both suspended for more than a minute in the very call
//!   that creates the value. Then the later one decides where `latest` was.)
//! - A commit that ended with [`Outcome::Written`] stays, and the next owner continues from it. Only messages that an
//!   owner delivered, but had not committed when another took over, are delivered again.
//! - Within an [epoch](Value::epoch), the time of one owner, nothing is delivered twice or out of order.
//!
//! # Wrong clocks
//!
//! Owners go by their calendar clocks, which may differ by [`Settings::grace`]. If a clock is off by more, a lease is
//! taken too early or waited for too long. Messages then come twice or late, but none is missed, because the comparison
//! protects the checkpoint, not the time. Two cases are left to the operator:
//!
//! - A lease that ends later than any correct clock can have set is not waited for but reported as [`Outcome::Ahead`].
//!   [`Lease::revoke`] frees it and keeps the checkpoint. Setting `until` to 0 by hand does the same.
//! - The time of the first owner counts only until the first commit. If that owner's clock was ahead and it committed
//!   nothing, a reader that starts at `latest` cannot know where that was.
//!
//! On SQLite, only time keeps two processes from both creating the value, so the exception above also applies to two
//! processes that create it at the same moment and whose clocks are more than a minute apart.
//!
//! # Store quirks
//!
//! `wasi:keyvalue/atomics@0.2.0-draft2` promises more than its implementations keep. In Spin 4, swapping an absent
//! value overwrites unconditionally on SQLite, a successful swap is reported as a failure on Redis, and a swap without
//! a preceding `current` is unconditional everywhere. Besides, an answer can get lost, and a replica can return an old
//! value. Hence these rules:
//!
//! 1. Always read first, with a new handle, and swap that handle or none. Never swap a handle that came with a failure.
//! 2. After each swap, whatever the answer, read again and believe only what was read. [`Value::owner`] is new for each
//!    acquisition and [`Value::revision`] grows with each attempt, so no value occurs twice and we recognize our own.
//! 3. If there is no value, swap only after an `increment` that returns 1. There is a counter for each minute, and of
//!    two consecutive minutes only one is used. So a process that dies while it creates the value delays the others by
//!    two minutes at most, and two processes that create it are a minute apart.
//! 4. A value that cannot be parsed, or that has a later version, is refused and never overwritten.
//! 5. An operation ends after a time limit and a number of calls, whatever the store and the clock do.
//!
//! # Usage
//!
//! Start with [`Lease::acquire`] or [`Lease::revoke`], and continue with [`Lease::commit`] or [`Lease::release`]. For
//! each of these operations, [`Lease::poll`] returns [`Call`]s to make, whose answers go to [`Lease::handle`], until it
//! returns an [`Outcome`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod lease;
mod value;

pub use lease::{AHEAD_MAX, Answer, Call, DURATION_MAX, Lease, Outcome, Settings, Step};
pub use value::{Unreadable, Value};

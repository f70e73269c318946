//! Faults that the simulation plants and must detect. They exist only with the feature `faults`.

/// A deliberate fault in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "faults"), expect(unreachable_pub, reason = "public only for the simulation"))]
pub enum Fault {
    /// A swap reported as successful is not verified by reading.
    TrustSuccess,
    /// A swap reported as failed is treated as if it had not been made.
    TrustFailure,
    /// A handle is swapped again after its swap was reported as failed.
    ReuseHandle,
    /// The value is created without asking the counters.
    NoGuard,
    /// The counters of the neighbouring minutes are ignored.
    IgnoreNeighbours,
    /// The end of a lease is ignored.
    IgnoreTime,
    /// A commit does not check whether the lease is still ours.
    IgnoreOwner,
    /// A new owner keeps the epoch of the previous one.
    KeepEpoch,
    /// The lease is taken without its checkpoint.
    DropCheckpoint,
    /// An owner that finds no checkpoint starts at its own time instead of that of the first owner.
    StartLate,
    /// A value that cannot be parsed is overwritten.
    OverwriteUnreadable,
    /// A lease that ends later than any correct clock can have set is waited for.
    BelieveAhead,
    /// A revoked lease keeps its owner and epoch.
    RevokeUnfenced,
    /// Revoking a lease also drops its checkpoint.
    RevokeCheckpoint,
}

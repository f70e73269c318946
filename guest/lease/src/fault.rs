//! Mistakes that the simulation must find. Without the feature `faults` none can be made.

/// A mistake in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "faults"), expect(unreachable_pub, reason = "it is public for the simulation alone"))]
pub enum Fault {
    /// A swap that was answered well is not read back.
    TrustSuccess,
    /// A swap that was answered with a failure counts as not made.
    TrustFailure,
    /// The handle of a swap that was answered with a failure is swapped again.
    SwapAgain,
    /// A swap where nothing was is not guarded.
    NoGuard,
    /// The guard of the minute before is not looked at.
    HastyGuard,
    /// The time of a lease is not looked at.
    IgnoreTime,
    /// Who commits does not look whether it is still the owner.
    IgnoreOwner,
    /// A new owner keeps the epoch of the old one.
    KeepEpoch,
    /// The lease is taken without its checkpoint.
    DropCheckpoint,
    /// The next owner of a stream without a checkpoint begins at its own time.
    BeginLate,
    /// A value that cannot be read is overwritten.
    OverwriteUnreadable,
    /// A lease until a time that no right clock can have set is waited for.
    BelieveAhead,
    /// A lease that is revoked keeps its owner and its epoch.
    RevokeUnfenced,
    /// With the lease the checkpoint is thrown away.
    RevokeAll,
}

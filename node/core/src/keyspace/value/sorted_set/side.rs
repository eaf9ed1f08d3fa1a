//! Where a bound stands, and what an insertion did.

/// What an insertion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The member is new.
    Added,
    /// The member was there with another score.
    Updated,
    /// The member was there with this score.
    Same,
}

/// Where a bound stands among the members that are equal to it.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Before,
    Behind,
}

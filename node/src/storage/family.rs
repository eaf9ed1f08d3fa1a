//! The column families.

/// A column family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Meta,
    Journal,
    Keys,
    Messages,
    Cuts,
    Runs,
}

impl Family {
    pub(super) const ALL: [Self; 6] = [Self::Meta, Self::Journal, Self::Keys, Self::Messages, Self::Cuts, Self::Runs];

    /// On disk for ever.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Journal => "journal",
            Self::Keys => "keys",
            Self::Messages => "messages",
            Self::Cuts => "cuts",
            Self::Runs => "runs",
        }
    }
}

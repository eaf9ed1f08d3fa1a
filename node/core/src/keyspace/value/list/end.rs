//! The ends of a list.

/// The two ends of a list; also the direction in which occurrences are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Front,
    Back,
}

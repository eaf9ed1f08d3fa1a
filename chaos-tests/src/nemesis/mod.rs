//! Faults. One file each: what it does, and how to tell that it happened.

pub mod kill;

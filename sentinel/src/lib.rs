//! A Tercet sentinel.

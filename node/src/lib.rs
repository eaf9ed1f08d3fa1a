//! A Tercet node.

//! A Tercet node.
pub mod keyspace {
    pub mod value;
}

//! Names of rows of the family `meta`. On disk for ever.

pub(super) const NODE_ID: &str = "node_id";
pub(super) const CLUSTER_ID: &str = "cluster_id";
/// Of the data in this directory. Not there: 1.
pub(super) const FORMAT: &str = "format";
/// How a key's shard is found.
pub(super) const PARTITION_FUNCTION: &str = "partition_function";
pub(super) const PROMISED_EPOCH: &str = "promised_epoch";
/// log2 of the number of shards that the rows and the journal were made for.
pub(super) const SHARD_BITS: &str = "shard_bits";
/// Epochs and their first offsets: pairs of varints.
pub(super) const JOURNAL_HISTORY: &str = "journal_history";
/// Records up to here are not in the journal on disk: a varint.
pub(super) const JOURNAL_START: &str = "journal_start";
/// A commit offset that was reached: a varint.
pub(super) const JOURNAL_COMMIT: &str = "journal_commit";
/// How many writes the log has taken: a varint.
pub(super) const WRITES: &str = "writes";
/// Present: rows and journal do not make a whole copy, because a full sync has begun.
pub(super) const NOT_WHOLE: &str = "not_whole";

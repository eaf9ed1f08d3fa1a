//! How RocksDB is set up, and why.

use rocksdb::{BlockBasedOptions, ColumnFamilyDescriptor, DBCompressionType, LogLevel, Options};

use super::Family;
use crate::limits;

pub(super) fn database() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    // It writes its diary at the start and never again: a line that meets a full disk would end the process with the line
    // behind it, by an assertion that Debian's build keeps. What it fails at we are told anyway.
    options.set_log_level(LogLevel::Fatal);
    // One thread flushes while another compacts; the node's own threads need the cores.
    options.set_max_background_jobs(2);
    // Logs are kept until every family has flushed what is in them: this bounds what a start has to read again.
    options.set_max_total_wal_size(limits::WAL_BYTES);
    // The kernel writes out as we go, so that a sync finds little left to do.
    options.set_wal_bytes_per_sync(limits::WRITE_OUT_BYTES);
    options.set_bytes_per_sync(limits::WRITE_OUT_BYTES);
    // Nobody reads its statistics.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_skip_stats_update_on_db_open(true);
    // One thread writes, mostly.
    options.set_allow_concurrent_memtable_write(false);
    options
}

pub(super) fn family(family: Family) -> ColumnFamilyDescriptor {
    let mut options = Options::default();
    let mut table = BlockBasedOptions::default();
    match family {
        Family::Meta | Family::Cuts => {
            options.set_write_buffer_size(1 << 20);
        }
        Family::Journal => {
            options.set_write_buffer_size(limits::JOURNAL_BUFFER_BYTES);
            // Records are not compressed: they are short-lived, and a write may cost a fraction of a microsecond.
            options.set_compression_type(DBCompressionType::None);
            // Its files never overlap, so a compaction only moves them; from there whole files are dropped.
            options.set_level_zero_file_num_compaction_trigger(2);
            // A row is a block of its own, and is read about once.
            table.disable_cache();
        }
        Family::Runs => {
            options.set_write_buffer_size(limits::ROWS_BUFFER_BYTES);
            options.set_max_write_buffer_number(4);
            options.set_compression_type(DBCompressionType::None);
            // As for the journal: numbers ascend, so a compaction moves files.
            options.set_level_zero_file_num_compaction_trigger(2);
            options.set_max_bytes_for_level_base(u64::MAX / 16);
            options.set_level_zero_slowdown_writes_trigger(i32::MAX / 2);
            options.set_level_zero_stop_writes_trigger(i32::MAX);
            options.set_soft_pending_compaction_bytes_limit(0);
            options.set_hard_pending_compaction_bytes_limit(0);
            // A run is a block of its own, and is read about once.
            table.disable_cache();
        }
        Family::Keys | Family::Messages => {
            // The checkpointer flushes long before this is full (`CHECKPOINT_FLUSH_BYTES`): a full buffer would stop whoever
            // writes the journal.
            options.set_write_buffer_size(limits::ROWS_BUFFER_BYTES);
            options.set_max_write_buffer_number(4);
            options.set_compression_type(DBCompressionType::None);
            // Two levels. A pass rewrites most pages in the order of their keys, so a new file meets about one old one.
            options.set_level_zero_file_num_compaction_trigger(4);
            options.set_max_bytes_for_level_base(u64::MAX / 16);
            options.set_target_file_size_base(limits::ROWS_FILE_BYTES);
            // The checkpointer waits for the merge by itself (`UNMERGED_FILES`); the journal must not.
            options.set_level_zero_slowdown_writes_trigger(i32::MAX / 2);
            options.set_level_zero_stop_writes_trigger(i32::MAX);
            options.set_soft_pending_compaction_bytes_limit(0);
            options.set_hard_pending_compaction_bytes_limit(0);
            // Rows are read in order at the start, and never again.
            table.set_block_size(limits::ROWS_BLOCK_BYTES);
            table.disable_cache();
        }
    }
    options.set_block_based_table_factory(&table);
    ColumnFamilyDescriptor::new(family.name(), options)
}

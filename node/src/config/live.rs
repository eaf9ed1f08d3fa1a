//! Settings that change at run time: one row each. Flag, variable, file key, default, `--help`, CONFIG GET, SET and REWRITE
//! and the reload at SIGHUP follow from the row.
//!
//! Names, bounds and defaults are those of Redis 7.2, so that its tools and clients can read and set them. A row says
//! whether anything here reads its cell: `Read`, or `Kept` for what has no counterpart in this server, which is accepted
//! and shown and changes nothing.

use super::cell::{Cell, Choice, Events, Flag, Kind, Number, Text, Value};
pub use super::special::{OUR_POLICY, POLICIES};
use super::special::{OutputLimits, Percentiles};

/// Whether anything reads the cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Read,
    Kept,
}

/// One row.
pub struct LiveSetting {
    pub name: &'static str,
    /// A second name, empty if there is none.
    pub alias: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    pub used: Use,
    pub help: &'static str,
    cell: fn(&Live) -> &dyn Cell,
}

impl std::fmt::Debug for LiveSetting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LiveSetting({})", self.name)
    }
}

macro_rules! live {
    ($( $field:ident : $cell:ident, $kind:expr, $name:literal, $alias:literal, $default:literal, $used:ident, $help:literal; )*) => {
        /// The cells.
        #[derive(Debug)]
        pub struct Live { $( #[doc = $help] pub $field: $cell, )* }

        /// The table.
        pub const LIVE: &[LiveSetting] = &[ $( LiveSetting {
            name: $name, alias: $alias, kind: $kind, default: $default, used: Use::$used, help: $help,
            cell: |live| &live.$field,
        }, )* ];

        impl Default for Live {
            fn default() -> Self {
                let live = Self { $( $field: $cell::default(), )* };
                for setting in LIVE {
                    setting.put(&live, setting.kind.read(setting.default).expect("a test reads every default"));
                }
                live
            }
        }
    };
}

const LOG_LEVELS: &[&str] = &["debug", "verbose", "notice", "warning"];
const CHANNELS: &[&str] = &["allchannels", "resetchannels"];
const SHUTDOWN: &[&str] = &["default", "save", "nosave", "now", "force"];

const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;
const COUNT: Kind = Kind::Integer(0, LONG);
const SMALL: Kind = Kind::Integer(0, INT);
const BYTES: Kind = Kind::Memory(0, LONG);
const YES_NO: Kind = Kind::Flag;

live! {
    maxmemory: Number, BYTES, "maxmemory", "", "0", Read, "Memory for data, e.g. 1gb; 0 = no limit";
    maxmemory_policy: Choice, Kind::Choice(POLICIES), "maxmemory-policy", "", "noeviction", Read, "What goes when maxmemory is reached: a policy of Redis, or allkeys-s3fifo";
    maxmemory_samples: Number, Kind::Integer(1, INT), "maxmemory-samples", "", "5", Read, "Keys that are looked at for each key that is evicted";
    maxmemory_eviction_tenacity: Number, Kind::Integer(0, 100), "maxmemory-eviction-tenacity", "", "10", Read, "How much time an eviction may take, 0 to 100";
    maxmemory_clients: Number, Kind::MemoryOrPercent, "maxmemory-clients", "", "0", Read, "Memory for the buffers of all clients, in bytes or as a percentage of maxmemory; 0 = no limit";
    lfu_log_factor: Number, SMALL, "lfu-log-factor", "", "10", Read, "How slowly the counter of uses grows";
    lfu_decay_time: Number, SMALL, "lfu-decay-time", "", "1", Read, "Minutes after which the counter of uses falls by one";
    maxclients: Number, Kind::Integer(1, u32::MAX as i64), "maxclients", "", "20000", Read, "Clients at the same time, on all ports together";
    maxclients_per_address: Number, Kind::Integer(1, u32::MAX as i64), "maxclients-per-address", "", "10000", Read, "Clients at the same time from one address";
    protected_mode: Flag, YES_NO, "protected-mode", "", "yes", Read, "Refuse Redis clients of other machines while there is no password";
    timeout: Number, SMALL, "timeout", "", "0", Read, "Seconds after which an idle Redis client is closed; 0 = never";
    tcp_keepalive: Number, SMALL, "tcp-keepalive", "", "300", Read, "Seconds between two probes of a silent connection; 0 = none";
    proto_max_bulk_len: Number, Kind::Memory(1 << 20, LONG), "proto-max-bulk-len", "", "512mb", Read, "Bytes of one argument or string at most";
    client_query_buffer_limit: Number, Kind::Memory(1 << 20, LONG), "client-query-buffer-limit", "", "1gb", Read, "Bytes of a request that is not whole yet";
    client_output_buffer_limit: OutputLimits, Kind::OutputLimits, "client-output-buffer-limit", "", "normal 0 0 0 slave 256mb 64mb 60 pubsub 32mb 8mb 60", Read, "What may wait to be sent to a client: class hard soft seconds, ...";
    notify_keyspace_events: Events, Kind::Events, "notify-keyspace-events", "", "", Read, "Classes of events that are published";
    slowlog_log_slower_than: Number, Kind::Integer(-1, LONG), "slowlog-log-slower-than", "", "10000", Read, "Commands that take so many microseconds are noted in the slow log; -1 = none";
    slowlog_max_len: Number, COUNT, "slowlog-max-len", "", "128", Read, "Entries of the slow log";
    latency_monitor_threshold: Number, COUNT, "latency-monitor-threshold", "", "0", Read, "Events that take so many milliseconds are noted for LATENCY; 0 = none";
    latency_tracking: Flag, YES_NO, "latency-tracking", "", "yes", Read, "Whether the latency of every command is counted for INFO and LATENCY HISTOGRAM";
    latency_tracking_info_percentiles: Percentiles, Kind::Percentiles, "latency-tracking-info-percentiles", "", "50 99 99.9", Read, "Percentiles that INFO latencystats shows";
    busy_reply_threshold: Number, COUNT, "busy-reply-threshold", "lua-time-limit", "5000", Read, "Milliseconds after which a script that runs is told of with BUSY and may be killed";
    script_time_limit: Number, Kind::Integer(1, INT), "script-time-limit", "", "60000", Read, "Milliseconds after which a script is ended, whatever it has done";
    script_memory_limit: Number, Kind::Memory(1 << 20, LONG), "script-memory-limit", "", "256mb", Read, "Memory of one script at most";
    acllog_max_len: Number, COUNT, "acllog-max-len", "", "128", Read, "Entries of the log of refused accesses";
    acl_pubsub_default: Choice, Kind::Choice(CHANNELS), "acl-pubsub-default", "", "resetchannels", Read, "Whether a new user may use every channel";
    tracking_table_max_keys: Number, COUNT, "tracking-table-max-keys", "", "1000000", Read, "Keys that are tracked for clients at most; 0 = no limit";
    hash_max_listpack_entries: Number, COUNT, "hash-max-listpack-entries", "hash-max-ziplist-entries", "512", Read, "Fields of a hash that is kept flat";
    hash_max_listpack_value: Number, BYTES, "hash-max-listpack-value", "hash-max-ziplist-value", "64", Read, "Bytes of a field or value in a flat hash";
    list_max_listpack_size: Number, Kind::Integer(i32::MIN as i64, INT), "list-max-listpack-size", "list-max-ziplist-size", "-2", Read, "Size of a segment of a list: elements, or -1 to -5 for 4 to 64 kB";
    list_compress_depth: Number, SMALL, "list-compress-depth", "", "0", Kept, "Segments at each end of a list that are not compressed";
    set_max_intset_entries: Number, COUNT, "set-max-intset-entries", "", "512", Read, "Members of a set of numbers that is kept flat";
    set_max_listpack_entries: Number, COUNT, "set-max-listpack-entries", "", "128", Read, "Members of a set that is kept flat";
    set_max_listpack_value: Number, BYTES, "set-max-listpack-value", "", "64", Read, "Bytes of a member of a flat set";
    zset_max_listpack_entries: Number, COUNT, "zset-max-listpack-entries", "zset-max-ziplist-entries", "128", Read, "Members of a sorted set that is kept flat";
    zset_max_listpack_value: Number, BYTES, "zset-max-listpack-value", "zset-max-ziplist-value", "64", Read, "Bytes of a member of a flat sorted set";
    hll_sparse_max_bytes: Number, BYTES, "hll-sparse-max-bytes", "", "3000", Read, "Bytes of a sparse HyperLogLog";
    stream_node_max_bytes: Number, BYTES, "stream-node-max-bytes", "", "4096", Read, "Bytes of a node of a stream";
    stream_node_max_entries: Number, COUNT, "stream-node-max-entries", "", "100", Read, "Entries of a node of a stream";
    disk_free_limit: Number, BYTES, "disk-free-limit", "", "50mb", Read, "Room that the disk of --data must have left; with less, writes are refused until there is more";
    queue_memory: Number, Kind::Memory(1 << 20, LONG), "queue-memory", "", "256mb", Read, "Bytes of messages of one durable queue that stay in memory; what comes later waits on the disk until consumers come near it";
    consumer_timeout_ms: Number, COUNT, "consumer-timeout-ms", "", "1800000", Read, "How long an AMQP client may keep a delivery without acknowledging it, in milliseconds; then its channel is closed; 0 = for ever";
    shutdown_grace_ms: Number, SMALL, "shutdown-grace-ms", "", "5000", Read, "How long a node that stops goes on carrying Redis clients to the master, in milliseconds; idle ones are closed at once, the others at its end between two requests";

    active_expire_effort: Number, Kind::Integer(1, 10), "active-expire-effort", "", "1", Kept, "Keys are deleted within a tick of their time";
    activerehashing: Flag, YES_NO, "activerehashing", "", "yes", Kept, "Kept and shown; changes nothing";
    aof_load_truncated: Flag, YES_NO, "aof-load-truncated", "", "yes", Kept, "Kept and shown; changes nothing";
    aof_rewrite_incremental_fsync: Flag, YES_NO, "aof-rewrite-incremental-fsync", "", "yes", Kept, "Kept and shown; changes nothing";
    aof_timestamp_enabled: Flag, YES_NO, "aof-timestamp-enabled", "", "no", Kept, "Kept and shown; changes nothing";
    aof_use_rdb_preamble: Flag, YES_NO, "aof-use-rdb-preamble", "", "yes", Kept, "Kept and shown; changes nothing";
    auto_aof_rewrite_min_size: Number, BYTES, "auto-aof-rewrite-min-size", "", "64mb", Kept, "Kept and shown; changes nothing";
    auto_aof_rewrite_percentage: Number, SMALL, "auto-aof-rewrite-percentage", "", "100", Kept, "Kept and shown; changes nothing";
    crash_log_enabled: Flag, YES_NO, "crash-log-enabled", "", "yes", Kept, "Kept and shown; changes nothing";
    crash_memcheck_enabled: Flag, YES_NO, "crash-memcheck-enabled", "", "yes", Kept, "Kept and shown; changes nothing";
    dynamic_hz: Flag, YES_NO, "dynamic-hz", "", "yes", Kept, "Kept and shown; changes nothing";
    hz: Number, Kind::Clamped(1, 500), "hz", "", "10", Kept, "Kept and shown; changes nothing";
    ignore_warnings: Text, Kind::Text, "ignore-warnings", "", "", Kept, "Kept and shown; changes nothing";
    jemalloc_bg_thread: Flag, YES_NO, "jemalloc-bg-thread", "", "yes", Kept, "Kept and shown; changes nothing";
    key_load_delay: Number, Kind::Integer(i32::MIN as i64, INT), "key-load-delay", "", "0", Kept, "Kept and shown; changes nothing";
    lazyfree_lazy_eviction: Flag, YES_NO, "lazyfree-lazy-eviction", "", "no", Kept, "Kept and shown; changes nothing";
    lazyfree_lazy_expire: Flag, YES_NO, "lazyfree-lazy-expire", "", "no", Kept, "Kept and shown; changes nothing";
    lazyfree_lazy_server_del: Flag, YES_NO, "lazyfree-lazy-server-del", "", "no", Kept, "Kept and shown; changes nothing";
    lazyfree_lazy_user_del: Flag, YES_NO, "lazyfree-lazy-user-del", "", "no", Kept, "Kept and shown; changes nothing";
    lazyfree_lazy_user_flush: Flag, YES_NO, "lazyfree-lazy-user-flush", "", "no", Kept, "Kept and shown; changes nothing";
    loglevel: Choice, Kind::Choice(LOG_LEVELS), "loglevel", "", "notice", Read, "Level of the log: warning, notice, verbose or debug; TERCET_LOG says it in detail until this is changed";
    masterauth: Text, Kind::Text, "masterauth", "", "", Kept, "Kept and shown; changes nothing";
    masteruser: Text, Kind::Text, "masteruser", "", "", Kept, "Kept and shown; changes nothing";
    min_replicas_max_lag: Number, SMALL, "min-replicas-max-lag", "min-slaves-max-lag", "10", Kept, "Kept and shown; changes nothing";
    min_replicas_to_write: Number, SMALL, "min-replicas-to-write", "min-slaves-to-write", "0", Read, "Replicas that must be in sync for writes to be accepted; 0 = the cluster's own rule alone";
    no_appendfsync_on_rewrite: Flag, YES_NO, "no-appendfsync-on-rewrite", "", "no", Kept, "Kept and shown; changes nothing";
    oom_score_adj_values: Text, Kind::Numbers(3), "oom-score-adj-values", "", "0 200 800", Kept, "Kept and shown; changes nothing";
    proc_title_template: Text, Kind::Text, "proc-title-template", "", "{title} {listen-addr} {server-mode}", Kept, "Kept and shown; changes nothing";
    rdb_del_sync_files: Flag, YES_NO, "rdb-del-sync-files", "", "no", Kept, "Kept and shown; changes nothing";
    rdb_key_save_delay: Number, Kind::Integer(i32::MIN as i64, INT), "rdb-key-save-delay", "", "0", Kept, "Kept and shown; changes nothing";
    rdb_save_incremental_fsync: Flag, YES_NO, "rdb-save-incremental-fsync", "", "yes", Kept, "Kept and shown; changes nothing";
    rdbcompression: Flag, YES_NO, "rdbcompression", "", "yes", Kept, "Kept and shown; changes nothing";
    repl_backlog_size: Number, Kind::Memory(1, LONG), "repl-backlog-size", "", "1mb", Kept, "Kept and shown; changes nothing";
    repl_backlog_ttl: Number, COUNT, "repl-backlog-ttl", "", "3600", Kept, "Kept and shown; changes nothing";
    repl_disable_tcp_nodelay: Flag, YES_NO, "repl-disable-tcp-nodelay", "", "no", Kept, "Kept and shown; changes nothing";
    repl_diskless_sync: Flag, YES_NO, "repl-diskless-sync", "", "yes", Kept, "Kept and shown; changes nothing";
    repl_diskless_sync_delay: Number, SMALL, "repl-diskless-sync-delay", "", "5", Kept, "Kept and shown; changes nothing";
    repl_diskless_sync_max_replicas: Number, SMALL, "repl-diskless-sync-max-replicas", "", "0", Kept, "Kept and shown; changes nothing";
    repl_ping_replica_period: Number, Kind::Integer(1, INT), "repl-ping-replica-period", "repl-ping-slave-period", "10", Kept, "Kept and shown; changes nothing";
    repl_timeout: Number, Kind::Integer(1, INT), "repl-timeout", "", "60", Kept, "Kept and shown; changes nothing";
    replica_announced: Flag, YES_NO, "replica-announced", "", "yes", Kept, "Kept and shown; changes nothing";
    replica_ignore_maxmemory: Flag, YES_NO, "replica-ignore-maxmemory", "slave-ignore-maxmemory", "yes", Kept, "Kept and shown; changes nothing";
    replica_lazy_flush: Flag, YES_NO, "replica-lazy-flush", "slave-lazy-flush", "no", Kept, "Kept and shown; changes nothing";
    replica_priority: Number, SMALL, "replica-priority", "slave-priority", "100", Kept, "Kept and shown; changes nothing";
    replica_serve_stale_data: Flag, YES_NO, "replica-serve-stale-data", "slave-serve-stale-data", "yes", Kept, "Kept and shown; changes nothing";
    save: Text, Kind::Save, "save", "", "", Kept, "Kept and shown; changes nothing";
    shutdown_on_sigint: Choice, Kind::Choice(SHUTDOWN), "shutdown-on-sigint", "", "default", Kept, "Kept and shown; changes nothing";
    shutdown_on_sigterm: Choice, Kind::Choice(SHUTDOWN), "shutdown-on-sigterm", "", "default", Kept, "Kept and shown; changes nothing";
    shutdown_timeout: Number, SMALL, "shutdown-timeout", "", "10", Kept, "Kept and shown; changes nothing";
    stop_writes_on_bgsave_error: Flag, YES_NO, "stop-writes-on-bgsave-error", "", "yes", Kept, "Kept and shown; changes nothing";
}

impl LiveSetting {
    pub fn put(&self, live: &Live, value: Value) {
        (self.cell)(live).put(value);
    }

    #[must_use]
    pub fn show(&self, live: &Live) -> String {
        (self.cell)(live).show(self.kind)
    }

    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.name) || !self.alias.is_empty() && name.eq_ignore_ascii_case(self.alias)
    }

    /// Both names, or the only one.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.name, self.alias].into_iter().filter(|name| !name.is_empty())
    }
}

impl Live {
    /// The name of the eviction policy.
    #[must_use]
    pub fn policy(&self) -> &'static str {
        POLICIES.get(self.maxmemory_policy.index()).copied().unwrap_or_default()
    }

    /// The name of the log's level.
    #[must_use]
    pub fn log_level(&self) -> &'static str {
        LOG_LEVELS.get(self.loglevel.index()).copied().unwrap_or_default()
    }
}

/// The row of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static LiveSetting> {
    LIVE.iter().find(|setting| setting.is_called(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_can_be_read_and_is_shown_as_something_that_can_be_read() {
        let live = Live::default();
        for setting in LIVE {
            let shown = setting.show(&live);
            assert_eq!(setting.kind.read(&shown), setting.kind.read(setting.default), "{setting:?}: {shown}");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = LIVE.iter().flat_map(LiveSetting::names).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn what_something_reads_is_explained() {
        for setting in LIVE.iter().filter(|setting| setting.used == Use::Read) {
            assert!(!setting.help.is_empty(), "{setting:?}");
        }
    }
}

//! Every bound and interval of a sentinel that is not a flag, with its reason.

use std::time::Duration;

/// How often the detector looks. Short, for it adds to every failover.
pub const TICK: Duration = Duration::from_millis(10);

/// A tick this late means that we were not running: what we did not hear then proves nothing.
pub const TICK_SLIP: Duration = Duration::from_millis(50);

/// A sentinel that agreed to suspend an epoch grants nothing under it for so long.
pub const SUSPENSION: Duration = Duration::from_secs(2);

/// A report of a suspension counts for so long: half of the promise, so that a commit ends well inside it.
pub const REPORT_LIFE: Duration = Duration::from_secs(1);

/// How much faster than ours another host's clock may run (kernel slew is at most 500 ppm a side).
const DRIFT_PER_MILLE: u32 = 1;

/// A master that has heard nothing of this sentinel for so long is granted nothing until it has: two answers missed. It
/// renews at once when it hears again.
pub const DEAF_AFTER: Duration = Duration::from_millis(120);

/// Rounding and scheduling between "granted" and "noted".
const LEASE_MARGIN: Duration = Duration::from_millis(25);

/// A grant older than this can be part of no lease: L (1 + drift) + margin.
#[must_use]
pub fn lease_bound(lease: Duration) -> Duration {
    lease + lease * DRIFT_PER_MILLE / 1000 + LEASE_MARGIN
}

/// A restarted sentinel does not know what it granted, and grants nothing until none of that can be part of a lease. That
/// it may have agreed to suspend an epoch it need not know: what keeps two leases apart is what was granted. Longer would
/// cost the master its lease when another sentinel is lost soon after.
#[must_use]
pub fn quarantine(lease: Duration) -> Duration {
    lease_bound(lease)
}

/// A master that was just promoted has to sync its promise before its first Renew.
pub const PROMOTION_GRACE: Duration = Duration::from_millis(1000);

/// A master that gave its lease up in a hand-over is followed by a newer state within moments.
pub const RESIGNATION_GRACE: Duration = Duration::from_millis(50);

/// The answer to a new master's Renew waits this long for the old one to step down: less than until the next Renew.
pub const RELEASE_PATIENCE: Duration = Duration::from_millis(40);

/// A stream between a master and a replica on which nothing has come for so long, four heartbeats, carries nothing.
pub const LINK_SILENCE: Duration = Duration::from_millis(200);

/// What a node said longer ago, three statuses, says nothing of how it is now.
pub(crate) const STATUS_LIFE: Duration = Duration::from_millis(300);

/// A master that is heard and cut off from its replicas is replaced after so long: longer than replicas that live take to
/// reconnect. Nothing can be written meanwhile.
pub(crate) const CUT_OFF_AFTER: Duration = Duration::from_millis(150);

/// One whose disk has failed and who did not hand over when it was asked to: it says so within half of `HANDOVER_HOLD`.
pub(crate) const DISK_FAILED_AFTER: Duration = Duration::from_millis(700);

/// One that never was of use, or whom nobody could replace: so that where all links are broken masters do not alternate.
pub(crate) const UNFIT_AGAIN: Duration = Duration::from_secs(10);

/// A master whose disk has failed is asked to hand over after so long, and again after as long as it may take.
pub(crate) const FAILED_DISK_PATIENCE: Duration = Duration::from_millis(200);
pub(crate) const FAILED_DISK_RETRY: Duration = Duration::from_secs(5);

/// A promise above the current epoch that lasts so long is what a failover that came to nothing left behind.
pub const STALE_PROMISE: Duration = Duration::from_secs(1);

/// After a restart the master of our own, maybe old, state is told of only when nothing newer has come for so long.
pub const RESTART_PATIENCE: Duration = Duration::from_secs(1);

/// Between two Suspend requests to the same sentinel.
pub const SUSPEND_RETRY: Duration = Duration::from_millis(15);

/// One Suspend request.
pub const SUSPEND_TIMEOUT: Duration = Duration::from_millis(100);

/// One TCP probe of a master whose stream broke: longer means unreachable.
pub const PROBE_TIMEOUT: Duration = Duration::from_millis(100);

/// Between two probes: a dying process closes its listener a little after its streams.
pub const PROBE_PAUSE: Duration = Duration::from_millis(10);

/// One Fence request; a replica syncs its promise to disk within it.
pub const FENCE_TIMEOUT: Duration = Duration::from_millis(150);

/// One Promote request.
pub const PROMOTE_TIMEOUT: Duration = Duration::from_millis(500);

/// From Promote until the new master says so; then the detector judges it like any other.
pub const ACTIVATION_TIMEOUT: Duration = Duration::from_secs(2);

/// One proposal to Raft. After it the outcome is unknown and the state tells.
pub const PROPOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// One change of who the sentinels are, with the time in which a new one catches up.
pub const RECONFIGURE_TIMEOUT: Duration = Duration::from_secs(2);

/// One request to join: the change, the pause before it and before that of the sentinel that it replaces, twice over.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two requests to join, and between two looks whether a change was left half done.
pub const JOIN_RETRY: Duration = Duration::from_millis(500);

/// How long a sentinel that was removed goes on, for answers that are on their way.
pub const LAST_WORDS: Duration = Duration::from_millis(200);

/// How long a master holds its writes for a hand-over.
pub const HANDOVER_HOLD: Duration = Duration::from_millis(1000);

/// A request that one sentinel forwards to the Raft leader.
pub const FORWARD_TIMEOUT: Duration = Duration::from_secs(4);

/// Between two tries to fail over when no candidate was found.
pub const FAILOVER_RETRY: Duration = Duration::from_millis(100);

/// After the first node answered, the first master is chosen even if others are silent.
pub const FIRST_MASTER_PATIENCE: Duration = Duration::from_secs(2);

/// TCP and HTTP/2 connect to a node or sentinel.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);

/// Between two tries to observe a node.
pub const OBSERVE_RETRY: Duration = Duration::from_millis(50);

/// A node says something every 100 ms; a stream this silent is dead and is opened anew.
pub const OBSERVE_SILENCE: Duration = Duration::from_secs(1);

/// Between two Hellos to another sentinel.
pub const HELLO_INTERVAL: Duration = Duration::from_secs(1);

/// One Hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_millis(500);

/// A sentinel that has not answered a Hello for so long is subjectively down.
pub const SENTINEL_DOWN_AFTER: Duration = Duration::from_secs(3);

/// A condition that lasts is logged once in so long.
pub const LOG_AGAIN: Duration = Duration::from_secs(5);

/// HTTP/2 pings on the channels between sentinels: a peer that vanished without a FIN is noticed in half a second.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(200);
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_millis(400);

/// Processes that were replaced by another of the same node are remembered: more than restart within any failover.
pub const REMEMBERED_PROCESSES: usize = 256;

/// Epochs whose last grant is remembered; older ones ended long ago.
pub const REMEMBERED_EPOCHS: usize = 16;

/// Most sentinels of a cluster: a majority must stay a few round trips.
pub const MOST_SENTINELS: usize = 9;

/// Most data nodes that a sentinel observes.
pub const MOST_NODES: usize = 64;

/// Events that a slow subscriber may lag behind before its connection is closed.
pub const EVENT_BACKLOG: usize = 1024;

/// How far a term of Raft, or the epoch that a node tells of, may be ahead of ours. Each election and each failover is one.
pub const TERM_STEP: u64 = 1 << 20;

/// Largest epoch: no number of failovers gets there, and there is always a next one.
pub const MOST_EPOCH: u64 = 1 << 48;

/// Longest silence that `SENTINEL SET` takes: a day.
pub const MOST_DOWN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Names of nodes that were ever heard of by this process.
pub const MOST_NAMES: usize = 4 * MOST_NODES;

/// Connections on the RESP port; Redis' `maxclients`.
pub const MOST_CLIENTS: usize = 10_000;

/// One argument on the RESP port: nothing that a sentinel is told is long.
pub const BULK_LENGTH: usize = 1 << 20;

/// Arguments of one command on the RESP port.
pub const ARRAY_LENGTH: usize = 1 << 16;

/// Bytes of one command that has not come whole.
pub const QUERY_BUFFER: usize = 4 << 20;

/// One read from a RESP client.
pub const READ_CHUNK: usize = 16 << 10;

/// Bytes of replies that a client may leave unread before the connection waits for it.
pub const REPLY_CHUNK: usize = 64 << 10;

/// A client that takes no replies for so long is disconnected.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Channels and patterns of one subscriber.
pub const MOST_SUBSCRIPTIONS: usize = 1024;

/// HTTP/2 pings to whoever connected to the peer port: streams of a host that vanished are freed.
pub const SERVER_KEEPALIVE: Duration = Duration::from_secs(2);

/// A sentinel starts only where so many bytes can be written: new files of RocksDB begin with less.
pub const ROOM_TO_OPEN: usize = 1 << 20;

/// A sentinel that is told to stop is gone after so long, whatever hangs.
pub const STOP: Duration = Duration::from_secs(10);

/// How long an orderly end waits for the data directory to be closed.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Changes of the master that the state remembers: what a person looks back on, in some kilobytes.
pub(crate) const FAILOVERS: usize = 32;

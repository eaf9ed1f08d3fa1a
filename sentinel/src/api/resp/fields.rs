//! The maps of MASTERS, REPLICAS and SENTINELS: Redis' fields in Redis' order.

use tercet_proto::resp::Encoder;

use crate::picture::{Instance, Link, MasterPicture, Picture, ReplicaPicture, Replicated, Reported, SentinelPicture};

/// Shown for compatibility: reconfiguring replicas is not a step of ours, they follow the state by themselves.
pub(crate) const FAILOVER_TIMEOUT_MS: u64 = 180_000;
pub(crate) const PARALLEL_SYNCS: u64 = 1;

/// Field names with their values, in order.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn put(&mut self, name: &'static str, value: impl ToString) {
        self.0.push((name, value.to_string()));
    }

    /// A map, or a flat array in RESP2.
    pub(crate) fn write(&self, reply: &mut Encoder<'_>) {
        reply.map(self.0.len());
        for (name, value) in &self.0 {
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        }
    }
}

pub(crate) fn master(picture: &Picture, master: &MasterPicture) -> Fields {
    let instance = &master.instance;
    let mut flags = Vec::new();
    if instance.s_down_ms.is_some() {
        flags.push("s_down");
    }
    if master.o_down_ms.is_some() {
        flags.push("o_down");
    }
    flags.push("master");
    if instance.link == Link::Disconnected {
        flags.push("disconnected");
    }
    if master.failover_state.is_some() {
        flags.push("failover_in_progress");
    }
    let mut fields = Fields::default();
    head(&mut fields, &picture.service, instance, &flags);
    if let Some(state) = master.failover_state {
        fields.put("failover-state", state);
    }
    times(&mut fields, picture, instance, master.o_down_ms);
    fields.put("info-refresh", instance.last_reply_ms);
    fields.put("role-reported", "master");
    fields.put("role-reported-time", master.reported_ms);
    fields.put("config-epoch", master.config_epoch);
    fields.put("num-slaves", picture.replicas.len());
    fields.put("num-other-sentinels", picture.sentinels.len());
    fields.put("quorum", picture.quorum);
    fields.put("failover-timeout", FAILOVER_TIMEOUT_MS);
    fields.put("parallel-syncs", PARALLEL_SYNCS);
    // Ours come behind those of Redis.
    fields.put("node-name", &master.name);
    fields.put("repl-offset", master.offset);
    fields.put("in-sync-nodes", master.in_sync.join(","));
    fields.put("min-isr", master.min_isr);
    fields
}

pub(crate) fn replica(picture: &Picture, replica: &ReplicaPicture) -> Fields {
    let instance = &replica.instance;
    let mut flags = Vec::new();
    if instance.s_down_ms.is_some() {
        flags.push("s_down");
    }
    flags.push("slave");
    if instance.link == Link::Disconnected {
        flags.push("disconnected");
    }
    let mut fields = Fields::default();
    head(&mut fields, &instance.address.to_string(), instance, &flags);
    times(&mut fields, picture, instance, None);
    fields.put("info-refresh", instance.last_reply_ms);
    fields.put("role-reported", if replica.reported == Reported::Master { "master" } else { "slave" });
    fields.put("role-reported-time", instance.last_reply_ms);
    fields.put("master-link-down-time", replica.master_link_down_ms);
    fields.put("master-link-status", if replica.master_link_up == Link::Connected { "ok" } else { "err" });
    let is_known = replica.master.port != 0;
    fields.put("master-host", if is_known { replica.master.host.as_str() } else { "?" });
    fields.put("master-port", replica.master.port);
    fields.put("slave-priority", replica.priority);
    fields.put("slave-repl-offset", replica.offset);
    fields.put("replica-announced", 1);
    fields.put("node-name", &replica.name);
    fields.put("in-sync", if replica.replicated == Replicated::InSync { "yes" } else { "no" });
    fields.put("lag-records", replica.lag);
    fields
}

pub(crate) fn sentinel(picture: &Picture, sentinel: &SentinelPicture) -> Fields {
    let instance = &sentinel.instance;
    let mut flags = Vec::new();
    if instance.s_down_ms.is_some() {
        flags.push("s_down");
    }
    flags.push("sentinel");
    if instance.link == Link::Disconnected {
        flags.push("disconnected");
    }
    let mut fields = Fields::default();
    head(&mut fields, &instance.run_id, instance, &flags);
    times(&mut fields, picture, instance, None);
    fields.put("last-hello-message", instance.last_reply_ms);
    fields.put("voted-leader", "?");
    fields.put("voted-leader-epoch", 0);
    fields
}

fn head(fields: &mut Fields, name: &str, instance: &Instance, flags: &[&str]) {
    fields.put("name", name);
    fields.put("ip", &instance.address.host);
    fields.put("port", instance.address.port);
    fields.put("runid", &instance.run_id);
    fields.put("flags", flags.join(","));
    fields.put("link-pending-commands", 0);
    fields.put("link-refcount", 1);
}

fn times(fields: &mut Fields, picture: &Picture, instance: &Instance, o_down_ms: Option<u64>) {
    // Nothing is pinged: an instance that is well speaks by itself. What is overdue counts as a ping under way.
    let overdue = if instance.last_reply_ms > picture.down_after_ms { instance.last_reply_ms } else { 0 };
    fields.put("last-ping-sent", overdue);
    fields.put("last-ok-ping-reply", instance.last_reply_ms);
    fields.put("last-ping-reply", instance.last_reply_ms);
    if let Some(age) = instance.s_down_ms {
        fields.put("s-down-time", age);
    }
    if let Some(age) = o_down_ms {
        fields.put("o-down-time", age);
    }
    fields.put("down-after-milliseconds", picture.down_after_ms);
}

//! The names under which redis_exporter tells of a sentinel, so that dashboards and alerts that are made for it work.

use std::fmt::Display;

use tercet_proto::prometheus::{Exposition, Kind};

use super::resp::{FAILOVER_TIMEOUT_MS, PARALLEL_SYNCS};
use crate::{
    picture::{Instance, Link, MasterPicture, Picture},
    simulated::Simulated,
};

/// A metric of the sentinel: name, help, value.
type OfSentinel = (&'static str, &'static str, fn(&Picture) -> f64);

/// A metric of the master that it watches, with the labels `master_name` and `master_address`.
type OfMaster = (&'static str, &'static str, fn(&Picture, &MasterPicture) -> f64);

const SENTINEL: &[OfSentinel] = &[
    ("redis_sentinel_masters", "Masters that are watched.", |picture| f64::from(u8::from(picture.master.is_some()))),
    ("redis_sentinel_tilt", "1 while the sentinel may have missed something.", |picture| {
        f64::from(u8::from(picture.tilt_ms.is_some()))
    }),
    ("redis_sentinel_running_scripts", "Always 0: there are no scripts.", |_| 0.0),
    ("redis_sentinel_scripts_queue_length", "Always 0: there are no scripts.", |_| 0.0),
    ("redis_sentinel_simulate_failure_flags", "What SENTINEL SIMULATE-FAILURE asked for.", |picture| {
        f64::from(picture.simulated.map_or(0, Simulated::flag))
    }),
];

const MASTER: &[OfMaster] = &[
    ("redis_sentinel_master_slaves", "Replicas that are known.", |picture, _| picture.replicas.len() as f64),
    ("redis_sentinel_master_ok_slaves", "Replicas that are heard.", |picture, _| {
        picture.replicas.iter().filter(|replica| is_well(&replica.instance)).count() as f64
    }),
    ("redis_sentinel_master_sentinels", "Sentinels, this one included.", |picture, _| {
        picture.sentinels.len() as f64 + 1.0
    }),
    ("redis_sentinel_master_ok_sentinels", "Sentinels that are heard, this one included.", |picture, _| {
        usable(picture) as f64
    }),
    ("redis_sentinel_master_config_epoch", "Number of the mastership.", |_, master| master.config_epoch as f64),
    ("redis_sentinel_master_last_ok_ping_reply_seconds", "Since the master last said something.", |_, master| {
        master.instance.last_reply_ms as f64 / 1000.0
    }),
    ("redis_sentinel_master_setting_ckquorum", "Sentinels that have to agree.", |picture, _| picture.quorum as f64),
    (
        "redis_sentinel_master_setting_down_after_milliseconds",
        "Silence after which an instance is down.",
        |picture, _| picture.down_after_ms as f64,
    ),
    ("redis_sentinel_master_setting_failover_timeout", "Shown for compatibility, milliseconds.", |_, _| {
        FAILOVER_TIMEOUT_MS as f64
    }),
    ("redis_sentinel_master_setting_parallel_syncs", "Shown for compatibility.", |_, _| PARALLEL_SYNCS as f64),
];

fn is_well(instance: &Instance) -> bool {
    instance.link == Link::Connected && instance.s_down_ms.is_none()
}

/// Sentinels that could take part in a decision, as SENTINEL CKQUORUM counts them.
fn usable(picture: &Picture) -> usize {
    1 + picture.sentinels.iter().filter(|sentinel| sentinel.instance.s_down_ms.is_none()).count()
}

/// Writes all of them.
pub(super) fn write(picture: &Picture, to: &mut Exposition) {
    for (name, help, value) in SENTINEL {
        to.metric(*name, Kind::Gauge, help);
        to.sample(&[], value(picture));
    }
    let labels = |master: &MasterPicture| (picture.service.clone(), master.instance.address.to_string());
    let mut of_master = |name: &'static str, help: &str, further: Option<(&str, &str)>, value: &dyn Display| {
        to.metric(name, Kind::Gauge, help);
        if let Some(master) = &picture.master {
            let (service, address) = labels(master);
            let mut all = vec![("master_name", service.as_str()), ("master_address", address.as_str())];
            all.extend(further);
            to.sample(&all, value);
        }
    };
    let status = picture.master.as_ref().map_or("ok", |master| match (master.o_down_ms, master.instance.s_down_ms) {
        (Some(_), _) => "odown",
        (None, Some(_)) => "sdown",
        (None, None) => "ok",
    });
    of_master(
        "redis_sentinel_master_status",
        "Always 1; the label says the status.",
        Some(("master_status", status)),
        &1,
    );
    for (name, help, value) in MASTER {
        let value = picture.master.as_ref().map_or(0.0, |master| value(picture, master));
        of_master(name, help, None, &value);
    }
    to.metric("redis_sentinel_master_ckquorum_status", Kind::Gauge, "1 if a failover can be agreed on.");
    let (count, is_enough) = (usable(picture), usable(picture) >= picture.quorum);
    let message = if is_enough {
        format!("OK {count} usable Sentinels. Quorum and failover authorization can be reached")
    } else {
        format!("NOQUORUM {count} usable Sentinels.")
    };
    if picture.master.is_some() {
        to.sample(&[("master_name", &picture.service), ("message", &message)], u8::from(is_enough));
    }
}

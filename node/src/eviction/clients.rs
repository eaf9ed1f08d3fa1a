//! `maxmemory-clients`: if the Redis clients take more memory for their buffers than they may, the largest of them are closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tracing::info;

use crate::clients::{Client, Clients, state};
use crate::config::live::Live;

/// Closes clients until the others are within the limit, and counts them. To be called some times a second.
pub fn evict_clients(clients: &Clients, live: &Live, evicted: &AtomicU64) {
    let Some(limit) = limit(live.maxmemory_clients.load(), live.maxmemory.size()) else { return };
    let taken: Vec<(usize, Arc<Client>)> = clients
        .list()
        .into_iter()
        .filter(|client| client.amqp.lock().is_none())
        .map(|client| (client.memory(), client))
        .collect();
    let bytes = taken.iter().map(|(bytes, _)| bytes).sum();
    let may_go = taken.into_iter().filter(|(_, client)| !client.is(state::NO_EVICT)).collect();
    for (bytes, client) in largest(may_go, bytes, limit) {
        evicted.fetch_add(1, Relaxed);
        info!(client = client.id, address = %client.address, bytes, "client is closed: all clients are over maxmemory-clients");
        client.close();
    }
}

/// The limit in bytes; a negative number is a percentage of maxmemory.
fn limit(setting: i64, maxmemory: usize) -> Option<usize> {
    match usize::try_from(setting) {
        Ok(0) => None,
        Ok(bytes) => Some(bytes),
        Err(_) if maxmemory == 0 => None,
        Err(_) => Some((maxmemory as u128 * u128::from(setting.unsigned_abs()) / 100) as usize),
    }
}

/// The largest of those that may go, as many as bring `bytes` within the limit.
fn largest<C>(mut may_go: Vec<(usize, C)>, mut bytes: usize, limit: usize) -> Vec<(usize, C)> {
    if bytes <= limit {
        return Vec::new();
    }
    may_go.sort_by_key(|(own, _)| std::cmp::Reverse(*own));
    let count = may_go.iter().take_while(|(own, _)| {
        let is_over = bytes > limit;
        bytes -= own;
        is_over
    });
    let count = count.count();
    may_go.truncate(count);
    may_go
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_go_until_the_rest_is_within_the_limit() {
        let clients = || vec![(10, 'a'), (500, 'b'), (30, 'c'), (200, 'd')];
        let gone = |limit| largest(clients(), 740, limit).into_iter().map(|(_, client)| client).collect::<String>();
        assert_eq!(
            (gone(740), gone(700), gone(240), gone(239), gone(0)),
            ("".into(), "b".into(), "b".into(), "bd".into(), "bdca".into())
        );
    }

    #[test]
    fn a_percentage_is_one_of_maxmemory() {
        assert_eq!((limit(0, 100), limit(7, 0), limit(-50, 0), limit(-50, 1000)), (None, Some(7), None, Some(500)));
    }
}

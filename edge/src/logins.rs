//! How long a wrong login waits for its answer: longer with each one from the same address, so that passwords cannot be
//! tried quickly. A right login never waits: others may come from the same address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::limits;

/// Wrong logins by address. One a process.
#[derive(Debug, Default)]
pub struct Logins(Mutex<HashMap<IpAddr, Wrong>>);

#[derive(Debug, Clone, Copy)]
struct Wrong {
    count: u32,
    last: Instant,
}

impl Logins {
    /// Notes a wrong login from `address`; its answer waits for so long.
    #[must_use = "the answer has to wait"]
    pub fn wrong(&self, address: IpAddr) -> Duration {
        self.wrong_at(address, Instant::now())
    }

    fn wrong_at(&self, address: IpAddr, now: Instant) -> Duration {
        let mut table = self.0.lock();
        let who = whose(address);
        if table.len() >= limits::LOGIN_ADDRESSES && !table.contains_key(&who) {
            make_room(&mut table, now);
        }
        let wrong = table.entry(who).or_insert(Wrong { count: 0, last: now });
        if now.duration_since(wrong.last) > limits::LOGIN_MEMORY {
            wrong.count = 0;
        }
        wrong.count = wrong.count.saturating_add(1);
        wrong.last = now;
        let [first, longest] = limits::LOGIN_DELAY;
        first.saturating_mul(1 << (wrong.count - 1).min(16)).min(longest)
    }
}

fn make_room(table: &mut HashMap<IpAddr, Wrong>, now: Instant) {
    table.retain(|_, wrong| now.duration_since(wrong.last) <= limits::LOGIN_MEMORY);
    if table.len() >= limits::LOGIN_ADDRESSES
        && let Some(quietest) = table.iter().min_by_key(|(_, wrong)| wrong.last).map(|(address, _)| *address)
    {
        table.remove(&quietest);
    }
}

/// A network of IPv6 is one: whoever has one address of it has all.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_wrong_login_waits_longer_up_to_a_bound_and_is_forgotten() {
        let (logins, now) = (Logins::default(), Instant::now());
        let waits: Vec<_> = (0..40).map(|_| logins.wrong_at(address("10.0.0.1"), now)).collect();
        assert_eq!(waits[..3], [50, 100, 200].map(Duration::from_millis));
        assert_eq!(waits[39], limits::LOGIN_DELAY[1]);
        assert_eq!(logins.wrong_at(address("10.0.0.2"), now), waits[0], "another address");
        let later = now + limits::LOGIN_MEMORY + Duration::from_secs(1);
        assert_eq!(logins.wrong_at(address("10.0.0.1"), later), waits[0]);
    }

    #[test]
    fn addresses_of_one_network_count_together() {
        let (logins, now) = (Logins::default(), Instant::now());
        let first = logins.wrong_at(address("2001:db8::1"), now);
        assert!(logins.wrong_at(address("2001:db8::2"), now) > first);
        assert_eq!(logins.wrong_at(address("2001:db8:0:1::1"), now), first);
        let first = logins.wrong_at(address("10.0.0.1"), now);
        assert!(logins.wrong_at(address("::ffff:10.0.0.1"), now) > first);
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory() {
        let (logins, now) = (Logins::default(), Instant::now());
        for number in 0..3 * limits::LOGIN_ADDRESSES as u32 {
            let _ = logins.wrong_at(std::net::Ipv4Addr::from_bits(number).into(), now);
        }
        assert_eq!(logins.0.lock().len(), limits::LOGIN_ADDRESSES);
    }
}

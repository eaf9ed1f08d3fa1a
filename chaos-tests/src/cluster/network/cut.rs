//! Cuts: a set of directed pairs of addresses whose packets the bridge drops and counts.
//!
//! One place sees every packet, so any partition, also one that lets packets through one way only, is one change that
//! takes place at once.

use std::net::IpAddr;

use super::{Error, run};

/// From whom to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pair {
    pub from: IpAddr,
    pub to: IpAddr,
}

impl Pair {
    /// Both directions between each of `some` and each of `others`.
    #[must_use]
    pub fn between(some: &[IpAddr], others: &[IpAddr]) -> Vec<Self> {
        let mut pairs = Self::from_to(some, others);
        pairs.extend(Self::from_to(others, some));
        pairs
    }

    /// One direction.
    #[must_use]
    pub fn from_to(some: &[IpAddr], others: &[IpAddr]) -> Vec<Self> {
        some.iter().flat_map(|from| others.iter().map(|to| Self { from: *from, to: *to })).collect()
    }
}

/// Packets that a cut took: the proof that it fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    pub packets: u64,
}

/// Frames between members pass `prerouting`; those that the clients send begin on the bridge itself.
const TABLE: &str = "table bridge cut {
    set pairs { type ipv4_addr . ipv4_addr; counter; }
    chain forwarded { type filter hook prerouting priority 0; ip saddr . ip daddr @pairs drop; }
    chain own { type filter hook output priority 0; ip saddr . ip daddr @pairs drop; }
}";

pub(super) fn prepare() -> Result<(), Error> {
    run(None, "nft", &[TABLE]).map(|_| ())
}

pub(super) fn add(pairs: &[Pair]) -> Result<(), Error> {
    let elements: Vec<_> = pairs.iter().map(|pair| format!("{} . {}", pair.from, pair.to)).collect();
    run(None, "nft", &[&format!("add element bridge cut pairs {{ {} }}", elements.join(", "))]).map(|_| ())
}

pub(super) fn clear() -> Result<Dropped, Error> {
    let list = run(None, "nft", &["-j", "list set bridge cut pairs"])?;
    run(None, "nft", &["flush set bridge cut pairs"])?;
    count(&list).map_err(|why| Error::Answer { command: "nft -j list set bridge cut pairs".to_owned(), why })
}

fn count(list: &str) -> Result<Dropped, String> {
    let list: serde_json::Value = serde_json::from_str(list).map_err(|error| error.to_string())?;
    let objects = list["nftables"].as_array().ok_or("no list")?;
    let set = objects.iter().find_map(|object| object.get("set")).ok_or("no set")?;
    let elements = set["elem"].as_array().map_or(&[][..], Vec::as_slice);
    let packets = elements.iter().map(|element| {
        element["elem"]["counter"]["packets"].as_u64().ok_or_else(|| format!("an element without a counter: {element}"))
    });
    Ok(Dropped { packets: packets.sum::<Result<u64, _>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_is_both_directions_and_from_to_is_one() {
        let [a, b, c] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(Pair::from_to(&[a], &[b, c]), [Pair { from: a, to: b }, Pair { from: a, to: c }]);
        assert_eq!(Pair::between(&[a], &[b]), [Pair { from: a, to: b }, Pair { from: b, to: a }]);
    }

    #[test]
    fn the_packets_of_all_pairs_are_summed_up() {
        let element = |packets| format!(r#"{{"elem":{{"val":1,"counter":{{"packets":{packets},"bytes":1}}}}}}"#);
        let list =
            |elements: &str| format!(r#"{{"nftables":[{{"metainfo":{{}}}},{{"set":{{"name":"pairs"{elements}}}}}]}}"#);
        let two = format!(r#","elem":[{},{}]"#, element(3), element(4));
        assert_eq!(count(&list(&two)), Ok(Dropped { packets: 7 }));
        assert_eq!(count(&list("")), Ok(Dropped { packets: 0 }));
        assert!(count(&list(r#","elem":[{"elem":{}}]"#)).unwrap_err().contains("without a counter"));
    }
}

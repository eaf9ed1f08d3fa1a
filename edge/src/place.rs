//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Room for connections. Ports may share it.
#[derive(Debug)]
pub struct Places {
    most: AtomicUsize,
    most_from_one: AtomicUsize,
    taken: AtomicUsize,
    from: Mutex<HashMap<IpAddr, usize>>,
    refused: AtomicU64,
}

/// A connection's place. Dropping it makes room for another.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("there are too many connections")]
    InAll,
    #[error("there are too many connections from this address")]
    FromAddress,
}

impl Places {
    #[must_use]
    pub fn new(most: usize, most_from_one: usize) -> Arc<Self> {
        Arc::new(Self {
            most: AtomicUsize::new(most),
            most_from_one: AtomicUsize::new(most_from_one),
            taken: AtomicUsize::new(0),
            from: Mutex::default(),
            refused: AtomicU64::new(0),
        })
    }

    /// From now on. Nobody who is there is sent away.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// From now on.
    pub fn set_most_from_one(&self, most: usize) {
        self.most_from_one.store(most, Ordering::Relaxed);
    }

    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn taken_from(&self, address: IpAddr) -> usize {
        self.from.lock().get(&address.to_canonical()).copied().unwrap_or(0)
    }

    /// How many were sent away so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A place for a connection from `address`.
    ///
    /// # Errors
    /// There is none.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let address = address.to_canonical();
        let mut place = self.take_further()?;
        let mut from = self.from.lock();
        let count = from.entry(address).or_default();
        if *count >= self.most_from_one.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Full::FromAddress);
        }
        *count += 1;
        drop(from);
        place.address = Some(address);
        Ok(place)
    }

    /// A place for one more descriptor of a client that has one already.
    ///
    /// # Errors
    /// There is none.
    pub fn take_further(self: &Arc<Self>) -> Result<Place, Full> {
        // Taken first: two that come at once must not both find the last one.
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.most.load(Ordering::Relaxed) {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Full::InAll);
        }
        Ok(Place { places: Arc::clone(self), address: None })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        let mut from = self.places.from.lock();
        if let Some(count) = from.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                from.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_counted_in_all_and_from_one_address_and_come_back() {
        let places = Places::new(3, 2);
        let one = places.take(address("10.0.0.1")).unwrap();
        let two = places.take(address("::ffff:10.0.0.1")).unwrap();
        assert_eq!(places.take(address("10.0.0.1")).unwrap_err(), Full::FromAddress);
        assert_eq!(places.taken(), 2, "who was refused has no place");
        let further = places.take_further().unwrap();
        assert_eq!(places.take(address("10.0.0.2")).unwrap_err(), Full::InAll);
        drop((one, two, further));
        assert_eq!((places.taken(), places.from.lock().len(), places.refused()), (0, 0, 2));
        let _again = places.take(address("10.0.0.1")).unwrap();
    }
}

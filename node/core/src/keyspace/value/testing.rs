//! What do the tests of this module share? Seeds that are printed, and texts that collide often enough to matter.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// One run of a random test; a failing test prints it, and `TERCET_TEST_SEED` replays it.
#[derive(Clone, Copy)]
pub(super) struct Seeded(u64);

impl Seeded {
    pub(super) fn seeds(count: u64) -> Vec<Seeded> {
        match std::env::var("TERCET_TEST_SEED") {
            Ok(seed) => vec![Seeded(seed.parse().expect("TERCET_TEST_SEED is a number"))],
            Err(_) => {
                let first: u64 = rand::rng().random();
                (0..count).map(|i| Seeded(first.wrapping_add(i))).collect()
            }
        }
    }

    /// Prints the seed: the harness shows it when the test fails.
    pub(super) fn rng(self) -> StdRng {
        println!("TERCET_TEST_SEED={}", self.0);
        StdRng::seed_from_u64(self.0)
    }
}

impl std::fmt::Debug for Seeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TERCET_TEST_SEED={}", self.0)
    }
}

/// One of `distinct` texts; every fourth is too long to be kept in place.
pub(super) fn text(rng: &mut impl Rng, distinct: u64) -> Vec<u8> {
    let number = rng.random_range(0..distinct);
    if number % 4 == 3 { format!("{number:030}").into_bytes() } else { format!("m{number}").into_bytes() }
}

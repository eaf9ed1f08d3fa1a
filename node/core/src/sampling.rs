//! Random numbers for samples of keys: nothing but a policy depends on their quality.

use std::cell::Cell;

/// A number out of a generator that each thread has (xorshift64*).
pub fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(rand::random::<u64>() | 1);
    }
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

/// A number from 0 to 1.
pub fn fraction() -> f64 {
    (random() >> 11) as f64 / (1u64 << 53) as f64
}

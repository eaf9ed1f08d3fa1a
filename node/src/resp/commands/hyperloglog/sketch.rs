//! The string that a HyperLogLog is, byte for byte as Redis keeps it:
//!
//! ```text
//! sketch   = "HYLL" | 0 dense, 1 sparse (u8) | 0 0 0 | cached count (u64 LE, top bit: not valid) | registers
//! dense    = 16384 registers of 6 bits, the low bits first
//! sparse   = 00nnnnnn              n + 1 registers are 0
//!          | 01nnnnnn nnnnnnnn     n + 1 registers are 0
//!          | 1vvvvvnn              n + 1 registers are v + 1
//! ```

pub(super) const REGISTERS: usize = 16384;
const HEADER: usize = 16;
const DENSE_SIZE: usize = HEADER + REGISTERS * 6 / 8;
/// Bits of a hash that are left beside the register's number.
const HASH_BITS: u32 = 50;
/// The greatest register that the sparse form can hold.
const SPARSE_VALUE_MAX: u8 = 32;
const SPARSE_RUN_MAX: usize = 4;
const ZERO_RUN_MAX: usize = 64;
const LONG_ZERO_RUN_MAX: usize = 16384;

/// The registers of a sketch do not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Corrupted;

/// Whether something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Changed,
}

/// All registers, a byte each.
pub(super) type Registers = Box<[u8; REGISTERS]>;

pub(super) fn no_registers() -> Registers {
    Box::new([0; REGISTERS])
}

/// Whether a string is a sketch, as far as its head tells.
pub(super) fn is_sketch(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER
        && bytes.starts_with(b"HYLL")
        && match bytes[4] {
            0 => bytes.len() == DENSE_SIZE,
            1 => true,
            _ => false,
        }
}

pub(super) fn is_dense(bytes: &[u8]) -> bool {
    bytes.get(4) == Some(&0)
}

/// A run of the sparse form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    Zeros(usize),
    /// Zeros that take two bytes.
    ManyZeros(usize),
    Values(u8, usize),
}

impl Run {
    /// The run at the beginning, and its bytes. If the second one of two is missing, it counts as zero: Redis reads the NUL behind
    /// the string, so that a sketch to which a letter was appended does not add up.
    fn take(bytes: &[u8]) -> Option<(Self, usize)> {
        let head = *bytes.first()?;
        Some(match head >> 6 {
            0 => (Self::Zeros(usize::from(head) + 1), 1),
            1 => {
                let low = bytes.get(1).copied().unwrap_or(0);
                (Self::ManyZeros((usize::from(head & 63) << 8 | usize::from(low)) + 1), bytes.len().min(2))
            }
            _ => (Self::Values((head >> 2 & 31) + 1, usize::from(head & 3) + 1), 1),
        })
    }

    fn len(self) -> usize {
        match self {
            Self::Zeros(count) | Self::ManyZeros(count) | Self::Values(_, count) => count,
        }
    }

    fn value(self) -> u8 {
        match self {
            Self::Zeros(_) | Self::ManyZeros(_) => 0,
            Self::Values(value, _) => value,
        }
    }

    fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Zeros(count) => out.push((count - 1) as u8),
            Self::ManyZeros(count) => out.extend([0x40 | ((count - 1) >> 8) as u8, (count - 1) as u8]),
            Self::Values(value, count) => out.push(0x80 | (value - 1) << 2 | (count - 1) as u8),
        }
    }

    fn zeros(count: usize) -> Self {
        if count > ZERO_RUN_MAX { Self::ManyZeros(count) } else { Self::Zeros(count) }
    }
}

/// The runs of a sparse sketch, as far as they can be read.
pub(super) fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> {
    let mut rest = bytes.get(HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (run, used) = Run::take(rest)?;
        rest = &rest[used..];
        Some(run)
    })
}

/// A register and what an element makes of it.
fn position(element: &[u8]) -> (usize, u8) {
    let hash = murmur(element);
    let rest = hash >> 14 | 1 << HASH_BITS;
    ((hash & (REGISTERS as u64 - 1)) as usize, rest.trailing_zeros() as u8 + 1)
}

/// MurmurHash64A with Redis's seed.
fn murmur(bytes: &[u8]) -> u64 {
    const SEED: u64 = 0xadc8_3b19;
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> 47;
        hash = (hash ^ word.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u64::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 47;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 47
}

fn dense_register(registers: &[u8], index: usize) -> u8 {
    let (byte, shift) = (index * 6 / 8, index * 6 % 8);
    let low = u16::from(registers[byte]);
    let high = u16::from(registers.get(byte + 1).copied().unwrap_or(0));
    ((low | high << 8) >> shift) as u8 & 63
}

fn set_dense_register(registers: &mut [u8], index: usize, value: u8) {
    let (byte, shift) = (index * 6 / 8, index * 6 % 8);
    let (mask, value) = (63u16 << shift, u16::from(value) << shift);
    registers[byte] = registers[byte] & !(mask as u8) | value as u8;
    if let Some(next) = registers.get_mut(byte + 1) {
        *next = *next & !((mask >> 8) as u8) | (value >> 8) as u8;
    }
}

/// A string that is to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sketch {
    bytes: Vec<u8>,
    /// The setting `hll-sparse-max-bytes`.
    sparse_max: usize,
}

impl Sketch {
    pub(super) fn new(sparse_max: usize) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[..5].copy_from_slice(b"HYLL\x01");
        Run::ManyZeros(LONG_ZERO_RUN_MAX).put(&mut bytes);
        Self { bytes, sparse_max }
    }

    /// `bytes` have passed `is_sketch`.
    pub(super) fn from_bytes(bytes: &[u8], sparse_max: usize) -> Self {
        Self { bytes: bytes.to_vec(), sparse_max }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn forget_count(&mut self) {
        self.bytes[15] |= 0x80;
    }

    pub(super) fn remember_count(&mut self, count: u64) {
        self.bytes[8..16].copy_from_slice(&count.to_le_bytes());
    }

    pub(super) fn add(&mut self, element: &[u8]) -> Result<Change, Corrupted> {
        let (index, value) = position(element);
        self.set(index, value)
    }

    pub(super) fn set(&mut self, index: usize, value: u8) -> Result<Change, Corrupted> {
        if is_dense(&self.bytes) { Ok(self.set_dense(index, value)) } else { self.set_sparse(index, value) }
    }

    fn set_dense(&mut self, index: usize, value: u8) -> Change {
        let registers = &mut self.bytes[HEADER..];
        if dense_register(registers, index) >= value {
            return Change::None;
        }
        set_dense_register(registers, index, value);
        Change::Changed
    }

    fn set_sparse(&mut self, index: usize, value: u8) -> Result<Change, Corrupted> {
        if value > SPARSE_VALUE_MAX {
            return self.promote_and_set(index, value);
        }
        // The run that covers the register, and where the one before it begins.
        let (mut at, mut before, mut first) = (HEADER, HEADER, 0);
        let (run, used) = loop {
            let (run, used) = Run::take(&self.bytes[at..]).ok_or(Corrupted)?;
            if index < first + run.len() {
                break (run, used);
            }
            (before, at, first) = (at, at + used, first + run.len());
        };
        if run.value() >= value {
            return Ok(Change::None);
        }
        let (ahead, behind) = (index - first, first + run.len() - 1 - index);
        let mut split = Vec::with_capacity(5);
        let side = |count: usize, out: &mut Vec<u8>| match run {
            _ if count == 0 => {}
            Run::Zeros(_) | Run::ManyZeros(_) => Run::zeros(count).put(out),
            Run::Values(value, _) => Run::Values(value, count).put(out),
        };
        side(ahead, &mut split);
        Run::Values(value, 1).put(&mut split);
        side(behind, &mut split);
        if split.len() > used && self.bytes.len() + split.len() - used > self.sparse_max {
            return self.promote_and_set(index, value);
        }
        self.bytes.splice(at..at + used, split);
        self.merge(before);
        self.forget_count();
        Ok(Change::Changed)
    }

    /// Makes one run of neighbours with the same value, five runs from `at` on.
    fn merge(&mut self, mut at: usize) {
        const LOOKED_AT: usize = 5;
        for _ in 0..LOOKED_AT {
            let Some((run, used)) = self.bytes.get(at..).and_then(Run::take) else { return };
            let next = self.bytes.get(at + used..).and_then(Run::take);
            match (run, next) {
                (Run::Values(value, count), Some((Run::Values(other, more), _)))
                    if value == other && count + more <= SPARSE_RUN_MAX =>
                {
                    self.bytes.remove(at);
                    self.bytes[at] = 0x80 | (value - 1) << 2 | (count + more - 1) as u8;
                }
                _ => at += used,
            }
        }
    }

    fn promote_and_set(&mut self, index: usize, value: u8) -> Result<Change, Corrupted> {
        self.make_dense()?;
        self.set_dense(index, value);
        self.forget_count();
        Ok(Change::Changed)
    }

    /// Brings the registers into the dense form.
    pub(super) fn make_dense(&mut self) -> Result<Change, Corrupted> {
        if is_dense(&self.bytes) {
            return Ok(Change::None);
        }
        let mut dense = vec![0; DENSE_SIZE];
        dense[..HEADER].copy_from_slice(&self.bytes[..HEADER]);
        dense[4] = 0;
        let mut registers = no_registers();
        merge_into(&self.bytes, &mut registers)?;
        for (index, value) in registers.iter().enumerate().filter(|(_, value)| **value > 0) {
            set_dense_register(&mut dense[HEADER..], index, *value);
        }
        self.bytes = dense;
        Ok(Change::Changed)
    }
}

/// The count that is remembered, if it is valid.
pub(super) fn remembered_count(bytes: &[u8]) -> Option<u64> {
    let count = u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    (count >> 63 == 0).then_some(count)
}

/// Whether adding an element would change nothing: for the dense form, without a copy.
pub(super) fn covers(bytes: &[u8], element: &[u8]) -> bool {
    let (index, value) = position(element);
    is_dense(bytes) && dense_register(&bytes[HEADER..], index) >= value
}

/// Raises registers to those of a sketch.
pub(super) fn merge_into(bytes: &[u8], registers: &mut Registers) -> Result<(), Corrupted> {
    if is_dense(bytes) {
        for (index, register) in registers.iter_mut().enumerate() {
            *register = dense_register(&bytes[HEADER..], index).max(*register);
        }
        return Ok(());
    }
    let mut index = 0;
    for run in runs(bytes) {
        let covered = registers.get_mut(index..index + run.len()).ok_or(Corrupted)?;
        covered.iter_mut().for_each(|register| *register = run.value().max(*register));
        index += run.len();
    }
    if index == REGISTERS { Ok(()) } else { Err(Corrupted) }
}

/// The number of different elements, estimated (Ertl's estimator).
pub(super) fn count(registers: &Registers) -> u64 {
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    let mut histogram = [0u32; 64];
    registers.iter().for_each(|value| histogram[usize::from(*value & 63)] += 1);
    let m = REGISTERS as f64;
    let top = HASH_BITS as usize;
    let mut z = m * tau((m - f64::from(histogram[top + 1])) / m);
    for count in histogram[1..=top].iter().rev() {
        z += f64::from(*count);
        z *= 0.5;
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    (ALPHA * m * m / z).round() as u64
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_hold_the_same_registers() {
        let (mut sparse, mut dense) = (Sketch::new(1 << 20), Sketch::new(0));
        for element in 0..5_000u32 {
            let element = element.to_string();
            let first = sparse.add(element.as_bytes());
            assert_eq!(first, dense.add(element.as_bytes()), "{element}");
        }
        assert!(!is_dense(sparse.as_bytes()) && is_dense(dense.as_bytes()));
        let (mut of_sparse, mut of_dense) = (no_registers(), no_registers());
        assert_eq!(merge_into(sparse.as_bytes(), &mut of_sparse), Ok(()));
        assert_eq!(merge_into(dense.as_bytes(), &mut of_dense), Ok(()));
        assert!(of_sparse == of_dense);
        assert!((4_800..5_200).contains(&count(&of_dense)), "{}", count(&of_dense));
    }

    #[test]
    fn damaged_sketches_are_noticed_and_never_a_panic() {
        let mut sketch = Sketch::new(3_000);
        (0..300u32).for_each(|element| _ = sketch.add(&element.to_le_bytes()));
        let whole = sketch.as_bytes().to_vec();
        for at in HEADER..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            _ = merge_into(&damaged, &mut no_registers());
            let mut sketch = Sketch::from_bytes(&damaged, 3_000);
            (0..10u32).for_each(|element| _ = sketch.add(&element.to_be_bytes()));
            assert_eq!(merge_into(&whole[..at], &mut no_registers()), Err(Corrupted));
        }
    }

    #[test]
    fn a_sketch_that_ends_in_half_a_run_does_not_add_up() {
        let mut bytes = Sketch::new(3000).as_bytes().to_vec();
        assert_eq!(merge_into(&bytes, &mut no_registers()), Ok(()));
        bytes.push(b'm');
        assert_eq!(merge_into(&bytes, &mut no_registers()), Err(Corrupted));
        // One that the zero behind it makes whole is whole, as for Redis.
        let mut bytes = Sketch::new(3000).as_bytes()[..HEADER].to_vec();
        bytes.extend([0x40, 0xfe, 0x7f]);
        assert_eq!(merge_into(&bytes, &mut no_registers()), Ok(()), "255 and 16129");
        bytes.splice(HEADER..HEADER + 2, [0x40, 0xfd, 0x01]);
        assert_eq!(merge_into(&bytes, &mut no_registers()), Err(Corrupted), "254, 2 and 16129");
        bytes[HEADER + 1] = 0xfc;
        assert_eq!(merge_into(&bytes, &mut no_registers()), Ok(()), "253, 2 and 16129");
    }
}

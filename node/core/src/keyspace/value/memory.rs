//! How much memory does an allocation take? Estimates for MEMORY USAGE, without asking the allocator.

/// Bytes that the allocator sets aside for a request of `bytes`: jemalloc's size classes, which are 8, then multiples
/// of 16 up to 128, then four steps for every doubling.
pub fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        _ => {
            // The greatest power of two below `bytes`; a quarter of it is the step between two classes.
            let below = 1usize << (usize::BITS - 1 - (bytes - 1).leading_zeros());
            bytes.checked_next_multiple_of(below / 4).unwrap_or(bytes)
        }
    }
}

/// What an element owns outside of the place in which it is stored.
pub(super) trait Heap {
    fn heap_bytes(&self) -> usize;
}

/// The heap bytes of `len` elements, judged by the first `samples` of them; zero samples means all of them.
pub(super) fn sampled<'a, E: Heap + 'a>(elements: impl Iterator<Item = &'a E>, len: usize, samples: usize) -> usize {
    let limit = if samples == 0 { usize::MAX } else { samples };
    let (seen, bytes) =
        elements.take(limit).fold((0usize, 0usize), |(seen, bytes), e| (seen + 1, bytes + e.heap_bytes()));
    if seen == 0 { 0 } else { (bytes as f64 / seen as f64 * len as f64) as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_rounded_up_to_size_classes() {
        let pairs = [
            (0, 0),
            (1, 8),
            (9, 16),
            (17, 32),
            (128, 128),
            (129, 160),
            (161, 192),
            (257, 320),
            (4096, 4096),
            (4097, 5120),
        ];
        for (asked, given) in pairs {
            assert_eq!(allocated(asked), given, "a request of {asked} bytes");
        }
        assert_eq!(allocated(usize::MAX), usize::MAX, "no overflow");
    }
}

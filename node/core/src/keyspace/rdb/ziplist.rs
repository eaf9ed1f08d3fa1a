//! The packed forms of older releases: ziplists, zipmaps and sets of integers.
//!
//! ```text
//! ziplist = bytes u32 | last u32 | entries u16 | (length of the entry before | encoding | content)... | 0xFF
//! zipmap  = entries u8 | (length | field | length | unused u8 | value | unused bytes)... | 0xFF
//! intset  = width u32 | numbers u32 | number...
//! ```

/// The entries of a ziplist.
pub(super) fn ziplist(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let size = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    let claimed = usize::from(u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?));
    if size != bytes.len() {
        return None;
    }
    let mut entries = Vec::new();
    let mut rest = bytes.get(10..)?;
    let mut before = 0;
    loop {
        let start = rest.len();
        let (previous, behind) = match rest {
            [0xFF] => break,
            [254, behind @ ..] => {
                let (length, behind) = behind.split_first_chunk::<4>()?;
                (u32::from_le_bytes(*length) as usize, behind)
            }
            [length @ 0..=253, behind @ ..] => (usize::from(*length), behind),
            _ => return None,
        };
        let (entry, behind) = ziplist_entry(behind)?;
        if previous != before {
            return None;
        }
        entries.push(entry);
        before = start - behind.len();
        rest = behind;
    }
    (claimed == usize::from(u16::MAX) || claimed == entries.len()).then_some(entries)
}

fn ziplist_entry(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (head, rest) = bytes.split_first()?;
    let text = |rest: &'_ [u8], length: usize| rest.split_at_checked(length).map(|(text, _)| text.to_vec());
    let signed = |rest: &[u8], width: usize| {
        let bytes = rest.get(..width)?;
        let mut number = [if bytes.last()? & 0x80 == 0 { 0 } else { 0xFF }; 8];
        number[..width].copy_from_slice(bytes);
        Some(i64::from_le_bytes(number).to_string().into_bytes())
    };
    let (entry, used) = match head {
        0x00..=0x3F => (text(rest, usize::from(*head))?, usize::from(*head)),
        0x40..=0x7F => {
            let length = usize::from(head & 0x3F) << 8 | usize::from(*rest.first()?);
            (text(&rest[1..], length)?, 1 + length)
        }
        0x80 => {
            let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
            (text(&rest[4..], length)?, 4 + length)
        }
        0xC0 => (signed(rest, 2)?, 2),
        0xD0 => (signed(rest, 4)?, 4),
        0xE0 => (signed(rest, 8)?, 8),
        0xF0 => (signed(rest, 3)?, 3),
        0xFE => (signed(rest, 1)?, 1),
        0xF1..=0xFD => ((head - 0xF1).to_string().into_bytes(), 0),
        _ => return None,
    };
    Some((entry, rest.get(used..)?))
}

/// The fields and values of a zipmap.
pub(super) fn zipmap(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = bytes.get(1..)?;
    let mut texts = Vec::new();
    while rest != [0xFF] {
        let (length, behind) = zipmap_length(rest)?;
        let (field, behind) = behind.split_at_checked(length)?;
        let (length, behind) = zipmap_length(behind)?;
        let (unused, behind) = behind.split_first()?;
        let (value, behind) = behind.split_at_checked(length)?;
        texts.push(field.to_vec());
        texts.push(value.to_vec());
        rest = behind.get(usize::from(*unused)..)?;
    }
    Some(texts)
}

fn zipmap_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [length @ 0..=253, rest @ ..] => Some((usize::from(*length), rest)),
        [254, rest @ ..] => {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            Some((u32::from_le_bytes(*length) as usize, rest))
        }
        _ => None,
    }
}

/// The numbers of an intset, which are in ascending order.
pub(super) fn intset(bytes: &[u8]) -> Option<Vec<i64>> {
    let (width, rest) = bytes.split_first_chunk::<4>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (width, count) = (u32::from_le_bytes(*width) as usize, u32::from_le_bytes(*count) as usize);
    if ![2, 4, 8].contains(&width) || count.checked_mul(width)? != rest.len() {
        return None;
    }
    let number = |bytes: &[u8]| {
        let mut number = [if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xFF } else { 0 }; 8];
        number[..width].copy_from_slice(bytes);
        i64::from_le_bytes(number)
    };
    let numbers: Vec<i64> = rest.chunks_exact(width).map(number).collect();
    numbers.is_sorted_by(|a, b| a < b).then_some(numbers)
}

/// As an intset of the least width that holds all of the numbers, which are in ascending order.
pub(super) fn put_intset(numbers: &[i64], out: &mut Vec<u8>) {
    let fits = |low: i64, high: i64| numbers.iter().all(|number| (low..=high).contains(number));
    let width = if fits(i64::from(i16::MIN), i64::from(i16::MAX)) {
        2
    } else if fits(i64::from(i32::MIN), i64::from(i32::MAX)) {
        4
    } else {
        8
    };
    out.extend_from_slice(&(width as u32).to_le_bytes());
    out.extend_from_slice(&(numbers.len() as u32).to_le_bytes());
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()[..width]));
}

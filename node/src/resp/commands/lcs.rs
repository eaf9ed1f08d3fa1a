//! LCS: the longest common subsequence of two strings.

use tercet_proto::resp::Encoder;

use super::{number, strings};
use crate::engine::View;
use crate::resp::error::Error;
use crate::resp::table::flag::WHOLE;
use crate::resp::table::{Args, Command, Group, Keys, Outcome, read};

pub(super) const ROWS: &[Command] =
    &[read("lcs", -3, WHOLE, Keys::TWO, Group::String, "Finds the longest common substring.", lcs)];

#[derive(Debug, Clone, Copy, Default)]
struct Options {
    wants_length: bool,
    wants_places: bool,
    shows_length: bool,
    /// Shorter matches are not shown.
    least: usize,
}

impl Options {
    fn parse(mut rest: &Args<'_>) -> Result<Self, Error> {
        let mut options = Self::default();
        while let [word, behind @ ..] = rest {
            rest = behind;
            match (word.to_ascii_lowercase().as_slice(), behind) {
                (b"idx", _) => options.wants_places = true,
                (b"len", _) => options.wants_length = true,
                (b"withmatchlen", _) => options.shows_length = true,
                (b"minmatchlen", [text, behind @ ..]) => {
                    options.least = usize::try_from(number::integer(text)?).unwrap_or(0);
                    rest = behind;
                }
                _ => return Err(Error::Syntax),
            }
        }
        if options.wants_length && options.wants_places {
            return Err(Error::text("ERR If you want both the length and indexes, please just use IDX."));
        }
        Ok(options)
    }
}

/// The lengths of the common subsequences of all pairs of beginnings.
struct Table {
    cells: Vec<u32>,
    width: usize,
}

impl Table {
    fn new(first: &[u8], second: &[u8]) -> Result<Self, Error> {
        let width = second.len() + 1;
        let cells = (first.len() + 1).saturating_mul(width);
        if cells.saturating_mul(size_of::<u32>()) > strings::MAX_LENGTH {
            return Err(Error::text("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"));
        }
        let mut cells = vec![0u32; cells];
        for (row, a) in first.iter().enumerate() {
            let (above, below) = cells[row * width..(row + 2) * width].split_at_mut(width);
            for (column, b) in second.iter().enumerate() {
                below[column + 1] = if a == b { above[column] + 1 } else { above[column + 1].max(below[column]) };
            }
        }
        Ok(Self { cells, width })
    }

    fn at(&self, first: usize, second: usize) -> u32 {
        self.cells[first * self.width + second]
    }
}

/// Places of a run in both strings, the last ones included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Match {
    first: (usize, usize),
    second: (usize, usize),
}

impl Match {
    fn len(&self) -> usize {
        self.first.1 - self.first.0 + 1
    }
}

/// The subsequence, and its runs from the last to the first.
fn trace(table: &Table, first: &[u8], second: &[u8]) -> (Vec<u8>, Vec<Match>) {
    let (mut text, mut matches) = (Vec::new(), Vec::new());
    let (mut i, mut j) = (first.len(), second.len());
    let mut run: Option<Match> = None;
    while i > 0 && j > 0 {
        let mut emits = false;
        if first[i - 1] == second[j - 1] {
            text.push(first[i - 1]);
            run = match run {
                Some(run) if run.first.0 == i && run.second.0 == j => {
                    Some(Match { first: (i - 1, run.first.1), second: (j - 1, run.second.1) })
                }
                // Redis shows this run and forgets the element that does not belong to it.
                Some(run) => {
                    emits = true;
                    Some(run)
                }
                None => Some(Match { first: (i - 1, i - 1), second: (j - 1, j - 1) }),
            };
            emits |= run.is_some_and(|run| run.first.0 == 0 || run.second.0 == 0);
            (i, j) = (i - 1, j - 1);
        } else {
            if table.at(i - 1, j) > table.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
            emits = run.is_some();
        }
        if emits {
            matches.extend(run.take());
        }
    }
    text.reverse();
    (text, matches)
}

fn lcs(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let text = |key: &[u8]| match view.get(key) {
        None => Ok(std::borrow::Cow::Borrowed(&[][..])),
        Some(entry) => {
            strings::bytes(entry.value()).map_err(|_| Error::text("ERR The specified keys must contain string values"))
        }
    };
    let (first, second) = (text(args[1])?, text(args[2])?);
    let options = Options::parse(&args[3..])?;
    let table = Table::new(&first, &second)?;
    let length = i64::from(table.at(first.len(), second.len()));
    if options.wants_length {
        out.integer(length);
        return Ok(());
    }
    let (text, matches) = trace(&table, &first, &second);
    if !options.wants_places {
        out.bulk(&text);
        return Ok(());
    }
    let shown: Vec<_> = matches.iter().filter(|it| options.least == 0 || it.len() >= options.least).collect();
    out.map(2);
    out.bulk(b"matches");
    out.array(shown.len());
    for it in shown {
        out.array(if options.shows_length { 3 } else { 2 });
        for (start, end) in [it.first, it.second] {
            out.array(2);
            out.integer(start as i64);
            out.integer(end as i64);
        }
        if options.shows_length {
            out.integer(it.len() as i64);
        }
    }
    out.bulk(b"len");
    out.integer(length);
    Ok(())
}

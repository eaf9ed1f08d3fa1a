//! XLEN, XRANGE and XREVRANGE.

use tercet_proto::resp::Encoder;

use super::{id, number, reply_entries, stream_of};
use crate::engine::View;
use crate::keyspace::value::stream::Stream;
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

pub(super) fn xlen(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let length = stream_of(view.get(args[1]))?.map_or(0, Stream::len);
    out.integer(length as i64);
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forwards,
    Backwards,
}

pub(super) fn xrange(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    range(view, args, Direction::Forwards, out)
}

pub(super) fn xrevrange(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    range(view, args, Direction::Backwards, out)
}

fn range(view: &View<'_>, args: &Args<'_>, direction: Direction, out: &mut Encoder<'_>) -> Outcome {
    let (start, end) = match direction {
        Direction::Forwards => (args[2], args[3]),
        Direction::Backwards => (args[3], args[2]),
    };
    let (start, end) = (id::start(start)?, id::end(end)?);
    let mut count = None;
    let (options, rest) = args[4..].as_chunks::<2>();
    for [option, value] in options {
        if !option.eq_ignore_ascii_case(b"count") {
            return Err(Error::Syntax);
        }
        count = Some(number::integer(value)?);
    }
    if !rest.is_empty() {
        return Err(Error::Syntax);
    }
    let Some(stream) = stream_of(view.get(args[1]))? else {
        out.array(0);
        return Ok(());
    };
    let most = match count {
        None => usize::MAX,
        Some(count) if count <= 0 => {
            out.null_array();
            return Ok(());
        }
        Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
    };
    let entries: Vec<_> = match direction {
        Direction::Forwards => stream.range(start, end).take(most).collect(),
        Direction::Backwards => stream.range_back(start, end).take(most).collect(),
    };
    reply_entries(&entries, out);
    Ok(())
}

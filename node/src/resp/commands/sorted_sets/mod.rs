//! Sorted sets: members in the order of their scores.

mod add;
mod algebra;
mod blocking;
mod bounds;
mod query;
mod range;
mod remove;

use std::cell::Cell;

use tercet_proto::resp::{Encoder, Version};

use super::{number, sample, scanning, typed};
use crate::engine::View;
use crate::keyspace::value::SortedSetRef;
use crate::resp::error::Error;
use crate::resp::table::flag::{BLOCKING, DENY_OOM, FAST, WHOLE};
use crate::resp::table::{Command, Group, Keys, read, write};

pub(super) use self::add::zadd;
pub(super) use self::range::store;

const G: Group = Group::SortedSet;

pub(super) const ROWS: &[Command] = &[
    write(
        "zadd",
        -4,
        DENY_OOM | FAST,
        Keys::ONE,
        G,
        "Adds one or more members to a sorted set, or updates their scores. Creates the key if it doesn't exist.",
        zadd,
    ),
    write(
        "zincrby",
        4,
        DENY_OOM | FAST,
        Keys::ONE,
        G,
        "Increments the score of a member in a sorted set.",
        add::zincrby,
    ),
    write(
        "zrem",
        -3,
        FAST,
        Keys::ONE,
        G,
        "Removes one or more members from a sorted set. Deletes the sorted set if all members were removed.",
        remove::zrem,
    ),
    write(
        "zremrangebyrank",
        4,
        0,
        Keys::ONE,
        G,
        "Removes members in a sorted set within a range of indexes. Deletes the sorted set if all members were removed.",
        remove::zremrangebyrank,
    ),
    write(
        "zremrangebyscore",
        4,
        0,
        Keys::ONE,
        G,
        "Removes members in a sorted set within a range of scores. Deletes the sorted set if all members were removed.",
        remove::zremrangebyscore,
    ),
    write(
        "zremrangebylex",
        4,
        0,
        Keys::ONE,
        G,
        "Removes members in a sorted set within a lexicographical range. Deletes the sorted set if all members were removed.",
        remove::zremrangebylex,
    ),
    write(
        "zpopmin",
        -2,
        FAST,
        Keys::ONE,
        G,
        "Returns the lowest-scoring members from a sorted set after removing them. Deletes the sorted set if the last member was popped.",
        remove::zpopmin,
    ),
    write(
        "zpopmax",
        -2,
        FAST,
        Keys::ONE,
        G,
        "Returns the highest-scoring members from a sorted set after removing them. Deletes the sorted set if the last member was popped.",
        remove::zpopmax,
    ),
    write(
        "bzpopmin",
        -3,
        FAST | BLOCKING,
        Keys::Range(1, -2, 1),
        G,
        "Removes and returns the member with the lowest score from one or more sorted sets. Blocks until a member is available otherwise. Deletes the sorted set if the last element was popped.",
        blocking::bzpopmin,
    ),
    write(
        "bzpopmax",
        -3,
        FAST | BLOCKING,
        Keys::Range(1, -2, 1),
        G,
        "Removes and returns the member with the highest score from one or more sorted sets. Blocks until a member available otherwise.  Deletes the sorted set if the last element was popped.",
        blocking::bzpopmax,
    ),
    write(
        "bzmpop",
        -5,
        BLOCKING,
        Keys::Counted(2, 0),
        G,
        "Removes and returns a member by score from one or more sorted sets. Blocks until a member is available otherwise. Deletes the sorted set if the last element was popped.",
        blocking::bzmpop,
    ),
    write(
        "zmpop",
        -4,
        0,
        Keys::Counted(1, 0),
        G,
        "Returns the highest- or lowest-scoring members from one or more sorted sets after removing them. Deletes the sorted set if the last member was popped.",
        remove::zmpop,
    ),
    read("zscore", 3, FAST, Keys::ONE, G, "Returns the score of a member in a sorted set.", query::zscore),
    read(
        "zmscore",
        -3,
        FAST,
        Keys::ONE,
        G,
        "Returns the score of one or more members in a sorted set.",
        query::zmscore,
    ),
    read("zcard", 2, FAST, Keys::ONE, G, "Returns the number of members in a sorted set.", query::zcard),
    read(
        "zcount",
        4,
        FAST,
        Keys::ONE,
        G,
        "Returns the count of members in a sorted set that have scores within a range.",
        query::zcount,
    ),
    read(
        "zlexcount",
        4,
        FAST,
        Keys::ONE,
        G,
        "Returns the number of members in a sorted set within a lexicographical range.",
        query::zlexcount,
    ),
    read(
        "zrank",
        -3,
        FAST,
        Keys::ONE,
        G,
        "Returns the index of a member in a sorted set ordered by ascending scores.",
        query::zrank,
    ),
    read(
        "zrevrank",
        -3,
        FAST,
        Keys::ONE,
        G,
        "Returns the index of a member in a sorted set ordered by descending scores.",
        query::zrevrank,
    ),
    read(
        "zrandmember",
        -2,
        0,
        Keys::ONE,
        G,
        "Returns one or more random members from a sorted set.",
        query::zrandmember,
    ),
    read("zscan", -3, 0, Keys::ONE, G, "Iterates over members and scores of a sorted set.", query::zscan),
    read(
        "zrange",
        -4,
        WHOLE,
        Keys::ONE,
        G,
        "Returns members in a sorted set within a range of indexes.",
        range::zrange,
    ),
    read(
        "zrevrange",
        -4,
        WHOLE,
        Keys::ONE,
        G,
        "Returns members in a sorted set within a range of indexes in reverse order.",
        range::zrevrange,
    ),
    read(
        "zrangebyscore",
        -4,
        0,
        Keys::ONE,
        G,
        "Returns members in a sorted set within a range of scores.",
        range::zrangebyscore,
    ),
    read(
        "zrevrangebyscore",
        -4,
        0,
        Keys::ONE,
        G,
        "Returns members in a sorted set within a range of scores in reverse order.",
        range::zrevrangebyscore,
    ),
    read(
        "zrangebylex",
        -4,
        0,
        Keys::ONE,
        G,
        "Returns members in a sorted set within a lexicographical range.",
        range::zrangebylex,
    ),
    read(
        "zrevrangebylex",
        -4,
        0,
        Keys::ONE,
        G,
        "Returns members in a sorted set within a lexicographical range in reverse order.",
        range::zrevrangebylex,
    ),
    write(
        "zrangestore",
        -5,
        DENY_OOM,
        Keys::TWO,
        G,
        "Stores a range of members from sorted set in a key.",
        range::zrangestore,
    ),
    read("zunion", -3, WHOLE, Keys::Counted(1, 0), G, "Returns the union of multiple sorted sets.", algebra::zunion),
    read(
        "zinter",
        -3,
        WHOLE,
        Keys::Counted(1, 0),
        G,
        "Returns the intersect of multiple sorted sets.",
        algebra::zinter,
    ),
    read(
        "zdiff",
        -3,
        WHOLE,
        Keys::Counted(1, 0),
        G,
        "Returns the difference between multiple sorted sets.",
        algebra::zdiff,
    ),
    read(
        "zintercard",
        -3,
        WHOLE,
        Keys::Counted(1, 0),
        G,
        "Returns the number of members of the intersect of multiple sorted sets.",
        algebra::zintercard,
    ),
    write(
        "zunionstore",
        -4,
        DENY_OOM | WHOLE,
        Keys::Counted(2, 1),
        G,
        "Stores the union of multiple sorted sets in a key.",
        algebra::zunionstore,
    ),
    write(
        "zinterstore",
        -4,
        DENY_OOM | WHOLE,
        Keys::Counted(2, 1),
        G,
        "Stores the intersect of multiple sorted sets in a key.",
        algebra::zinterstore,
    ),
    write(
        "zdiffstore",
        -4,
        DENY_OOM | WHOLE,
        Keys::Counted(2, 1),
        G,
        "Stores the difference of multiple sorted sets in a key.",
        algebra::zdiffstore,
    ),
];

fn find<'v>(view: &'v View<'_>, key: &[u8]) -> Result<Option<SortedSetRef<'v>>, Error> {
    typed::sorted(typed::value(view.get(key)))
}

/// Whether a reply has the scores beside the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scores {
    With,
    Without,
}

/// The head of an array of `length` members. With scores, RESP2 counts both, and RESP3 has an array for each pair.
fn reply_head(length: usize, scores: Scores, out: &mut Encoder<'_>) {
    let is_flat = scores == Scores::With && out.version() == Version::Resp2;
    out.array(if is_flat { 2 * length } else { length });
}

#[inline]
fn reply_member(member: &[u8], score: f64, scores: Scores, out: &mut Encoder<'_>) {
    match scores {
        Scores::Without => out.bulk(member),
        Scores::With => {
            if out.version() == Version::Resp3 {
                out.array(2);
            }
            out.bulk(member);
            out.double(score);
        }
    }
}

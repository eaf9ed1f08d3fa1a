//! What a sorted set says about members: scores, ranks, numbers, random ones.

use tercet_proto::resp::{Encoder, format_double};

use super::bounds::{ByLex, ByScore};
use super::{Scores, find, reply_head, reply_member, sample, scanning};
use crate::engine::View;
use crate::keyspace::value::SortedSetRef;
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

fn reply_score(score: Option<f64>, out: &mut Encoder<'_>) {
    match score {
        None => out.null(),
        Some(score) => out.double(score),
    }
}

pub(super) fn zscore(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    reply_score(find(view, args[1])?.and_then(|sorted| sorted.score(args[2])), out);
    Ok(())
}

pub(super) fn zmscore(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let sorted = find(view, args[1])?;
    out.array(args.len() - 2);
    args[2..].iter().for_each(|member| reply_score(sorted.and_then(|sorted| sorted.score(member)), out));
    Ok(())
}

pub(super) fn zcard(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    out.integer(find(view, args[1])?.map_or(0, SortedSetRef::len) as i64);
    Ok(())
}

pub(super) fn zcount(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let range = ByScore::parse(args[2], args[3])?;
    out.integer(find(view, args[1])?.map_or(0, |sorted| range.ranks(sorted).len()) as i64);
    Ok(())
}

pub(super) fn zlexcount(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let range = ByLex::parse(args[2], args[3])?;
    out.integer(find(view, args[1])?.map_or(0, |sorted| range.ranks(sorted).len()) as i64);
    Ok(())
}

pub(super) fn zrank(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    rank(view, args, "zrank", |sorted, member| sorted.rank(member), out)
}

pub(super) fn zrevrank(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    rank(view, args, "zrevrank", |sorted, member| sorted.rev_rank(member), out)
}

fn rank(
    view: &View<'_>,
    args: &Args<'_>,
    name: &'static str,
    rank_of: fn(SortedSetRef<'_>, &[u8]) -> Option<usize>,
    out: &mut Encoder<'_>,
) -> Outcome {
    let has_score = match &args[3..] {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withscore") => true,
        [_] => return Err(Error::Syntax),
        _ => return Err(Error::Arity(name.into())),
    };
    let sorted = find(view, args[1])?;
    let found = sorted.and_then(|sorted| Some((rank_of(sorted, args[2])?, sorted.score(args[2])?)));
    match (found, has_score) {
        (None, false) => out.null(),
        (None, true) => out.null_array(),
        (Some((rank, _)), false) => out.integer(rank as i64),
        (Some((rank, score)), true) => {
            out.array(2);
            out.integer(rank as i64);
            out.double(score);
        }
    }
    Ok(())
}

pub(super) fn zrandmember(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    if args.len() == 2 {
        match find(view, args[1])?.and_then(|sorted| sorted.random(&mut rand::rng())) {
            None => out.null(),
            Some((member, _)) => out.bulk(member),
        }
        return Ok(());
    }
    let (count, has_scores) = sample::arguments(&args[2..], b"withscores")?;
    let scores = if has_scores { Scores::With } else { Scores::Without };
    let Some(sorted) = find(view, args[1])? else {
        out.array(0);
        return Ok(());
    };
    reply_head(sample::length(count, sorted.len()), scores, out);
    sample::each(
        count,
        sorted.len(),
        || sorted.iter(),
        || sorted.random(&mut rand::rng()),
        |(member, score)| reply_member(member, score, scores, out),
    );
    Ok(())
}

pub(super) fn zscan(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let cursor = scanning::cursor(args[2])?;
    let Some(sorted) = find(view, args[1])? else {
        scanning::reply_nothing(out);
        return Ok(());
    };
    let options = scanning::Options::parse(&args[3..], scanning::Types::None)?;
    let (next, mut pairs) = sorted.scan(cursor, options.count);
    pairs.retain(|(member, _)| options.matches(member));
    scanning::reply_head(next, 2 * pairs.len(), out);
    for (member, score) in pairs {
        out.bulk(member);
        // A text in both versions of the protocol.
        out.bulk(format_double(score).as_bytes());
    }
    Ok(())
}

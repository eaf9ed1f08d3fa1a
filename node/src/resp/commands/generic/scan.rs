//! Walks over all keys of a database.

use rand::Rng;
use tercet_proto::resp::Encoder;

use super::scanning::{self, Options, Types};
use crate::engine::View;
use crate::glob;
use crate::keyspace::value::ShortBytes;
use crate::resp::table::{Args, Outcome};

/// Draws of RANDOMKEY that may meet an expired key before it answers that there is none.
const DRAWS: usize = 100;

pub(super) fn keys(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    // Redis: the pattern `*` is none at all, so that it also fits the empty name.
    let pattern = (args[1] != b"*").then_some(args[1]);
    let mut found: Vec<ShortBytes> = Vec::new();
    view.each_shard(|shard| {
        for entry in shard.database(view.database()).iter() {
            if !entry.is_expired(view.now()) && pattern.is_none_or(|pattern| glob::matches(pattern, entry.key())) {
                found.push(entry.key().into());
            }
        }
    });
    out.array(found.len());
    found.iter().for_each(|key| out.bulk(key));
    Ok(())
}

pub(super) fn scan(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let cursor = scanning::cursor(args[1])?;
    let options = Options::parse(&args[2..], Types::Known)?;
    let (next, keys) = view.scan(cursor, options.count, |entry| {
        let type_fits =
            options.type_name.is_none_or(|name| name.eq_ignore_ascii_case(entry.value().type_name().as_bytes()));
        (type_fits && options.matches(entry.key())).then(|| entry.key().into())
    });
    scanning::reply_head(next, keys.len(), out);
    keys.iter().for_each(|key| out.bulk(key));
    Ok(())
}

pub(super) fn randomkey(view: &View<'_>, _: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let rng = &mut rand::rng();
    let mut chosen: Option<ShortBytes> = None;
    let mut met = 0;
    view.each_shard(|shard| {
        let table = shard.database(view.database());
        // Each key has the same chance: a later shard takes over with the weight of its keys among all so far.
        met += table.len();
        if table.is_empty() || rng.random_range(0..met) >= table.len() {
            return;
        }
        let live = (0..DRAWS).find_map(|_| table.random(|| rng.random()).filter(|entry| !entry.is_expired(view.now())));
        match live {
            Some(entry) => chosen = Some(entry.key().into()),
            // All expired, as far as was seen: these keys are gone.
            None => met -= table.len(),
        }
    });
    match chosen {
        None => out.null(),
        Some(key) => out.bulk(&key),
    }
    Ok(())
}

//! Places: members of a sorted set whose scores say where they are.

mod hash;
mod search;

use tercet_proto::resp::{Encoder, Version};

use self::hash::Place;
use super::{number, sorted_sets, typed};
use crate::engine::{Transaction, View};
use crate::keyspace::value::SortedSetRef;
use crate::resp::error::Error;
use crate::resp::table::flag::DENY_OOM;
use crate::resp::table::{Args, Command, Group, Keys, Outcome, read, write};

const G: Group = Group::Geo;

pub(super) const ROWS: &[Command] = &[
    write(
        "geoadd",
        -5,
        DENY_OOM,
        Keys::ONE,
        G,
        "Adds one or more members to a geospatial index. The key is created if it doesn't exist.",
        geoadd,
    ),
    read("geodist", -4, 0, Keys::ONE, G, "Returns the distance between two members of a geospatial index.", geodist),
    read("geohash", -2, 0, Keys::ONE, G, "Returns members from a geospatial index as geohash strings.", geohash),
    read(
        "geopos",
        -2,
        0,
        Keys::ONE,
        G,
        "Returns the longitude and latitude of members from a geospatial index.",
        geopos,
    ),
    read(
        "geosearch",
        -7,
        0,
        Keys::ONE,
        G,
        "Queries a geospatial index for members inside an area of a box or a circle.",
        search::geosearch,
    ),
    write(
        "geosearchstore",
        -8,
        DENY_OOM,
        Keys::TWO,
        G,
        "Queries a geospatial index for members inside an area of a box or a circle, optionally stores the result.",
        search::geosearchstore,
    ),
    write(
        "georadius",
        -6,
        DENY_OOM,
        Keys::Stored { source: 1, from: 6 },
        G,
        "Queries a geospatial index for members within a distance from a coordinate, optionally stores the result.",
        search::georadius,
    ),
    read(
        "georadius_ro",
        -6,
        0,
        Keys::ONE,
        G,
        "Returns members from a geospatial index that are within a distance from a coordinate.",
        search::georadius_ro,
    ),
    write(
        "georadiusbymember",
        -5,
        DENY_OOM,
        Keys::Stored { source: 1, from: 5 },
        G,
        "Queries a geospatial index for members within a distance from a member, optionally stores the result.",
        search::georadiusbymember,
    ),
    read(
        "georadiusbymember_ro",
        -5,
        0,
        Keys::ONE,
        G,
        "Returns members from a geospatial index that are within a distance from a member.",
        search::georadiusbymember_ro,
    ),
];

fn place(longitude: &[u8], latitude: &[u8]) -> Result<Place, Error> {
    let place = Place { longitude: number::float(longitude)?, latitude: number::float(latitude)? };
    if place.is_on_the_map() {
        return Ok(place);
    }
    let Place { longitude, latitude } = place;
    Err(Error::text(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}")))
}

/// Meters of a unit.
fn unit(text: &[u8]) -> Result<f64, Error> {
    match text.to_ascii_lowercase().as_slice() {
        b"m" => Ok(1.0),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(Error::text("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

fn geoadd(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let is_option = |word: &[u8]| [&b"nx"[..], b"xx", b"ch"].iter().any(|option| word.eq_ignore_ascii_case(option));
    let options = args[2..].iter().take_while(|word| is_option(word)).count();
    let (options, rest) = args[2..].split_at(options);
    let has = |option: &[u8]| options.iter().any(|word| word.eq_ignore_ascii_case(option));
    let (elements, []) = rest.as_chunks::<3>() else { return Err(Error::Syntax) };
    if has(b"nx") && has(b"xx") {
        return Err(Error::Syntax);
    }
    let scores = elements.iter().map(|[longitude, latitude, _]| Ok(place(longitude, latitude)?.score().to_string()));
    let scores: Vec<String> = scores.collect::<Result<_, Error>>()?;
    let mut words: Vec<&[u8]> = vec![b"zadd", args[1]];
    words.extend(options);
    for (score, [_, _, member]) in scores.iter().zip(elements) {
        words.extend([score.as_bytes(), member]);
    }
    sorted_sets::zadd(transaction, &words, out)
}

/// The places of an index.
fn index<'v>(view: &'v View<'_>, key: &[u8]) -> Result<Option<SortedSetRef<'v>>, Error> {
    typed::sorted(typed::value(view.get(key)))
}

fn geodist(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let meters = match &args[4..] {
        [] => 1.0,
        [text] => unit(text)?,
        _ => return Err(Error::Syntax),
    };
    let index = index(view, args[1])?;
    let place = |member: &[u8]| index?.score(member).map(Place::from_score);
    match (place(args[2]), place(args[3])) {
        (Some(first), Some(second)) => reply_distance(first.distance(second) / meters, out),
        _ => out.null(),
    }
    Ok(())
}

fn reply_distance(distance: f64, out: &mut Encoder<'_>) {
    out.bulk(format!("{distance:.4}").as_bytes());
}

fn geohash(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let index = index(view, args[1])?;
    out.array(args.len() - 2);
    for member in &args[2..] {
        match index.and_then(|index| index.score(member)) {
            None => out.null(),
            Some(score) => out.bulk(&Place::from_score(score).geohash()),
        }
    }
    Ok(())
}

fn geopos(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let index = index(view, args[1])?;
    out.array(args.len() - 2);
    for member in &args[2..] {
        match index.and_then(|index| index.score(member)) {
            None => out.null_array(),
            Some(score) => reply_place(Place::from_score(score), out),
        }
    }
    Ok(())
}

fn reply_place(place: Place, out: &mut Encoder<'_>) {
    out.array(2);
    for degrees in [place.longitude, place.latitude] {
        // As `%.17Lf`, without the zeros at its end.
        let text = format!("{degrees:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        let text = if text == "-0" { "0" } else { text };
        match out.version() {
            Version::Resp2 => out.bulk(text.as_bytes()),
            Version::Resp3 => out.raw(format!(",{text}\r\n").as_bytes()),
        }
    }
}

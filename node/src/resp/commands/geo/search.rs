//! GEOSEARCH and its older forms: which places are near?

use std::ops::Bound;

use tercet_proto::resp::Encoder;

use super::hash::{Place, Shape};
use super::{index, number, place, reply_distance, reply_place, typed, unit};
use crate::engine::{Transaction, View};
use crate::keyspace::value::{ShortBytes, SortedSetRef};
use crate::resp::commands::sorted_sets;
use crate::resp::error::Error;
use crate::resp::table::{Args, Outcome};

/// Which of the commands it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Search,
    SearchStore,
    /// Around a place or member that stands before the options; may it store what it finds?
    Radius {
        stores: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Any,
    Nearest,
    Farthest,
}

/// What the arguments ask for.
struct Query<'a> {
    center: Option<Place>,
    shape: Option<Shape>,
    /// Meters of the unit of all distances.
    meters: f64,
    order: Order,
    /// 0 = all.
    count: usize,
    is_any: bool,
    with_distance: bool,
    with_hash: bool,
    with_place: bool,
    target: Option<&'a [u8]>,
    stores_distance: bool,
}

fn distance(text: &[u8], wrong: &'static str) -> Result<f64, Error> {
    number::float(text).map_err(|_| Error::text(wrong))
}

fn circle(radius: &[u8], of: &[u8]) -> Result<(Shape, f64), Error> {
    let radius = distance(radius, "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err(Error::text("ERR radius cannot be negative"));
    }
    let meters = unit(of)?;
    Ok((Shape::Circle { radius: radius * meters }, meters))
}

fn rectangle(width: &[u8], height: &[u8], of: &[u8]) -> Result<(Shape, f64), Error> {
    let (width, height) = (distance(width, "ERR need numeric width")?, distance(height, "ERR need numeric height")?);
    if width < 0.0 || height < 0.0 {
        return Err(Error::text("ERR height or width cannot be negative"));
    }
    let meters = unit(of)?;
    Ok((Shape::Box { width: width * meters, height: height * meters }, meters))
}

fn member_place(index: SortedSetRef<'_>, member: &[u8]) -> Result<Place, Error> {
    let score = index.score(member).ok_or(Error::text("ERR could not decode requested zset member"))?;
    Ok(Place::from_score(score))
}

impl<'a> Query<'a> {
    fn new() -> Self {
        Self {
            center: None,
            shape: None,
            meters: 1.0,
            order: Order::Any,
            count: 0,
            is_any: false,
            with_distance: false,
            with_hash: false,
            with_place: false,
            target: None,
            stores_distance: false,
        }
    }

    fn parse(
        mut self,
        mut rest: &Args<'a>,
        form: Form,
        index: Option<SortedSetRef<'_>>,
        command: &[u8],
    ) -> Result<Self, Error> {
        let is_search = matches!(form, Form::Search | Form::SearchStore);
        let stores = form == Form::Radius { stores: true };
        let (mut from_member, mut from_place, mut by_radius, mut by_box) = (false, false, false, false);
        while let [word, behind @ ..] = rest {
            rest = behind;
            match (word.to_ascii_lowercase().as_slice(), behind) {
                (b"withdist", _) => self.with_distance = true,
                (b"withhash", _) => self.with_hash = true,
                (b"withcoord", _) => self.with_place = true,
                (b"any", _) => self.is_any = true,
                (b"asc", _) => self.order = Order::Nearest,
                (b"desc", _) => self.order = Order::Farthest,
                (b"count", [text, behind @ ..]) => {
                    let count = number::integer(text)?;
                    if count <= 0 {
                        return Err(Error::text("ERR COUNT must be > 0"));
                    }
                    self.count = usize::try_from(count).unwrap_or(usize::MAX);
                    rest = behind;
                }
                (name @ (b"store" | b"storedist"), [key, behind @ ..]) if stores => {
                    self.target = Some(key);
                    self.stores_distance = name == b"storedist";
                    rest = behind;
                }
                (b"storedist", _) if form == Form::SearchStore => self.stores_distance = true,
                (b"frommember", [member, behind @ ..]) if is_search && !from_place => {
                    if let Some(index) = index {
                        self.center = Some(member_place(index, member)?);
                    }
                    from_member = true;
                    rest = behind;
                }
                (b"fromlonlat", [longitude, latitude, behind @ ..]) if is_search && !from_member => {
                    self.center = Some(place(longitude, latitude)?);
                    from_place = true;
                    rest = behind;
                }
                (b"byradius", [radius, of, behind @ ..]) if is_search && !by_box => {
                    let (shape, meters) = circle(radius, of)?;
                    (self.shape, self.meters, by_radius) = (Some(shape), meters, true);
                    rest = behind;
                }
                (b"bybox", [width, height, of, behind @ ..]) if is_search && !by_radius => {
                    let (shape, meters) = rectangle(width, height, of)?;
                    (self.shape, self.meters, by_box) = (Some(shape), meters, true);
                    rest = behind;
                }
                _ => return Err(Error::Syntax),
            }
        }
        let shows = self.with_distance || self.with_hash || self.with_place;
        if shows && (self.target.is_some() || form == Form::SearchStore) {
            let what = if form == Form::SearchStore { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            return Err(Error::text(format!(
                "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        let command = String::from_utf8_lossy(command);
        if is_search && !(from_member || from_place) {
            return Err(Error::text(format!(
                "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {command}"
            )));
        }
        if is_search && !(by_radius || by_box) {
            return Err(Error::text(format!("ERR exactly one of BYRADIUS and BYBOX can be specified for {command}")));
        }
        if self.is_any && self.count == 0 {
            return Err(Error::text("ERR the ANY argument requires COUNT argument"));
        }
        Ok(self)
    }

    /// What is found, in the order asked for.
    fn run(&self, index: SortedSetRef<'_>) -> Vec<Found> {
        let (Some(center), Some(shape)) = (self.center, self.shape) else { return Vec::new() };
        let enough = if self.is_any { self.count } else { usize::MAX };
        let mut found = Vec::new();
        for cell in shape.cells(center) {
            if found.len() >= enough {
                break;
            }
            let (first, end) = cell.scores();
            for (member, score) in index.range_by_score(Bound::Included(first), Bound::Excluded(end)) {
                let place = Place::from_score(score);
                if let Some(distance) = shape.distance(center, place) {
                    let member = ShortBytes::from(member);
                    found.push(Found { member, place, distance, score });
                    if found.len() >= enough {
                        break;
                    }
                }
            }
        }
        // So many of any order would be an accident: then the nearest.
        let order =
            if self.count > 0 && !self.is_any && self.order == Order::Any { Order::Nearest } else { self.order };
        match order {
            Order::Any => {}
            Order::Nearest => found.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
            Order::Farthest => found.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
        }
        if self.count > 0 {
            found.truncate(self.count);
        }
        found
    }

    fn reply(&self, found: &[Found], out: &mut Encoder<'_>) {
        out.array(found.len());
        let options = [self.with_distance, self.with_hash, self.with_place].iter().filter(|is_set| **is_set).count();
        for item in found {
            if options > 0 {
                out.array(options + 1);
            }
            out.bulk(&item.member);
            if self.with_distance {
                reply_distance(item.distance / self.meters, out);
            }
            if self.with_hash {
                out.integer(item.score as i64);
            }
            if self.with_place {
                reply_place(item.place, out);
            }
        }
    }

    fn store(
        &self,
        transaction: &mut Transaction<'_>,
        target: &[u8],
        event: &'static str,
        found: &[Found],
        out: &mut Encoder<'_>,
    ) -> Outcome {
        let score = |item: &Found| if self.stores_distance { item.distance / self.meters } else { item.score };
        let members: Vec<(ShortBytes, f64)> = found.iter().map(|item| (item.member.clone(), score(item))).collect();
        sorted_sets::store(transaction, target, event, &members)?;
        out.integer(members.len() as i64);
        Ok(())
    }
}

struct Found {
    member: ShortBytes,
    place: Place,
    distance: f64,
    score: f64,
}

fn show(index: Option<SortedSetRef<'_>>, out: &mut Encoder<'_>, query: &Query<'_>) -> Outcome {
    let found = index.map_or_else(Vec::new, |index| query.run(index));
    query.reply(&found, out);
    Ok(())
}

pub(super) fn geosearch(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let index = index(view, args[1])?;
    let query = Query::new().parse(&args[2..], Form::Search, index, args[0])?;
    show(index, out, &query)
}

pub(super) fn geosearchstore(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let index = typed::sorted(typed::value(transaction.read(args[2])))?;
    let query = Query::new().parse(&args[3..], Form::SearchStore, index, args[0])?;
    let found = index.map_or_else(Vec::new, |index| query.run(index));
    query.store(transaction, args[1], "geosearchstore", &found, out)
}

/// A query around a place that stands before the options.
fn around_place<'a>(args: &Args<'a>, stores: bool) -> Result<Query<'a>, Error> {
    let center = place(args[2], args[3])?;
    let (shape, meters) = circle(args[4], args[5])?;
    let query = Query { center: Some(center), shape: Some(shape), meters, ..Query::new() };
    query.parse(&args[6..], Form::Radius { stores }, None, args[0])
}

/// A query around a member. Redis reads the distance only where there is an index.
fn around_member<'a>(args: &Args<'a>, index: Option<SortedSetRef<'_>>, stores: bool) -> Result<Query<'a>, Error> {
    let mut query = Query::new();
    if let Some(index) = index {
        query.center = Some(member_place(index, args[2])?);
        let (shape, meters) = circle(args[3], args[4])?;
        (query.shape, query.meters) = (Some(shape), meters);
    }
    query.parse(&args[5..], Form::Radius { stores }, index, args[0])
}

pub(super) fn georadius(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let index = typed::sorted(typed::value(transaction.read(args[1])))?;
    let query = around_place(args, true)?;
    let found = index.map_or_else(Vec::new, |index| query.run(index));
    finish(transaction, &query, &found, out)
}

pub(super) fn georadiusbymember(transaction: &mut Transaction<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let index = typed::sorted(typed::value(transaction.read(args[1])))?;
    let query = around_member(args, index, true)?;
    let found = index.map_or_else(Vec::new, |index| query.run(index));
    finish(transaction, &query, &found, out)
}

fn finish(transaction: &mut Transaction<'_>, query: &Query<'_>, found: &[Found], out: &mut Encoder<'_>) -> Outcome {
    match query.target {
        Some(target) => query.store(transaction, target, "georadiusstore", found, out),
        None => {
            query.reply(found, out);
            Ok(())
        }
    }
}

pub(super) fn georadius_ro(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let index = index(view, args[1])?;
    let query = around_place(args, false)?;
    show(index, out, &query)
}

pub(super) fn georadiusbymember_ro(view: &View<'_>, args: &Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let index = index(view, args[1])?;
    let query = around_member(args, index, false)?;
    show(index, out, &query)
}

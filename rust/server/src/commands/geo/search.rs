//! GEOSEARCH, and GEORADIUS with its kin: members inside a shape, shown or stored.
//!
//! The older commands have fixed places for the centre and the radius, GEOSEARCH has options; what follows is
//! read alike.

use super::{Args, Error, Point, Read, Reply, Result, SYNTAX, Write, point, show_distance};
use super::{show_point, unit};
use forgekv_base::number::parse_f64;
use forgekv_data::geo::{Form, Found, Search, Shape, Sort, search};
use forgekv_data::zset::{self, Scored};
use forgekv_data::{Key, Kind, event_class};

const NO_MEMBER: &str = "ERR could not decode requested zset member";

/// How a command is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syntax {
    /// GEORADIUS: longitude, latitude, radius, unit.
    Radius,
    /// GEORADIUSBYMEMBER: member, radius, unit.
    RadiusByMember,
    /// GEOSEARCH: all of it as options.
    Search,
    /// GEOSEARCHSTORE: as GEOSEARCH.
    SearchStore,
}

impl Syntax {
    fn is_search(self) -> bool {
        matches!(self, Syntax::Search | Syntax::SearchStore)
    }
}

/// What a command asks for.
struct Query<'a> {
    /// Nothing when there is no sorted set, so that a member's point is not known.
    shape: Option<Shape>,
    /// The unit of distances in metres.
    metres: f64,
    sort: Sort,
    count: u64,
    any: bool,
    with_distance: bool,
    with_hash: bool,
    with_point: bool,
    store: Option<Key<'a>>,
    stores_distances: bool,
}

/// Reads radius and unit.
fn circle(args: &mut Args<'_>) -> Result<(Form, f64)> {
    let radius = parse_f64(args.next()?)
        .filter(|f| !f.is_nan())
        .ok_or(Error::reply("ERR need numeric radius"))?;
    if radius < 0.0 {
        return Err(Error::reply("ERR radius cannot be negative"));
    }
    let metres = unit(args.next()?)?;
    Ok((Form::Circle(radius * metres), metres))
}

/// Reads width, height and unit.
fn rectangle(args: &mut Args<'_>) -> Result<(Form, f64)> {
    let number = |word, text| parse_f64(word).filter(|f| !f.is_nan()).ok_or(Error::reply(text));
    let width = number(args.next()?, "ERR need numeric width")?;
    let height = number(args.next()?, "ERR need numeric height")?;
    if width < 0.0 || height < 0.0 {
        return Err(Error::reply("ERR height or width cannot be negative"));
    }
    let metres = unit(args.next()?)?;
    Ok((Form::Box(width * metres, height * metres), metres))
}

/// Reads the number of vertices and the vertices.
fn polygon(args: &mut Args<'_>) -> Result<Shape> {
    let vertices = args.int()?;
    if vertices < 3 {
        let name = args.name().to_ascii_uppercase();
        return Err(Error::reply(format!("ERR {name} BYPOLYGON must have at least 3 vertices")));
    }
    if vertices as u64 > args.remaining() as u64 / 2 {
        return Err(SYNTAX);
    }
    Ok(Shape::polygon((0..vertices).map(|_| point(args)).collect::<Result<Vec<Point>>>()?))
}

/// The point of a member of a sorted set.
fn member_point(db: &mut Read<'_>, key: Key<'_>, member: &[u8]) -> Result<Point> {
    let score = zset::score(db, key, member)?.ok_or(Error::reply(NO_MEMBER))?;
    Ok(Point::of_score(score))
}

/// Reads what stands behind the source's key. A member's point is looked up where it is named.
fn parse<'a>(
    db: &mut Read<'_>,
    args: &mut Args<'a>,
    source: Key<'_>,
    syntax: Syntax,
    may_store: bool,
) -> Result<Query<'a>> {
    let there = db.header_of(source, Kind::ZSet)?.is_some();
    if !there {
        db.notify(event_class::MISS, "keymiss", source);
    }
    let (mut center, mut form, mut polygonal) = (None, None, None);
    let (mut from_member, mut metres) = (false, 1.0);
    match syntax {
        Syntax::Radius => center = Some(point(args)?),
        Syntax::RadiusByMember => {
            let member = args.next()?;
            from_member = true;
            if there {
                center = Some(member_point(db, source, member)?);
            }
        }
        Syntax::Search | Syntax::SearchStore => {}
    }
    match syntax {
        Syntax::RadiusByMember if !there => {
            // Not judged: there is nothing around which it could be.
            args.next()?;
            args.next()?;
        }
        Syntax::Radius | Syntax::RadiusByMember => {
            let (circle, unit) = circle(args)?;
            (form, metres) = (Some(circle), unit);
        }
        Syntax::Search | Syntax::SearchStore => {}
    }
    let mut query = Query {
        shape: None,
        metres,
        sort: Sort::None,
        count: 0,
        any: false,
        with_distance: false,
        with_hash: false,
        with_point: false,
        store: None,
        stores_distances: false,
    };
    let searches = syntax.is_search();
    while !args.is_empty() {
        let unformed = form.is_none() && polygonal.is_none();
        if args.flag("WITHDIST") {
            query.with_distance = true;
        } else if args.flag("WITHHASH") {
            query.with_hash = true;
        } else if args.flag("WITHCOORD") {
            query.with_point = true;
        } else if args.flag("ANY") {
            query.any = true;
        } else if args.flag("ASC") {
            query.sort = Sort::Nearest;
        } else if args.flag("DESC") {
            query.sort = Sort::Farthest;
        } else if args.option("COUNT") {
            let count = args.int()?;
            query.count = u64::try_from(count)
                .ok()
                .filter(|&count| count > 0)
                .ok_or(Error::reply("ERR COUNT must be > 0"))?;
        } else if may_store && !searches && args.option("STORE") {
            query.store = Some(args.key()?);
            query.stores_distances = false;
        } else if may_store && !searches && args.option("STOREDIST") {
            query.store = Some(args.key()?);
            query.stores_distances = true;
        } else if syntax == Syntax::SearchStore && args.flag("STOREDIST") {
            query.stores_distances = true;
        } else if searches
            && polygonal.is_none()
            && (from_member || center.is_none())
            && args.option("FROMMEMBER")
        {
            let member = args.next()?;
            from_member = true;
            if there {
                center = Some(member_point(db, source, member)?);
            }
        } else if searches
            && polygonal.is_none()
            && !from_member
            && args.remaining() > 2
            && args.flag("FROMLONLAT")
        {
            center = Some(point(args)?);
        } else if searches
            && !matches!(form, Some(Form::Box(..)))
            && polygonal.is_none()
            && args.remaining() > 2
            && args.flag("BYRADIUS")
        {
            let (circle, unit) = circle(args)?;
            (form, query.metres) = (Some(circle), unit);
        } else if searches
            && !matches!(form, Some(Form::Circle(_)))
            && polygonal.is_none()
            && args.remaining() > 3
            && args.flag("BYBOX")
        {
            let (rectangle, unit) = rectangle(args)?;
            (form, query.metres) = (Some(rectangle), unit);
        } else if searches
            && unformed
            && center.is_none()
            && !from_member
            && args.option("BYPOLYGON")
        {
            polygonal = Some(polygon(args)?);
        } else {
            return Err(SYNTAX);
        }
    }
    let shows_more = query.with_distance || query.with_hash || query.with_point;
    if shows_more && (query.store.is_some() || syntax == Syntax::SearchStore) {
        let what = match syntax {
            Syntax::SearchStore => "GEOSEARCHSTORE",
            _ => "STORE option in GEORADIUS",
        };
        return Err(Error::reply(format!(
            "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
        )));
    }
    if searches && polygonal.is_none() {
        let wants = |what: &str| {
            let name = args.name().to_ascii_uppercase();
            Error::reply(format!("ERR exactly one of {what} can be specified for {name}"))
        };
        if center.is_none() && !from_member {
            return Err(wants("FROMMEMBER or FROMLONLAT"));
        }
        if form.is_none() {
            return Err(wants("BYRADIUS and BYBOX"));
        }
    }
    if query.any && query.count == 0 {
        return Err(Error::reply("ERR the ANY argument requires COUNT argument"));
    }
    query.shape =
        polygonal.or_else(|| Some(Shape { center: center?, form: form? })).filter(|_| there);
    Ok(query)
}

impl Query<'_> {
    /// What is found, in the order in which it is wanted.
    fn search(&mut self, db: &mut Read<'_>, source: Key<'_>) -> Result<Vec<Found>> {
        let Some(shape) = self.shape.take() else { return Ok(Vec::new()) };
        let Query { sort, count, any, .. } = *self;
        search(db, source, &Search { shape, sort, count, any })
    }

    fn show(&self, reply: &mut Reply<'_>, found: &[Found]) {
        let more = [self.with_distance, self.with_hash, self.with_point];
        let more = more.into_iter().filter(|more| *more).count();
        reply.array(found.len());
        for Found { member, score, point, distance } in found {
            if more > 0 {
                reply.array(1 + more);
            }
            reply.bulk(member);
            if self.with_distance {
                show_distance(reply, distance / self.metres);
            }
            if self.with_hash {
                reply.int(*score as i64);
            }
            if self.with_point {
                show_point(reply, *point);
            }
        }
    }

    fn store(
        &self,
        db: &mut Write<'_>,
        destination: Key<'_>,
        found: Vec<Found>,
        event: &'static str,
    ) -> Result<()> {
        let score = |found: &Found| {
            if self.stores_distances { found.distance / self.metres } else { found.score }
        };
        let members = found
            .into_iter()
            .map(|found| Scored { score: score(&found), member: found.member })
            .collect();
        zset::store(db, destination, members, event)
    }
}

fn read_only(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    syntax: Syntax,
) -> Result<()> {
    let source = args.key()?;
    let mut query = parse(db, args, source, syntax, false)?;
    let found = query.search(db, source)?;
    query.show(reply, &found);
    Ok(())
}

fn radius(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    syntax: Syntax,
) -> Result<()> {
    let source = args.key()?;
    let mut query = parse(db, args, source, syntax, true)?;
    let found = query.search(db, source)?;
    let Some(destination) = query.store else {
        query.show(reply, &found);
        return Ok(());
    };
    let stored = found.len();
    query.store(db, destination, found, "georadiusstore")?;
    reply.int(stored as i64);
    Ok(())
}

pub(super) fn geosearch(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    read_only(db, args, reply, Syntax::Search)
}

pub(super) fn geosearchstore(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let (destination, source) = (args.key()?, args.key()?);
    let mut query = parse(db, args, source, Syntax::SearchStore, false)?;
    let found = query.search(db, source)?;
    let stored = found.len();
    query.store(db, destination, found, "geosearchstore")?;
    reply.int(stored as i64);
    Ok(())
}

pub(super) fn georadius(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    radius(db, args, reply, Syntax::Radius)
}

pub(super) fn georadius_ro(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    read_only(db, args, reply, Syntax::Radius)
}

pub(super) fn georadiusbymember(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    radius(db, args, reply, Syntax::RadiusByMember)
}

pub(super) fn georadiusbymember_ro(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    read_only(db, args, reply, Syntax::RadiusByMember)
}

//! Points on the globe, in sorted sets.
//!
//! The geometry lives in `data::geo`; here arguments are read and replies written.

mod search;

use super::{Args, Command, Family, read, write};
use forgekv_base::number::parse_f64;
use forgekv_data::geo::Point;
use forgekv_data::zset::{self, Conditions};
use forgekv_data::{Error, NOT_A_FLOAT, Read, Result, SYNTAX, Write};
use forgekv_resp::Reply;
use smallvec::SmallVec;

const O_OF_EACH: &str = "O(1) for each member requested.";
const O_OF_RADIUS: &str = "O(N+log(M)) where N is the number of elements inside the bounding box of \
     the circular area delimited by center and radius and M is the number of items inside the index.";
const O_OF_SHAPE: &str = "O(N+log(M)) where N is the number of elements in the grid-aligned bounding \
     box area around the shape provided as the filter and M is the number of items inside the shape";

const COMMANDS: &[Command] = &[
    write(
        "GEOADD",
        geoadd,
        "key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
    )
    .grows()
    .since("3.2.0")
    .complexity(
        "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
    )
    .keys("RW update")
    .about("Puts points in, or moves them."),
    read("GEOPOS", geopos, "key [member [member ...]]")
        .since("3.2.0")
        .complexity(O_OF_EACH)
        .about("Returns the coordinates of members."),
    read("GEODIST", geodist, "key member1 member2 [M | KM | FT | MI]")
        .since("3.2.0")
        .complexity("O(1)")
        .about("Returns the distance between two members."),
    read("GEOHASH", geohash, "key [member [member ...]]")
        .since("3.2.0")
        .complexity(O_OF_EACH)
        .about("Returns the geohashes of members as text."),
    read(
        "GEOSEARCH",
        search::geosearch,
        "key [FROMMEMBER member | FROMLONLAT longitude latitude] \
         <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI> | \
         BYPOLYGON num-vertices:integer longitude latitude [longitude latitude ...]> \
         [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
    )
    .arity(-7)
    .since("6.2.0")
    .complexity(O_OF_SHAPE)
    .about("Returns the members inside a circle, a box or a polygon."),
    write(
        "GEOSEARCHSTORE",
        search::geosearchstore,
        "destination source [FROMMEMBER member | FROMLONLAT longitude latitude] \
         <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI> | \
         BYPOLYGON num-vertices:integer longitude latitude [longitude latitude ...]> \
         [ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
    )
    .arity(-8)
    .grows()
    .since("6.2.0")
    .complexity(O_OF_SHAPE)
    .keys("OW update; RO access")
    .about("Stores the members inside a circle, a box or a polygon."),
    write(
        "GEORADIUS",
        search::georadius,
        "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] \
         [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
    )
    .grows()
    .since("3.2.0")
    .complexity(O_OF_RADIUS)
    .keys(
        "RO access @ 1 range 0 1 0; OW update @ STORE:6 range 0 1 0; \
         OW update @ STOREDIST:6 range 0 1 0",
    )
    .deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument")
    .about("Returns or stores the members inside a circle."),
    read(
        "GEORADIUS_RO",
        search::georadius_ro,
        "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] \
         [COUNT count [ANY]] [ASC | DESC]",
    )
    .since("3.2.10")
    .complexity(O_OF_RADIUS)
    .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument")
    .about("Returns the members inside a circle."),
    write(
        "GEORADIUSBYMEMBER",
        search::georadiusbymember,
        "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] \
         [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
    )
    .grows()
    .since("3.2.0")
    .complexity(O_OF_RADIUS)
    .keys(
        "RO access @ 1 range 0 1 0; OW update @ STORE:5 range 0 1 0; \
         OW update @ STOREDIST:5 range 0 1 0",
    )
    .deprecated(
        "6.2.0",
        "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
    )
    .about("Returns or stores the members inside a circle around a member."),
    read(
        "GEORADIUSBYMEMBER_RO",
        search::georadiusbymember_ro,
        "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] \
         [COUNT count [ANY]] [ASC | DESC]",
    )
    .since("3.2.10")
    .complexity(O_OF_RADIUS)
    .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments")
    .about("Returns the members inside a circle around a member."),
];

/// Points on the globe.
pub(crate) const FAMILY: Family = Family::new("geo", COMMANDS);

/// A unit of length in metres.
fn unit(word: &[u8]) -> Result<f64> {
    let units = [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)];
    let found = units.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
    found
        .map(|(_, metres)| *metres)
        .ok_or(Error::reply("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

/// Reads longitude and latitude.
fn point(args: &mut Args<'_>) -> Result<Point> {
    let mut degrees = || parse_f64(args.next()?).filter(|f| !f.is_nan()).ok_or(NOT_A_FLOAT);
    let point = Point { longitude: degrees()?, latitude: degrees()? };
    if !point.is_valid() {
        let Point { longitude, latitude } = point;
        return Err(Error::reply(format!(
            "ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"
        )));
    }
    Ok(point)
}

/// Writes longitude and latitude.
fn show_point(reply: &mut Reply<'_>, point: Point) {
    reply.array(2);
    for degrees in [point.longitude, point.latitude] {
        // What Redis prints of a long double: 17 digits behind the point, without zeros at the end.
        let text = format!("{degrees:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if reply.is_resp3() {
            reply.raw(format!(",{text}\r\n").as_bytes());
        } else {
            reply.bulk(text.as_bytes());
        }
    }
}

/// Writes a distance.
fn show_distance(reply: &mut Reply<'_>, distance: f64) {
    reply.bulk(format!("{distance:.4}").as_bytes());
}

fn geoadd(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let (mut conditions, mut counts_changes) = (Conditions::default(), false);
    loop {
        if args.flag("NX") {
            conditions.only_new = true;
        } else if args.flag("XX") {
            conditions.only_old = true;
        } else if args.flag("CH") {
            counts_changes = true;
        } else {
            break;
        }
    }
    if !args.remaining().is_multiple_of(3) || (conditions.only_new && conditions.only_old) {
        return Err(SYNTAX);
    }
    let mut points: SmallVec<[(f64, &[u8]); 4]> = SmallVec::new();
    while !args.is_empty() {
        let score = point(args)?.score();
        points.push((score, args.next()?));
    }
    if points.is_empty() {
        return Err(SYNTAX);
    }
    let done = zset::add(db, key, conditions, points.into_iter())?;
    let updated = if counts_changes { done.updated } else { 0 };
    reply.int((done.added + updated) as i64);
    Ok(())
}

fn geopos(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let members = args.rest();
    reply.array(members.len());
    zset::scores(db, key, members, &mut |score| match score {
        Some(score) => show_point(reply, Point::of_score(score)),
        None => reply.null_array(),
    })
}

fn geodist(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let members = [args.next()?, args.next()?];
    let word = if args.is_empty() { &b"m"[..] } else { args.next()? };
    // Too many words are told before a wrong unit.
    args.end()?;
    let metres = unit(word)?;
    let mut points: SmallVec<[Point; 2]> = SmallVec::new();
    zset::scores(db, key, &members, &mut |score| points.extend(score.map(Point::of_score)))?;
    match points[..] {
        [from, to] => show_distance(reply, from.distance(to) / metres),
        _ => reply.null(),
    }
    Ok(())
}

fn geohash(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let members = args.rest();
    reply.array(members.len());
    zset::scores(db, key, members, &mut |score| match score {
        Some(score) => reply.bulk(&Point::of_score(score).text()),
        None => reply.null(),
    })
}

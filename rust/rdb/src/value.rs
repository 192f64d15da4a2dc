//! Reading a value, whatever form it has.

use crate::bad::{Bad, Stop};
use crate::input::Input;
use crate::intset;
use crate::item::{Item, Piece};
use crate::listpack::Listpack;
use crate::module;
use crate::stream;
use crate::types::Type;
use crate::ziplist::Ziplist;
use crate::zipmap::Zipmap;
use forgekv_base::number::parse_f64;

/// Expiries of fields are below this, in Unix milliseconds.
const FIELD_EXPIRY_END_MS: u64 = 1 << 46;

/// Takes the items of a value.
pub(crate) type Take<'t, E> = dyn FnMut(Item<'_>) -> Result<(), E> + 't;

/// Reads a value and hands its items to `take`, in pieces; how many there were. A value without items is no
/// value, but for a stream and what a module made, of which there is nothing to hand over.
///
/// Whether a member or a field comes twice is for `take` to see.
///
/// # Errors
/// [`Stop::Bad`] for wrong bytes, [`Stop::Taker`] with what `take` answered.
pub fn read<E>(kind: Type, input: &mut Input<'_>, take: &mut Take<'_, E>) -> Result<u64, Stop<E>> {
    let mut items = 0;
    let take = &mut |item: Item<'_>| {
        items += 1;
        take(item)
    };
    match kind {
        Type::STRING => {
            let mut text = Vec::new();
            input.string(&mut text)?;
            give(take(Item::Text(&text)))?;
        }
        Type::LIST => singles(input, &mut |text| take(Item::Element(text)))?,
        Type::SET => singles(input, &mut |text| take(Item::Member(text)))?,
        Type::LIST_ZIPLIST => {
            blob(input, |blob| ziplist(blob, &mut |text| take(Item::Element(text))))?;
        }
        Type::QUICKLIST => {
            for _ in 0..input.count()? {
                blob(input, |blob| ziplist(blob, &mut |text| take(Item::Element(text))))?;
            }
        }
        Type::QUICKLIST_2 => quicklist(input, take)?,
        Type::SET_INTSET => blob(input, |blob| {
            intset::read(blob, &mut |n| {
                take(Item::Member(itoa::Buffer::new().format(n).as_bytes()))
            })
        })?,
        Type::SET_LISTPACK => {
            blob(input, |blob| listpack(blob, &mut |text| take(Item::Member(text))))?;
        }
        Type::ZSET | Type::ZSET_TEXT => scored(kind, input, take)?,
        Type::ZSET_LISTPACK => blob(input, |blob| {
            let mut walk = Listpack::new(blob)?;
            scored_pairs(&mut || walk.next(), take)
        })?,
        Type::ZSET_ZIPLIST => blob(input, |blob| {
            let mut walk = Ziplist::new(blob)?;
            scored_pairs(&mut || walk.next(), take)
        })?,
        Type::HASH => pairs(input, take)?,
        Type::HASH_ZIPMAP => blob(input, |blob| {
            let mut walk = Zipmap::new(blob)?;
            while let Some((field, value)) = walk.next()? {
                if let Err(e) = take(Item::Field(field, value, None)) {
                    return Ok(Err(e));
                }
            }
            Ok(Ok(()))
        })?,
        Type::HASH_LISTPACK => blob(input, |blob| {
            let mut walk = Listpack::new(blob)?;
            field_pairs(&mut || walk.next(), take)
        })?,
        Type::HASH_ZIPLIST => blob(input, |blob| {
            let mut walk = Ziplist::new(blob)?;
            field_pairs(&mut || walk.next(), take)
        })?,
        Type::TIMED_HASH | Type::TIMED_HASH_EARLY => timed(kind, input, take)?,
        Type::TIMED_LISTPACK | Type::TIMED_LISTPACK_EARLY => {
            if kind == Type::TIMED_LISTPACK {
                // The first expiry: the listpack says it again.
                input.u64_le()?;
            }
            blob(input, |blob| timed_listpack(blob, take))?;
        }
        Type::STREAM | Type::STREAM_1 | Type::STREAM_3 => stream::read(kind, input, take)?,
        Type::MODULE => {
            module::skip(input)?;
        }
        _ => return Err(input.bad("a module's value of a form that cannot be passed over").into()),
    }
    Ok(items)
}

pub(crate) fn give<E>(taken: Result<(), E>) -> Result<(), Stop<E>> {
    taken.map_err(Stop::Taker)
}

/// What became of a packed sequence: `Err` when it is damaged, inside what the taker said.
type Unpacked<E> = Result<Result<(), E>, &'static str>;

/// Reads a string that is a packed sequence; what is wrong in it is reported where it begins.
fn blob<E>(
    input: &mut Input<'_>,
    unpack: impl FnOnce(&[u8]) -> Unpacked<E>,
) -> Result<(), Stop<E>> {
    let offset = input.offset();
    let mut bytes = Vec::new();
    input.string(&mut bytes)?;
    match unpack(&bytes) {
        Ok(taken) => give(taken),
        Err(what) => Err(Bad::new(offset, what).into()),
    }
}

fn singles<E>(
    input: &mut Input<'_>,
    each: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), Stop<E>> {
    let mut text = Vec::new();
    for _ in 0..input.count()? {
        input.string(&mut text)?;
        give(each(&text))?;
    }
    Ok(())
}

fn ziplist<E>(blob: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Unpacked<E> {
    let mut walk = Ziplist::new(blob)?;
    pieces(&mut || walk.next(), each)
}

fn listpack<E>(blob: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Unpacked<E> {
    let mut walk = Listpack::new(blob)?;
    pieces(&mut || walk.next(), each)
}

/// Answers the next element of a packed sequence.
type Next<'n, 'a> = dyn FnMut() -> Result<Option<Piece<'a>>, &'static str> + 'n;

fn pieces<E>(next: &mut Next<'_, '_>, each: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Unpacked<E> {
    let mut digits = itoa::Buffer::new();
    while let Some(piece) = next()? {
        if let Err(e) = each(piece.text(&mut digits)) {
            return Ok(Err(e));
        }
    }
    Ok(Ok(()))
}

fn quicklist<E>(input: &mut Input<'_>, take: &mut Take<'_, E>) -> Result<(), Stop<E>> {
    const PLAIN: u64 = 1;
    const PACKED: u64 = 2;
    for _ in 0..input.count()? {
        match input.count()? {
            PLAIN => {
                let mut text = Vec::new();
                input.string(&mut text)?;
                give(take(Item::Element(&text)))?;
            }
            PACKED => blob(input, |blob| listpack(blob, &mut |text| take(Item::Element(text))))?,
            _ => return Err(input.bad("a node of a list is of no known form").into()),
        }
    }
    Ok(())
}

fn scored<E>(kind: Type, input: &mut Input<'_>, take: &mut Take<'_, E>) -> Result<(), Stop<E>> {
    let mut member = Vec::new();
    for _ in 0..input.count()? {
        input.string(&mut member)?;
        let offset = input.offset();
        let score = if kind == Type::ZSET {
            input.f64_le()?
        } else {
            text_score(input)?.unwrap_or(f64::NAN)
        };
        if score.is_nan() {
            return Err(Bad::new(offset, "a score is not a number").into());
        }
        give(take(Item::Scored(&member, score)))?;
    }
    Ok(())
}

/// A score as text, the way it was before version 8.
fn text_score(input: &mut Input<'_>) -> Result<Option<f64>, Bad> {
    let mut text = Vec::new();
    Ok(match input.u8()? {
        253 => None,
        254 => Some(f64::INFINITY),
        255 => Some(f64::NEG_INFINITY),
        len => {
            input.bytes(u64::from(len), &mut text)?;
            parse_f64(&text)
        }
    })
}

fn scored_pairs<E>(next: &mut Next<'_, '_>, take: &mut Take<'_, E>) -> Unpacked<E> {
    let mut digits = itoa::Buffer::new();
    while let Some(member) = next()? {
        let score = match next()? {
            None => return Err("a member has no score"),
            Some(Piece::Int(n)) => n as f64,
            Some(Piece::Bytes(text)) => {
                let score = parse_f64(text).filter(|score| !score.is_nan());
                score.ok_or("a score is not a number")?
            }
        };
        if let Err(e) = take(Item::Scored(member.text(&mut digits), score)) {
            return Ok(Err(e));
        }
    }
    Ok(Ok(()))
}

fn pairs<E>(input: &mut Input<'_>, take: &mut Take<'_, E>) -> Result<(), Stop<E>> {
    let (mut field, mut value) = (Vec::new(), Vec::new());
    for _ in 0..input.count()? {
        input.string(&mut field)?;
        input.string(&mut value)?;
        give(take(Item::Field(&field, &value, None)))?;
    }
    Ok(())
}

fn field_pairs<E>(next: &mut Next<'_, '_>, take: &mut Take<'_, E>) -> Unpacked<E> {
    let (mut digits, mut more) = (itoa::Buffer::new(), itoa::Buffer::new());
    while let Some(field) = next()? {
        let value = next()?.ok_or("a field has no value")?;
        let item = Item::Field(field.text(&mut digits), value.text(&mut more), None);
        if let Err(e) = take(item) {
            return Ok(Err(e));
        }
    }
    Ok(Ok(()))
}

/// The expiry that a number stands for.
fn expiry(ms: u64) -> Option<Option<u64>> {
    (ms < FIELD_EXPIRY_END_MS).then_some((ms > 0).then_some(ms))
}

const BAD_EXPIRY: &str = "the expiry of a field is out of range";

fn timed<E>(kind: Type, input: &mut Input<'_>, take: &mut Take<'_, E>) -> Result<(), Stop<E>> {
    let is_relative = kind == Type::TIMED_HASH;
    let first_ms = if is_relative { input.u64_le()? } else { 0 };
    let (mut field, mut value) = (Vec::new(), Vec::new());
    for _ in 0..input.count()? {
        let offset = input.offset();
        let ms = match input.count()? {
            0 => Some(0),
            // The first is written as 1.
            n if is_relative => first_ms.checked_add(n - 1),
            n => Some(n),
        };
        let expire_ms = ms.and_then(expiry).ok_or(Bad::new(offset, BAD_EXPIRY))?;
        input.string(&mut field)?;
        input.string(&mut value)?;
        give(take(Item::Field(&field, &value, expire_ms)))?;
    }
    Ok(())
}

fn timed_listpack<E>(blob: &[u8], take: &mut Take<'_, E>) -> Unpacked<E> {
    let mut walk = Listpack::new(blob)?;
    let (mut digits, mut more) = (itoa::Buffer::new(), itoa::Buffer::new());
    while let Some(field) = walk.next()? {
        let value = walk.need()?;
        let ms = u64::try_from(walk.need_int()?).ok();
        let expire_ms = ms.and_then(expiry).ok_or(BAD_EXPIRY)?;
        let item = Item::Field(field.text(&mut digits), value.text(&mut more), expire_ms);
        if let Err(e) = take(item) {
            return Ok(Err(e));
        }
    }
    Ok(Ok(()))
}

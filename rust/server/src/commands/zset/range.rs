//! Ranges of members: by rank, by score, by name; shown, stored, counted, taken out.

use super::{Args, Error, Read, Reply, Result, SYNTAX, Show, Write};
use forgekv_base::number::{parse_f64, parse_i64};
use forgekv_data::NOT_AN_INTEGER;
use forgekv_data::zset::{self, LexEnd, Range, ScoreEnd, Scored, Span, Visit};

const NOT_A_RANGE_OF_SCORES: &str = "ERR min or max is not a float";
const NOT_A_RANGE_OF_NAMES: &str = "ERR min or max not valid string range item";
const LIMIT_BY_RANK: &str = "ERR syntax error, LIMIT is only supported in combination with either \
     BYSCORE or BYLEX";
const SCORES_BY_LEX: &str = "ERR syntax error, WITHSCORES not supported in combination with BYLEX";

/// By what a range is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// What a command's name has said already.
#[derive(Debug, Clone, Copy)]
struct Form {
    by: Option<By>,
    reverse: Option<bool>,
    /// WITHSCORES makes no sense.
    stores: bool,
}

/// A number as C reads it at the end of a range: spaces before it, nothing at all for 0, one too large for
/// infinity.
fn number(word: &[u8]) -> Option<f64> {
    if word.is_empty() {
        return Some(0.0);
    }
    let text = word.trim_ascii_start();
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let number = parse_f64(text).or_else(|| match digits {
        [b'0'..=b'9' | b'.', ..] => str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    });
    number.filter(|number| !number.is_nan())
}

fn score_end(word: &[u8]) -> Result<ScoreEnd> {
    let end = match word {
        [b'(', rest @ ..] => number(rest).map(ScoreEnd::excluded),
        _ => number(word).map(ScoreEnd::included),
    };
    end.ok_or(Error::reply(NOT_A_RANGE_OF_SCORES))
}

fn lex_end(word: &[u8]) -> Result<LexEnd<'_>> {
    match word {
        b"-" => Ok(LexEnd::Start),
        b"+" => Ok(LexEnd::End),
        [b'[', rest @ ..] => Ok(LexEnd::Included(rest)),
        [b'(', rest @ ..] => Ok(LexEnd::Excluded(rest)),
        _ => Err(Error::reply(NOT_A_RANGE_OF_NAMES)),
    }
}

fn span<'a>(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Span<'a>> {
    Ok(match by {
        By::Rank => {
            Span::Rank(parse_i64(min).ok_or(NOT_AN_INTEGER)?, parse_i64(max).ok_or(NOT_AN_INTEGER)?)
        }
        By::Score => Span::Score(score_end(min)?, score_end(max)?),
        By::Lex => Span::Lex(lex_end(min)?, lex_end(max)?),
    })
}

/// Reads what stands behind the key: the range, and whether scores are wanted.
fn parse<'a>(args: &mut Args<'a>, form: Form) -> Result<(Range<'a>, bool)> {
    let (mut min, mut max) = (args.next()?, args.next()?);
    let (mut by, mut reverse) = (form.by, form.reverse);
    let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
    while !args.is_empty() {
        if !form.stores && args.flag("WITHSCORES") {
            with_scores = true;
        } else if args.remaining() > 2 && args.flag("LIMIT") {
            (offset, limit) = (args.int()?, args.int()?);
        } else if reverse.is_none() && args.flag("REV") {
            reverse = Some(true);
        } else if by.is_none() && args.flag("BYLEX") {
            by = Some(By::Lex);
        } else if by.is_none() && args.flag("BYSCORE") {
            by = Some(By::Score);
        } else {
            return Err(SYNTAX);
        }
    }
    let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
    if limit != -1 && by == By::Rank {
        return Err(Error::reply(LIMIT_BY_RANK));
    }
    if with_scores && by == By::Lex {
        return Err(Error::reply(SCORES_BY_LEX));
    }
    if reverse && by != By::Rank {
        std::mem::swap(&mut min, &mut max);
    }
    Ok((Range { span: span(by, min, max)?, reverse, offset, limit }, with_scores))
}

fn show(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    by: Option<By>,
    reverse: Option<bool>,
) -> Result<()> {
    let key = args.key()?;
    let (range, with_scores) = parse(args, Form { by, reverse, stores: false })?;
    zset::range(db, key, &range, &mut Show::new(reply, with_scores))
}

pub(super) fn zrange(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    show(db, args, reply, None, None)
}

pub(super) fn zrevrange(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    show(db, args, reply, Some(By::Rank), Some(true))
}

pub(super) fn zrangebyscore(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    show(db, args, reply, Some(By::Score), Some(false))
}

pub(super) fn zrevrangebyscore(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    show(db, args, reply, Some(By::Score), Some(true))
}

pub(super) fn zrangebylex(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    show(db, args, reply, Some(By::Lex), Some(false))
}

pub(super) fn zrevrangebylex(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    show(db, args, reply, Some(By::Lex), Some(true))
}

/// Collects members.
struct Collect(Vec<Scored>);

impl Visit for Collect {
    fn len(&mut self, _: u64) {}

    fn member(&mut self, member: &[u8], score: f64) -> Result<()> {
        self.0.push(Scored { score, member: member.to_vec() });
        Ok(())
    }
}

pub(super) fn zrangestore(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    let (destination, source) = (args.key()?, args.key()?);
    let (range, _) = parse(args, Form { by: None, reverse: None, stores: true })?;
    let mut members = Collect(Vec::new());
    zset::range(db, source, &range, &mut members)?;
    let stored = members.0.len();
    zset::store(db, destination, members.0, "zrangestore")?;
    reply.int(stored as i64);
    Ok(())
}

fn count(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>, by: By) -> Result<()> {
    let key = args.key()?;
    let span = span(by, args.next()?, args.next()?)?;
    reply.int(zset::count_range(db, key, &span)? as i64);
    Ok(())
}

pub(super) fn zcount(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    count(db, args, reply, By::Score)
}

pub(super) fn zlexcount(
    db: &mut Read<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    count(db, args, reply, By::Lex)
}

fn remove(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
    by: By,
    event: &'static str,
) -> Result<()> {
    let key = args.key()?;
    let span = span(by, args.next()?, args.next()?)?;
    reply.int(zset::remove_range(db, key, &span, event)? as i64);
    Ok(())
}

pub(super) fn zremrangebyrank(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    remove(db, args, reply, By::Rank, "zremrangebyrank")
}

pub(super) fn zremrangebyscore(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    remove(db, args, reply, By::Score, "zremrangebyscore")
}

pub(super) fn zremrangebylex(
    db: &mut Write<'_>,
    args: &mut Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<()> {
    remove(db, args, reply, By::Lex, "zremrangebylex")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read_as_c_reads_them() {
        let included = |word: &str| score_end(word.as_bytes()).ok();
        for (word, score) in [
            ("", 0.0),
            (" 1", 1.0),
            ("1e400", f64::INFINITY),
            ("-1e400", f64::NEG_INFINITY),
            ("+inf", f64::INFINITY),
            ("1e-400", 0.0),
            ("0x10", 16.0),
        ] {
            assert_eq!(included(word), Some(ScoreEnd::included(score)), "{word}");
        }
        assert_eq!(included("("), Some(ScoreEnd::excluded(0.0)));
        for wrong in ["nan", "(nan", "1 ", "((1", "x", " ", "[1", "--1", "infx"] {
            assert_eq!(included(wrong), None, "{wrong}");
        }
        for wrong in ["", "a", "--", "+x", "-x", "1"] {
            assert!(lex_end(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert_eq!(lex_end(b"(").unwrap(), LexEnd::Excluded(b""));
    }
}

//! The options of XADD and XTRIM, and the ids of XDELEX and XACKDEL.

use super::{BAD_ID, id};
use crate::commands::Args;
use forgekv_base::number::parse_i64;
use forgekv_data::stream::{Excess, Id, NewId, Once, Refs, Seq, Trim};
use forgekv_data::{Error, Limits, NOT_AN_INTEGER, Result, SYNTAX};

/// Unless LIMIT says otherwise, `~` takes the entries of so many full blocks at most.
const BLOCKS_MAX: u64 = 100;
/// The same where blocks are not limited, and where they are huge.
const ENTRIES_UNLIMITED: u64 = 10_000;
const ENTRIES_MAX: u64 = 1_000_000;

/// What may stand before the id of XADD.
pub(super) struct Options<'a> {
    pub(super) makes: bool,
    pub(super) once: Option<Once<'a>>,
    excess: Option<Excess>,
    approximate: bool,
    limit: Option<u64>,
    refs: Option<Refs>,
}

impl<'a> Options<'a> {
    fn new() -> Options<'a> {
        Options {
            makes: true,
            once: None,
            excess: None,
            approximate: false,
            limit: None,
            refs: None,
        }
    }

    /// Reads up to the id, and that; no id when the arguments end before it.
    pub(super) fn of_xadd(args: &mut Args<'a>) -> Result<(Options<'a>, Option<NewId>)> {
        let mut options = Options::new();
        while let Some(word) = args.peek() {
            if args.flag("*") {
                return Ok((options, Some(NewId::Auto)));
            }
            if options.read_trimming(args)? || options.read_once(args)? {
                continue;
            }
            if args.flag("NOMKSTREAM") {
                options.makes = false;
                continue;
            }
            let id = match Id::parse(word) {
                Some((ms, Seq::Auto)) => NewId::At(ms),
                Some((ms, Seq::Given(seq))) => NewId::Given(Id::new(ms, seq)),
                Some((ms, Seq::Missing)) => NewId::Given(Id::new(ms, 0)),
                None => return Err(Error::reply(BAD_ID)),
            };
            args.next()?;
            return Ok((options, Some(id)));
        }
        Ok((options, None))
    }

    pub(super) fn of_xtrim(args: &mut Args<'a>) -> Result<Options<'a>> {
        let mut options = Options::new();
        while !args.is_empty() {
            if !options.read_trimming(args)? {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }

    /// Reads an option about trimming, if the next argument is one.
    fn read_trimming(&mut self, args: &mut Args<'a>) -> Result<bool> {
        let by_len = args.option("MAXLEN");
        if by_len || args.option("MINID") {
            if self.excess.is_some() {
                return Err(Error::reply(
                    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                ));
            }
            // An operator needs a threshold behind it.
            self.approximate = args.option("~");
            if !self.approximate {
                args.option("=");
            }
            self.excess = Some(if by_len {
                let n = u64::try_from(args.int()?);
                Excess::Longer(
                    n.map_err(|_| Error::reply("ERR The MAXLEN argument must be >= 0."))?,
                )
            } else {
                Excess::Before(id(args.next()?, 0)?)
            });
            return Ok(true);
        }
        if args.option("LIMIT") {
            let n = u64::try_from(args.int()?);
            let n = n.map_err(|_| Error::reply("ERR The LIMIT argument must be >= 0."))?;
            self.limit = Some(n);
            return Ok(true);
        }
        let Some(refs) = refs(args) else { return Ok(false) };
        if self.refs.is_some() {
            return Err(SYNTAX);
        }
        self.refs = Some(refs);
        Ok(true)
    }

    fn read_once(&mut self, args: &mut Args<'a>) -> Result<bool> {
        let named = args.remaining() > 2 && args.flag("IDMP");
        if !named && !args.option("IDMPAUTO") {
            return Ok(false);
        }
        if self.once.is_some() {
            return Err(Error::reply("ERR IDMP/IDMPAUTO specified multiple times"));
        }
        let producer = args.next()?;
        if producer.is_empty() {
            return Err(Error::reply(if named {
                "ERR IDMP requires a non-empty producer ID"
            } else {
                "ERR IDMPAUTO requires a non-empty producer ID"
            }));
        }
        let id = if named { Some(args.next()?) } else { None };
        if id.is_some_and(<[u8]>::is_empty) {
            return Err(Error::reply("ERR IDMP requires a non-empty idempotent ID"));
        }
        self.once = Some(Once { producer, id });
        Ok(true)
    }

    /// Whether nothing says what to trim, and LIMIT does not either.
    pub(super) fn says_nothing(&self) -> bool {
        self.excess.is_none() && self.limit.unwrap_or(0) == 0
    }

    /// How to trim, if that was asked for.
    pub(super) fn trim(&self, limits: &Limits) -> Result<Option<Trim>> {
        if self.excess.is_none() && self.limit.is_some_and(|n| n > 0) {
            return Err(Error::reply(
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            ));
        }
        let limit = match (self.limit, self.approximate) {
            (Some(_), false) => {
                return Err(Error::reply(
                    "ERR syntax error, LIMIT cannot be used without the special ~ option",
                ));
            }
            (None, false) => None,
            (Some(n), true) => Some(n).filter(|&n| n > 0),
            (None, true) => Some(match limits.stream_node_max_entries {
                0 => ENTRIES_UNLIMITED,
                n => n.saturating_mul(BLOCKS_MAX).min(ENTRIES_MAX),
            }),
        };
        let Some(excess) = self.excess else { return Ok(None) };
        let refs = self.refs.unwrap_or_default();
        Ok(Some(Trim { excess, approximate: self.approximate, limit, refs }))
    }
}

/// Reads what becomes of pending entries, if the next argument says that.
fn refs(args: &mut Args<'_>) -> Option<Refs> {
    [("KEEPREF", Refs::Keep), ("DELREF", Refs::Delete), ("ACKED", Refs::Respect)]
        .into_iter()
        .find(|(word, _)| args.flag(word))
        .map(|(_, refs)| refs)
}

/// Reads what becomes of pending entries, and a counted list of ids, in either order.
pub(super) fn refs_and_ids(args: &mut Args<'_>) -> Result<(Refs, Vec<Id>)> {
    let (mut how, mut found) = (None, None);
    while !args.is_empty() {
        if let Some(refs) = refs(args) {
            if how.is_some() {
                return Err(SYNTAX);
            }
            how = Some(refs);
        } else if found.is_none() && args.option("IDS") {
            let n = parse_i64(args.next()?).and_then(|n| usize::try_from(n).ok());
            let n = n.filter(|&n| n > 0);
            let n =
                n.ok_or_else(|| Error::reply("ERR Number of IDs must be a positive integer"))?;
            if n > args.remaining() {
                return Err(Error::reply(
                    "ERR The `numids` parameter must match the number of arguments",
                ));
            }
            let mut ids = Vec::with_capacity(n);
            for _ in 0..n {
                ids.push(id(args.next()?, 0)?);
            }
            found = Some(ids);
        } else {
            return Err(SYNTAX);
        }
    }
    Ok((how.unwrap_or_default(), found.ok_or(SYNTAX)?))
}

/// A number of milliseconds of which the error names the option.
pub(super) fn number(args: &mut Args<'_>, text: &'static str) -> Result<i64> {
    parse_i64(args.next()?).ok_or_else(|| Error::reply(text))
}

/// A BLOCK: milliseconds, 0 for ever.
pub(super) fn block(args: &mut Args<'_>) -> Result<u64> {
    let text = "ERR timeout is not an integer or out of range";
    let n = number(args, text)?;
    u64::try_from(n).map_err(|_| Error::reply("ERR timeout is negative"))
}

/// ENTRIESREAD: `None` for -1, unknown.
pub(super) fn entries_read(args: &mut Args<'_>) -> Result<Option<u64>> {
    match parse_i64(args.next()?).ok_or(NOT_AN_INTEGER)? {
        -1 => Ok(None),
        n => {
            let text = "ERR value for ENTRIESREAD must be positive or -1";
            Ok(Some(u64::try_from(n).map_err(|_| Error::reply(text))?))
        }
    }
}

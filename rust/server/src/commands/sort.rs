//! SORT: lists, sets and sorted sets in order.
//!
//! The work is done in `data::sort`; here arguments are read and replies written.

use super::{Args, Command, Family, read, write};
use forgekv_data::sort::{self, Pattern, Sort};
use forgekv_data::{Key, Read, Result, SYNTAX, Write};
use forgekv_resp::Reply;

const COMPLEXITY: &str = "O(N+M*log(M)) where N is the number of elements in the list or set to sort, \
     and M the number of returned elements. When the elements are not sorted, complexity is O(N).";
const TYPES: &[&str] = &["set", "sortedset", "list", "dangerous"];

const COMMANDS: &[Command] = &[
    write(
        "SORT",
        sort,
        "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] \
         [ALPHA] [STORE destination]",
    )
    .grows()
    .since("1.0.0")
    .complexity(COMPLEXITY)
    .keys("RO access @ 1 range 0 1 0; RO access @ ? ?; OW update @ ?STORE ?")
    .categories(TYPES)
    .about("Sorts a list, a set or a sorted set, and stores the result if told to."),
    read(
        "SORT_RO",
        sort_ro,
        "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] \
         [ALPHA]",
    )
    .since("7.0.0")
    .complexity(COMPLEXITY)
    .keys("RO access @ 1 range 0 1 0; RO access @ ? ?")
    .categories(TYPES)
    .about("Sorts a list, a set or a sorted set."),
];

/// SORT.
pub(crate) const FAMILY: Family = Family::new("generic", COMMANDS);

/// Reads the options, and where to store the result if that may be said.
fn options<'a>(args: &mut Args<'a>, stores: bool) -> Result<(Sort<'a>, Option<Key<'a>>)> {
    let (mut how, mut to) = (Sort::default(), None);
    while !args.is_empty() {
        if args.flag("ASC") {
            how.descending = false;
        } else if args.flag("DESC") {
            how.descending = true;
        } else if args.flag("ALPHA") {
            how.alpha = true;
        } else if args.remaining() > 2 && args.flag("LIMIT") {
            how.limit = Some((args.int()?, args.int()?));
        } else if args.option("BY") {
            how.by = Some(Pattern::new(args.next()?));
        } else if args.option("GET") {
            how.get.push(Pattern::new(args.next()?));
        } else if stores && args.option("STORE") {
            to = Some(args.key()?);
            how.stable = true;
        } else {
            return Err(SYNTAX);
        }
    }
    Ok((how, to))
}

fn sort(db: &mut Write<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let (how, to) = options(args, true)?;
    let Some(to) = to else { return show(db, key, how, reply) };
    reply.int(sort::store(db, key, to, &how)? as i64);
    Ok(())
}

fn sort_ro(db: &mut Read<'_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let key = args.key()?;
    let (how, _) = options(args, false)?;
    show(db, key, how, reply)
}

fn show(db: &mut Read<'_>, key: Key<'_>, how: Sort<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let (deferred, mut n) = (reply.deferred_array(), 0);
    let how = Sort { stable: how.stable || db.answers_script(), ..how };
    sort::sort(db, key, &how, &mut |answer| {
        match answer {
            Some(bytes) => reply.bulk(bytes),
            None => reply.null(),
        }
        n += 1;
        Ok(())
    })?;
    reply.finish_array(deferred, n);
    Ok(())
}

//! LOLWUT: a small picture, and the version below it.

use super::{Args, Family, admin};
use crate::info::{REDIS_VERSION, VERSION};
use crate::road::Admin;
use forgekv_data::{NOT_AN_INTEGER, Result};
use forgekv_resp::Reply;

pub(crate) const FAMILY: Family = Family::new(
    "server",
    &[admin("LOLWUT", lolwut, "[VERSION version:integer] [columns:integer [rows:integer]]")
        .arity(-1)
        .fast()
        .since("5.0.0")
        .only_reads()
        .about("Draws a rule of cells in so many columns and rows; VERSION chooses the rule.")],
);

/// The rule of cells that is drawn unless another is asked for.
const RULE: i64 = 30;
const COLUMNS: i64 = 66;
const ROWS: i64 = 22;

fn lolwut(_: &mut Admin<'_, '_>, args: &mut Args<'_>, reply: &mut Reply<'_>) -> Result<()> {
    let rule = if args.option("VERSION") { args.int()? } else { RULE };
    let mut number = |usual: i64, most: i64| -> Result<usize> {
        let number = if args.is_empty() { usual } else { args.int()? };
        usize::try_from(number.clamp(1, most)).map_err(|_| NOT_AN_INTEGER)
    };
    let columns = number(COLUMNS, 400)?;
    let rows = number(ROWS, 200)?;
    let mut text = draw(rule.rem_euclid(256) as u8, columns, rows);
    text += &format!("\nRedis ver. {REDIS_VERSION}, ForgeKV {VERSION}\n");
    reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// Rows of cells; whether a cell lives depends by `rule` on the three above it.
fn draw(rule: u8, columns: usize, rows: usize) -> String {
    let mut cells = vec![false; columns];
    if let Some(middle) = cells.get_mut(columns / 2) {
        *middle = true;
    }
    let mut text = String::new();
    for _ in 0..rows {
        let line: String = cells.iter().map(|lives| if *lives { '#' } else { ' ' }).collect();
        text += line.trim_end();
        text.push('\n');
        let lives = |at: usize| u8::from(cells.get(at).is_some_and(|lives| *lives));
        let next = |at: usize| {
            let left = at.checked_sub(1).map_or(0, lives);
            rule >> (left << 2 | lives(at) << 1 | lives(at + 1)) & 1 == 1
        };
        cells = (0..columns).map(next).collect();
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn rule_90_draws_triangles() {
        assert_eq!(super::draw(90, 7, 4), "   #\n  # #\n #   #\n# # # #\n");
    }
}

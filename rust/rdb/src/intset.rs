//! Sets of integers, sorted, all of one width.
//!
//! ```text
//! | width u32 LE: 2, 4 or 8 | count u32 LE | integers LE .. |
//! ```

/// Hands over the integers.
pub(crate) fn read<E>(
    bytes: &[u8],
    each: &mut dyn FnMut(i64) -> Result<(), E>,
) -> Result<Result<(), E>, &'static str> {
    const DAMAGED: &str = "a set of integers is damaged";
    let (width, rest) = bytes.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let (count, rest) = rest.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let (width, count) = (u32::from_le_bytes(*width), u32::from_le_bytes(*count));
    if !matches!(width, 2 | 4 | 8) || u64::from(width) * u64::from(count) != rest.len() as u64 {
        return Err(DAMAGED);
    }
    let mut last = None;
    for bytes in rest.chunks_exact(width as usize) {
        let mut wide = [if bytes.last().is_some_and(|top| top & 0x80 != 0) { 0xff } else { 0 }; 8];
        wide.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let n = i64::from_le_bytes(wide);
        if last.is_some_and(|last| last >= n) {
            return Err("a set of integers is not in order");
        }
        last = Some(n);
        if let Err(e) = each(n) {
            return Ok(Err(e));
        }
    }
    Ok(Ok(()))
}

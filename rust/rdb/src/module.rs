//! Modules' values and what else modules leave in files: passed over, since only the module can read them.

use crate::bad::Bad;
use crate::input::Input;

const END: u64 = 0;
const SIGNED: u64 = 1;
const UNSIGNED: u64 = 2;
const FLOAT: u64 = 3;
const DOUBLE: u64 = 4;
const STRING: u64 = 5;

/// The letters of a module's name, six bits each.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Passes over a value of the second form; the name of its type.
pub(crate) fn skip(input: &mut Input<'_>) -> Result<String, Bad> {
    let id = input.count()?;
    skip_to_end(input)?;
    Ok(name(id))
}

/// Passes over what a module saves beside the keys; the module's name.
pub(crate) fn skip_aux(input: &mut Input<'_>) -> Result<String, Bad> {
    let id = input.count()?;
    if input.count()? != UNSIGNED {
        return Err(input.bad("what a module saved beside the keys is damaged"));
    }
    // Whether before or after the keys.
    input.count()?;
    skip_to_end(input)?;
    Ok(name(id))
}

fn skip_to_end(input: &mut Input<'_>) -> Result<(), Bad> {
    let mut text = Vec::new();
    loop {
        match input.count()? {
            END => return Ok(()),
            SIGNED | UNSIGNED => {
                input.count()?;
            }
            FLOAT => {
                input.array::<4>()?;
            }
            DOUBLE => {
                input.array::<8>()?;
            }
            STRING => input.string(&mut text)?,
            _ => return Err(input.bad("a module's value is damaged")),
        }
    }
}

fn name(id: u64) -> String {
    let letter = |at: u32| LETTERS.get((id >> (64 - 6 * (at + 1)) & 63) as usize).copied();
    (0..9).filter_map(letter).map(char::from).collect()
}

//! Registers of six bits each, one after the other, the lowest bits of a byte first.

const BITS: usize = 6;
const MAX: u16 = (1 << BITS) - 1;

/// The number of the byte in which a register begins.
pub(super) fn byte(index: usize) -> usize {
    index * BITS / 8
}

/// How far it stands above that byte's lowest bit.
fn shift(index: usize) -> usize {
    index * BITS % 8
}

/// A register's value; 0 for one that is not there.
pub(super) fn get(registers: &[u8], index: usize) -> u8 {
    let at = byte(index);
    let low = registers.get(at).copied().unwrap_or(0);
    let high = registers.get(at + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([low, high]) >> shift(index) & MAX) as u8
}

/// Raises a register to a value if it is lower; whether it was.
pub(super) fn raise(registers: &mut [u8], index: usize, value: u8) -> bool {
    let at = byte(index);
    let Some(rest) = registers.get_mut(at..).filter(|rest| !rest.is_empty()) else {
        return false;
    };
    // The last register ends with the last byte.
    let mut pair = [0; 2];
    pair.iter_mut().zip(rest.iter()).for_each(|(byte, old)| *byte = *old);
    let raised = raise_in(&mut pair, index, value);
    rest.iter_mut().zip(pair).for_each(|(byte, new)| *byte = new);
    raised
}

/// As [`raise`], given the two bytes in which the register lies.
pub(super) fn raise_in(pair: &mut [u8; 2], index: usize, value: u8) -> bool {
    let (word, shift) = (u16::from_le_bytes(*pair), shift(index));
    if (word >> shift & MAX) as u8 >= value {
        return false;
    }
    *pair = (word & !(MAX << shift) | u16::from(value) << shift).to_le_bytes();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_do_not_touch_each_other() {
        let mut registers = vec![0; 12];
        let value = |index: usize| (index * 7 % 63 + 1) as u8;
        for index in (0..16).rev() {
            assert!(raise(&mut registers, index, value(index)));
            assert!(!raise(&mut registers, index, value(index)));
            assert!(!raise(&mut registers, index, 1));
        }
        for index in 0..16 {
            assert_eq!(get(&registers, index), value(index));
        }
        assert_eq!(get(&registers, 16), 0);
        assert!(!raise(&mut registers, 17, 5));
        let mut first = vec![0; 3];
        raise(&mut first, 1, 0b10_0001);
        assert_eq!(first, [0b0100_0000, 0b0000_1000, 0]);
    }
}

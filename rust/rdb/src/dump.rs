//! What DUMP answers and RESTORE takes: a value with its version and checksum.

use crate::bad::Bad;
use crate::encoder::TIMED_VERSION;
use crate::input::Input;
use crate::types::Type;
use forgekv_base::crc::crc64;

/// Puts version and checksum behind a type and a value.
pub fn seal(mut value: Vec<u8>, version: u16) -> Vec<u8> {
    value.extend_from_slice(&version.to_le_bytes());
    let crc = crc64(0, &value);
    value.extend_from_slice(&crc.to_le_bytes());
    value
}

/// Takes a payload apart: the value's type and its bytes. `None` when the version is unknown or the checksum
/// wrong.
///
/// The inner error is a payload without a value of a known type.
pub fn payload(bytes: &[u8]) -> Option<Result<(Type, Input<'_>), Bad>> {
    let value = checked(bytes)?;
    let Some((&number, value)) = value.split_first() else {
        return Some(Err(Bad::new(0, "there is no value")));
    };
    let kind = Type::of(number).ok_or(Bad::new(0, "the value is of an unknown type"));
    Some(kind.map(|kind| (kind, Input::slice(value))))
}

/// A payload without version and checksum, if both are right.
pub(crate) fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (summed, crc) = bytes.split_last_chunk::<8>()?;
    let (value, version) = summed.split_last_chunk::<2>()?;
    let crc = u64::from_le_bytes(*crc);
    let is_right = u16::from_le_bytes(*version) <= TIMED_VERSION && crc == crc64(0, summed);
    is_right.then_some(value)
}

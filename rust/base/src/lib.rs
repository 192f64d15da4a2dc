//! What every room stands on and none owns: time, chance, numbers as text, checksums, byte
//! readers, patterns. Nothing here knows what a key, a command or a shard is.

pub mod bytes;
pub mod clock;
pub mod crc;
pub mod glob;
pub mod longdouble;
pub mod number;
pub mod rng;
pub mod split_args;
pub mod varint;

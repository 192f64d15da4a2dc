//! Lua 5.1 for scripts and functions, fenced.
//!
//! A [`Vm`] compiles and runs what users send. All that a script can reach is a [`Host`], which somebody
//! lends for the time of one run: this room knows no command, no data and no socket.
//!
//! The fence, and where it stands:
//!
//! | attack | answer | where |
//! |---|---|---|
//! | bytecode | text only: what `string.dump` gives is not taken back | `fence.rs` |
//! | changing what later scripts see | protected tables; own `rawset`, `setmetatable`, `getmetatable` | `prelude.lua` |
//! | running for ever | a hook asks the host every few thousand instructions | `vm.rs` |
//! | catching the end of a run with `pcall` | own `pcall`, `xpcall`, `coroutine.resume` | `raw.rs` |
//! | long work inside one call of C, where no hook fires | own matcher, `rep`, `sort`, `insert`, `gsub` | `pattern.rs`, `strings.rs`, `prelude.lua` |
//! | memory | a limit on the VM's allocator | `vm.rs` |
//! | `unpack` over a huge range, long brackets | own `unpack`; sources are capped | `raw.rs`, `fence.rs` |
//! | deep recursion in C or Rust | depths are capped | `pattern.rs`, `cjson.rs`, `msgpack.rs`, `raw/encode.rs` |

mod bits;
mod cjson;
mod define;
mod fence;
mod host;
mod library;
mod msgpack;
mod number;
mod pattern;
mod raw;
mod redis;
mod shebang;
mod strings;
mod structs;
mod vm;

pub use host::{Called, Host, Stop};
pub use library::{Function, Library, LoadError};
pub use shebang::{Flags, Shebang, ShebangError};
pub use vm::{Ended, Script, Vm};

use sha1::{Digest, Sha1};

/// The name of a script: the SHA-1 of its text, as 40 hexadecimal digits.
pub fn sha1_hex(text: &[u8]) -> [u8; 40] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 40];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(Sha1::digest(text)) {
        if let [high, low] = pair {
            *high = DIGITS[usize::from(byte >> 4)];
            *low = DIGITS[usize::from(byte & 15)];
        }
    }
    hex
}

//! A script that runs on a thread of its own, as others see it.

use std::sync::atomic::AtomicBool;

pub(crate) const BUSY_SCRIPT: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
pub(crate) const BUSY_FUNCTION: &str =
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
pub(crate) const UNKILLABLE: &str = "UNKILLABLE Sorry the script already executed write commands \
     against the dataset. You can either wait the script termination or kill the server in a hard \
     way using the SHUTDOWN NOSAVE command.";

/// A script that runs on a thread of its own.
#[derive(Debug)]
pub(crate) struct Running {
    /// A function's name, or a script's SHA-1.
    pub(crate) name: Vec<u8>,
    pub(crate) is_function: bool,
    /// The words of the call.
    pub(crate) command: Vec<Vec<u8>>,
    pub(crate) began_us: u64,
    /// Somebody wants it to end.
    pub(crate) is_killed: AtomicBool,
    /// It has staged a write.
    pub(crate) wrote: AtomicBool,
    /// Others are refused because of it.
    pub(crate) is_busy: AtomicBool,
}

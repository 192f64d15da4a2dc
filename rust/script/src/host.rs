//! What a script reaches of the world: one trait, implemented by whoever runs it.

/// The run is to end now, without a result. The host knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop;

/// How a command that a script called was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Called;

/// What a script reaches of the world.
pub trait Host {
    /// Runs a command and appends its answer, RESP3 if `resp3`, RESP2 otherwise; errors are answers too.
    ///
    /// # Errors
    /// The run is to end.
    fn call(
        &mut self,
        words: &[&[u8]],
        resp3: bool,
        reply: &mut Vec<u8>,
    ) -> std::result::Result<Called, Stop>;

    /// Asked every few thousand instructions whether the run may go on.
    ///
    /// # Errors
    /// It may not.
    fn tick(&mut self) -> std::result::Result<(), Stop>;

    /// `redis.log`: `level` is 0 (debug) to 3 (warning).
    fn log(&mut self, level: u8, message: &[u8]);

    /// May the caller run this command? `None` when there is no such command.
    fn acl_check(&mut self, words: &[&[u8]]) -> Option<bool>;

    /// `redis.set_repl`: bit 0 says that commands reach the log, bit 1 that they reach replicas.
    fn set_repl(&mut self, flags: u8);
}

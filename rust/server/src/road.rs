//! The road of every command: parse, look up, gates, view, handler, commit, effects, flush.

/// What an admin command sees: session and server, not the data.
#[derive(Debug)]
pub(crate) struct Admin<'a> {
    pub(crate) session: &'a mut crate::session::Session,
}

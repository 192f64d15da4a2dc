//! What the server knows of one client.

/// One client.
#[derive(Debug)]
pub(crate) struct Session {
    /// Never used again after the client has left.
    pub(crate) id: u64,
}

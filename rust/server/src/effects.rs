//! What commands do beyond the data: told after the commit, while the shards are still held.

use crate::config::{Config, Events};
use crate::road::{Settings, serve};
use crate::scripts::libraries::Libraries;
use crate::server::Shared;
use crate::session::NotedRead;
use forgekv_data::{Event, Store, Surroundings, Touched};
use forgekv_engine::{Batch, Guard};
use std::sync::Arc;

/// What a command, EXEC or script has staged beyond the data.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Keyspace events, in order.
    pub(crate) events: Vec<Event>,
    /// What was changed of that somebody is interested in.
    pub(crate) touched: Vec<Touched>,
    /// Published messages, in order.
    pub(crate) published: Vec<Published>,
    /// The client whose command it was; 0: nobody's.
    pub(crate) by: u64,
    /// What that client has read meanwhile and wants to know the changes of.
    pub(crate) reads: Vec<NotedRead>,
    /// The libraries of functions, if they change.
    pub(crate) libraries: Option<Arc<Libraries>>,
}

/// A message to the subscribers of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) channel: Vec<u8>,
    pub(crate) message: Vec<u8>,
    /// It belongs to a shard channel.
    pub(crate) sharded: bool,
}

impl Effects {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.touched.is_empty() && self.published.is_empty()
    }

    /// Puts the effects of what came later behind these.
    pub(crate) fn append(&mut self, later: Effects) {
        self.events.extend(later.events);
        self.touched.extend(later.touched);
        self.published.extend(later.published);
        if later.libraries.is_some() {
            self.libraries = later.libraries;
        }
    }

    /// Tells all of it: who watches, who waits, who listens. What is told leaves when the log is written
    /// (or synced) up to `lsn`. Those who have waited for a changed key are answered here and now, and
    /// what their commands do is told too. Gives the shards back.
    pub(crate) fn deliver<'e>(
        mut self,
        server: &Arc<Shared>,
        store: &'e Store,
        settings: &'e Settings,
        guard: Guard<'e>,
        around: &Surroundings<'e>,
        lsn: u64,
    ) -> Guard<'e> {
        let touched = std::mem::take(&mut self.touched);
        let reads = std::mem::take(&mut self.reads);
        if !touched.is_empty() || !reads.is_empty() {
            let max = settings.config.tracking_table_max_keys;
            server.tracking.tell(server, &touched, self.by, &reads, max, lsn);
        }
        self.publish(server, &settings.config, lsn);
        if touched.is_empty() {
            return guard;
        }
        let mut view = store.read(guard, Batch::new(), around.clone());
        for change in &touched {
            if let Touched::Database(db) = change {
                view.switch_db(*db);
            }
            server.watches.tell(change, &mut view);
        }
        serve(server, store, settings, view.into_parts().guard, touched)
    }

    /// Tells the part that needs no data.
    pub(crate) fn publish(self, server: &Shared, config: &Config, lsn: u64) {
        if server.pubsub.is_empty() {
            return;
        }
        let chosen = config.notify_keyspace_events.0;
        for event in &self.events {
            announce(server, event, chosen, lsn);
        }
        for Published { channel, message, sharded } in &self.published {
            server.pubsub.publish(&server.mailboxes, channel, message, *sharded, lsn);
        }
    }
}

/// Publishes a keyspace event in the channels that `notify-keyspace-events` asks for.
fn announce(server: &Shared, event: &Event, chosen: u32, lsn: u64) {
    let Event { name, db, key, .. } = event;
    if chosen & Events::KEYSPACE != 0 {
        let mut channel = format!("__keyspace@{db}__:").into_bytes();
        channel.extend_from_slice(key);
        server.pubsub.publish(&server.mailboxes, &channel, name.as_bytes(), false, lsn);
    }
    if chosen & Events::KEYEVENT != 0 {
        let channel = format!("__keyevent@{db}__:{name}");
        server.pubsub.publish(&server.mailboxes, channel.as_bytes(), key, false, lsn);
    }
}

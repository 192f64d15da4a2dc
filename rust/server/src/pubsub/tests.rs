//! The registry alone, with mailboxes that nobody empties.

use super::*;

fn client(id: u64, worker: usize) -> Client {
    Client { id, worker, ..Client::default() }
}

struct World {
    pubsub: PubSub,
    mailboxes: Vec<Arc<Mailbox>>,
}

impl World {
    fn new() -> World {
        World { pubsub: PubSub::new(2), mailboxes: (0..2).map(|_| Arc::default()).collect() }
    }

    fn publish(&self, channel: &[u8], payload: &[u8]) {
        self.pubsub.publish(&self.mailboxes, channel, payload, false, 0);
    }

    /// What a worker's desk would append to the outputs now.
    fn delivered(&self, worker: usize) -> Vec<(u64, String)> {
        let mut out = Vec::new();
        for mail in self.mailboxes[worker].take() {
            let Mail::Publish(message) = mail else { panic!("mail of another kind") };
            let receivers = self.pubsub.receivers(worker).unwrap().lock();
            receivers.deliver(&message, |client, encoded| {
                let mut bytes = Vec::new();
                encoded.append_to(&mut bytes, false);
                let text = String::from_utf8(bytes).unwrap();
                let words = text.split("\r\n").filter(|w| !w.starts_with(['*', '$']));
                out.push((client, words.collect::<Vec<_>>().join(" ").trim_end().to_owned()));
            });
        }
        out
    }
}

#[test]
fn messages_reach_who_subscribed_before_them_and_has_not_left() {
    let world = World::new();
    let (a, b) = (client(1, 0), client(2, 1));
    let (mut mine, mut others) = (Subscriptions::default(), Subscriptions::default());
    world.pubsub.subscribe(&b, &mut others, Kind::Pattern, b"n*");
    world.publish(b"news", b"0");
    world.pubsub.subscribe(&a, &mut mine, Kind::Channel, b"news");
    world.pubsub.subscribe(&b, &mut others, Kind::Channel, b"news");
    world.publish(b"news", b"1");
    world.publish(b"weather", b"2");
    assert_eq!(world.pubsub.count(b"news", false), 3);
    assert_eq!(world.delivered(0), [(1, "message news 1".to_owned())]);
    // The channel's own subscribers come first; the message from before is for the pattern only.
    assert_eq!(
        world.delivered(1),
        [
            (2, "pmessage n* news 0".to_owned()),
            (2, "message news 1".to_owned()),
            (2, "pmessage n* news 1".to_owned())
        ]
    );
    world.publish(b"news", b"3");
    assert!(world.pubsub.unsubscribe(&a, &mut mine, Kind::Channel, b"news"));
    assert!(!world.pubsub.unsubscribe(&a, &mut mine, Kind::Channel, b"news"));
    assert_eq!(world.delivered(0), []);
    assert_eq!(world.delivered(1).len(), 2);
    world.pubsub.leave(&b, &mut others);
    assert!(world.pubsub.is_empty());
    assert_eq!(world.pubsub.count(b"news", false), 0);
    assert_eq!(world.pubsub.clients(), 0);
    world.publish(b"news", b"4");
    assert_eq!(world.delivered(1), []);
}

#[test]
fn shard_channels_know_nothing_of_the_others() {
    let world = World::new();
    let a = client(7, 1);
    let mut mine = Subscriptions::default();
    world.pubsub.subscribe(&a, &mut mine, Kind::Shard, b"news");
    world.pubsub.subscribe(&a, &mut mine, Kind::Pattern, b"n*");
    assert_eq!((mine.count(Kind::Shard), mine.count(Kind::Channel)), (1, 1));
    world.publish(b"news", b"1");
    world.pubsub.publish(&world.mailboxes, b"news", b"2", true, 0);
    assert_eq!(
        world.delivered(1),
        [(7, "pmessage n* news 1".to_owned()), (7, "smessage news 2".to_owned())]
    );
    assert_eq!(world.pubsub.count(b"news", true), 1);
    assert_eq!(world.pubsub.subscribers(Kind::Channel, b"news"), 0);
    assert_eq!(world.pubsub.names(Kind::Shard, Some(b"n*")), [Name::from(&b"news"[..])]);
}

#[test]
fn lists_of_receivers_stay_in_order() {
    let world = World::new();
    let mut all = Vec::new();
    for id in [5, 1, 9, 3] {
        let mut mine = Subscriptions::default();
        world.pubsub.subscribe(&client(id, 0), &mut mine, Kind::Channel, b"c");
        all.push((id, mine));
    }
    let (_, mut mine) = all.remove(2);
    world.pubsub.unsubscribe(&client(9, 0), &mut mine, Kind::Channel, b"c");
    world.publish(b"c", b"m");
    let ids: Vec<u64> = world.delivered(0).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [1, 3, 5]);
}

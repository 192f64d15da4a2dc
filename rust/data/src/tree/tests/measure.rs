//! What the operations cost in this room: `cargo test --release -- --ignored measure_tree --nocapture`.

use super::*;
use crate::store::Store;
use crate::view::Surroundings;
use forgekv_engine::disk::RealDisk;
use forgekv_engine::{Batch, Options, ShardSet};
use std::sync::Arc;

#[test]
#[ignore = "a measurement"]
fn measure_tree() {
    let members = 1_000_000u64;
    let mut subject = Subject::new(Order::Sorted);
    // All of it in memory, on a disk that is one.
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.memtable_bytes = 2 << 30;
    subject.db.store = Some(Store::open(options, 16, Arc::new(RealDisk)).unwrap());
    subject.plant();
    let mut rng = Rng::seeded(1);
    let member = |rng: &mut Rng| {
        let mut item = rng.below(1 << 52).to_be_bytes().to_vec();
        item.extend_from_slice(b"member:0000000");
        item
    };
    let mut items: Vec<_> = (0..members).map(|_| member(&mut rng)).collect();
    items.sort();
    subject.insert(0, &items);
    let news: Vec<_> = (0..300_000).map(|_| member(&mut rng)).collect();
    let key = subject.db.key(NAME);
    let store = subject.db.store.as_ref().unwrap();
    type Run<'f> = &'f dyn Fn(&mut Tree, &mut Write<'_>, Key<'_>, usize) -> Result<()>;
    let time = |what: &str, order: Order, f: Run<'_>| {
        let rounds = 300_000usize;
        // Nanoseconds that this thread ran: the machine may be busy with other things.
        let ran = || -> u64 {
            let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            text.split(' ').next().unwrap().parse().unwrap()
        };
        let started = ran();
        let mut batch = Batch::new();
        let mut bytes = 0;
        for n in 0..rounds {
            let around = Surroundings {
                now_ms: 1,
                db: 0,
                limits: &subject.db.limits,
                random_seed: 1,
                place_seed: store.place_seed(),
                events: 0,
                interest: forgekv_engine::ShardSet::default(),
            };
            store.engine().with_reserved(ShardSet::one(key.shard()), |guard| {
                let mut w = store.write(guard, std::mem::take(&mut batch), around);
                let mut tree = load(&mut w, key, order).unwrap();
                let before = tree;
                f(&mut tree, &mut w, key, n).unwrap();
                if tree != before {
                    save(&mut w, key, &tree);
                }
                let mut parts = w.into_parts();
                bytes += parts.batch.bytes().len();
                store.commit(&mut parts.guard, &mut parts.batch).unwrap();
                parts.batch.clear();
                batch = parts.batch;
            });
        }
        let each = (ran() - started) / rounds as u64;
        eprintln!("{what:30} {each:5} ns {:5} bytes of log", bytes / rounds);
    };
    let sorted = Order::Sorted;
    time("nothing", sorted, &|_, _, _, _| Ok(()));
    time("get", sorted, &|t, w, k, n| t.get(w, k, n as u64 * 3, |_| ()));
    time("position", sorted, &|t, w, k, n| {
        t.position(w, k, &items[n * 7919 % items.len()]).map(drop)
    });
    time("insert sorted", sorted, &|t, w, k, n| t.insert_sorted(w, k, &news[n]).map(drop));
    time("replace sorted, far", sorted, &|t, w, k, n| {
        let mut new = news[n].clone();
        new[0] ^= 0x5a;
        t.replace_sorted(w, k, &news[n], &new).map(drop)
    });
    time("replace sorted, near", sorted, &|t, w, k, n| {
        let mut old = news[n].clone();
        old[0] ^= 0x5a;
        let mut new = old.clone();
        new[7] ^= 1;
        t.replace_sorted(w, k, &old, &new).map(drop)
    });
    time("remove sorted", sorted, &|t, w, k, n| {
        let mut old = news[n].clone();
        old[0] ^= 0x5a;
        old[7] ^= 1;
        t.remove_sorted(w, k, &old).map(drop)
    });
    let value = [b'v'; 64];
    time("insert at the end", sorted, &|t, w, k, _| t.insert(w, k, t.len(), &[&value]));
    time("insert at the start", sorted, &|t, w, k, _| t.insert(w, k, 0, &[&value]));
    time("remove at the start", sorted, &|t, w, k, _| t.remove(w, k, 0, 1));
}

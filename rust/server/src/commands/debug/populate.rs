//! DEBUG POPULATE: many keys at once, for tests that need some.

use crate::commands::Args;
use crate::road::{Admin, Ended, Job, Once, Told, run_reserved};
use crate::server::Shared;
use crate::session::Session;
use forgekv_base::clock;
use forgekv_data::{Key, Result};
use forgekv_engine::ShardSet;
use forgekv_resp::Reply;
use std::sync::Arc;

/// The longest value, in bytes.
const SIZE_MAX: i64 = 512 << 20;

pub(super) fn populate(
    ctx: &mut Admin<'_, '_>,
    args: &mut Args<'_>,
    _: &mut Reply<'_>,
) -> Result<()> {
    let wrong = "ERR value is out of range, must be positive";
    let count = args.int_in(0, i64::MAX, wrong)? as u64;
    let prefix = if args.is_empty() { b"key" } else { args.next()? }.to_vec();
    let size = if args.is_empty() { 0 } else { args.int_in(0, SIZE_MAX, wrong)? } as usize;
    if !args.is_empty() {
        return Err(args.wrong_arguments());
    }
    let (server, session) = (ctx.server.clone(), ctx.session.stand_in());
    ctx.then = Some(crate::commands::server::work(move || {
        let mut session = session;
        for n in 0..count {
            let name = [prefix.as_slice(), format!(":{n}").as_bytes()].concat();
            let mut value = format!("value:{n}").into_bytes();
            if size > 0 {
                value.resize(size, 0);
            }
            session = set(&server, session, name, value)?;
        }
        match server.store() {
            Some(store) => store.engine().log_write().map_err(|e| format!("ERR {e}")),
            None => Ok(()),
        }
    }));
    Ok(())
}

/// SET of a key that is not there, on this thread.
fn set(
    server: &Arc<Shared>,
    session: Session,
    name: Vec<u8>,
    value: Vec<u8>,
) -> std::result::Result<Session, String> {
    let store = server.store().ok_or("ERR the data is being opened")?;
    let command = server.table.called(b"set").ok_or("ERR there is no SET")?.id;
    let mut shards = ShardSet::default();
    shards.insert(Key::new(store.place_seed(), &name).shard());
    let settings = crate::road::Settings::of(&server.config.current());
    let job = Job {
        words: vec![b"SET".to_vec(), name, value, b"NX".to_vec()],
        command,
        shards,
        once: Once { now_ms: clock::now_ms(), random_seed: 0 },
        told: Told::default(),
        session,
    };
    match run_reserved(server, &store, &settings, job) {
        (answer, Ended::Done(_), session) if answer.first() != Some(&b'-') => Ok(session),
        (answer, ..) => {
            let text = String::from_utf8_lossy(answer.get(1..).unwrap_or_default());
            Err(text.trim_end().to_owned())
        }
    }
}

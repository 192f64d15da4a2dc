//! The table `redis`, but for `call` and `pcall`.

use crate::define::{Answer, Arguments, Raise, function, kind_of};
use crate::raw::{self, Control};
use mlua::{Lua, Result, Table, Value};
use std::rc::Rc;

/// The version that scripts are told.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) text: String,
    pub(crate) number: u32,
}

impl Version {
    /// Of a text like "7.2.0".
    pub(crate) fn of(text: &str) -> Version {
        let mut parts = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let number = (0..3).fold(0, |sum, _| sum << 8 | parts.next().unwrap_or(0) & 0xff);
        Version { text: text.into(), number }
    }
}

fn reply(text: &str) -> Raise {
    Raise::Reply(text.into())
}

/// The table of an error reply: `text` may have a minus before it.
fn error_table(lua: &Lua, text: &[u8]) -> Result<Table> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let mut err = Vec::with_capacity(text.len() + 4);
    if !text.contains(&b' ') {
        err.extend_from_slice(b"ERR ");
    }
    err.extend(text.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }));
    let table = lua.create_table()?;
    table.raw_set("err", lua.create_string(err)?)?;
    Ok(table)
}

fn single(arguments: &Arguments<'_>, is_error: bool) -> Answer {
    let lua = arguments.lua;
    let text = match (arguments.len(), arguments.get(1)) {
        (1, Value::String(text)) => text.clone(),
        _ => {
            return arguments.answer(error_table(lua, b"ERR wrong number or type of arguments")?);
        }
    };
    if is_error {
        return arguments.answer(error_table(lua, &text.as_bytes())?);
    }
    let table = lua.create_table()?;
    table.raw_set("ok", text)?;
    arguments.answer(table)
}

fn sha1hex(arguments: &Arguments<'_>) -> Answer {
    if arguments.len() != 1 {
        return Err(reply("ERR wrong number of arguments"));
    }
    let text = match arguments.get(1) {
        Value::String(_) | Value::Number(_) | Value::Integer(_) => arguments.text(1)?,
        _ => arguments.lua.create_string("")?,
    };
    arguments.answer(arguments.lua.create_string(crate::sha1_hex(&text.as_bytes()))?)
}

fn log(arguments: &Arguments<'_>) -> Answer {
    if arguments.len() < 2 {
        return Err(reply("ERR redis.log() requires two arguments or more."));
    }
    let level = match arguments.get(1) {
        Value::Number(level) => *level as i64,
        Value::Integer(level) => *level,
        _ => return Err(reply("ERR First argument must be a number (log level).")),
    };
    if !(0..=3).contains(&level) {
        return Err(reply("ERR Invalid debug level."));
    }
    let mut message = Vec::new();
    for n in 2..=arguments.len() {
        if matches!(arguments.get(n), Value::String(_) | Value::Number(_) | Value::Integer(_)) {
            if !message.is_empty() {
                message.push(b' ');
            }
            message.extend_from_slice(&arguments.text(n)?.as_bytes());
        }
    }
    arguments.control.with_host(|host| host.log(level as u8, &message));
    arguments.answer(())
}

fn setresp(arguments: &Arguments<'_>) -> Answer {
    if arguments.len() != 1 {
        return Err(reply("ERR redis.setresp() requires one argument."));
    }
    let version = match arguments.get(1) {
        Value::Number(n) => *n,
        Value::Integer(n) => *n as f64,
        _ => 0.0,
    };
    match version {
        2.0 => arguments.control.resp3.set(false),
        3.0 => arguments.control.resp3.set(true),
        _ => return Err(reply("ERR RESP version must be 2 or 3.")),
    }
    arguments.answer(())
}

fn set_repl(arguments: &Arguments<'_>) -> Answer {
    if arguments.len() != 1 {
        return Err(reply("ERR redis.set_repl() requires one argument."));
    }
    let flags = match arguments.get(1) {
        Value::Number(n) => *n as i64,
        Value::Integer(n) => *n,
        _ => 0,
    };
    if !(0..=3).contains(&flags) {
        return Err(reply(
            "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
        ));
    }
    arguments.control.with_host(|host| host.set_repl(flags as u8));
    arguments.answer(())
}

fn acl_check(arguments: &Arguments<'_>) -> Answer {
    if arguments.len() == 0 {
        return Err(reply("ERR Please specify at least one argument for this redis lib call"));
    }
    let mut words = Vec::with_capacity(arguments.len());
    for n in 1..=arguments.len() {
        match arguments.get(n) {
            Value::String(_) | Value::Number(_) | Value::Integer(_) => {
                words.push(arguments.text(n)?.as_bytes().to_vec());
            }
            _ => {
                return Err(reply(
                    "ERR redis.acl_check_cmd() require all arguments to be strings or integers",
                ));
            }
        }
    }
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    match arguments.control.with_host(|host| host.acl_check(&words)).flatten() {
        Some(may) => arguments.answer(may),
        None => Err(reply("ERR Invalid command passed to redis.acl_check_cmd()")),
    }
}

fn add_common(lua: &Lua, control: &Rc<Control>, version: &Version, table: &Table) -> Result<()> {
    table.raw_set("log", function(lua, control, "log", log)?)?;
    for (name, level) in
        [("LOG_DEBUG", 0), ("LOG_VERBOSE", 1), ("LOG_NOTICE", 2), ("LOG_WARNING", 3)]
    {
        table.raw_set(name, f64::from(level))?;
    }
    table.raw_set("REDIS_VERSION", version.text.as_str())?;
    table.raw_set("REDIS_VERSION_NUM", f64::from(version.number))?;
    Ok(())
}

/// What scripts and functions see.
pub(crate) fn library(lua: &Lua, control: &Rc<Control>, version: &Version) -> Result<Table> {
    let table = lua.create_table()?;
    add_common(lua, control, version, &table)?;
    table.raw_set("call", raw::command(lua, control, true)?)?;
    table.raw_set("pcall", raw::command(lua, control, false)?)?;
    let add = |name: &'static str, f: fn(&Arguments<'_>) -> Answer| {
        table.raw_set(name, function(lua, control, name, f)?)
    };
    add("error_reply", |a| single(a, true))?;
    add("status_reply", |a| single(a, false))?;
    add("sha1hex", sha1hex)?;
    add("setresp", setresp)?;
    add("set_repl", set_repl)?;
    add("acl_check_cmd", acl_check)?;
    add("replicate_commands", |a| a.answer(true))?;
    // There is no debugger to stop in.
    add("breakpoint", |a| a.answer(false))?;
    add("debug", |a| a.answer(()))?;
    for (name, flags) in
        [("REPL_NONE", 0), ("REPL_AOF", 1), ("REPL_SLAVE", 2), ("REPL_REPLICA", 2), ("REPL_ALL", 3)]
    {
        table.raw_set(name, f64::from(flags))?;
    }
    Ok(table)
}

/// What a library sees while it is loaded; `register` is told of every function.
pub(crate) fn loading(
    lua: &Lua,
    control: &Rc<Control>,
    version: &Version,
    register: impl Fn(&Arguments<'_>) -> Answer + 'static,
) -> Result<Table> {
    let table = lua.create_table()?;
    add_common(lua, control, version, &table)?;
    let register = function(lua, control, "register_function", register)?;
    table.raw_set("register_function", register)?;
    Ok(table)
}

/// For messages about arguments.
pub(crate) fn is_text(value: &Value) -> bool {
    kind_of(value) == "string"
}

//! What scripts can reach: the stock libraries are opened, taken apart by the prelude, and only what is
//! harmless is shown.

use crate::cjson::{self, Json};
use crate::define::{Answer, Arguments, Raise, function};
use crate::library::{Registering, register};
use crate::raw::{self, Control};
use crate::redis::{self, Version};
use crate::{bits, msgpack, strings, structs};
use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, Result, StdLib, Table, Value};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

/// No source is longer: the stock lexer counts some things in 32 bits.
const LONGEST_SOURCE: usize = 128 << 20;

const PRELUDE: &str = include_str!("prelude.lua");

/// A state with its environments.
pub(crate) struct Fence {
    pub(crate) lua: Lua,
    /// What a script sees as its globals.
    pub(crate) script_env: Table,
    /// What lies behind: KEYS and ARGV go here.
    pub(crate) script_globals: Table,
    /// What a library sees.
    pub(crate) library_env: Table,
    /// Called with `true` before a library is loaded, with `false` after.
    pub(crate) set_loading: Function,
    pub(crate) json: Json,
    pub(crate) random: Rc<Cell<u64>>,
    pub(crate) registering: Rc<Registering>,
}

/// Compiles text, never bytecode.
pub(crate) fn compile(lua: &Lua, text: &[u8], name: &str, env: &Table) -> Result<Function> {
    if text.len() > LONGEST_SOURCE {
        return Err(mlua::Error::runtime("the source is too long"));
    }
    // Between the reading of a name and its being part of a function nothing may be collected.
    lua.gc_stop();
    let function = lua
        .load(text)
        .set_name(name)
        .set_mode(ChunkMode::Text)
        .set_environment(env.clone())
        .into_function();
    lua.gc_restart();
    function
}

/// What was wrong with a text.
pub(crate) fn compile_error(e: &mlua::Error) -> String {
    match e {
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        mlua::Error::RuntimeError(text) => text.clone(),
        mlua::Error::MemoryError(_) => "not enough memory".into(),
        other => other.to_string(),
    }
}

/// `loadstring`: a function, or nil and what is wrong.
fn load_text(arguments: &Arguments<'_>) -> Answer {
    let lua = arguments.lua;
    let (text, name) = (arguments.text(1)?, arguments.text(2)?);
    let text = text.as_bytes();
    if text.first() == Some(&0x1b) {
        return arguments.answer((Value::Nil, "attempt to load chunk with wrong mode"));
    }
    let name: String = String::from_utf8_lossy(&name.as_bytes()).replace('\0', " ");
    let env: Table = lua.named_registry_value(SCRIPT_ENV)?;
    match compile(lua, &text, &name, &env) {
        Ok(function) => arguments.answer(function),
        Err(e) => arguments.answer((Value::Nil, compile_error(&e))),
    }
}

const SCRIPT_ENV: &str = "forgekv.env";

/// The next of a sequence that is the same for the same seed.
fn next(state: &Cell<u64>) -> f64 {
    let seed = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    state.set(seed);
    let mut mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn random(arguments: &Arguments<'_>, state: &Cell<u64>) -> Answer {
    let r = next(state);
    let (low, high) = match arguments.len() {
        0 => return arguments.answer(r),
        1 => (1.0, arguments.number(1)?.trunc()),
        2 => (arguments.number(1)?.trunc(), arguments.number(2)?.trunc()),
        _ => return Err(Raise::text("wrong number of arguments")),
    };
    if low > high {
        return Err(arguments.bad(arguments.len(), "interval is empty"));
    }
    arguments.answer((r * (high - low + 1.0)).floor() + low)
}

impl Fence {
    pub(crate) fn new(control: &Rc<Control>, version: &Version) -> Result<Fence> {
        let libs = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libs, LuaOptions::new().catch_rust_panics(false))?;
        let json = Json::new();
        let random_state: Rc<Cell<u64>> = Rc::default();
        let registering: Rc<Registering> = Rc::default();
        let raw = lua.create_table()?;
        let add = |name: &'static str, f: fn(&Arguments<'_>) -> Answer| {
            raw.raw_set(name, function(&lua, control, name, f)?)
        };
        add("find", |a| strings::find(a, true))?;
        add("match", |a| strings::find(a, false))?;
        add("step", strings::step)?;
        add("gsub", strings::gsub)?;
        add("rep", strings::rep)?;
        add("sort", strings::sort)?;
        add("compile", load_text)?;
        let born = Instant::now();
        let clock = move |a: &Arguments<'_>| a.answer(born.elapsed().as_secs_f64());
        raw.raw_set("clock", function(&lua, control, "clock", clock)?)?;
        let state = random_state.clone();
        let draw = move |a: &Arguments<'_>| random(a, &state);
        raw.raw_set("random", function(&lua, control, "random", draw)?)?;
        let state = random_state.clone();
        let seed = move |a: &Arguments<'_>| {
            state.set(a.integer(1)? as u64);
            a.answer(())
        };
        raw.raw_set("randomseed", function(&lua, control, "randomseed", seed)?)?;
        raw.raw_set("pcall", raw::pcall(&lua, control)?)?;
        raw.raw_set("xpcall", raw::xpcall(&lua, control)?)?;
        raw.raw_set("unpack", raw::unpack(&lua, control)?)?;
        let coroutines: Table = lua.globals().raw_get("coroutine")?;
        raw.raw_set("resume", raw::resume(&lua, control, coroutines.raw_get("resume")?)?)?;
        raw.raw_set("bit", bits::library(&lua, control)?)?;
        raw.raw_set("struct", structs::library(&lua, control)?)?;
        raw.raw_set("cmsgpack", msgpack::library(&lua, control)?)?;
        raw.raw_set("cjson", cjson::library(&lua, control, &json)?)?;
        raw.raw_set("redis", redis::library(&lua, control, version)?)?;
        let shared = registering.clone();
        let loading = redis::loading(&lua, control, version, move |a| register(a, &shared))?;
        raw.raw_set("loading", loading)?;
        let (script_env, script_globals, library_env, set_loading): (
            Table,
            Table,
            Table,
            Function,
        ) = lua.load(PRELUDE).set_name("=prelude").set_mode(ChunkMode::Text).call(raw)?;
        lua.set_named_registry_value(SCRIPT_ENV, &script_env)?;
        Ok(Fence {
            lua,
            script_env,
            script_globals,
            library_env,
            set_loading,
            json,
            random: random_state,
            registering,
        })
    }
}

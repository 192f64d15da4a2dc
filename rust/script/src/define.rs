//! How functions made in Rust become functions of Lua that raise what functions in C would raise.

use crate::host::Stop;
use crate::raw::{self, Control};
use mlua::{Function, IntoLuaMulti, Lua, LuaString, MultiValue, Value};
use std::rc::Rc;

/// What a function raises instead of an answer.
#[derive(Debug)]
pub(crate) enum Raise {
    /// A text, with the position of the caller before it.
    Text(String),
    /// A table whose field `err` is this reply.
    Reply(String),
    /// The run is to end.
    Stop,
}

impl Raise {
    pub(crate) fn text(text: impl Into<String>) -> Raise {
        Raise::Text(text.into())
    }
}

impl From<mlua::Error> for Raise {
    fn from(e: mlua::Error) -> Raise {
        Raise::Text(match e {
            mlua::Error::MemoryError(_) => "not enough memory".into(),
            mlua::Error::RuntimeError(text) => text,
            other => other.to_string(),
        })
    }
}

impl From<Stop> for Raise {
    fn from(_: Stop) -> Raise {
        Raise::Stop
    }
}

pub(crate) type Answer<T = MultiValue> = Result<T, Raise>;

/// The arguments of a call.
pub(crate) struct Arguments<'a> {
    pub(crate) lua: &'a Lua,
    pub(crate) control: &'a Control,
    name: &'static str,
    values: MultiValue,
}

impl<'a> Arguments<'a> {
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The `n`th, counted from 1; nil where there is none.
    pub(crate) fn get(&self, n: usize) -> &Value {
        self.values.get(n - 1).unwrap_or(&Value::Nil)
    }

    /// "bad argument #n to 'name' (what)".
    pub(crate) fn bad(&self, n: usize, what: &str) -> Raise {
        Raise::Text(format!("bad argument #{n} to '{}' ({what})", self.name))
    }

    fn wanted(&self, n: usize, kind: &str) -> Raise {
        let got = if n > self.len() { "no value" } else { kind_of(self.get(n)) };
        self.bad(n, &format!("{kind} expected, got {got}"))
    }

    /// A string; a number is written as one.
    pub(crate) fn text(&self, n: usize) -> Answer<LuaString> {
        match self.get(n) {
            Value::String(text) => Ok(text.clone()),
            value @ (Value::Number(_) | Value::Integer(_)) => {
                self.lua.coerce_string(value.clone())?.ok_or_else(|| self.wanted(n, "string"))
            }
            _ => Err(self.wanted(n, "string")),
        }
    }

    pub(crate) fn number(&self, n: usize) -> Answer<f64> {
        match self.get(n) {
            Value::Number(value) => Ok(*value),
            Value::Integer(value) => Ok(*value as f64),
            value @ Value::String(_) => {
                self.lua.coerce_number(value.clone())?.ok_or_else(|| self.wanted(n, "number"))
            }
            _ => Err(self.wanted(n, "number")),
        }
    }

    /// An integer, `default` where there is none.
    pub(crate) fn integer_or(&self, n: usize, default: i64) -> Answer<i64> {
        match self.get(n) {
            Value::Nil => Ok(default),
            _ => Ok(self.number(n)? as i64),
        }
    }

    pub(crate) fn integer(&self, n: usize) -> Answer<i64> {
        Ok(self.number(n)? as i64)
    }

    pub(crate) fn table(&self, n: usize) -> Answer<mlua::Table> {
        match self.get(n) {
            Value::Table(table) => Ok(table.clone()),
            _ => Err(self.wanted(n, "table")),
        }
    }

    /// The answer of one or more values.
    pub(crate) fn answer(&self, values: impl IntoLuaMulti) -> Answer {
        Ok(values.into_lua_multi(self.lua)?)
    }
}

/// What Lua calls the type of a value.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// `f` as a function of Lua.
pub(crate) fn function(
    lua: &Lua,
    control: &Rc<Control>,
    name: &'static str,
    f: impl Fn(&Arguments<'_>) -> Answer + 'static,
) -> mlua::Result<Function> {
    let shared = Rc::downgrade(control);
    let inner = lua.create_function(move |lua, values: MultiValue| {
        let Some(control) = shared.upgrade() else {
            return Err(mlua::Error::runtime("the VM is closed"));
        };
        let arguments = Arguments { lua, control: &control, name, values };
        match f(&arguments) {
            Ok(mut values) => {
                values.push_front(Value::Boolean(true));
                Ok(values)
            }
            Err(Raise::Text(text)) => (false, lua.create_string(text)?).into_lua_multi(lua),
            Err(Raise::Reply(text)) => {
                let table = lua.create_table()?;
                table.raw_set("err", lua.create_string(text)?)?;
                (false, table).into_lua_multi(lua)
            }
            Err(Raise::Stop) => (false, Value::Nil).into_lua_multi(lua),
        }
    })?;
    raw::raising(lua, control, inner)
}

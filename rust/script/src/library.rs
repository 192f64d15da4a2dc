//! Libraries: what they say of themselves while they are loaded.

use crate::define::{Answer, Arguments, Raise};
use crate::redis::is_text;
use crate::shebang::{BAD_NAME, Flags, is_name};
use mlua::{Table, Value};
use std::cell::RefCell;
use std::rc::Rc;

/// A function that a library registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name, as it was given.
    pub name: Vec<u8>,
    /// What it is for, if it says.
    pub description: Option<Vec<u8>>,
    /// What it may.
    pub flags: Flags,
}

/// A library that was loaded once, and can be loaded into any VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Another one for each load: VMs know it by this.
    pub id: u64,
    /// Its name.
    pub name: Vec<u8>,
    /// The whole text, first line included.
    pub code: Vec<u8>,
    /// Its functions, in the order in which they were registered.
    pub functions: Vec<Function>,
}

/// Why a library was not loaded: an error reply without its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError(pub Vec<u8>);

/// What was registered since the load began; `None` when nothing is being loaded.
#[derive(Default)]
pub(crate) struct Registering(RefCell<Option<Vec<(Function, mlua::Function)>>>);

impl Registering {
    pub(crate) fn begin(&self) {
        *self.0.borrow_mut() = Some(Vec::new());
    }

    pub(crate) fn end(&self) -> Vec<(Function, mlua::Function)> {
        self.0.borrow_mut().take().unwrap_or_default()
    }
}

fn wrong(text: &str) -> Raise {
    Raise::Reply(format!("ERR {text}"))
}

/// `redis.register_function`, in both forms.
pub(crate) fn register(arguments: &Arguments<'_>, registering: &Rc<Registering>) -> Answer {
    let mut all = registering.0.borrow_mut();
    let Some(all) = all.as_mut() else {
        return Err(wrong("redis.register_function can only be called on FUNCTION LOAD command"));
    };
    if !(1..=2).contains(&arguments.len()) {
        return Err(wrong("wrong number of arguments to redis.register_function"));
    }
    let (function, callback) = match (arguments.len(), arguments.get(1)) {
        (1, Value::Table(table)) => named(table)?,
        (1, _) => {
            return Err(wrong(
                "calling redis.register_function with a single argument is only applicable to \
                 Lua table (representing named arguments).",
            ));
        }
        (_, name @ (Value::String(_) | Value::Number(_) | Value::Integer(_))) => {
            let name = match name {
                Value::String(name) => name.as_bytes().to_vec(),
                _ => arguments.text(1)?.as_bytes().to_vec(),
            };
            let Value::Function(callback) = arguments.get(2) else {
                return Err(wrong("second argument to redis.register_function must be a function"));
            };
            let function = Function { name, description: None, flags: Flags::default() };
            (function, callback.clone())
        }
        _ => return Err(wrong("first argument to redis.register_function must be a string")),
    };
    if !is_name(&function.name) {
        return Err(wrong(BAD_NAME));
    }
    if all.iter().any(|(known, _)| known.name.eq_ignore_ascii_case(&function.name)) {
        return Err(wrong("Function already exists in the library"));
    }
    all.push((function, callback));
    arguments.answer(())
}

/// The form with one table of named arguments.
fn named(table: &Table) -> Answer<(Function, mlua::Function)> {
    let (mut name, mut description, mut callback) = (None, None, None);
    let mut flags = Flags::default();
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let Value::String(key) = key else {
            return Err(wrong(
                "named argument key given to redis.register_function is not a string",
            ));
        };
        match &*key.as_bytes() {
            b"function_name" => match value {
                Value::String(text) => name = Some(text.as_bytes().to_vec()),
                _ => {
                    return Err(wrong(
                        "function_name argument given to redis.register_function must be a string",
                    ));
                }
            },
            b"description" => match value {
                Value::String(text) => description = Some(text.as_bytes().to_vec()),
                _ => {
                    return Err(wrong(
                        "description argument given to redis.register_function must be a string",
                    ));
                }
            },
            b"callback" => match value {
                Value::Function(function) => callback = Some(function),
                _ => {
                    return Err(wrong(
                        "callback argument given to redis.register_function must be a function",
                    ));
                }
            },
            b"flags" => match value {
                Value::Table(list) => flags = read_flags(&list)?,
                _ => {
                    return Err(wrong(
                        "flags argument to redis.register_function must be a table representing \
                         function flags",
                    ));
                }
            },
            _ => return Err(wrong("unknown argument given to redis.register_function")),
        }
    }
    let name =
        name.ok_or_else(|| wrong("redis.register_function must get a function name argument"))?;
    let callback =
        callback.ok_or_else(|| wrong("redis.register_function must get a callback argument"))?;
    Ok((Function { name, description, flags }, callback))
}

fn read_flags(list: &Table) -> Answer<Flags> {
    let mut flags = Flags::default();
    for index in 1.. {
        let value: Value = list.raw_get(index)?;
        if matches!(value, Value::Nil) {
            break;
        }
        if !is_text(&value) {
            return Err(wrong("unknown flag given"));
        }
        if let Value::String(name) = value {
            flags = flags.with(&name.as_bytes()).ok_or_else(|| wrong("unknown flag given"))?;
        }
    }
    Ok(flags)
}

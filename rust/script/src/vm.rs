//! One Lua state with what it has compiled, and the runs in it.

use crate::fence::{Fence, compile, compile_error};
use crate::host::Host;
use crate::library::{Library, LoadError};
use crate::raw::{self, Control, Lent};
use crate::redis::Version;
use crate::shebang;
use mlua::{Function, HookTriggers, Value, VmState};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The host is asked after so many instructions, and then as `Pace` says.
const TICK: u32 = 250;
/// So many compiled scripts are kept.
const MOST_SCRIPTS: usize = 500;
/// So often a full collection follows a run that left this much behind.
const FAT: usize = 32 << 20;

/// A script as it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Script<'a> {
    /// Its SHA-1 in hexadecimal digits.
    pub sha: &'a [u8; 40],
    /// Its text, without the first line if that is a `#!`, but with that line's end.
    pub body: &'a [u8],
}

/// What surrounds a run.
pub(crate) struct Words<'a> {
    pub(crate) words: &'a [&'a [u8]],
    pub(crate) keys: usize,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// What it returned is appended to the output: an error, too, if that is what it returned.
    Answered {
        /// It is the error of a command that the script called, and was counted as an error already.
        is_counted: bool,
    },
    /// An error reply is appended. `is_counted`: a command that the script called had failed, and was
    /// counted as an error already.
    Failed {
        /// See above.
        is_counted: bool,
    },
    /// The host stopped it; nothing is appended.
    Stopped,
}

/// A Lua state. Not `Send`: one belongs to one thread.
pub struct Vm {
    scripts: HashMap<[u8; 40], Function>,
    libraries: HashMap<u64, HashMap<Vec<u8>, Function>>,
    run_script: Function,
    run_function: Function,
    run_load: Function,
    fence: Fence,
    // Behind the state: functions of Lua hold pointers to it.
    control: Rc<Control>,
}

impl std::fmt::Debug for Vm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vm({} scripts, {} bytes)", self.scripts.len(), self.memory())
    }
}

impl Vm {
    /// A state that tells scripts this version of Redis, and never takes more memory than so many bytes.
    ///
    /// # Errors
    /// There was not even memory for that.
    pub fn new(version: &str, most_memory: usize) -> Result<Vm, String> {
        Self::make(version, most_memory).map_err(|e| e.to_string())
    }

    fn make(version: &str, most_memory: usize) -> mlua::Result<Vm> {
        let control = Control::new();
        let fence = Fence::new(&control, &Version::of(version))?;
        let lua = &fence.lua;
        lua.set_memory_limit(most_memory)?;
        let watched = Rc::downgrade(&control);
        lua.set_global_hook(HookTriggers::new().every_nth_instruction(TICK), move |lua, _| {
            match watched.upgrade().map(|control| control.tick().map(|()| control.go_on(lua))) {
                Some(Ok(())) => Ok(VmState::Continue),
                _ => Err(mlua::Error::runtime("stopped")),
            }
        })?;
        Ok(Vm {
            scripts: HashMap::new(),
            libraries: HashMap::new(),
            run_script: raw::script_runner(lua, &control, &fence.script_globals)?,
            run_function: raw::function_runner(lua, &control)?,
            run_load: raw::loader(lua, &control)?,
            fence,
            control,
        })
    }

    /// The bytes that the state takes.
    pub fn memory(&self) -> usize {
        self.fence.lua.used_memory()
    }

    /// Compiles a script, unless that was done before.
    ///
    /// # Errors
    /// What is wrong with it: an error reply without its code.
    pub fn compile(&mut self, script: Script<'_>) -> Result<(), String> {
        self.script(script).map(drop)
    }

    fn script(&mut self, script: Script<'_>) -> Result<Function, String> {
        if let Some(function) = self.scripts.get(script.sha) {
            return Ok(function.clone());
        }
        let function =
            compile(&self.fence.lua, script.body, "@user_script", &self.fence.script_env).map_err(
                |e| format!("Error compiling script (new function): {}", compile_error(&e)),
            )?;
        if self.scripts.len() >= MOST_SCRIPTS {
            self.scripts.clear();
        }
        self.scripts.insert(*script.sha, function.clone());
        Ok(function)
    }

    /// Forgets all scripts, and libraries of which `keep` says no.
    pub fn forget(&mut self, keep: &dyn Fn(u64) -> bool) {
        self.scripts.clear();
        self.libraries.retain(|id, _| keep(*id));
    }

    /// Runs a script. The first `keys` of `words` are KEYS, the others ARGV. With the same `seed` its random
    /// numbers are the same.
    #[expect(clippy::too_many_arguments, reason = "all that surrounds a run")]
    pub fn eval(
        &mut self,
        host: &mut dyn Host,
        script: Script<'_>,
        words: &[&[u8]],
        keys: usize,
        resp3: bool,
        seed: u64,
        out: &mut Vec<u8>,
    ) -> Ended {
        let function = match self.script(script) {
            Ok(function) => function,
            Err(text) => {
                write_error(out, &[b"ERR ", text.as_bytes()]);
                return Ended::Failed { is_counted: false };
            }
        };
        let runner = self.run_script.clone();
        let words = Words { words, keys };
        self.run(host, runner, function, script.sha, words, resp3, seed, out)
    }

    /// Runs a function of a library, which is loaded before if this VM has not seen it yet. Words and seed as
    /// in [`eval`](Self::eval).
    #[expect(clippy::too_many_arguments, reason = "all that surrounds a run")]
    pub fn call(
        &mut self,
        host: &mut dyn Host,
        library: &Library,
        name: &[u8],
        words: &[&[u8]],
        keys: usize,
        resp3: bool,
        seed: u64,
        out: &mut Vec<u8>,
    ) -> Ended {
        if !self.libraries.contains_key(&library.id) {
            match self.load_code(host, &library.code) {
                Ok((_, functions)) => self.keep(library.id, functions),
                Err(None) => return Ended::Stopped,
                Err(Some(text)) => {
                    write_error(out, &[b"ERR ", &text]);
                    return Ended::Failed { is_counted: false };
                }
            }
        }
        let functions = self.libraries.get(&library.id);
        let found = functions.and_then(|all| all.get(&name.to_ascii_lowercase())).cloned();
        let Some(function) = found else {
            write_error(out, &[b"ERR Function not found"]);
            return Ended::Failed { is_counted: false };
        };
        let runner = self.run_function.clone();
        let words = Words { words, keys };
        self.run(host, runner, function, name, words, resp3, seed, out)
    }

    /// Loads a library: it tells its functions.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn load(&mut self, host: &mut dyn Host, code: &[u8]) -> Result<Library, LoadError> {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let loaded = self.load_code(host, code);
        let timeout = || b"Error registering functions: ERR FUNCTION LOAD timeout".to_vec();
        let (name, functions) = loaded.map_err(|text| LoadError(text.unwrap_or_else(timeout)))?;
        if functions.is_empty() {
            return Err(LoadError(b"No functions registered".to_vec()));
        }
        let id = IDS.fetch_add(1, Relaxed);
        let told = functions.iter().map(|(function, _)| function.clone()).collect();
        self.keep(id, functions);
        Ok(Library { id, name, code: code.to_vec(), functions: told })
    }

    fn keep(&mut self, id: u64, functions: Vec<(crate::library::Function, Function)>) {
        let by_name =
            functions.into_iter().map(|(told, f)| (told.name.to_ascii_lowercase(), f)).collect();
        self.libraries.insert(id, by_name);
    }

    /// Runs the text of a library; `None` as error when the host stopped it.
    fn load_code(
        &mut self,
        host: &mut dyn Host,
        code: &[u8],
    ) -> Result<(Vec<u8>, Vec<(crate::library::Function, Function)>), Option<Vec<u8>>> {
        let (name, body) = shebang::library(code).map_err(|e| Some(e.0))?;
        let body = code.get(body..).unwrap_or_default();
        let Fence { lua, library_env, set_loading, registering, .. } = &self.fence;
        let chunk = compile(lua, body, "@user_function", library_env).map_err(|e| {
            Some(format!("Error compiling function: {}", compile_error(&e)).into_bytes())
        })?;
        let mut nothing = Vec::new();
        let lent = self.control.lend(host, &[], 0, false, &mut nothing);
        let failed = |text: &[u8]| {
            let mut all = b"Error registering functions: ".to_vec();
            all.extend_from_slice(text);
            Some(all)
        };
        registering.begin();
        let ran =
            set_loading.call::<()>(true).and_then(|()| self.run_load.call::<(bool, Value)>(chunk));
        let back = set_loading.call::<()>(false);
        let functions = registering.end();
        if lent.is_stopped() {
            return Err(None);
        }
        match (ran, back) {
            (Ok((true, _)), Ok(())) => Ok((name, functions)),
            (Ok((false, error)), _) => Err(failed(&Failure::of(&error).text)),
            (Err(e), _) | (_, Err(e)) => {
                Err(failed(&[b"ERR ", compile_error(&e).as_bytes()].concat()))
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all that surrounds a run")]
    fn run(
        &mut self,
        host: &mut dyn Host,
        runner: Function,
        function: Function,
        name: &[u8],
        words: Words<'_>,
        resp3: bool,
        seed: u64,
        out: &mut Vec<u8>,
    ) -> Ended {
        self.fence.json.reset();
        self.fence.random.set(seed);
        let begin = out.len();
        let lent: Lent<'_> = self.control.lend(host, words.words, words.keys, resp3, out);
        let ran = runner.call::<(bool, Value)>(function);
        let is_stopped = lent.is_stopped();
        drop(lent);
        let ended = match ran {
            _ if is_stopped => {
                out.truncate(begin);
                Ended::Stopped
            }
            Ok((true, _)) => Ended::Answered { is_counted: self.control.answers_counted() },
            Ok((false, error)) => {
                out.truncate(begin);
                let failure = Failure::of(&error);
                failure.write(name, out);
                Ended::Failed { is_counted: failure.is_counted }
            }
            Err(e) => {
                out.truncate(begin);
                write_error(out, &[b"ERR ", compile_error(&e).as_bytes()]);
                Ended::Failed { is_counted: false }
            }
        };
        if self.memory() > FAT {
            // What cannot be collected now never will.
            drop(self.fence.lua.gc_collect());
        }
        ended
    }
}

/// An error that ended a run.
struct Failure {
    text: Vec<u8>,
    /// Where, as `@user_script:3`.
    place: Option<(Vec<u8>, i64)>,
    is_counted: bool,
}

impl Failure {
    fn of(error: &Value) -> Failure {
        let plain = |text: &[u8]| Failure {
            text: [b"ERR ", text].concat(),
            place: None,
            is_counted: false,
        };
        match error {
            Value::Table(table) => {
                let text = match table.raw_get::<Value>("err") {
                    Ok(Value::String(text)) => text.as_bytes().to_vec(),
                    _ => b"ERR unknown error".to_vec(),
                };
                let source = table.raw_get::<Option<mlua::LuaString>>("source").ok().flatten();
                let line = table.raw_get::<Option<i64>>("line").ok().flatten();
                let is_counted = matches!(
                    table.raw_get::<Value>("ignore_error_stats_update"),
                    Ok(Value::Boolean(true))
                );
                let place = source.map(|s| s.as_bytes().to_vec()).zip(line);
                Failure { text, place, is_counted }
            }
            Value::String(text) => plain(&text.as_bytes()),
            Value::Error(e) => plain(compile_error(e).as_bytes()),
            _ => plain(b"unknown error"),
        }
    }

    fn write(&self, name: &[u8], out: &mut Vec<u8>) {
        match &self.place {
            Some((source, line)) => {
                let line = line.to_string();
                write_error(
                    out,
                    &[
                        &self.text,
                        b" script: ",
                        name,
                        b", on ",
                        source,
                        b":",
                        line.as_bytes(),
                        b".",
                    ],
                );
            }
            None => write_error(out, &[&self.text, b" script: ", name, b"."]),
        }
    }
}

/// Appends an error reply; ends of lines inside become spaces.
fn write_error(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    out.push(b'-');
    for &byte in pieces.iter().flat_map(|piece| piece.iter()) {
        out.push(if matches!(byte, b'\r' | b'\n') { b' ' } else { byte });
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
#[path = "vm_tests.rs"]
mod tests;

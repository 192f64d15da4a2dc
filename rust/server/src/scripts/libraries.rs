//! All libraries there are: one value, replaced whole.

use super::{Scripts, machine};
use forgekv_base::clock;
use forgekv_data::{Error, Result, Store, functions};
use forgekv_script::{Called, Function, Host, Library, Stop};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The text of a library may run for so long when it is loaded.
const LOAD_MS: u64 = 500;

/// All libraries there are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Libraries {
    by_name: BTreeMap<Vec<u8>, Arc<Library>>,
    /// By name in lower case: the library, and the function's position in it.
    functions: HashMap<Vec<u8>, (Arc<Library>, usize)>,
}

impl Libraries {
    /// The function of this name, in any case.
    pub(crate) fn function(&self, name: &[u8]) -> Option<(&Arc<Library>, &Function)> {
        let (library, at) = self.functions.get(&name.to_ascii_lowercase())?;
        Some((library, library.functions.get(*at)?))
    }

    pub(crate) fn has(&self, id: u64) -> bool {
        self.by_name.values().any(|library| library.id == id)
    }

    /// By name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Library>> {
        self.by_name.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn functions(&self) -> usize {
        self.functions.len()
    }

    /// Puts a library in.
    ///
    /// # Errors
    /// It is there, and not to be replaced; another library has a function of the same name.
    pub(crate) fn add(&mut self, library: Library, replace: bool, quoted: bool) -> Result<()> {
        let shown = String::from_utf8_lossy(&library.name).into_owned();
        if self.by_name.contains_key(&library.name) && !replace {
            let shown = if quoted { format!("'{shown}'") } else { shown };
            return Err(Error::reply(format!("ERR Library {shown} already exists")));
        }
        for function in &library.functions {
            if let Some((other, _)) = self.function(&function.name)
                && other.name != library.name
            {
                let name = String::from_utf8_lossy(&function.name);
                return Err(Error::reply(format!("ERR Function {name} already exists")));
            }
        }
        self.remove(&library.name);
        let library = Arc::new(library);
        for (at, function) in library.functions.iter().enumerate() {
            self.functions.insert(function.name.to_ascii_lowercase(), (library.clone(), at));
        }
        self.by_name.insert(library.name.clone(), library);
        Ok(())
    }

    /// Takes a library out; false when there is none of that name.
    pub(crate) fn remove(&mut self, name: &[u8]) -> bool {
        let Some(gone) = self.by_name.remove(name) else { return false };
        self.functions.retain(|_, (library, _)| library.id != gone.id);
        true
    }

    /// What FUNCTION DUMP answers.
    ///
    /// # Errors
    /// None that memory does not make.
    pub(crate) fn pack(&self) -> Result<Vec<u8>> {
        functions::pack(self.by_name.values().map(|library| library.code.as_slice()))
    }

    /// The libraries that the data holds.
    ///
    /// # Errors
    /// Failed reads, and what cannot be loaded.
    pub(crate) fn of_store(scripts: &Arc<Scripts>, store: &Store) -> Result<Libraries> {
        let mut libraries = Libraries::default();
        if let Some(payload) = functions::load(store)? {
            for code in functions::unpack(&payload)? {
                libraries.add(load(scripts, &code)?, true, true)?;
            }
        }
        Ok(libraries)
    }
}

/// Runs the text of a library, which tells its functions.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn load(scripts: &Arc<Scripts>, code: &[u8]) -> Result<Library> {
    let mut loading = Loading { until_us: clock::monotonic_us() + LOAD_MS * 1000 };
    machine::with(scripts, |vm| vm.load(&mut loading, code))?
        .map_err(|e| Error::reply(format!("ERR {}", String::from_utf8_lossy(&e.0))))
}

/// What a library reaches while it is loaded: nothing but the log.
struct Loading {
    until_us: u64,
}

impl Host for Loading {
    fn call(
        &mut self,
        _: &[&[u8]],
        _: bool,
        reply: &mut Vec<u8>,
    ) -> std::result::Result<Called, Stop> {
        reply.extend_from_slice(b"-ERR not while a library is loaded\r\n");
        Ok(Called)
    }

    fn tick(&mut self) -> std::result::Result<(), Stop> {
        if clock::monotonic_us() > self.until_us { Err(Stop) } else { Ok(()) }
    }

    fn log(&mut self, level: u8, message: &[u8]) {
        super::calls::log(level, message);
    }

    fn acl_check(&mut self, _: &[&[u8]]) -> Option<bool> {
        None
    }

    fn set_repl(&mut self, _: u8) {}
}

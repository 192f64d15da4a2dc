//! Reading a file: what stands before and between the values.

use crate::bad::{Bad, Stop};
use crate::encoder::TIMED_VERSION;
use crate::input::Input;
use crate::item::Item;
use crate::module;
use crate::types::Type;
use crate::value;

const SLOT_INFO: u8 = 0xf4;
pub(crate) const FUNCTION: u8 = 0xf5;
const FUNCTION_EARLY: u8 = 0xf6;
const MODULE_AUX: u8 = 0xf7;
const IDLE: u8 = 0xf8;
const FREQ: u8 = 0xf9;
pub(crate) const AUX: u8 = 0xfa;
const RESIZE_DB: u8 = 0xfb;
pub(crate) const EXPIRE_MS: u8 = 0xfc;
const EXPIRE: u8 = 0xfd;
pub(crate) const SELECT_DB: u8 = 0xfe;
pub(crate) const EOF: u8 = 0xff;

/// The first version with a checksum.
const CHECKSUM_SINCE: u16 = 5;

/// A file that is read from start to end.
pub struct File<'a> {
    input: Input<'a>,
    version: u16,
    value: Option<Type>,
}

/// A key, whose value is to be read next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: Vec<u8>,
    /// What its value is.
    pub kind: Type,
    /// When it expires, in Unix milliseconds.
    pub expire_ms: Option<u64>,
}

/// What comes next in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A fact about the file: `redis-ver`, `ctime` …
    Fact(Vec<u8>, Vec<u8>),
    /// The keys that follow are of this database.
    Database(u64),
    /// About so many keys, and so many that expire, are in the database. Nothing to rely on.
    Sizes(u64, u64),
    /// A key. Its value follows and has to be read: [`File::value`].
    Key(Key),
    /// The source of a library of functions.
    Function(Vec<u8>),
    /// Something that a module of this name saved, and that was passed over.
    ModuleData(String),
    /// The end. Whether a checksum confirms all before.
    End(bool),
}

impl<'a> File<'a> {
    /// Begins to read.
    ///
    /// # Errors
    /// What is no such file, or of a newer version.
    pub fn open(mut input: Input<'a>) -> Result<File<'a>, Bad> {
        let magic = input.array::<9>()?;
        let (name, digits) = magic.split_at(5);
        let version = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        let version = version.filter(|_| name == b"REDIS");
        let version = version.ok_or(Bad::new(0, "not an RDB file"))?;
        if !(1..=TIMED_VERSION).contains(&version) {
            let what = format!(
                "the file is of version {version}; what can be read is 1 to {TIMED_VERSION}"
            );
            return Err(Bad::new(5, what));
        }
        Ok(File { input, version, value: None })
    }

    /// The version that the file says it has.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// How many bytes were read.
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// The next record. A value that was not read is passed over.
    ///
    /// # Errors
    /// Wrong bytes.
    pub fn record(&mut self) -> Result<Record, Bad> {
        if self.value.is_some() {
            match self.value(&mut |_| Ok::<(), ()>(())) {
                Ok(_) | Err(Stop::Taker(())) => {}
                Err(Stop::Bad(bad)) => return Err(bad),
            }
        }
        let mut expire_ms = None;
        loop {
            let offset = self.input.offset();
            let opcode = self.input.u8()?;
            match opcode {
                EXPIRE => {
                    let seconds = i32::from_le_bytes(self.input.array()?);
                    expire_ms = Some(u64::try_from(seconds).unwrap_or(0) * 1000);
                }
                EXPIRE_MS => {
                    let ms = i64::from_le_bytes(self.input.array()?);
                    expire_ms = Some(u64::try_from(ms).unwrap_or(0));
                }
                // How long or how often a key was used: of no use to whom does not track it.
                IDLE => {
                    self.input.count()?;
                }
                FREQ => {
                    self.input.u8()?;
                }
                SLOT_INFO => {
                    for _ in 0..3 {
                        self.input.count()?;
                    }
                }
                AUX => return Ok(Record::Fact(self.string()?, self.string()?)),
                SELECT_DB => return Ok(Record::Database(self.input.count()?)),
                RESIZE_DB => return Ok(Record::Sizes(self.input.count()?, self.input.count()?)),
                FUNCTION => return Ok(Record::Function(self.string()?)),
                FUNCTION_EARLY => {
                    let what = "functions of a Redis that was never released";
                    return Err(Bad::new(offset, what));
                }
                MODULE_AUX => return module::skip_aux(&mut self.input).map(Record::ModuleData),
                EOF => return self.end().map(Record::End),
                number => {
                    let kind = Type::of(number);
                    let kind = kind.ok_or(Bad::new(offset, "neither a key nor a known opcode"))?;
                    let name = self.string()?;
                    self.value = Some(kind);
                    return Ok(Record::Key(Key { name, kind, expire_ms }));
                }
            }
        }
    }

    /// Reads the value of the key before; how many items it has (see [`read`](crate::read)).
    ///
    /// # Errors
    /// As `read`.
    pub fn value<E>(
        &mut self,
        take: &mut dyn FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<u64, Stop<E>> {
        match self.value.take() {
            Some(kind) => value::read(kind, &mut self.input, take),
            None => Ok(0),
        }
    }

    /// Passes over the value of the key before, a module's; the module's name for its type.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn skip_module(&mut self) -> Result<String, Bad> {
        match self.value.take() {
            Some(Type::MODULE) => module::skip(&mut self.input),
            _ => Err(self.input.bad("a module's value of a form that cannot be passed over")),
        }
    }

    fn string(&mut self) -> Result<Vec<u8>, Bad> {
        let mut text = Vec::new();
        self.input.string(&mut text)?;
        Ok(text)
    }

    fn end(&mut self) -> Result<bool, Bad> {
        let mut checked = false;
        if self.version >= CHECKSUM_SINCE {
            let crc = self.input.checksum();
            let offset = self.input.offset();
            let written = self.input.u64_le()?;
            if written != 0 && written != crc {
                return Err(Bad::new(offset, "the checksum is wrong: bytes before it are damaged"));
            }
            checked = written != 0;
        }
        if !self.input.is_at_end()? {
            return Err(self.input.bad("there are bytes behind the end"));
        }
        Ok(checked)
    }
}

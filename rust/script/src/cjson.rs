//! `cjson`: values as JSON, with the settings that the library of that name has.

use crate::define::{Answer, Arguments, Raise, function, kind_of};
use crate::number;
use crate::raw::Control;
use crate::strings::LONGEST;
use mlua::{LightUserData, Lua, Result, Table, Value};
use std::cell::Cell;
use std::rc::Rc;

/// Whatever a script sets, nothing is followed deeper.
const MOST_DEPTH: i64 = 1000;

/// What to do with numbers that JSON does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invalid {
    Refuse,
    Allow,
    Null,
}

/// What scripts can set.
#[derive(Debug, Clone, Copy)]
struct Settings {
    sparse_convert: bool,
    sparse_ratio: i64,
    sparse_safe: i64,
    encode_depth: i64,
    decode_depth: i64,
    encode_invalid: Invalid,
    decode_invalid: Invalid,
    keeps_buffer: bool,
    precision: usize,
}

const DEFAULTS: Settings = Settings {
    sparse_convert: false,
    sparse_ratio: 2,
    sparse_safe: 10,
    encode_depth: MOST_DEPTH,
    decode_depth: MOST_DEPTH,
    encode_invalid: Invalid::Refuse,
    decode_invalid: Invalid::Allow,
    keeps_buffer: true,
    precision: 14,
};

type Shared = Rc<Cell<Settings>>;

/// The settings of the library that every script sees: each run begins with the defaults.
#[derive(Clone)]
pub(crate) struct Json(Shared);

impl Json {
    pub(crate) fn new() -> Json {
        Json(Rc::new(Cell::new(DEFAULTS)))
    }

    pub(crate) fn reset(&self) {
        self.0.set(DEFAULTS);
    }
}

fn null() -> Value {
    Value::LightUserData(LightUserData(std::ptr::null_mut()))
}

// Writing -----------------------------------------------------------------------------------------------

struct Writer<'a> {
    control: &'a Control,
    settings: Settings,
    out: Vec<u8>,
}

impl Writer<'_> {
    fn cannot(value: &Value, why: &str) -> Raise {
        Raise::text(format!("Cannot serialise {}: {why}", kind_of(value)))
    }

    fn value(&mut self, value: &Value, depth: i64) -> Answer<()> {
        self.control.step()?;
        if self.out.len() > LONGEST {
            return Err(Raise::text("resulting string too large"));
        }
        match value {
            Value::String(text) => self.text(&text.as_bytes()),
            Value::Number(n) => self.number(*n)?,
            Value::Integer(n) => self.number(*n as f64)?,
            Value::Boolean(value) => {
                self.out.extend_from_slice(if *value { b"true" } else { b"false" });
            }
            Value::Table(table) => {
                let depth = depth + 1;
                if depth > self.settings.encode_depth.min(MOST_DEPTH) {
                    return Err(Raise::text(format!(
                        "Cannot serialise, excessive depth ({depth})"
                    )));
                }
                match self.list_length(table, value)? {
                    Some(n) if n > 0 => self.list(table, n, depth)?,
                    _ => self.object(table, depth)?,
                }
            }
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(pointer) if pointer.0.is_null() => {
                self.out.extend_from_slice(b"null");
            }
            other => return Err(Self::cannot(other, "type not supported")),
        }
        Ok(())
    }

    fn number(&mut self, value: f64) -> Answer<()> {
        if !value.is_finite() {
            match self.settings.encode_invalid {
                Invalid::Refuse => {
                    return Err(Self::cannot(&Value::Number(value), "must not be NaN or Inf"));
                }
                Invalid::Null => {
                    self.out.extend_from_slice(b"null");
                    return Ok(());
                }
                Invalid::Allow => {}
            }
        }
        self.out.extend_from_slice(number::general(value, self.settings.precision).as_bytes());
        Ok(())
    }

    fn text(&mut self, text: &[u8]) {
        self.out.push(b'"');
        for &byte in text {
            match byte {
                b'"' => self.out.extend_from_slice(b"\\\""),
                b'\\' => self.out.extend_from_slice(b"\\\\"),
                b'/' => self.out.extend_from_slice(b"\\/"),
                8 => self.out.extend_from_slice(b"\\b"),
                9 => self.out.extend_from_slice(b"\\t"),
                10 => self.out.extend_from_slice(b"\\n"),
                12 => self.out.extend_from_slice(b"\\f"),
                13 => self.out.extend_from_slice(b"\\r"),
                0..=31 | 127 => self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                byte => self.out.push(byte),
            }
        }
        self.out.push(b'"');
    }

    /// The length of a table that is a list; too many holes make it an object, or an error.
    fn list_length(&self, table: &Table, value: &Value) -> Answer<Option<i64>> {
        let (mut count, mut most, mut is_list) = (0, 0, true);
        table.for_each(|key: Value, _: Value| {
            match key {
                Value::Integer(n) if n > 0 => most = most.max(n),
                Value::Number(n) if n > 0.0 && n.fract() == 0.0 => most = most.max(n as i64),
                _ => is_list = false,
            }
            count += 1;
            Ok(())
        })?;
        if !is_list {
            return Ok(None);
        }
        let Settings { sparse_convert, sparse_ratio, sparse_safe, .. } = self.settings;
        if sparse_ratio > 0 && most > count * sparse_ratio && most > sparse_safe {
            if !sparse_convert {
                return Err(Self::cannot(value, "excessively sparse array"));
            }
            return Ok(None);
        }
        Ok(Some(most))
    }

    fn list(&mut self, table: &Table, n: i64, depth: i64) -> Answer<()> {
        self.out.push(b'[');
        for index in 1..=n {
            if index > 1 {
                self.out.push(b',');
            }
            self.value(&table.raw_get(index)?, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: i64) -> Answer<()> {
        self.out.push(b'{');
        let mut is_first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !std::mem::take(&mut is_first) {
                self.out.push(b',');
            }
            match &key {
                Value::String(text) => self.text(&text.as_bytes()),
                Value::Number(_) | Value::Integer(_) => {
                    self.out.push(b'"');
                    self.value(&key, depth)?;
                    self.out.push(b'"');
                }
                other => {
                    return Err(Self::cannot(other, "table key must be a number or string"));
                }
            }
            self.out.push(b':');
            self.value(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }
}

// Reading -----------------------------------------------------------------------------------------------

struct Reader<'a> {
    lua: &'a Lua,
    control: &'a Control,
    settings: Settings,
    text: &'a [u8],
    at: usize,
    depth: i64,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Open(u8),
    Close(u8),
    Colon,
    Comma,
    Text(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    End,
    Wrong(&'static str),
}

impl Token {
    fn name(&self) -> &'static str {
        match self {
            Token::Open(b'{') => "T_OBJ_BEGIN",
            Token::Open(_) => "T_ARR_BEGIN",
            Token::Close(b'}') => "T_OBJ_END",
            Token::Close(_) => "T_ARR_END",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::Text(_) => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::End => "T_END",
            Token::Wrong(what) => what,
        }
    }
}

impl Reader<'_> {
    fn expected(&self, what: &str, found: &Token, at: usize) -> Raise {
        Raise::text(format!("Expected {what} but found {} at character {}", found.name(), at + 1))
    }

    /// The next token and where it begins.
    fn token(&mut self) -> (Token, usize) {
        while self.text.get(self.at).is_some_and(|b| b" \t\r\n".contains(b)) {
            self.at += 1;
        }
        let at = self.at;
        let Some(&byte) = self.text.get(at) else { return (Token::End, at) };
        self.at += 1;
        let token = match byte {
            b'{' | b'[' => Token::Open(byte),
            b'}' | b']' => Token::Close(byte),
            b':' => Token::Colon,
            b',' => Token::Comma,
            b'"' => match self.string() {
                Ok(text) => Token::Text(text),
                Err(what) => return (Token::Wrong(what), self.at),
            },
            _ => {
                self.at = at;
                self.word()
            }
        };
        (token, at)
    }

    fn word(&mut self) -> Token {
        let rest = self.text.get(self.at..).unwrap_or_default();
        for (word, token) in [
            (&b"true"[..], Token::Boolean(true)),
            (b"false", Token::Boolean(false)),
            (b"null", Token::Null),
        ] {
            if rest.starts_with(word) {
                self.at += word.len();
                return token;
            }
        }
        let Some(&first) = rest.first() else { return Token::End };
        let lower = first.to_ascii_lowercase();
        if !(first == b'-'
            || first == b'+'
            || first.is_ascii_digit()
            || lower == b'i'
            || lower == b'n')
        {
            return Token::Wrong("invalid token");
        }
        let (value, len, is_plain) = number_at(rest);
        if len == 0 {
            return Token::Wrong(match first {
                b'-' | b'0'..=b'9' => "invalid number",
                _ => "invalid token",
            });
        }
        if !is_plain && self.settings.decode_invalid == Invalid::Refuse {
            return Token::Wrong("invalid number");
        }
        self.at += len;
        Token::Number(value)
    }

    fn string(&mut self) -> std::result::Result<Vec<u8>, &'static str> {
        let mut text = Vec::new();
        loop {
            let byte = *self.text.get(self.at).ok_or("unexpected end of string")?;
            self.at += 1;
            match byte {
                b'"' => return Ok(text),
                b'\\' => {
                    let escape = *self.text.get(self.at).ok_or("unexpected end of string")?;
                    self.at += 1;
                    match escape {
                        b'"' | b'\\' | b'/' => text.push(escape),
                        b'b' => text.push(8),
                        b'f' => text.push(12),
                        b'n' => text.push(10),
                        b'r' => text.push(13),
                        b't' => text.push(9),
                        b'u' => self.unicode(&mut text)?,
                        _ => {
                            self.at -= 2;
                            return Err("invalid escape code");
                        }
                    }
                }
                byte => text.push(byte),
            }
        }
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        let digits = std::str::from_utf8(digits).ok()?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    fn unicode(&mut self, text: &mut Vec<u8>) -> std::result::Result<(), &'static str> {
        const WRONG: &str = "invalid unicode escape code";
        let first = self.hex4().ok_or(WRONG)?;
        let code = match first {
            0xd800..=0xdbff => {
                if self.text.get(self.at..self.at + 2) != Some(b"\\u") {
                    return Err(WRONG);
                }
                self.at += 2;
                match self.hex4() {
                    Some(second @ 0xdc00..=0xdfff) => {
                        0x10000 + ((first & 0x3ff) << 10) + (second & 0x3ff)
                    }
                    _ => return Err(WRONG),
                }
            }
            code => code,
        };
        let symbol = char::from_u32(code).ok_or(WRONG)?;
        text.extend_from_slice(symbol.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn descend(&mut self) -> Answer<()> {
        self.depth += 1;
        if self.depth > self.settings.decode_depth.min(MOST_DEPTH) {
            return Err(Raise::text(format!(
                "Found too many nested data structures ({}) at character {}",
                self.depth, self.at
            )));
        }
        Ok(())
    }

    fn value(&mut self, token: Token, at: usize) -> Answer<Value> {
        self.control.step()?;
        Ok(match token {
            Token::Text(text) => Value::String(self.lua.create_string(text)?),
            Token::Number(value) => Value::Number(value),
            Token::Boolean(value) => Value::Boolean(value),
            Token::Null => null(),
            Token::Open(b'{') => self.object()?,
            Token::Open(_) => self.list()?,
            other => return Err(self.expected("value", &other, at)),
        })
    }

    fn object(&mut self) -> Answer<Value> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let (mut token, mut at) = self.token();
        if token != Token::Close(b'}') {
            loop {
                let Token::Text(key) = token else {
                    return Err(self.expected("object key string", &token, at));
                };
                let (colon, colon_at) = self.token();
                if colon != Token::Colon {
                    return Err(self.expected("colon", &colon, colon_at));
                }
                let (inner, inner_at) = self.token();
                let value = self.value(inner, inner_at)?;
                table.raw_set(self.lua.create_string(key)?, value)?;
                (token, at) = self.token();
                match token {
                    Token::Close(b'}') => break,
                    Token::Comma => (token, at) = self.token(),
                    _ => return Err(self.expected("comma or object end", &token, at)),
                }
            }
        }
        self.depth -= 1;
        Ok(Value::Table(table))
    }

    fn list(&mut self) -> Answer<Value> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let (mut token, mut at) = self.token();
        if token != Token::Close(b']') {
            for index in 1.. {
                let value = self.value(token, at)?;
                table.raw_set(index, value)?;
                (token, at) = self.token();
                match token {
                    Token::Close(b']') => break,
                    Token::Comma => (token, at) = self.token(),
                    _ => return Err(self.expected("comma or array end", &token, at)),
                }
            }
        }
        self.depth -= 1;
        Ok(Value::Table(table))
    }
}

/// The number at the start of a text as C reads it: its value, its length, and whether JSON has such numbers.
fn number_at(text: &[u8]) -> (f64, usize, bool) {
    let (is_negative, signs) = match text.first() {
        Some(b'-') => (true, 1),
        Some(b'+') => (false, 1),
        _ => (false, 0),
    };
    let signed = |value: f64| if is_negative { -value } else { value };
    let rest = text.get(signs..).unwrap_or_default();
    let begins =
        |word: &[u8]| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if begins(b"infinity") {
        return (signed(f64::INFINITY), signs + 8, false);
    }
    if begins(b"inf") {
        return (signed(f64::INFINITY), signs + 3, false);
    }
    if begins(b"nan") {
        return (f64::NAN, signs + 3, false);
    }
    if begins(b"0x") {
        let digits = rest.iter().skip(2).take_while(|b| b.is_ascii_hexdigit());
        let (mut value, mut len) = (0.0, 0);
        for digit in digits {
            value = value * 16.0 + f64::from(char::from(*digit).to_digit(16).unwrap_or(0));
            len += 1;
        }
        return if len == 0 { (0.0, 0, false) } else { (signed(value), signs + 2 + len, false) };
    }
    let digits = |from: usize| rest.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(0);
    let mut len = whole;
    let mut fraction = 0;
    if rest.get(len) == Some(&b'.') {
        fraction = digits(len + 1);
        len += 1 + fraction;
    }
    if whole + fraction == 0 {
        return (0.0, 0, false);
    }
    if matches!(rest.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits(len + 1 + sign);
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    let is_plain =
        text.first() != Some(&b'+') && whole > 0 && !(whole > 1 && rest.first() == Some(&b'0'));
    let value = rest
        .get(..len)
        .and_then(|t| std::str::from_utf8(t).ok())
        .and_then(|t| t.trim_end_matches('.').parse::<f64>().ok());
    match value {
        Some(value) => (signed(value), signs + len, is_plain),
        None => (0.0, 0, false),
    }
}

// Functions ---------------------------------------------------------------------------------------------

fn encode(arguments: &Arguments<'_>, settings: &Shared) -> Answer {
    if arguments.len() != 1 {
        return Err(arguments.bad(1, "expected 1 argument"));
    }
    let mut writer =
        Writer { control: arguments.control, settings: settings.get(), out: Vec::new() };
    writer.value(arguments.get(1), 0)?;
    arguments.answer(arguments.lua.create_string(&writer.out)?)
}

fn decode(arguments: &Arguments<'_>, settings: &Shared) -> Answer {
    if arguments.len() != 1 {
        return Err(arguments.bad(1, "expected 1 argument"));
    }
    let text = arguments.text(1)?;
    let text = text.as_bytes();
    if text.len() >= 2 && (text.first() == Some(&0) || text.get(1) == Some(&0)) {
        return Err(Raise::text("JSON parser does not support UTF-16 or UTF-32"));
    }
    let Arguments { lua, control, .. } = arguments;
    let mut reader =
        Reader { lua, control, settings: settings.get(), text: &text, at: 0, depth: 0 };
    let (token, at) = reader.token();
    let value = reader.value(token, at)?;
    let (end, at) = reader.token();
    if end != Token::End {
        return Err(reader.expected("the end", &end, at));
    }
    arguments.answer(value)
}

fn set_number(arguments: &Arguments<'_>, n: usize, low: i64, high: i64, old: i64) -> Answer<i64> {
    if matches!(arguments.get(n), Value::Nil) {
        return Ok(old);
    }
    let value = arguments.integer(n)?;
    if !(low..=high).contains(&value) {
        return Err(arguments.bad(n, &format!("expected integer between {low} and {high}")));
    }
    Ok(value)
}

fn set_boolean(arguments: &Arguments<'_>, n: usize, old: bool) -> Answer<bool> {
    match arguments.get(n) {
        Value::Nil => Ok(old),
        Value::Boolean(value) => Ok(*value),
        Value::String(text) if *text == "on" => Ok(true),
        Value::String(text) if *text == "off" => Ok(false),
        _ => Err(arguments.bad(n, "invalid option")),
    }
}

fn set_invalid(arguments: &Arguments<'_>, old: Invalid, may_null: bool) -> Answer<Invalid> {
    match arguments.get(1) {
        Value::Nil => Ok(old),
        Value::Boolean(true) => Ok(Invalid::Allow),
        Value::Boolean(false) => Ok(Invalid::Refuse),
        Value::String(text) if *text == "on" => Ok(Invalid::Allow),
        Value::String(text) if *text == "off" => Ok(Invalid::Refuse),
        Value::String(text) if may_null && *text == "null" => Ok(Invalid::Null),
        _ => Err(arguments.bad(1, "invalid option")),
    }
}

fn told(arguments: &Arguments<'_>, invalid: Invalid) -> Answer {
    match invalid {
        Invalid::Allow => arguments.answer(true),
        Invalid::Refuse => arguments.answer(false),
        Invalid::Null => arguments.answer("null"),
    }
}

fn most(arguments: &Arguments<'_>, n: usize) -> Answer<()> {
    match arguments.len() > n {
        true => Err(arguments.bad(n + 1, "found too many arguments")),
        false => Ok(()),
    }
}

/// A setting that is a number.
fn setting(
    arguments: &Arguments<'_>,
    settings: &Shared,
    high: i64,
    field: fn(&mut Settings) -> &mut i64,
) -> Answer {
    most(arguments, 1)?;
    let mut all = settings.get();
    let field = field(&mut all);
    *field = set_number(arguments, 1, 1, high, *field)?;
    let value = *field;
    settings.set(all);
    arguments.answer(value as f64)
}

pub(crate) fn library(lua: &Lua, control: &Rc<Control>, json: &Json) -> Result<Table> {
    with_settings(lua, control, &json.0)
}

fn with_settings(lua: &Lua, control: &Rc<Control>, settings: &Shared) -> Result<Table> {
    let table = lua.create_table()?;
    let add = |name: &'static str, f: fn(&Arguments<'_>, &Shared) -> Answer| {
        let settings = settings.clone();
        table.raw_set(name, function(lua, control, name, move |a| f(a, &settings))?)
    };
    add("encode", encode)?;
    add("decode", decode)?;
    add("encode_max_depth", |a, s| setting(a, s, i64::from(i32::MAX), |s| &mut s.encode_depth))?;
    add("decode_max_depth", |a, s| setting(a, s, i64::from(i32::MAX), |s| &mut s.decode_depth))?;
    add("encode_number_precision", |a, s| {
        most(a, 1)?;
        let mut all = s.get();
        all.precision = set_number(a, 1, 1, 14, all.precision as i64)? as usize;
        s.set(all);
        a.answer(all.precision as f64)
    })?;
    add("encode_sparse_array", |a, s| {
        most(a, 3)?;
        let mut all = s.get();
        all.sparse_convert = set_boolean(a, 1, all.sparse_convert)?;
        all.sparse_ratio = set_number(a, 2, 0, i64::from(i32::MAX), all.sparse_ratio)?;
        all.sparse_safe = set_number(a, 3, 0, i64::from(i32::MAX), all.sparse_safe)?;
        s.set(all);
        a.answer((all.sparse_convert, all.sparse_ratio as f64, all.sparse_safe as f64))
    })?;
    add("encode_keep_buffer", |a, s| {
        most(a, 1)?;
        let mut all = s.get();
        all.keeps_buffer = set_boolean(a, 1, all.keeps_buffer)?;
        s.set(all);
        a.answer(all.keeps_buffer)
    })?;
    add("encode_invalid_numbers", |a, s| {
        most(a, 1)?;
        let mut all = s.get();
        all.encode_invalid = set_invalid(a, all.encode_invalid, true)?;
        s.set(all);
        told(a, all.encode_invalid)
    })?;
    add("decode_invalid_numbers", |a, s| {
        most(a, 1)?;
        let mut all = s.get();
        all.decode_invalid = set_invalid(a, all.decode_invalid, false)?;
        s.set(all);
        told(a, all.decode_invalid)
    })?;
    let new_control = Rc::downgrade(control);
    let new = function(lua, control, "new", move |a| match new_control.upgrade() {
        Some(control) => {
            let settings = Rc::new(Cell::new(DEFAULTS));
            a.answer(with_settings(a.lua, &control, &settings)?)
        }
        None => Err(Raise::Stop),
    })?;
    table.raw_set("new", new)?;
    table.raw_set("null", null())?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    Ok(table)
}

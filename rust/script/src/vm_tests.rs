use super::*;
use crate::host::{Called, Stop};
use crate::sha1_hex;

#[derive(Default)]
struct Fake {
    calls: Vec<Vec<Vec<u8>>>,
    ticks: u64,
    most_ticks: Option<u64>,
    stops_calls: bool,
    logged: Vec<(u8, Vec<u8>)>,
}

impl Host for Fake {
    fn call(
        &mut self,
        words: &[&[u8]],
        resp3: bool,
        reply: &mut Vec<u8>,
    ) -> std::result::Result<Called, Stop> {
        if self.stops_calls {
            return Err(Stop);
        }
        self.calls.push(words.iter().map(|w| w.to_vec()).collect());
        match words[0] {
            b"raw" => reply.extend_from_slice(words[1]),
            b"echo" => {
                reply.extend_from_slice(format!("${}\r\n", words[1].len()).as_bytes());
                reply.extend_from_slice(words[1]);
                reply.extend_from_slice(b"\r\n");
            }
            b"proto" => reply.extend_from_slice(if resp3 { b":3\r\n" } else { b":2\r\n" }),
            _ => reply.extend_from_slice(b"-ERR no such thing\r\n"),
        }
        Ok(Called)
    }

    fn tick(&mut self) -> std::result::Result<(), Stop> {
        self.ticks += 1;
        match self.most_ticks {
            Some(most) if self.ticks > most => Err(Stop),
            _ => Ok(()),
        }
    }

    fn log(&mut self, level: u8, message: &[u8]) {
        self.logged.push((level, message.to_vec()));
    }

    fn acl_check(&mut self, words: &[&[u8]]) -> Option<bool> {
        (words[0] != b"nosuch").then_some(words[0] == b"get")
    }

    fn set_repl(&mut self, _: u8) {}
}

fn vm() -> Vm {
    Vm::new("7.2.4", 64 << 20).unwrap()
}

fn run_on(vm: &mut Vm, host: &mut Fake, text: &str, resp3: bool) -> String {
    let sha = sha1_hex(text.as_bytes());
    let mut out = Vec::new();
    let words: [&[u8]; 4] = [b"k1", b"k2", b"a1", b"7"];
    let script = Script { sha: &sha, body: text.as_bytes() };
    let ended = vm.eval(host, script, &words, 2, resp3, 1, &mut out);
    if ended == Ended::Stopped {
        return "stopped".into();
    }
    String::from_utf8_lossy(&out).replace("\r\n", " ").trim_end().to_owned()
}

fn run(text: &str) -> String {
    run_on(&mut vm(), &mut Fake { most_ticks: Some(20_000), ..Fake::default() }, text, false)
}

fn run3(text: &str) -> String {
    run_on(&mut vm(), &mut Fake::default(), text, true)
}

/// The text of an error without the name of the script.
fn error(text: &str) -> String {
    let reply = run(text);
    let reply = reply.strip_prefix('-').unwrap_or_else(|| panic!("no error: {reply}"));
    reply.split(" script: ").next().unwrap_or_default().to_owned()
}

const READONLY: &str = "Attempt to modify a readonly table";

#[test]
fn values_become_replies() {
    for (text, reply) in [
        ("return 1", ":1"),
        ("return 3.99", ":3"),
        ("return -3.99", ":-3"),
        ("return 'x'", "$1 x"),
        ("return true", ":1"),
        ("return false", "$-1"),
        ("return nil", "$-1"),
        ("return", "$-1"),
        ("return {1,2,nil,3}", "*2 :1 :2"),
        ("return {ok='fine'}", "+fine"),
        ("return {err='MY bad'}", "-MY bad"),
        ("return {1,{2,{'x'}},{err='q'}}", "*3 :1 *2 :2 *1 $1 x -q"),
        ("return {double=3.5}", "$3 3.5"),
        ("return {map={a=1}}", "*2 $1 a :1"),
        ("return {set={a=true}}", "*1 $1 a"),
        ("return {big_number='123'}", "$3 123"),
        ("return {verbatim_string={format='txt',string='foo'}}", "$3 foo"),
        ("return {KEYS[1],KEYS[2],ARGV[1],#ARGV}", "*4 $2 k1 $2 k2 $2 a1 :2"),
        ("return print", ""),
    ] {
        if text == "return print" {
            assert_eq!(
                error(text),
                "ERR user_script:1: Script attempted to access nonexistent global variable 'print'"
            );
            continue;
        }
        assert_eq!(run(text), reply, "{text}");
    }
    for (text, reply) in [
        ("return {double=3.5}", ",3.5"),
        ("return {map={a=1}}", "%1 $1 a :1"),
        ("return {set={a=true}}", "~1 $1 a"),
        ("return {big_number='1\\r\\n2'}", "(1  2"),
        ("return {verbatim_string={format='txt',string='foo'}}", "=7 txt:foo"),
        ("return nil", "_"),
        ("return true", ":1"),
        ("redis.setresp(3) return true", "#t"),
        ("redis.setresp(3) return {false}", "*1 #f"),
    ] {
        assert_eq!(run3(text), reply, "{text}");
    }
}

#[test]
fn replies_become_values() {
    for (reply, check, told) in [
        ("+OK", "r.ok", "$2 OK"),
        (":-12", "r", ":-12"),
        ("$-1", "tostring(r)", "$5 false"),
        ("*-1", "tostring(r)", "$5 false"),
        ("_", "tostring(r)", "$3 nil"),
        ("*2\\r\\n:1\\r\\n$1\\r\\nx", "r[2]", "$1 x"),
        ("%1\\r\\n+a\\r\\n:1", "type(r.map)", "$5 table"),
        ("%1\\r\\n$1\\r\\na\\r\\n:1", "r.map.a", ":1"),
        ("~1\\r\\n$1\\r\\na", "r.set.a", ":1"),
        (",3.5", "tostring(r.double)", "$3 3.5"),
        ("#t", "tostring(r)", "$4 true"),
        ("(123", "r.big_number", "$3 123"),
        ("=7\\r\\ntxt:foo", "r.verbatim_string.string..r.verbatim_string.format", "$6 footxt"),
        ("|1\\r\\n+a\\r\\n:1\\r\\n:5", "r", ":5"),
    ] {
        let text = format!("local r = redis.call('raw', '{reply}\\r\\n') return {check}");
        assert_eq!(run(&text), told, "{reply}");
    }
    assert_eq!(run("return redis.call('proto')"), ":2");
    assert_eq!(run("redis.setresp(3) return redis.call('proto')"), ":3");
    assert_eq!(run("return redis.call('echo', 0.1)"), "$3 0.1");
    assert_eq!(run("return redis.call('echo', 9007199254740991)"), "$16 9007199254740991");
}

#[test]
fn errors_say_where() {
    assert_eq!(
        run("return redis.call(\"nosuch\")"),
        "-ERR no such thing script: 2218effcac8108416909801acfb39c080a85adfa, on @user_script:1."
    );
    assert_eq!(
        run("error(\"x\")"),
        "-ERR user_script:1: x script: ada89932db851ca262f39d814ce59006e53278cc, on @user_script:1."
    );
    for (text, told) in [
        ("error({err='My error'})", "My error"),
        ("error()", "ERR nil"),
        ("error({})", "ERR unknown error"),
        ("return redis.call()", "ERR Please specify at least one argument for this redis lib call"),
        (
            "return redis.call({})",
            "ERR Lua redis lib command arguments must be strings or integers",
        ),
        ("local function f() return f() + 1 end return f()", "ERR user_script:1: stack overflow"),
        ("return redis.setresp(4)", "ERR RESP version must be 2 or 3."),
        ("return redis.sha1hex()", "ERR wrong number of arguments"),
        ("return redis.log(1)", "ERR redis.log() requires two arguments or more."),
        (
            "return cjson.decode('x')",
            "ERR user_script:1: Expected value but found invalid token at character 1",
        ),
        (
            "for k in pairs('x') do end",
            "ERR user_script:1: bad argument #1 to 'pairs' (table expected, got string)",
        ),
        (
            "return redis.acl_check_cmd('nosuch')",
            "ERR Invalid command passed to redis.acl_check_cmd()",
        ),
        (
            "return (",
            "ERR Error compiling script (new function): user_script:1: unexpected symbol near '<eof>'",
        ),
    ] {
        assert_eq!(error(text), told, "{text}");
    }
    assert_eq!(run("return redis.pcall('nosuch').err"), "$17 ERR no such thing");
    assert_eq!(
        run("local ok, e = pcall(redis.call, 'nosuch') return {ok, e}"),
        "*2 $-1 $17 ERR no such thing"
    );
    assert_eq!(
        run("local ok, e = pcall(function() error('x') end) return e"),
        "$16 user_script:1: x"
    );
    assert_eq!(run("return redis.error_reply('x')"), "-ERR x");
    assert_eq!(run("return redis.error_reply('-FOO y')"), "-FOO y");
    assert_eq!(run("return redis.error_reply('X\\r\\n+Y')"), "-ERR X  +Y");
    assert_eq!(run("return redis.error_reply()"), "-ERR wrong number or type of arguments");
    assert_eq!(run("return redis.status_reply('FINE')"), "+FINE");
}

#[test]
fn what_is_shared_cannot_be_changed() {
    for text in [
        "x = 1",
        "KEYS = 1",
        "_G = {}",
        "redis = 1",
        "redis.call = 1",
        "string.foo = 1",
        "cjson.encode = nil",
        "rawset(_G, 'x', 1)",
        "rawset(redis, 'x', 1)",
        "setmetatable(_G, {})",
        "setmetatable(string, {})",
        "getmetatable(_G).__index = {}",
        "getmetatable(_G).x = {}",
        "getmetatable('').__index = nil",
        "getmetatable('').__index.rep = nil",
        "table.insert(string, 1)",
        "table.insert(_G, 1, 2)",
        "getmetatable(_G).__index()",
    ] {
        assert!(error(text).ends_with(READONLY), "{text}: {}", error(text));
    }
    for name in [
        "getfenv", "setfenv", "newproxy", "print", "dofile", "loadfile", "require", "module", "io",
        "package", "debug",
    ] {
        let told = error(&format!("return {name}"));
        assert!(told.contains("nonexistent global variable"), "{name}: {told}");
    }
    assert_eq!(run("return tostring(getmetatable(redis))"), "$3 nil");
    // What is dumped is never loaded.
    let dumped = error("return loadstring(string.dump(function() return 1 end))()");
    assert!(dumped.contains("attempt to call a nil value"), "{dumped}");
    // Copies may be changed, to no effect.
    let mut vm = vm();
    let mut host = Fake::default();
    let text = "local f, t = pairs(string) t.len = nil string.sub('a', 1) return #('abc'):rep(2)";
    assert_eq!(run_on(&mut vm, &mut host, text, false), ":6");
    assert_eq!(run_on(&mut vm, &mut host, "return string.len('abc')", false), ":3");
    assert_eq!(run_on(&mut vm, &mut host, "return rawget(_G, 'x') == nil", false), ":1");
    assert_eq!(run_on(&mut vm, &mut host, "return rawget(string, 'len')('ab')", false), ":2");
    assert_eq!(
        run_on(
            &mut vm,
            &mut host,
            "local n = 0 for k in pairs(_G) do n = n + 1 end return n > 25",
            false
        ),
        ":1"
    );
}

#[test]
fn no_bytecode() {
    let text = "return {loadstring('\\27Lua')}";
    assert_eq!(run(text), "*0");
    assert_eq!(run("return loadstring('return 5')()"), ":5");
    assert_eq!(
        run("return select(2, loadstring('return ('))"),
        "$53 [string \"return (\"]:1: unexpected symbol near '<eof>'"
    );
    assert_eq!(
        run("local n = 0 return load(function() n = n + 1 return ({'return ', '6'})[n] end)()"),
        ":6"
    );
    assert_eq!(run("return load(function() return nil end) ~= nil"), ":1");
    assert!(error("loadstring('x = 1')()").ends_with(READONLY));
}

#[test]
fn the_end_cannot_be_caught() {
    for text in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "while true do pcall(coroutine.wrap(function() while true do end end)) end",
        "local function f() while true do pcall(f) end end f()",
        "local s = 'x' while true do pcall(function() s = s .. s end) end",
        "local s = 'x' while true do xpcall(function() s = s .. s end, function() end) end",
        "local s = string.rep('x', 1e7) while true do local t = s .. 'y' end",
        "local s = string.rep('x', 1e7) while true do string.reverse(s) end",
        "local s = string.rep('x', 1e7) coroutine.wrap(function() while true do local t = s .. 'y' end end)()",
        "string.gsub(string.rep('a', 1000), '.', function() while true do end end)",
        "table.sort({3, 2, 1}, function() while true do end end)",
        "local t = setmetatable({}, {__index = function() while true do end end}) return t.x",
        "return string.find(string.rep('a', 100000), string.rep('a*', 20) .. 'b')",
        "for i = 1, 1e9 do string.find(string.rep('a', 10000), 'a-a-a-a-b') end",
        "return pcall(string.find, string.rep('a', 100000), string.rep('a*', 20) .. 'b')",
        "load(function() while true do end end)",
        "cjson.encode_sparse_array(false, 0, 0) local t = {[1] = 1, [1e9] = 1} return cjson.encode(t)",
        "for w in string.gmatch(string.rep('a', 100000), string.rep('a*', 20) .. 'b') do end",
        "string.gsub(string.rep('a', 100000), string.rep('a*', 20) .. 'b', 'x')",
    ] {
        let mut host = Fake { most_ticks: Some(300), ..Fake::default() };
        let started = std::time::Instant::now();
        assert_eq!(run_on(&mut vm(), &mut host, text, false), "stopped", "{text}");
        // A few hundred ticks are well below a second, but on a machine that has other work.
        assert!(started.elapsed().as_secs() < 60, "{text}");
    }
    let mut host = Fake { stops_calls: true, ..Fake::default() };
    let text = "while true do redis.pcall('get') pcall(redis.call, 'get') end";
    assert_eq!(run_on(&mut vm(), &mut host, text, false), "stopped");
    // The VM is as good as before.
    let mut vm = vm();
    assert_eq!(run_on(&mut vm, &mut host, text, false), "stopped");
    assert_eq!(run_on(&mut vm, &mut Fake::default(), "return 1", false), ":1");
}

#[test]
fn memory_is_limited() {
    let mut vm = vm();
    let mut host = Fake::default();
    for text in [
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 1e9 do t[i] = {i} end",
        "return string.rep('x', 1e9)",
        "return string.rep('x', 1e8)",
        "local s = string.rep('x', 1e6) return string.gsub(s, '.', s)",
        "local t = {} for i = 1, 100 do t[i] = string.rep('x', 1e6) end return table.concat(t)",
    ] {
        let told = run_on(&mut vm, &mut host, text, false);
        assert!(
            told.starts_with("-ERR") && (told.contains("memory") || told.contains("too large")),
            "{text}: {told:.200}"
        );
    }
    assert_eq!(run_on(&mut vm, &mut host, "return 1", false), ":1");
    assert!(vm.memory() < 32 << 20, "{}", vm.memory());
}

#[test]
fn work_in_one_call_is_bounded() {
    let started = std::time::Instant::now();
    for (text, told) in [
        ("return string.rep('', 1e15)", "$0"),
        ("return #table.concat({}, 'x')", ":0"),
        ("return string.find(string.rep('a', 1e6), string.rep('a', 5e5) .. 'b', 1, true)", "$-1"),
        ("return select('#', unpack({}, 1, 5))", ":5"),
        ("return select('#', unpack({}, -2147483648, -2147483646))", ":3"),
        ("return collectgarbage('stop')", ":0"),
        ("return cjson.encode_max_depth(1000000)", ":1000000"),
    ] {
        assert_eq!(run(text), told, "{text}");
    }
    for (text, told) in [
        ("return unpack({}, 1, 1e9)", "too many results to unpack"),
        ("return {unpack({1,2,3}, -2, 2147483647)}", "too many results to unpack"),
        ("table.insert({}, -1e9, 1)", "position out of bounds"),
        ("return string.find('a', string.rep('(', 40))", "too many captures"),
        ("return string.find(string.rep('a', 1e6), string.rep('a?', 1e5))", "pattern too complex"),
        (
            "cjson.encode_max_depth(1e9) local t = {} for i = 1, 1e5 do t = {t} end cjson.encode(t)",
            "excessive depth",
        ),
        (
            "cjson.decode_max_depth(1e9) cjson.decode(string.rep('[', 1e5))",
            "too many nested data structures",
        ),
        ("cmsgpack.unpack(string.rep('\\145', 1e5))", "Bad data format"),
        ("cmsgpack.unpack('\\221\\255\\255\\255\\255')", "Missing bytes"),
        ("struct.unpack('c2147483647', 'x')", "data string too short"),
        ("return struct.pack('i99999999999', 1)", "integral size"),
        ("local a = {} a[1] = a a[2] = a return a", "too large"),
    ] {
        let reply = run(text);
        assert!(reply.starts_with('-') && reply.contains(told), "{text}: {reply:.300}");
    }
    let reply = run("local a = {} local b = {a} a[1] = b return a");
    assert!(reply.starts_with("*1 *1") && reply.ends_with("-ERR reached lua stack limit"));
    assert!(started.elapsed().as_secs() < 60);
}

#[test]
fn recursion_is_bounded() {
    for text in [
        "local function f() return pcall(f) end return f()",
        "local function f() return 1, pcall(f) end return select('#', f())",
        "local function f() return xpcall(f, function() end) end return f()",
        "local function f() return pcall(pcall, f) end return f()",
        "local function f() return coroutine.resume(coroutine.create(f)) end return f()",
        "return pcall(unpack, {}, 1, 7990)",
        "local function f() return unpack({}, 1, 7000) end return pcall(f)",
        "return pcall(pcall, pcall, pcall, unpack, {}, 1, 7990)",
        "return string.find(string.rep('a', 40), string.rep('(a)', 32))",
        "return string.gsub(string.rep('a', 40), string.rep('(a)', 32), function(...) return ... end)",
        "return struct.unpack(string.rep('b', 7000), string.rep('x', 7000))",
        "return cmsgpack.unpack(string.rep('x', 20000))",
        "return redis.call(unpack({}, 1, 7990))",
        "local t = {} for i = 1, 7990 do t[i] = 'x' end return redis.pcall(unpack(t))",
    ] {
        // Any answer will do, as long as there is one.
        let told = run(text);
        assert!(!told.is_empty(), "{text}");
    }
}

#[test]
fn strings_are_luas() {
    for (text, told) in [
        ("return {string.find('hello', 'l')}", "*2 :3 :3"),
        ("return {string.find('hello', '(l)(l)')}", "*4 :3 :4 $1 l $1 l"),
        ("return {string.find('hello', 'xyz')}", "*0"),
        ("return {string.find('a.b', '.', 1, true)}", "*2 :2 :2"),
        ("return {string.find('abc', 'b', -1)}", "*0"),
        ("return {('key=val'):match('(%w+)=(%w+)')}", "*2 $3 key $3 val"),
        ("return {string.match('abc', '()b()')}", "*2 :2 :3"),
        ("return {string.gsub('hello world', 'o', '0')}", "*2 $11 hell0 w0rld :2"),
        ("return {string.gsub('hello', '', '-')}", "*2 $11 -h-e-l-l-o- :6"),
        ("return {string.gsub('abc', '%w', '%0%0')}", "*2 $6 aabbcc :3"),
        ("return {string.gsub('abc', '%w', '%%%1')}", "*2 $6 %a%b%c :3"),
        ("return {string.gsub('abc abc', 'b', 'x', 1)}", "*2 $7 axc abc :1"),
        ("return {string.gsub('$name is', '%$(%w+)', {name='joe'})}", "*2 $6 joe is :1"),
        (
            "return {string.gsub('abc', '.', function(c) return c:upper() .. '.' end)}",
            "*2 $6 A.B.C. :3",
        ),
        ("return {string.gsub('abc', '.', function(c) end)}", "*2 $3 abc :3"),
        ("return {string.gsub('abc', '^a', 'x')}", "*2 $3 xbc :1"),
        ("return {string.gsub('aaa', '^a', function() return 'x' end)}", "*2 $3 xaa :1"),
        (
            "return {string.gsub('abc', 'b*', function(m) return '<' .. m .. '>' end)}",
            "*2 $11 <>a<b><>c<> :4",
        ),
        (
            "local t = {} for w in ('one two'):gmatch('%a+') do t[#t+1] = w end return t",
            "*2 $3 one $3 two",
        ),
        (
            "local t = {} for k, v in ('a=1,b=2'):gmatch('(%w)=(%w)') do t[#t+1] = k .. v end return t",
            "*2 $2 a1 $2 b2",
        ),
        (
            "return string.format('%5.2f|%d|%s|%q', 3.14159, 42, 'x', 'a\"b')",
            "$17  3.14|42|x|\"a\\\"b\"",
        ),
        ("local t = {3, 1, 2} table.sort(t) return t", "*3 :1 :2 :3"),
        ("local t = {'b', 'c', 'a'} table.sort(t) return t", "*3 $1 a $1 b $1 c"),
        (
            "local t = {3, 1, 2, 5, 4} table.sort(t, function(a, b) return a > b end) return t",
            "*5 :5 :4 :3 :2 :1",
        ),
        ("local t = {1, 2} table.insert(t, 3) table.insert(t, 1, 0) return t", "*4 :0 :1 :2 :3"),
        ("local t = {1, 2, 3} return {table.remove(t), table.remove(t, 1), #t}", "*3 :3 :1 :1"),
        (
            "local co = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end) return {co(1), co(10)}",
            "*2 :2 :20",
        ),
        (
            "math.randomseed(10) local a = math.random() math.randomseed(10) return a == math.random()",
            ":1",
        ),
        ("local n = math.random(5) return n >= 1 and n <= 5", ":1"),
        ("return tostring(os.clock() >= 0)", "$4 true"),
        ("return redis.sha1hex('')", "$40 da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        (
            "return {redis.REDIS_VERSION, redis.REDIS_VERSION_NUM, redis.LOG_WARNING}",
            "*3 $5 7.2.4 :459268 :3",
        ),
        ("return tostring(cjson.null)", "$15 userdata: (nil)"),
    ] {
        assert_eq!(run(text), told, "{text}");
    }
    let bad = error("table.sort({1, 'x'})");
    assert!(bad.contains("attempt to compare"), "{bad}");
}

#[test]
fn json() {
    for (text, told) in [
        ("return cjson.encode({1,2,nil,4,[10]=5})", "$43 [1,2,null,4,null,null,null,null,null,5]"),
        ("return cjson.encode({})", "$2 {}"),
        ("return cjson.encode({a={true,false,cjson.null}})", "$25 {\"a\":[true,false,null]}"),
        ("return cjson.encode('a/\"\\n\\1')", "$14 \"a\\/\\\"\\n\\u0001\""),
        (
            "return cjson.encode({0.1, 1e15, 123456789012345})",
            "$29 [0.1,1e+15,1.2345678901234e+14]",
        ),
        ("cjson.encode_number_precision(3) return cjson.encode(3.14159)", "$4 3.14"),
        (
            "return table.concat(cjson.decode('[0.0, -5e3, -1, 0.3e-3, 1023.2, 0e10]'), ' ')",
            "$25 0 -5000 -1 0.0003 1023.2 0",
        ),
        ("return cjson.decode('{\"a\":{\"b\":\"\\\\u00e9\\\\ud83d\\\\ude00\"}}').a.b", "$6 é😀"),
        ("return tostring(cjson.decode('null') == cjson.null)", "$4 true"),
        ("cjson.encode_sparse_array(true) return cjson.encode({[1000]=1})", "$10 {\"1000\":1}"),
        ("cjson.encode_invalid_numbers(true) return cjson.encode(1/0)", "$3 inf"),
        ("cjson.encode_invalid_numbers('null') return cjson.encode(0/0)", "$4 null"),
        ("return cjson.encode_keep_buffer(false)", "$-1"),
        ("return {cjson.decode_max_depth(), cjson.encode_max_depth(5)}", "*2 :1000 :5"),
        ("return cjson.new().encode({1})", "$3 [1]"),
        ("return tostring(cjson.decode('0x10'))", "$2 16"),
    ] {
        let told = told.split_once(' ').map_or(told, |(_, t)| t);
        let reply = run(text);
        let reply = reply.split_once(' ').map_or(reply.as_str(), |(_, t)| t);
        assert_eq!(reply, told, "{text}");
    }
    for (text, told) in [
        ("cjson.encode({[1000]=1})", "Cannot serialise table: excessively sparse array"),
        ("cjson.encode(0/0)", "Cannot serialise number: must not be NaN or Inf"),
        (
            "cjson.encode({[false]=1})",
            "Cannot serialise boolean: table key must be a number or string",
        ),
        ("cjson.encode(function() end)", "Cannot serialise function: type not supported"),
        ("cjson.encode_max_depth(1) cjson.encode({{}})", "Cannot serialise, excessive depth (2)"),
        ("cjson.decode('[1,')", "Expected value but found T_END at character 4"),
        ("cjson.decode('{\"a\" 1}')", "Expected colon but found T_NUMBER at character 6"),
        ("cjson.decode('[1] x')", "Expected the end but found invalid token at character 5"),
        (
            "cjson.decode_invalid_numbers(false) cjson.decode('nan')",
            "Expected value but found invalid number at character 1",
        ),
        ("cjson.encode_number_precision(15)", "expected integer between 1 and 14"),
    ] {
        assert!(error(text).contains(told), "{text}: {}", error(text));
    }
}

#[test]
fn bits_structs_and_messages() {
    const HEX: &str = "local function h(s) return (s:gsub('.', function(c) return string.format('%02x', c:byte()) end)) end ";
    for (text, told) in [
        ("return bit.tohex(65535, -2147483648)", "$8 0000FFFF"),
        (
            "return {bit.tohex(255), bit.tohex(255, 4), bit.tohex(255, -2)}",
            "*3 $8 000000ff $4 00ff $2 FF",
        ),
        (
            "return {bit.band(0xff, 15), bit.bor(1, 2, 4), bit.bxor(1, 3), bit.bnot(0)}",
            "*4 :15 :7 :2 :-1",
        ),
        (
            "return {bit.lshift(1, 31), bit.rshift(-1, 28), bit.arshift(-16, 2), bit.rol(0x80000000, 1), bit.ror(1, 1)}",
            "*5 :-2147483648 :15 :-4 :1 :-2147483648",
        ),
        (
            "return {bit.bswap(1), bit.tobit(0xffffffff), bit.tobit(1e10)}",
            "*3 :16777216 :-1 :1410065408",
        ),
        ("return h(struct.pack('>I2i4', 258, -2))", "$12 0102fffffffe"),
        ("return h(struct.pack('<!4BI4', 1, 2))", "$16 0100000002000000"),
        ("return h(struct.pack('s', 'ab') .. struct.pack('c3', 'xyz'))", "$12 61620078797a"),
        ("return {struct.unpack('>I2i4', struct.pack('>I2i4', 258, -2))}", "*3 :258 :-2 :7"),
        ("return {struct.unpack('s', 'ab\\0c')}", "*2 $2 ab :4"),
        ("return {struct.unpack('Bc0', '\\3abcd')}", "*2 $3 abc :5"),
        ("return {tostring(struct.unpack('d', struct.pack('d', 0.5)))}", "*1 $3 0.5"),
        ("return struct.size('>BI4!8d')", ":16"),
        ("return h(cmsgpack.pack(0.1))", "$18 cb3fb999999999999a"),
        ("return h(cmsgpack.pack(-1099511627776))", "$18 d3ffffff0000000000"),
        ("return h(cmsgpack.pack({1, 2, {a = true}}))", "$14 93010281a161c3"),
        (
            "return h(cmsgpack.pack('x', nil, 0.5, -1, 200, 70000))",
            "$38 a178c0ca3f000000ffccc8ce00011170",
        ),
        ("return cmsgpack.unpack(cmsgpack.pack({'a', 'b'}))", "*2 $1 a $1 b"),
        ("return {cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3))}", "*2 :1 :1"),
        ("return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 2, 1)}", "*3 :-1 :2 :3"),
        ("local a = {x=nil,y=5} local b = {x=a} a.x = b return #cmsgpack.pack(a)", ":73"),
    ] {
        let reply = run(&format!("{HEX}{text}"));
        // Lengths are not the point.
        let strip =
            |t: &str| t.split(' ').filter(|w| !w.starts_with('$')).collect::<Vec<_>>().join(" ");
        assert_eq!(strip(&reply), strip(told), "{text}");
    }
}

#[test]
fn libraries() {
    let mut vm = vm();
    let mut host = Fake::default();
    let code = b"#!lua name=lib\nlocal n = 1\nlocal function add(a) return a + n end\n\
        redis.register_function('f1', function(keys, args) return {add(1), #keys, args[1]} end)\n\
        redis.register_function{function_name='f2', callback=function() return redis.call('nosuch') end, \
        flags={'no-writes', 'allow-oom'}, description='what it does'}\n\
        redis.register_function('f3', function() return KEYS end)\n\
        redis.register_function('f4', function() return redis.register_function end)\n\
        local lib = redis\n\
        redis.register_function('f5', function() lib.register_function('x', function() end) end)\n\
        redis.register_function('f6', function() lib.redis = redis end)";
    let library = vm.load(&mut host, code).unwrap();
    assert_eq!(library.name, b"lib");
    assert_eq!(library.functions.len(), 6);
    assert_eq!(library.functions[1].description.as_deref(), Some(&b"what it does"[..]));
    assert!(library.functions[1].flags.has(crate::Flags::NO_WRITES));
    let mut other = Vm::new("7.2.4", 64 << 20).unwrap();
    for vm in [&mut vm, &mut other] {
        for (name, told) in [
            ("F1", "*3 :2 :1 $1 a"),
            ("f2", "-ERR no such thing script: f2, on @user_function:5."),
            (
                "f3",
                "-ERR user_function:6: Script attempted to access nonexistent global variable 'KEYS' script: f3, on @user_function:6.",
            ),
            ("f4", "$-1"),
            (
                "f5",
                "-ERR redis.register_function can only be called on FUNCTION LOAD command script: f5, on @user_function:9.",
            ),
            (
                "f6",
                "-ERR user_function:10: Attempt to modify a readonly table script: f6, on @user_function:10.",
            ),
            ("nosuch", "-ERR Function not found"),
        ] {
            let mut out = Vec::new();
            vm.call(&mut host, &library, name.as_bytes(), &[b"k", b"a"], 1, false, 1, &mut out);
            assert_eq!(String::from_utf8_lossy(&out).replace("\r\n", " ").trim_end(), told);
        }
    }
    for (code, told) in [
        ("#!lua name=x\nreturn 1", "No functions registered"),
        (
            "#!lua name=x\nmath.random()",
            "Error registering functions: ERR user_function:2: Script attempted to access nonexistent global variable 'math'",
        ),
        (
            "#!lua name=x\nredis.call('ping')",
            "Error registering functions: ERR user_function:2: Script attempted to access nonexistent global variable 'call'",
        ),
        (
            "#!lua name=x\na = 1",
            "Error registering functions: ERR user_function:2: Attempt to modify a readonly table",
        ),
        (
            "#!lua name=x\nx(",
            "Error compiling function: user_function:2: unexpected symbol near '<eof>'",
        ),
        (
            "#!lua name=x\nredis.register_function()",
            "Error registering functions: ERR wrong number of arguments to redis.register_function",
        ),
        (
            "#!lua name=x\nredis.register_function('f', 1)",
            "Error registering functions: ERR second argument to redis.register_function must be a function",
        ),
        (
            "#!lua name=x\nredis.register_function{function_name='f', flags={'nosuch'}, callback=function() end}",
            "Error registering functions: ERR unknown flag given",
        ),
    ] {
        assert_eq!(vm.load(&mut host, code.as_bytes()).unwrap_err().0, told.as_bytes());
    }
    let mut impatient = Fake { most_ticks: Some(10), ..Fake::default() };
    let endless = vm.load(&mut impatient, b"#!lua name=x\nwhile true do end").unwrap_err();
    assert!(String::from_utf8_lossy(&endless.0).contains("FUNCTION LOAD timeout"));
    let sneaky =
        b"#!lua name=x\nredis.register_function('f', function() end)\nlocal mt = getmetatable(_G)";
    assert!(vm.load(&mut host, sneaky).is_err());
}

#[test]
fn logs_and_permissions() {
    let mut host = Fake::default();
    let text = "redis.log(redis.LOG_WARNING, 'a', 1, 'b') return redis.acl_check_cmd('get', 'x')";
    assert_eq!(run_on(&mut vm(), &mut host, text, false), ":1");
    assert_eq!(host.logged, [(3, b"a 1 b".to_vec())]);
}

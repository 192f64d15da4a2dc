//! Scripts that want out, or want all: each is answered or can be killed, and meanwhile others are served.
//!
//! What each of them answers is the matter of the script room's own tests. Here the server stands whole: it
//! may neither end, nor keep others waiting, nor be left with less than it had.

use std::time::{Duration, Instant};

use forgekv_compat_tests::Result;
use forgekv_compat_tests::client::Client;
use forgekv_compat_tests::server::{Server, Start};
use forgekv_compat_tests::text::render;

/// A script that is not answered by then is killed.
const PATIENCE: Duration = Duration::from_millis(400);
/// Others are answered in this time.
const SOON: Duration = Duration::from_secs(2);
/// From a kill to the end.
const END: Duration = Duration::from_secs(10);

const ATTACKS: &[&str] = &[
    r#"return string.dump(function() end)"#,
    r#"return loadstring('\27Lua')"#,
    r#"getmetatable('').__index = function() return 1 end return 1"#,
    r#"local m=getmetatable('') m.__add=function() return 1 end return ('a'+'b')"#,
    r#"string.rep = nil return 1"#,
    r#"x=1 return x"#,
    r#"rawset(_G,'x',1) return x"#,
    r#"setmetatable(_G,{}) x=1 return x"#,
    r#"local m=getmetatable(_G) m.__newindex=nil x=1 return x"#,
    r#"return os.execute('ls')"#,
    r#"return io.open('/etc/passwd')"#,
    r#"return package.loaded"#,
    r#"return debug.getinfo(1)"#,
    r#"return require('os')"#,
    r#"return dofile('/etc/passwd')"#,
    r#"return loadfile('/etc/passwd')"#,
    r#"return module('x')"#,
    r#"return tostring(newproxy(true))"#,
    r#"return type(getfenv(0))"#,
    r#"setfenv(1,{}) return 1"#,
    r#"setfenv(0,{}) return 1"#,
    r#"collectgarbage('stop') return 1"#,
    r#"print('x') return 1"#,
    r#"rawset(redis,'call',1) return 1"#,
    r#"rawset(string,'rep',1) return 1"#,
    r#"table.insert(string,1) return 1"#,
    r#"local t={} for i=1,10000 do t[i]=i end table.sort(t,function() return true end) return 1"#,
    r#"table.sort(string) return 1"#,
    r#"local t={} for i=1,100000 do t={t} end return cjson.encode(t)"#,
    r#"local t={} t[1]=t return cjson.encode(t)"#,
    r#"return cjson.decode(string.rep('[',100000))"#,
    r#"cjson.decode_max_depth(1000000000) return cjson.decode(string.rep('[',1000000)..string.rep(']',1000000))"#,
    r#"local t={} for i=1,100000 do t={t} end return #cmsgpack.pack(t)"#,
    r#"local t={} t[1]=t return #cmsgpack.pack(t)"#,
    r#"return cmsgpack.unpack(string.rep('\145',1000000)..'\1')"#,
    r#"return cmsgpack.unpack('\221\255\255\255\255')"#,
    r#"return cmsgpack.unpack('\223\255\255\255\255')"#,
    r#"return #struct.pack('c2000000000','x')"#,
    r#"return struct.pack('i100','1')"#,
    r#"return struct.unpack('i4','abcd',-100)"#,
    r#"return struct.unpack('c0','abcd')"#,
    r#"return struct.pack(string.rep('i8',100000),1)"#,
    r#"local function f() return 1+f() end return f()"#,
    r#"local function f() return pcall(f) end return f()"#,
    r#"local function f() local a,b=pcall(f) return a end return f()"#,
    r#"local t=setmetatable({},{}) getmetatable(t).__tostring=function() return tostring(t) end return tostring(t)"#,
    r#"local t=setmetatable({},{}) getmetatable(t).__index=function(s,k) return s[k] end return t.x"#,
    r#"local t={} for i=1,100000 do t=setmetatable({},{__index=t}) end return t.x"#,
    r#"local function f(s) return (string.gsub('a','a',f)) end return f('a')"#,
    r#"local function f(a,b) table.sort({3,2,1},f) return a<b end table.sort({3,2,1},f)"#,
    r#"local function f() return coroutine.wrap(f)() end return f()"#,
    r#"return loadstring(string.rep('(',100000)..'1'..string.rep(')',100000))"#,
    r#"return loadstring('return '..string.rep('{',100000)..string.rep('}',100000))"#,
    r#"return loadstring(string.rep('do ',100000)..string.rep(' end',100000))"#,
    r#"return loadstring('return '..string.rep('-',1000000)..'1')"#,
    r#"return loadstring('local x='..string.rep('a..',100000)..'a')"#,
    r#"return string.match(string.rep('a',1000000),string.rep('(a',32)..string.rep(')',32))"#,
    r#"return string.match(string.rep('a',40),string.rep('a-',20)..'b')"#,
    r#"return string.find(string.rep('a',100000),string.rep('.-',10)..'b')"#,
    r#"return string.find(string.rep('(',1000000),'%b()')"#,
    r#"return #string.gsub(string.rep('a',1000000),'a*','%0%0%0')"#,
    r#"return string.match(string.rep('x',300000),string.rep('x?',300000))"#,
    r#"local n=0 for w in string.gmatch(string.rep('a',1000000),'.-b') do n=n+1 end return n"#,
    r#"return #string.rep('x',1e10)"#,
    r#"return #string.rep('x',2^62)"#,
    r#"local s='x' while true do s=s..s end"#,
    r#"local s='x' while true do pcall(function() s=s..s end) end"#,
    r#"local t={} while true do t[#t+1]={} end"#,
    r#"local t={} for i=1,1e9 do t[i]=i end"#,
    r#"local t={} while true do pcall(function() t[#t+1]=string.rep('x',1e6) end) end"#,
    r#"return #string.format('%99999999d',1)"#,
    r#"return string.format('%s',setmetatable({},{__tostring=function() return 1 end}))"#,
    r#"local t={} for i=1,100 do t[i]=string.rep('x',1e7) end return #table.concat(t)"#,
    r#"return unpack({},1,1e9)"#,
    r#"return unpack({},-2147483648,2147483647)"#,
    r#"return select(-1e9,1)"#,
    r#"while true do end"#,
    r#"while true do pcall(function() while true do end end) end"#,
    r#"coroutine.wrap(function() while true do end end)()"#,
    r#"while true do coroutine.wrap(function() error() end) end"#,
    r#"local t=setmetatable({},{__index=function() while true do end end}) return t.x"#,
    r#"local p=setmetatable({},{__gc=function() while true do end end}) p=nil return 1"#,
    r#"table.sort({1,2,3},function() while true do end end)"#,
    r#"string.gsub('a','a',function() while true do end end)"#,
    r#"xpcall(function() error('x') end,function() while true do end end)"#,
    r#"local t=setmetatable({},{__concat=function() while true do end end}) return t..'x'"#,
    r#"while true do redis.pcall('PING') end"#,
    r#"error()"#,
    r#"error({})"#,
    r#"error('a\r\n+OK')"#,
    r#"return {err='a\r\n+OK\r\n'}"#,
    r#"return {ok='a\r\n:1\r\n'}"#,
    r#"return {double='x'}"#,
    r#"return {map=1}"#,
    r#"return {big_number='1\r\n+OK'}"#,
    r#"return {verbatim_string={format='x\r\n',string='y'}}"#,
    r#"return redis.call()"#,
    r#"return redis.call({})"#,
    r#"return redis.call(unpack((function() local t={} for i=1,7900 do t[i]='a' end return t end)()))"#,
    r#"return redis.call('SET\0','a','b')"#,
    r#"redis.setresp(4)"#,
    r#"return redis.sha1hex()"#,
    r#"coroutine.yield(1) return 1"#,
    r#"local c=coroutine.create(function() coroutine.yield(redis.call('PING')) end) coroutine.resume(c) return tostring(coroutine.resume(c))"#,
    r#"local t={} for i=1,1e6 do t[i]=coroutine.create(function() end) end return #t"#,
    r#"local c c=coroutine.create(function() return coroutine.resume(c) end) local a,b,d=coroutine.resume(c) return tostring(d)"#,
    r#"cjson.encode_sparse_array(true) cjson.encode_max_depth(100000) local t={} for i=1,50000 do t={t} end return #cjson.encode(t)"#,
    r#"local t={} t[1]=1 t[2^31]=1 return #cjson.encode(t)"#,
    r#"cjson.encode_sparse_array(false,0,0) local t={} t[1]=1 t[1e9]=1 return #cjson.encode(t)"#,
    r#"cjson.encode=nil return 1"#,
    r#"return math.random(1,2^60)"#,
    r#"return next({},'x')"#,
    r#"return string.gsub('a','(a)','%9')"#,
    r#"return string.find('a','a',-2^62)"#,
    r#"return string.sub('abc',-2^62,2^62)"#,
    r#"return string.char(unpack((function() local t={} for i=1,7900 do t[i]=65 end return t end)()))"#,
];

#[test]
fn no_script_harms_the_server() -> Result<()> {
    let mut server = Start::forgekv()?.run()?;
    let mut failed = Vec::new();
    for attack in ATTACKS {
        if let Err(why) = one(&mut server, attack) {
            failed.push(format!("{attack}: {why}"));
            server = Start::forgekv()?.run()?;
        }
    }
    println!(
        "RESULT fence passed={} failed={} skipped=0",
        ATTACKS.len() - failed.len(),
        failed.len()
    );
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n").into()) }
}

fn one(server: &mut Server, attack: &str) -> Result<()> {
    let mut attacker = server.connect()?;
    attacker.send(&["EVAL", attack, "0"])?;
    attacker.set_patience(PATIENCE)?;
    let is_answered = attacker.read().is_ok();
    let mut other = server.connect()?;
    other.set_patience(SOON)?;
    if !is_answered {
        other.call(&["ECHO", "x"]).map_err(|e| format!("others wait: {e}"))?;
        kill(&mut attacker, &mut other)?;
    }
    if !server.is_alive() {
        return Err(format!("the server is gone:\n{}", server.printed()).into());
    }
    // Nothing that a script does stays behind for the next.
    let whole =
        "return {type(string.rep), type(redis.call), ('x'):rep(3), tostring(rawequal(_G, _G))}";
    let told = render(&other.call(&["EVAL", whole, "0"])?).join(" ");
    let expected = r#"1) "function" 2) "function" 3) "xxx" 4) "true""#;
    if told == expected { Ok(()) } else { Err(format!("afterwards scripts see {told}").into()) }
}

/// Kills the script until it has ended.
fn kill(attacker: &mut Client, other: &mut Client) -> Result<()> {
    attacker.set_patience(Duration::from_millis(100))?;
    let start = Instant::now();
    while start.elapsed() < END {
        // It may just have ended by itself, or not be where it can be killed yet.
        other.call(&["SCRIPT", "KILL"])?;
        if attacker.read().is_ok() {
            return Ok(());
        }
    }
    Err("it does not end".into())
}

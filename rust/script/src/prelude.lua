-- The part of the fence that is written in Lua: whatever calls back into a script, so that the instruction
-- hook sees the work, and the tables that scripts see but cannot change. Runs once per VM, with the stock
-- libraries in the globals and the functions made in Rust as its argument.
local raw = ...

local error, type, next, select, tostring = error, type, next, select, tostring
local setmetatable, getmetatable = setmetatable, getmetatable
local rawget, rawset, rawequal = rawget, rawset, rawequal
local create, resume, yield = coroutine.create, raw.resume, coroutine.yield
local concat, remove = table.concat, table.remove
local sub, byte = string.sub, string.byte
local floor = math.floor
local collect = collectgarbage

local READONLY = "Attempt to modify a readonly table"

-- What scripts hold -> the table behind it.
local behind = {}

local function refuse()
  error(READONLY, 2)
end

-- A table that shows what `real` holds.
local function protect(real)
  local seen = setmetatable({}, { __index = real, __newindex = refuse, __metatable = false })
  behind[seen] = real
  return seen
end

local function bad(n, name, wanted, got)
  error("bad argument #" .. n .. " to '" .. name .. "' (" .. wanted .. " expected, got " ..
    (got == nil and "no value" or type(got)) .. ")", 3)
end

local base = {
  _VERSION = _VERSION, assert = assert, error = error, ipairs = ipairs, next = next,
  rawequal = rawequal, select = select, tonumber = tonumber, tostring = tostring, type = type,
  unpack = raw.unpack, pcall = raw.pcall, xpcall = raw.xpcall,
}

function base.pairs(t)
  local real = behind[t]
  if real then
    local copy = {}
    for k, v in next, real do copy[k] = v end
    return next, copy, nil
  end
  if type(t) ~= "table" then bad(1, "pairs", "table", t) end
  return next, t, nil
end

function base.rawget(t, k)
  return rawget(behind[t] or t, k)
end

function base.rawset(t, k, v)
  if behind[t] then error(READONLY, 0) end
  return rawset(t, k, v)
end

local metaview = protect({ __index = refuse, __newindex = refuse })
local is_globals = {}

function base.getmetatable(t)
  if behind[t] then
    if is_globals[t] then return metaview end
    return nil
  end
  return getmetatable(t)
end

function base.setmetatable(t, meta)
  if behind[t] then error(READONLY, 0) end
  return setmetatable(t, meta)
end

function base.loadstring(text, name)
  if type(text) ~= "string" then
    if type(text) ~= "number" then bad(1, "loadstring", "string", text) end
    text = tostring(text)
  end
  return raw.compile(text, name or text)
end

function base.load(reader, name)
  if type(reader) ~= "function" then bad(1, "load", "function", reader) end
  local pieces = {}
  while true do
    local piece = reader()
    if piece == nil or piece == "" then break end
    if type(piece) ~= "string" then return nil, "reader function must return a string" end
    pieces[#pieces + 1] = piece
  end
  return raw.compile(concat(pieces), name or "=(load)")
end

function base.collectgarbage(what, n)
  what = what or "collect"
  if what == "count" or what == "collect" then return collect(what) end
  if what == "step" then return collect("step", 0) end
  if what == "setpause" or what == "setstepmul" then return 200 end
  if what == "stop" or what == "restart" then return 0 end
  error("bad argument #1 to 'collectgarbage' (invalid option '" .. tostring(what) .. "')", 2)
end

function base.gcinfo()
  return floor(collect("count"))
end

-- Coroutines ------------------------------------------------------------------------------------------

local coroutines = {
  create = create, resume = resume, yield = yield, running = coroutine.running, status = coroutine.status,
}

local function finish(ok, ...)
  if ok then return ... end
  error((...), 0)
end

function coroutines.wrap(f)
  local co = create(f)
  return function(...) return finish(resume(co, ...)) end
end

-- Strings ---------------------------------------------------------------------------------------------

local strings = {
  byte = string.byte, char = string.char, dump = string.dump, format = string.format, len = string.len,
  lower = string.lower, reverse = string.reverse, sub = sub, upper = string.upper,
  find = raw.find, match = raw.match, rep = raw.rep,
}

local step = raw.step

function strings.gmatch(s, pattern)
  if type(s) == "number" then s = tostring(s) end
  if type(pattern) == "number" then pattern = tostring(pattern) end
  if type(s) ~= "string" then bad(1, "gmatch", "string", s) end
  if type(pattern) ~= "string" then bad(2, "gmatch", "string", pattern) end
  local at = 1
  local function go(from, to, ...)
    if not from then
      at = #s + 2
      return nil
    end
    at = to + 1
    if to < from then at = to + 2 end
    return ...
  end
  return function() return go(step(s, pattern, at, false)) end
end
strings.gfind = strings.gmatch

local function replaced(whole, new)
  if not new then return whole end
  if type(new) == "string" then return new end
  if type(new) == "number" then return tostring(new) end
  error("invalid replacement value (a " .. type(new) .. ")", 0)
end

function strings.gsub(s, pattern, with, most)
  if type(s) == "number" then s = tostring(s) end
  if type(pattern) == "number" then pattern = tostring(pattern) end
  if type(s) ~= "string" then bad(1, "gsub", "string", s) end
  if type(pattern) ~= "string" then bad(2, "gsub", "string", pattern) end
  local kind = type(with)
  if kind == "string" or kind == "number" then
    return raw.gsub(s, pattern, tostring(with), most)
  end
  if kind ~= "function" and kind ~= "table" then
    bad(3, "gsub", "string/function/table", with)
  end
  local anchored = byte(pattern, 1) == 94
  local pieces, n, at, copied, count = {}, 0, 1, 1, 0
  most = most or #s + 1
  local function go(from, to, ...)
    if not from then return false end
    count = count + 1
    local whole = sub(s, from, to)
    local new
    if kind == "function" then new = with(...) else new = with[(...)] end
    pieces[n + 1] = sub(s, copied, from - 1)
    pieces[n + 2] = replaced(whole, new)
    n = n + 2
    copied = to + 1
    at = to + 1
    if to < from then at = to + 2 end
    return true
  end
  while count < most and at <= #s + 1 do
    if not go(step(s, pattern, at, anchored)) or anchored then break end
  end
  pieces[n + 1] = sub(s, copied)
  return concat(pieces), count
end

-- Tables ----------------------------------------------------------------------------------------------

local tables = {
  concat = concat, remove = remove, maxn = table.maxn, getn = table.getn,
}

function tables.insert(t, ...)
  if type(t) ~= "table" then bad(1, "insert", "table", t) end
  if behind[t] then error(READONLY, 2) end
  local n = select("#", ...)
  local size = #t
  if n == 1 then
    t[size + 1] = (...)
  elseif n == 2 then
    local at, v = ...
    at = tonumber(at) or bad(2, "insert", "number", at)
    at = floor(at)
    if at > size then size = at - 1 end
    if at < 1 then error("bad argument #2 to 'insert' (position out of bounds)", 2) end
    for i = size, at, -1 do t[i + 1] = t[i] end
    t[at] = v
  else
    error("wrong number of arguments to 'insert'", 2)
  end
end

function tables.foreach(t, f)
  for k, v in base.pairs(t) do
    local r = f(k, v)
    if r ~= nil then return r end
  end
end

function tables.foreachi(t, f)
  for i = 1, #t do
    local r = f(i, t[i])
    if r ~= nil then return r end
  end
end

function tables.setn()
  error("'setn' is obsolete", 2)
end

local function less(a, b)
  return a < b
end

-- Merges of ever longer runs: never more comparisons than n log n, whatever the comparison says.
function tables.sort(t, before)
  if type(t) ~= "table" then bad(1, "sort", "table", t) end
  if before ~= nil and type(before) ~= "function" then bad(2, "sort", "function", before) end
  if before == nil and raw.sort(t) then return end
  before = before or less
  local n = #t
  local from, to = {}, {}
  for i = 1, n do from[i] = t[i] end
  local width = 1
  while width < n do
    local low = 1
    while low <= n do
      local middle = low + width
      local high = middle + width
      if middle > n + 1 then middle = n + 1 end
      if high > n + 1 then high = n + 1 end
      local i, j = low, middle
      for k = low, high - 1 do
        if i < middle and (j >= high or not before(from[j], from[i])) then
          to[k] = from[i]
          i = i + 1
        else
          to[k] = from[j]
          j = j + 1
        end
      end
      low = high
    end
    from, to = to, from
    width = width * 2
  end
  for i = 1, n do t[i] = from[i] end
end

-- Numbers ---------------------------------------------------------------------------------------------

local maths = {}
for k, v in next, math do maths[k] = v end
maths.random, maths.randomseed = raw.random, raw.randomseed

-- What scripts see ------------------------------------------------------------------------------------

-- Strings share a metatable: it leads to what is fenced, and shows itself to nobody.
local strings_seen = protect(strings)
local meta = getmetatable("")
for k in next, meta do meta[k] = nil end
meta.__index = strings_seen
meta.__metatable = protect({ __index = strings_seen })

local function nonexistent(_, name)
  error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end

-- `real` with its absentees refused, and the protected table that is a script's environment.
local function globals(real)
  setmetatable(real, { __index = nonexistent })
  local seen = protect(real)
  is_globals[seen] = true
  return seen, getmetatable
end

local shown = {
  string = strings_seen, table = protect(tables), math = protect(maths), coroutine = protect(coroutines),
  os = protect({ clock = raw.clock }), bit = protect(raw.bit), cjson = protect(raw.cjson),
  cmsgpack = protect(raw.cmsgpack), struct = protect(raw.struct), redis = protect(raw.redis),
}

local script, library = {}, {}
for _, all in next, { base, shown } do
  for k, v in next, all do
    script[k], library[k] = v, v
  end
end

local script_seen = globals(script)
script._G = script_seen

local library_seen = globals(library)
library._G = library_seen

-- What a library sees while it is loaded.
local loading = { redis = protect(setmetatable(raw.loading, { __index = nonexistent })) }
setmetatable(loading, { __index = nonexistent })

-- The environment of libraries looks at one of two tables.
local library_meta = { __newindex = refuse, __metatable = false, __index = library }
local library_env = setmetatable({}, library_meta)
behind[library_env] = library
is_globals[library_env] = true
library._G = library_env

local function set_loading(is_loading)
  local real = is_loading and loading or library
  library_meta.__index = real
  behind[library_env] = real
end

return script_seen, script, library_env, set_loading

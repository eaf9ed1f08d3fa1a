-- The world that scripts see. It runs once in a new interpreter, with `native` (functions of the host) and `state` (what a
-- script that runs may do) as arguments, and returns what the host calls.
--
-- Lua 5.1 has no tables that cannot be changed, so what scripts share is hidden: a script sees an empty table whose
-- metatable reads from the hidden one and refuses to write, and what would go past a metatable (rawset, next, ...) is
-- replaced by functions that know these tables. So nothing of a script is left when it has ended.

local native, state = ...

local type, error, select, tostring, tonumber = type, error, select, tostring, tonumber
local setmetatable, getmetatable, rawset, rawget, rawequal = setmetatable, getmetatable, rawset, rawget, rawequal
local next, pairs, ipairs, pcall, xpcall, unpack = next, pairs, ipairs, pcall, xpcall, unpack
local setfenv, getfenv, loadstring = setfenv, getfenv, loadstring
local insert, remove, sort, concat = table.insert, table.remove, table.sort, table.concat
local byte, sub = string.byte, string.sub
local collect = collectgarbage
local running = coroutine.running

-- Front -> the hidden table behind it. Weak, for those that are made on demand.
local hidden = setmetatable({}, { __mode = 'k' })
-- Hidden table -> its front.
local front = setmetatable({}, { __mode = 'kv' })

local function refuse()
    error('Attempt to modify a readonly table', 2)
end

local function freeze(behind, shared_metatable)
    local made = front[behind]
    if made then return made end
    made = setmetatable({}, shared_metatable or { __index = behind, __newindex = refuse })
    hidden[made], front[behind] = behind, made
    return made
end

local MOST_ARGUMENTS = 2000

local function succeed(is_well, ...)
    if is_well then return ... end
    local source, line = native.where(1)
    -- A tail call has left no trace of its line.
    local place = source and sub(source, 2) or 'user_script'
    return error(place .. ':' .. (line or 1) .. ': ' .. (...), 0)
end

-- Native functions answer `true, values` or `false, message`: errors of the host are raised here, with the place of the
-- script that called.
local function raising(call)
    return function(...)
        -- The host holds every argument at once, and may hold few.
        if select('#', ...) > MOST_ARGUMENTS then error('too many arguments', 2) end
        return succeed(call(...))
    end
end

local function library(functions, extra)
    local made = {}
    for name, call in pairs(functions) do made[name] = raising(call) end
    for name, value in pairs(extra or {}) do made[name] = value end
    return made
end

-- Errors of the API are tables with `err`, as they are in Redis.
local function fail(text)
    local source, line = native.where(2)
    error({ err = text, source = source, line = line }, 0)
end

local redis = {}

local function finish_call(is_well, ...)
    if is_well then return ... end
    local failure = ...
    failure.source, failure.line = native.where(1)
    return error(failure, 0)
end

-- A function of the host takes a bounded number of arguments.
local MANY = 200

local function call(...)
    local count = select('#', ...)
    if count <= MANY then return state.call(...) end
    return state.call_listed({ ... }, count)
end

function redis.call(...)
    return finish_call(call(...))
end

local function finish_pcall(_, ...)
    return ...
end

function redis.pcall(...)
    return finish_pcall(call(...))
end

function redis.error_reply(...)
    local text = ...
    if select('#', ...) ~= 1 or type(text) ~= 'string' then
        return { err = 'ERR wrong number or type of arguments' }
    end
    return { err = native.error_text(text) }
end

function redis.status_reply(...)
    local text = ...
    if select('#', ...) ~= 1 or type(text) ~= 'string' then
        return { err = 'ERR wrong number or type of arguments' }
    end
    return { ok = text }
end

function redis.sha1hex(...)
    if select('#', ...) ~= 1 then fail('ERR wrong number of arguments') end
    local text = ...
    if type(text) ~= 'string' and type(text) ~= 'number' then text = '' end
    return native.sha1hex(text)
end

function redis.log(...)
    if select('#', ...) < 2 then fail('ERR redis.log() requires two arguments or more.') end
    local level = ...
    if type(level) ~= 'number' then fail('ERR First argument must be a number (log level).') end
    if level < 0 or level > 3 then fail('ERR Invalid log level.') end
    local texts = {}
    for index = 2, select('#', ...) do
        local text = select(index, ...)
        if type(text) == 'string' or type(text) == 'number' then insert(texts, text) end
    end
    native.log(level, concat(texts, ' '))
end

function redis.setresp(...)
    if select('#', ...) ~= 1 then fail('ERR redis.setresp() requires one argument.') end
    local version = ...
    if version ~= 2 and version ~= 3 then fail('ERR RESP version must be 2 or 3.') end
    state.set_version(version)
end

function redis.set_repl(...)
    if select('#', ...) ~= 1 then fail('ERR redis.set_repl() requires one argument.') end
    local flags = ...
    if type(flags) ~= 'number' or flags % 1 ~= 0 or flags < 0 or flags > 3 then
        fail('ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.')
    end
    -- Every change is replicated here: a change that is not would be lost with the master.
end

function redis.replicate_commands() return true end
function redis.breakpoint() return false end
function redis.debug() end

function redis.acl_check_cmd(...)
    if select('#', ...) == 0 then
        fail('ERR Please specify at least one argument for this redis.acl_check_cmd() call')
    end
    if select('#', ...) > MOST_ARGUMENTS then fail('ERR too many arguments') end
    return finish_call(state.acl_check_cmd(...))
end

local function describe_function(...)
    local count = select('#', ...)
    if count < 1 or count > 2 then fail('ERR wrong number of arguments to redis.register_function') end
    local name, callback, flags, description = ..., (select(2, ...)), nil, nil
    if count == 1 then
        local given = ...
        if type(given) ~= 'table' then
            fail('ERR calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).')
        end
        name, callback = nil, nil
        for key, value in next, given do
            if type(key) ~= 'string' then fail('ERR named argument key given to redis.register_function is not a string') end
            if key == 'function_name' then
                if type(value) ~= 'string' then fail('ERR function_name argument given to redis.register_function must be a string') end
                name = value
            elseif key == 'description' then
                if type(value) ~= 'string' then fail('ERR description argument given to redis.register_function must be a string') end
                description = value
            elseif key == 'callback' then
                if type(value) ~= 'function' then fail('ERR callback argument given to redis.register_function must be a function') end
                callback = value
            elseif key == 'flags' then
                if type(value) ~= 'table' then fail('ERR flags argument to redis.register_function must be a table representing function flags') end
                flags = value
            else
                fail('ERR unknown argument given to redis.register_function')
            end
        end
        if not name then fail('ERR redis.register_function must get a function name argument') end
        if not callback then fail('ERR redis.register_function must get a callback argument') end
    else
        if type(name) ~= 'string' then fail('ERR first argument to redis.register_function must be a string') end
        if type(callback) ~= 'function' then fail('ERR second argument to redis.register_function must be a function') end
    end
    return name, callback, flags or {}, description
end

-- What a library sees as `redis` while it is loaded.
local loading = { log = redis.log }

function loading.register_function(...)
    if not state.register then
        fail('ERR redis.register_function can only be called on FUNCTION LOAD command')
    end
    local name, callback, flags, description = describe_function(...)
    local is_well, text = state.register(name, callback, flags, description)
    if not is_well then fail(text) end
end

for name, value in pairs({
    REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3,
    LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
    REDIS_VERSION = native.version, REDIS_VERSION_NUM = native.version_number,
    SERVER_NAME = 'tercet', SERVER_VERSION = native.version, SERVER_VERSION_NUM = native.version_number,
}) do
    redis[name], loading[name] = value, value
end

-- What goes past metatables.

local function raw(made)
    return hidden[made] or made
end

local base = {}

for _, name in ipairs({ 'assert', 'error', 'ipairs', 'rawequal', 'select', 'tonumber', 'tostring', 'type', 'unpack',
    'xpcall', '_VERSION' }) do
    base[name] = _G[name]
end

-- As in Redis, what is caught of an error of the API is its text.
local function caught(is_well, failure, ...)
    if not is_well and type(failure) == 'table' and not hidden[failure] then
        local text = rawget(failure, 'err')
        if type(text) == 'string' then return false, text end
    end
    return is_well, failure, ...
end

function base.pcall(...)
    return caught(pcall(...))
end

function base.next(made, key)
    return next(raw(made), key)
end

function base.pairs(made)
    if hidden[made] then return next, hidden[made], nil end
    return pairs(made)
end

function base.rawget(made, key)
    return rawget(raw(made), key)
end

function base.rawset(made, key, value)
    if hidden[made] then error('Attempt to modify a readonly table', 0) end
    return rawset(made, key, value)
end

function base.setmetatable(made, metatable)
    if hidden[made] then error('Attempt to modify a readonly table', 0) end
    -- A script's own metatable may be anything but one of ours.
    return setmetatable(made, metatable and hidden[metatable] or metatable)
end

local string_metatable = getmetatable('')

-- A metatable of ours as a script may see it: what it leads to is behind a front, too.
local function guard(metatable)
    local function read(_, name)
        local value = metatable[name]
        if type(value) == 'table' then return front[value] or freeze(value) end
        return value
    end
    local made = setmetatable({}, { __index = read, __newindex = refuse })
    hidden[made] = {}
    return made
end

function base.getmetatable(value)
    local kind = type(value)
    if kind == 'table' then
        local metatable = getmetatable(value)
        if hidden[value] then return guard(metatable) end
        return metatable
    elseif kind == 'string' then
        return guard(string_metatable)
    end
    return nil
end

-- The environments of functions that are not the script's own.
local ours = { [getfenv(0)] = true, [getfenv(1)] = true }

function base.setfenv(call, environment)
    if type(call) == 'number' and call >= 1 then
        local called, is_ours = call + 1, nil
        is_ours = ours[getfenv(called)]
        if not is_ours then
            local changed = setfenv(called, environment)
            return changed
        end
    elseif type(call) == 'function' and not ours[getfenv(call)] then
        return setfenv(call, environment)
    end
    error("'setfenv' cannot change environment of given object", 2)
end

function base.getfenv(call)
    local found
    if type(call) == 'function' then
        found = getfenv(call)
    else
        local level = type(call) == 'number' and call or 1
        found = level >= 1 and getfenv(level + 1) or nil
    end
    if not found or ours[found] then return base._G end
    return found
end

function base.loadstring(text, name)
    if type(text) == 'number' then text = tostring(text) end
    if type(text) ~= 'string' then error("bad argument #1 to 'loadstring' (string expected)", 2) end
    if byte(text, 1) == 27 then return nil, 'binary chunks are not allowed' end
    local chunk, failure = loadstring(text, name)
    if not chunk then return nil, failure end
    return setfenv(chunk, base._G)
end

function base.load(reader, name)
    if type(reader) ~= 'function' then error("bad argument #1 to 'load' (function expected)", 2) end
    local pieces = {}
    while true do
        local piece = reader()
        if piece == nil or piece == '' then break end
        if type(piece) ~= 'string' then return nil, 'reader function must return a string' end
        insert(pieces, piece)
    end
    return base.loadstring(concat(pieces), name or '=(load)')
end

function base.collectgarbage(option)
    if option == nil or option == 'collect' or option == 'step' or option == 'count' then
        return collect(option or 'collect')
    end
    return 0
end

function base.gcinfo()
    return collect('count')
end

local tables = {}
for name, call in pairs(table) do tables[name] = call end
function tables.insert(made, ...)
    if hidden[made] then error('Attempt to modify a readonly table', 0) end
    return insert(made, ...)
end
function tables.remove(made, ...)
    if hidden[made] then error('Attempt to modify a readonly table', 0) end
    return remove(made, ...)
end
function tables.sort(made, ...)
    if hidden[made] then error('Attempt to modify a readonly table', 0) end
    return sort(made, ...)
end

local maths = {}
for name, call in pairs(math) do maths[name] = call end
maths.random, maths.randomseed = raising(native.random), raising(native.randomseed)

local strings = {}
for name, call in pairs(string) do strings[name] = call end
-- Matching is C in Lua, and nothing ends it: here it is the host's, which looks at the clock.
local plain_lua = {}
for name, call in pairs(strings) do plain_lua[name] = call end
local match, find_plain = raising(native.pattern.match), raising(native.pattern.plain)

local function is_text(value)
    return type(value) == 'string' or type(value) == 'number'
end

-- Where to begin, counted from 0.
local function beginning(text, from)
    if from < 0 then from = #text + from + 1 end
    return math.min(math.max(from - 1, 0), #text)
end

-- What was captured; the whole match, if nothing was.
local function captures(text, from, to, ...)
    if not from then return nil end
    if select('#', ...) == 0 then return sub(text, from, to) end
    return ...
end

-- Lua's own function refuses what is not to be searched, in its own words.
local function searched(name, text, pattern, from)
    return is_text(text) and is_text(pattern) and (from == nil or tonumber(from)) or plain_lua[name](text, pattern, from)
end

local finding = {}

local function truncate(number)
    number = tonumber(number) or 1
    return number < 0 and math.ceil(number) or math.floor(number)
end

function finding.find(text, pattern, from, is_plain)
    searched('find', text, pattern, from)
    text, pattern = tostring(text), tostring(pattern)
    from = beginning(text, truncate(from))
    if is_plain or not plain_lua.find(pattern, '[%^%$%*%+%?%.%(%[%%%-]') then
        return find_plain(text, pattern, from)
    end
    local is_anchored = byte(pattern) == 94
    return match(text, is_anchored and sub(pattern, 2) or pattern, from, is_anchored)
end

function finding.match(text, pattern, from)
    searched('match', text, pattern, from)
    text, pattern = tostring(text), tostring(pattern)
    local is_anchored = byte(pattern) == 94
    from = beginning(text, truncate(from))
    return captures(text, match(text, is_anchored and sub(pattern, 2) or pattern, from, is_anchored))
end

function finding.gmatch(text, pattern)
    searched('gmatch', text, pattern)
    text, pattern = tostring(text), tostring(pattern)
    local from = 0
    local function step(first, last, ...)
        if not first then
            from = #text + 1
            return nil
        end
        from = last < first and last + 1 or last
        return captures(text, first, last, ...)
    end
    return function()
        if from > #text then return nil end
        return step(match(text, pattern, from, false))
    end
end

-- What comes in place of a match.
local function replacement(by, kind, text, first, last, ...)
    local whole = sub(text, first, last)
    local value
    if kind == 'function' then
        value = by(captures(text, first, last, ...))
    elseif kind == 'table' then
        value = by[(captures(text, first, last, ...))]
    else
        local pieces, at = {}, 1
        while true do
            local sign = plain_lua.find(by, '%', at, true)
            if not sign then break end
            insert(pieces, sub(by, at, sign - 1))
            local next_byte = sub(by, sign + 1, sign + 1)
            if next_byte == '0' then
                insert(pieces, whole)
            elseif byte(next_byte) and byte(next_byte) >= 49 and byte(next_byte) <= 57 then
                local place = byte(next_byte) - 48
                if place > math.max(select('#', ...), 1) then error('invalid capture index', 3) end
                insert(pieces, (select(place, captures(text, first, last, ...))))
            else
                insert(pieces, next_byte)
            end
            at = sign + 2
        end
        insert(pieces, sub(by, at))
        return concat(pieces)
    end
    if not value then return whole end
    if not is_text(value) then error('invalid replacement value (a ' .. type(value) .. ')', 3) end
    return value
end

function finding.gsub(text, pattern, by, most)
    local kind = type(by)
    if not is_text(text) or not is_text(pattern) or most ~= nil and not tonumber(most)
        or kind ~= 'function' and kind ~= 'table' and not is_text(by) then
        return plain_lua.gsub(text, pattern, by, most)
    end
    text, pattern = tostring(text), tostring(pattern)
    if is_text(by) then by = tostring(by) end
    most = most and truncate(most) or #text + 1
    local is_anchored = byte(pattern) == 94
    if is_anchored then pattern = sub(pattern, 2) end
    local pieces, from, count = {}, 0, 0
    local function step(first, last, ...)
        if not first then return false end
        count = count + 1
        insert(pieces, sub(text, from + 1, first - 1))
        insert(pieces, replacement(by, kind, text, first, last, ...))
        from = last
        if last < first then
            insert(pieces, sub(text, first, first))
            from = first
        end
        return from <= #text and not is_anchored
    end
    while count < most and step(match(text, pattern, from, is_anchored)) do end
    insert(pieces, sub(text, from + 1))
    return concat(pieces), count
end

for name, call in pairs(finding) do strings[name] = call end
string_metatable.__index = strings

local coroutines = {}
for name, call in pairs(coroutine) do coroutines[name] = call end

-- The global table: reading what is not there and writing are errors.
local strict = {
    __index = function(_, name)
        error('Script attempted to access nonexistent global variable \'' .. tostring(name) .. '\'', 2)
    end,
}
local globals = setmetatable({}, strict)
for name, value in pairs(base) do globals[name] = value end
globals.string = freeze(strings)
globals.table = freeze(tables)
globals.math = freeze(maths)
globals.coroutine = freeze(coroutines)
globals.bit = freeze(library(native.bit))
globals.struct = freeze(library(native.struct))
globals.cmsgpack = freeze(library(native.cmsgpack, native.cmsgpack_about))
globals.cjson = freeze(library(native.cjson, native.cjson_about))
globals.redis = freeze(redis)
globals.server = globals.redis

-- While a library is loaded it sees this and nothing else.
local loading_globals = setmetatable({}, strict)
loading_globals.redis = freeze(setmetatable(loading, strict))
loading_globals.server = loading_globals.redis

local environment_metatable = { __index = globals, __newindex = refuse }
local environment = freeze(globals, environment_metatable)
base._G, globals._G, loading_globals._G = environment, environment, environment

-- What an error becomes: a table with the text, and where it was raised.
local function handle(failure)
    if type(failure) ~= 'table' or hidden[failure] then
        local text = tostring(failure)
        failure = { err = 'ERR ' .. text }
    end
    if rawget(failure, 'source') == nil then
        local source, line = native.where(1)
        rawset(failure, 'source', source)
        rawset(failure, 'line', line)
    end
    return failure
end

return {
    environment = environment,
    globals = globals,
    compile = function(text, name)
        if byte(text, 1) == 27 then return nil, 'binary chunks are not allowed' end
        local chunk, failure = loadstring(text, name)
        if not chunk then return nil, failure end
        return setfenv(chunk, environment)
    end,
    -- Runs the text of a library, which registers its functions.
    load = function(chunk)
        environment_metatable.__index = loading_globals
        local is_well, failure = xpcall(chunk, handle)
        environment_metatable.__index = globals
        return is_well, failure
    end,
    run = function(chunk, ...)
        local keys, arguments = ...
        -- Of several values the first counts.
        return xpcall(function()
            local value = chunk(keys, arguments)
            return value
        end, handle)
    end,
}

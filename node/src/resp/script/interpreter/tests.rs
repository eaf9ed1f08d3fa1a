use super::*;

struct Nothing;

impl Host for Nothing {
    fn call(&mut self, _: &[&[u8]], _: Version, out: &mut Vec<u8>) -> std::result::Result<(), Stop> {
        out.extend_from_slice(b"+PONG\r\n");
        Ok(())
    }

    fn may(&mut self, _: &[&[u8]]) -> std::result::Result<bool, String> {
        Ok(true)
    }
}

/// The reply of a script that may look at its watch so many times.
fn run(interpreter: &mut Interpreter, text: &str, looks: u32) -> std::result::Result<String, Failure> {
    let chunk = interpreter.script(text, text.as_bytes()).unwrap();
    let left = Cell::new(looks);
    let watch: Watch = Rc::new(move || {
        left.set(left.get().saturating_sub(1));
        if left.get() == 0 { Err(Stop("stopped".into())) } else { Ok(()) }
    });
    let inputs = Inputs { keys: &[], arguments: &[], given: Given::Globals, version: Version::Resp2 };
    let mut out = Vec::new();
    interpreter.run(&chunk, inputs, &mut Nothing, Bounds { watch, memory: 16 << 20 }, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn a_script_ends_when_it_has_to_whatever_it_does() {
    let mut interpreter = Interpreter::new().unwrap();
    for text in [
        "while true do end",
        "local f = function() while true do redis.call('ping') end end while true do pcall(f) end",
        "while true do coroutine.wrap(function() while true do end end)() end",
        "local a = {} for i = 1, 40 do a = {a, a} end return a",
        "local a = {} for i = 1, 40 do a = {a, a} end return cjson.encode(a)",
    ] {
        assert_eq!(run(&mut interpreter, text, 20), Err(Failure::Stopped(Stop("stopped".into()))), "{text}");
    }
    assert_eq!(run(&mut interpreter, "return 1", 20).unwrap(), ":1\r\n", "the next one is not stopped");
}

#[test]
fn a_script_gets_no_more_memory_than_it_may() {
    let mut interpreter = Interpreter::new().unwrap();
    for text in ["return string.rep('x', 1e9)", "local t = {} while true do t[#t + 1] = #t .. string.rep('x', 1e5) end"]
    {
        let failure = run(&mut interpreter, text, u32::MAX).unwrap_err();
        assert!(format!("{failure:?}").contains("Raised"), "{text}: {failure:?}");
    }
    assert!(interpreter.used_memory() < 16 << 20);
}

#[test]
fn depth_has_a_bound_everywhere() {
    let mut interpreter = Interpreter::new().unwrap();
    let reply = run(&mut interpreter, "local a = {} a[1] = {a} return a", 1000).unwrap();
    assert!(reply.ends_with("-ERR reached lua stack limit\r\n"));
    for text in [
        "local a = {} a[1] = a return cjson.encode(a)",
        "return cjson.decode(string.rep('[', 1e5))",
        "return cmsgpack.unpack(string.rep('\\145', 1e5))",
        "return string.find('a', string.rep('a?', 1e6))",
        "local function f() return f() + 1 end return f()",
    ] {
        assert!(run(&mut interpreter, text, u32::MAX).is_err(), "{text}");
    }
}

#[test]
fn nothing_of_a_script_is_left_for_the_next() {
    let mut interpreter = Interpreter::new().unwrap();
    for text in [
        "rawset(_G, 'x', 1)",
        "getmetatable(_G).__index = {}",
        "getmetatable('').__index.upper = 5",
        "getmetatable(redis).__index.call = 5",
        "getfenv(redis.call).x = 1",
        "getfenv(0).x = 1",
        "loadstring('x = 1')()",
        "string.upper = 5",
        "table.insert(redis, 1)",
        "setmetatable(redis, {})",
    ] {
        assert!(run(&mut interpreter, text, 1000).is_err(), "{text}");
    }
    let clean = "return {type(rawget(_G, 'x')), ('a'):upper(), type(redis.call)}";
    assert_eq!(run(&mut interpreter, clean, 1000).unwrap(), "*3\r\n$3\r\nnil\r\n$1\r\nA\r\n$8\r\nfunction\r\n");
}

#[test]
fn many_values_are_no_danger() {
    let mut interpreter = Interpreter::new().unwrap();
    let many = "local t = {} for i = 1, 20000 do t[i] = 'x' .. i end ";
    for (text, begins) in [
        ("return t", "*20000\r\n$2\r\nx1\r\n"),
        ("return {map = t}", "*40000\r\n"),
        ("local s = {} for i = 1, 20000 do s['x' .. i] = true end return {set = s}", "*20000\r\n"),
        ("return #cjson.decode(cjson.encode(t))", ":20000\r\n"),
        ("return #cmsgpack.unpack(cmsgpack.pack(t))", ":20000\r\n"),
        ("return redis.call(unpack(t, 1, 7000))", "+PONG\r\n"),
        ("return unpack(t, 1, 7000)", "$2\r\nx1\r\n"),
    ] {
        let reply = run(&mut interpreter, &format!("{many}{text}"), u32::MAX).unwrap();
        assert!(reply.starts_with(begins), "{text}: {reply:.40}");
    }
    for text in [
        "return cmsgpack.pack(unpack(t, 1, 7000))",
        "return cmsgpack.unpack(string.rep(cmsgpack.pack('x'), 20000))",
        "return struct.unpack(string.rep('c1', 20000), string.rep('x', 20000))",
        "return redis.acl_check_cmd(unpack(t, 1, 7000))",
    ] {
        assert!(run(&mut interpreter, &format!("{many}{text}"), u32::MAX).is_err(), "{text}");
    }
}

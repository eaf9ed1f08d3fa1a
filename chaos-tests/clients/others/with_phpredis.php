<?php
// php-redis (the C extension), with its RedisSentinel. The contract is in test_others.py.

function check($good, $what) {
    if (!$good) {
        fwrite(STDERR, "failed: $what\n");
        exit(1);
    }
}

function to_master() {
    for ($attempt = 0; $attempt < 600; $attempt++) {
        foreach (explode(" ", getenv("SENTINELS")) as $address) {
            [$host, $port] = explode(":", $address);
            try {
                $told = (new RedisSentinel($host, (int) $port, 1.0))->getMasterAddrByName(getenv("SERVICE"));
                if (!$told) continue;
                $redis = new Redis();
                $redis->connect($told[0], (int) $told[1], 1.0, null, 0, 1.0);
                return $redis;
            } catch (RedisException $error) {
            }
        }
        usleep(50000);
    }
    check(false, "no master within 30 s");
}

function basics() {
    $redis = to_master();
    check($redis->set("phpredis:a", "x\0y") && $redis->get("phpredis:a") === "x\0y", "SET and GET of binary");
    $redis->del("phpredis:n", "phpredis:m", "phpredis:h", "phpredis:z");
    $pipeline = $redis->multi(Redis::PIPELINE);
    for ($i = 0; $i < 1000; $i++) $pipeline->incr("phpredis:n");
    check($pipeline->exec() === range(1, 1000), "pipeline");
    $got = $redis->multi()->incrBy("phpredis:m", 5)->hMSet("phpredis:h", ["a" => 1, "b" => 2])->zAdd("phpredis:z", 1.5, "m")->exec();
    check($got === [5, true, 1], "MULTI: " . json_encode($got));
    check($redis->hGetAll("phpredis:h") === ["a" => "1", "b" => "2"], "HGETALL");
    check($redis->zRange("phpredis:z", 0, -1, true) === ["m" => 1.5], "ZRANGE WITHSCORES");
    check($redis->eval("return redis.call('INCRBY', KEYS[1], ARGV[1])", ["phpredis:m", 7], 1) === 12, "EVAL");
    // The listener is a process of its own: subscribe() does not come back.
    $child = proc_open([PHP_BINARY, __FILE__, "listen"], [1 => ["pipe", "w"]], $pipes);
    $deadline = microtime(true) + 20;
    while ($redis->publish("phpredis:news", "hello") === 0) {
        check(microtime(true) < $deadline, "PUBLISH: nobody listens");
        usleep(20000);
    }
    check(trim(fgets($pipes[1])) === "hello", "message");
    proc_close($child);
    echo "basics hold\n";
}

// Cursors are signed numbers here: one of 2^63 or more would start at another place, and the scan would never end.
function scan() {
    $redis = to_master();
    for ($i = 0; $i < 3000; $i++) $redis->set("phpredis:scan:$i", $i);
    [$keys, $cursor, $calls] = [[], null, 0];
    while (($part = $redis->scan($cursor, "phpredis:scan:*", 100)) !== false) {
        foreach ($part as $key) $keys[$key] = true;
        check(++$calls < 10000, "SCAN does not end; cursor $cursor");
    }
    check(count($keys) === 3000, "SCAN: " . count($keys));
    echo "basics hold\n";
}

function listen() {
    $redis = to_master();
    $redis->setOption(Redis::OPT_READ_TIMEOUT, 20);
    $redis->subscribe(["phpredis:news"], function ($redis, $channel, $message) {
        echo "$message\n";
        exit(0);
    });
}

function load() {
    [$redis, $confirmed, $reconnects, $lost] = [to_master(), 0, 0, 0];
    while (!file_exists(getenv("STOP"))) {
        clearstatcache();
        try {
            $done = $redis->set("phpredis:load:$confirmed", $confirmed);
        } catch (RedisException $error) {
            $done = false;
        }
        if ($done) {
            if (++$confirmed % 50 === 0) echo "at $confirmed\n";
            usleep(1000);
            continue;
        }
        $redis = to_master();
        $reconnects++;
    }
    for ($i = 0; $i < $confirmed; $i++) $lost += $redis->get("phpredis:load:$i") !== (string) $i;
    echo "confirmed $confirmed lost $lost reconnects $reconnects\n";
}

if (($argv[1] ?? "") === "listen") {
    listen();
} elseif (($argv[1] ?? "") === "scan") {
    scan();
} else {
    basics();
    load();
}

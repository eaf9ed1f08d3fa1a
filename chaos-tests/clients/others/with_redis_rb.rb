# ruby-redis, which follows the sentinels itself. The contract is in test_others.py.
require "redis"

$stdout.sync = true

def check(good, what)
  abort "failed: #{what}" unless good
end

def client
  sentinels = ENV["SENTINELS"].split.map { |address| address.split(":") }.map { |host, port| { host: host, port: port.to_i } }
  Redis.new(url: "redis://#{ENV['SERVICE']}", sentinels: sentinels, role: :master, timeout: 1, reconnect_attempts: 3)
end

def basics
  redis = client
  redis.set("redis-rb:a", "x\0y")
  check redis.get("redis-rb:a") == "x\0y", "GET of binary"
  redis.del("redis-rb:n", "redis-rb:m", "redis-rb:s")
  check redis.pipelined { |p| 1000.times { p.incr("redis-rb:n") } } == (1..1000).to_a, "pipeline"
  got = redis.multi do |transaction|
    transaction.incrby("redis-rb:m", 5)
    transaction.hset("redis-rb:h", "a", 1)
    transaction.hgetall("redis-rb:h")
  end
  check got[0] == 5 && got[2] == { "a" => "1" }, "MULTI: #{got}"
  check redis.eval("return redis.call('INCRBY', KEYS[1], ARGV[1])", keys: ["redis-rb:m"], argv: [7]) == 12, "EVAL"
  redis.watch("redis-rb:m") do
    client.incr("redis-rb:m")
    check redis.multi { |transaction| transaction.set("redis-rb:m", 0) }.nil?, "WATCH"
  end
  id = redis.xadd("redis-rb:s", { "field" => "value" })
  check redis.xrange("redis-rb:s") == [[id, { "field" => "value" }]], "XRANGE"
  heard = nil
  listener = client
  listener.subscribe_with_timeout(20, "redis-rb:news") do |on|
    on.subscribe { check client.publish("redis-rb:news", "hello") == 1, "PUBLISH" }
    on.message do |_, message|
      heard = message
      listener.unsubscribe
    end
  end
  check heard == "hello", "message"
  puts "basics hold"
end

def load_it
  redis, confirmed, reconnects = client, 0, 0
  until File.exist?(ENV["STOP"])
    begin
      redis.set("redis-rb:load:#{confirmed}", confirmed)
      confirmed += 1
      puts "at #{confirmed}" if confirmed % 50 == 0
      sleep 0.001
    rescue Redis::BaseError
      redis.close
      redis = client
      reconnects += 1
      sleep 0.05
    end
  end
  lost = (0...confirmed).count { |i| redis.get("redis-rb:load:#{i}") != i.to_s }
  puts "confirmed #{confirmed} lost #{lost} reconnects #{reconnects}"
end

basics
load_it

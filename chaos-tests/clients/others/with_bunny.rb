# ruby-bunny. The contract is in test_others.py.
require "bunny"
require "set"

$stdout.sync = true
QUEUE = "bunny"

def check(good, what)
  abort "failed: #{what}" unless good
end

# A channel in confirm mode and its queue, on whichever node lets us in.
def to_broker
  600.times do
    ENV["BROKERS"].split.each do |address|
      host, port = address.split(":")
      connection = Bunny.new(host: host, port: port.to_i, automatically_recover: false, connection_timeout: 2, continuation_timeout: 5000, heartbeat: 0, log_level: Logger::FATAL)
      connection.start
      channel = connection.create_channel
      queue = channel.queue(QUEUE, durable: true)
      channel.confirm_select
      return connection, channel, queue
    rescue Bunny::Exception, SystemCallError, IOError, Timeout::Error
      next
    end
    sleep 0.05
  end
  abort "failed: no broker within its time"
end

def publish(channel, number)
  channel.default_exchange.publish(number.to_s, routing_key: QUEUE, persistent: true)
  Timeout.timeout(5) { channel.wait_for_confirms }
end

# Consumes and acknowledges until every number below count was seen; gives how many never came.
def missing(count)
  connection, channel, queue = to_broker
  left, heard = (0...count).to_set, Queue.new
  channel.prefetch(50)
  queue.subscribe(manual_ack: true) do |delivery, _, body|
    channel.ack(delivery.delivery_tag)
    heard << body.to_i
  end
  Timeout.timeout(30) { left.delete(heard.pop) until left.empty? }
  connection.close
  0
rescue Timeout::Error
  left.size
end

connection, channel, queue = to_broker
queue.purge
10.times { |i| check publish(channel, i), "publish" }
check missing(10) == 0, "ten messages"
puts "basics hold"

confirmed, reconnects = 0, 0
until File.exist?(ENV["STOP"])
  begin
    raise IOError unless publish(channel, confirmed)
    confirmed += 1
    puts "at #{confirmed}" if confirmed % 50 == 0
    sleep 0.001
  rescue Bunny::Exception, SystemCallError, IOError, Timeout::Error
    connection.close rescue nil
    connection, channel, queue = to_broker
    reconnects += 1
  end
end
lost = missing(confirmed)
puts "confirmed #{confirmed} lost #{lost} reconnects #{reconnects}"
exit!(0)

<?php
// php-amqplib. The contract is in test_others.py.

require_once "PhpAmqpLib/autoload.php";

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPTimeoutException;
use PhpAmqpLib\Message\AMQPMessage;

const QUEUE = "php-amqplib";

function check($good, $what) {
    if (!$good) {
        fwrite(STDERR, "failed: $what\n");
        exit(1);
    }
}

// A channel in confirm mode, on whichever node lets us in.
function to_broker() {
    for ($attempt = 0; $attempt < 600; $attempt++) {
        foreach (explode(" ", getenv("BROKERS")) as $address) {
            [$host, $port] = explode(":", $address);
            try {
                $channel = (new AMQPStreamConnection($host, (int) $port, "guest", "guest", "/", false, "AMQPLAIN", null, "en_US", 2.0, 5.0, null, false, 0, 5.0))->channel();
                $channel->queue_declare(QUEUE, false, true, false, false);
                $channel->confirm_select();
                return $channel;
            } catch (Exception $error) {
            }
        }
        usleep(50000);
    }
    check(false, "no broker within its time");
}

function publish($channel, $number) {
    $confirmed = false;
    $channel->set_ack_handler(function () use (&$confirmed) { $confirmed = true; });
    $message = new AMQPMessage((string) $number, ["delivery_mode" => AMQPMessage::DELIVERY_MODE_PERSISTENT, "content_type" => "text/plain"]);
    $channel->basic_publish($message, "", QUEUE);
    $channel->wait_for_pending_acks(5.0);
    return $confirmed;
}

// Consumes and acknowledges until every number below $count was seen; gives how many never came.
function missing($count) {
    $left = array_fill(0, $count, true);
    $channel = to_broker();
    $channel->basic_qos(0, 50, false);
    $channel->basic_consume(QUEUE, "", false, false, false, false, function ($message) use (&$left) {
        unset($left[(int) $message->getBody()]);
        $message->ack();
    });
    try {
        while ($left) $channel->wait(null, false, 3.0);
    } catch (AMQPTimeoutException $error) {
    }
    $channel->getConnection()->close();
    return count($left);
}

$channel = to_broker();
$channel->queue_purge(QUEUE);
for ($i = 0; $i < 10; $i++) check(publish($channel, $i), "publish");
check(missing(10) === 0, "ten messages");
echo "basics hold\n";

[$confirmed, $reconnects] = [0, 0];
while (!file_exists(getenv("STOP"))) {
    clearstatcache();
    try {
        $done = publish($channel, $confirmed);
    } catch (Exception $error) {
        $done = false;
    }
    if ($done) {
        if (++$confirmed % 50 === 0) echo "at $confirmed\n";
        usleep(1000);
        continue;
    }
    $channel = to_broker();
    $reconnects++;
}
$lost = missing($confirmed);
echo "confirmed $confirmed lost $lost reconnects $reconnects\n";

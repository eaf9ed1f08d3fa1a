// redigo. It knows no sentinels: the program asks them itself. The contract is in test_others.py.
package main

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

func check(good bool, what string, details ...interface{}) {
	if !good {
		fmt.Fprintln(os.Stderr, "failed:", what, details)
		os.Exit(1)
	}
}

func dial(address string) (redis.Conn, error) {
	second := time.Second
	return redis.Dial("tcp", address, redis.DialConnectTimeout(second), redis.DialReadTimeout(second), redis.DialWriteTimeout(second))
}

func toMaster() redis.Conn {
	for attempt := 0; attempt < 600; attempt++ {
		for _, address := range strings.Fields(os.Getenv("SENTINELS")) {
			sentinel, err := dial(address)
			if err != nil {
				continue
			}
			told, err := redis.Strings(sentinel.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", os.Getenv("SERVICE")))
			sentinel.Close()
			if err != nil || len(told) != 2 {
				continue
			}
			if master, err := dial(strings.Join(told, ":")); err == nil {
				return master
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	check(false, "no master within 30 s")
	return nil
}

func basics() {
	c := toMaster()
	defer c.Close()
	_, err := c.Do("SET", "redigo:a", "x\x00y")
	check(err == nil, "SET", err)
	text, err := redis.String(c.Do("GET", "redigo:a"))
	check(text == "x\x00y", "GET of binary", text, err)
	c.Do("DEL", "redigo:n", "redigo:m", "redigo:h")
	for i := 0; i < 1000; i++ {
		c.Send("INCR", "redigo:n")
	}
	c.Flush()
	for i := 1; i <= 1000; i++ {
		n, err := redis.Int(c.Receive())
		check(n == i, "pipeline", n, err)
	}
	c.Send("MULTI")
	c.Send("INCRBY", "redigo:m", 5)
	c.Send("HSET", "redigo:h", "a", 1)
	got, err := redis.Ints(c.Do("EXEC"))
	check(reflect.DeepEqual(got, []int{5, 1}), "MULTI", got, err)
	fields, err := redis.StringMap(c.Do("HGETALL", "redigo:h"))
	check(reflect.DeepEqual(fields, map[string]string{"a": "1"}), "HGETALL", fields, err)
	script := redis.NewScript(1, "return redis.call('INCRBY', KEYS[1], ARGV[1])")
	n, err := redis.Int(script.Do(c, "redigo:m", 7))
	check(n == 12, "EVALSHA, then EVAL", n, err)
	n, err = redis.Int(script.Do(c, "redigo:m", 7))
	check(n == 19, "EVALSHA", n, err)
	listener := redis.PubSubConn{Conn: toMaster()}
	defer listener.Close()
	check(listener.Subscribe("redigo:news") == nil, "SUBSCRIBE")
	_, subscribed := listener.ReceiveWithTimeout(10 * time.Second).(redis.Subscription)
	check(subscribed, "subscription")
	n, err = redis.Int(c.Do("PUBLISH", "redigo:news", "hello"))
	check(n == 1, "PUBLISH", n, err)
	message, _ := listener.ReceiveWithTimeout(10 * time.Second).(redis.Message)
	check(string(message.Data) == "hello", "message")
	fmt.Println("basics hold")
}

func main() {
	basics()
	c, confirmed, reconnects, lost := toMaster(), 0, 0, 0
	for {
		if _, err := os.Stat(os.Getenv("STOP")); err == nil {
			break
		}
		if _, err := c.Do("SET", fmt.Sprint("redigo:load:", confirmed), confirmed); err == nil {
			if confirmed++; confirmed%50 == 0 {
				fmt.Println("at", confirmed)
			}
			time.Sleep(time.Millisecond)
			continue
		}
		c.Close()
		c = toMaster()
		reconnects++
	}
	for i := 0; i < confirmed; i++ {
		if n, err := redis.Int(c.Do("GET", fmt.Sprint("redigo:load:", i))); err != nil || n != i {
			lost++
		}
	}
	fmt.Println("confirmed", confirmed, "lost", lost, "reconnects", reconnects)
}

// amqp091-go. The contract is in test_others.py.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const queue = "amqp091-go"

func check(good bool, what string, details ...interface{}) {
	if !good {
		fmt.Fprintln(os.Stderr, "failed:", what, details)
		os.Exit(1)
	}
}

type broker struct {
	connection *amqp.Connection
	channel    *amqp.Channel
}

func dial(address string) (broker, error) {
	connection, err := amqp.DialConfig("amqp://guest:guest@"+address+"/", amqp.Config{Dial: amqp.DefaultDial(2 * time.Second), Heartbeat: 2 * time.Second})
	if err != nil {
		return broker{}, err
	}
	channel, err := connection.Channel()
	if err == nil {
		_, err = channel.QueueDeclare(queue, true, false, false, false, nil)
	}
	if err == nil {
		err = channel.Confirm(false)
	}
	if err != nil {
		connection.Close()
	}
	return broker{connection, channel}, err
}

// A channel in confirm mode, on whichever node lets us in.
func toBroker() broker {
	for attempt := 0; attempt < 600; attempt++ {
		for _, address := range strings.Fields(os.Getenv("BROKERS")) {
			if b, err := dial(address); err == nil {
				return b
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	check(false, "no broker within its time")
	return broker{}
}

func (b broker) publish(number int) bool {
	message := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(strconv.Itoa(number))}
	confirmation, err := b.channel.PublishWithDeferredConfirmWithContext(context.Background(), "", queue, true, false, message)
	if err != nil {
		return false
	}
	acknowledged := make(chan bool, 1)
	go func() { acknowledged <- confirmation.Wait() }()
	closed := b.connection.NotifyClose(make(chan *amqp.Error, 1))
	select {
	case good := <-acknowledged:
		return good
	case <-closed:
		return false
	case <-time.After(5 * time.Second):
		return false
	}
}

// Consumes and acknowledges until every number below count was seen; gives how many never came.
func missing(count int) int {
	b := toBroker()
	defer b.connection.Close()
	left := map[int]bool{}
	for i := 0; i < count; i++ {
		left[i] = true
	}
	check(b.channel.Qos(50, 0, false) == nil, "basic.qos")
	deliveries, err := b.channel.Consume(queue, "", false, false, false, false, nil)
	check(err == nil, "basic.consume", err)
	for len(left) > 0 {
		select {
		case delivery := <-deliveries:
			number, err := strconv.Atoi(string(delivery.Body))
			check(err == nil, "body", err)
			delete(left, number)
			check(delivery.Ack(false) == nil, "basic.ack")
		case <-time.After(3 * time.Second):
			return len(left)
		}
	}
	return 0
}

func main() {
	b := toBroker()
	_, err := b.channel.QueuePurge(queue, false)
	check(err == nil, "queue.purge", err)
	for i := 0; i < 10; i++ {
		check(b.publish(i), "publish")
	}
	check(missing(10) == 0, "ten messages")
	fmt.Println("basics hold")
	confirmed, reconnects := 0, 0
	for {
		if _, err := os.Stat(os.Getenv("STOP")); err == nil {
			break
		}
		if b.publish(confirmed) {
			if confirmed++; confirmed%50 == 0 {
				fmt.Println("at", confirmed)
			}
			time.Sleep(time.Millisecond)
			continue
		}
		b.connection.Close()
		b = toBroker()
		reconnects++
	}
	fmt.Println("confirmed", confirmed, "lost", missing(confirmed), "reconnects", reconnects)
}

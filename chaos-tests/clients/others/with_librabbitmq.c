/* librabbitmq, from C: publisher confirms and acknowledgements by hand. The contract is in test_others.py. */
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *QUEUE = "librabbitmq";

static void check(int good, const char *what) {
    if (good) return;
    fprintf(stderr, "failed: %s\n", what);
    exit(1);
}

static int well(amqp_connection_state_t c) { return amqp_get_rpc_reply(c).reply_type == AMQP_RESPONSE_NORMAL; }

static amqp_connection_state_t dial(const char *host, int port) {
    amqp_connection_state_t c = amqp_new_connection();
    struct timeval timeout = {3, 0};
    amqp_socket_t *socket = amqp_tcp_socket_new(c);
    amqp_set_rpc_timeout(c, &timeout);
    if (socket && amqp_socket_open_noblock(socket, host, port, &timeout) == AMQP_STATUS_OK &&
        amqp_login(c, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest").reply_type == AMQP_RESPONSE_NORMAL) {
        amqp_channel_open(c, 1);
        if (well(c)) {
            amqp_queue_declare(c, 1, amqp_cstring_bytes(QUEUE), 0, 1, 0, 0, amqp_empty_table);
            if (well(c)) {
                amqp_confirm_select(c, 1);
                if (well(c)) return c;
            }
        }
    }
    amqp_destroy_connection(c);
    return NULL;
}

static amqp_connection_state_t to_broker(void) {
    for (int attempt = 0; attempt < 600; attempt++) {
        char list[512], *rest = list;
        snprintf(list, sizeof list, "%s", getenv("BROKERS"));
        for (char *one; (one = strtok_r(rest, " ", &rest));) {
            char host[64] = {0};
            int port = 0;
            check(sscanf(one, "%63[^:]:%d", host, &port) == 2, "host:port");
            amqp_connection_state_t c = dial(host, port);
            if (c) return c;
        }
        usleep(50000);
    }
    check(0, "no broker within its time");
    return NULL;
}

/* Whether the broker has confirmed: an acknowledgement, not a refusal, a return or the end of the connection. */
static int publish(amqp_connection_state_t c, int number) {
    char body[16];
    snprintf(body, sizeof body, "%d", number);
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = 2};
    if (amqp_basic_publish(c, 1, amqp_empty_bytes, amqp_cstring_bytes(QUEUE), 1, 0, &properties, amqp_cstring_bytes(body)) != AMQP_STATUS_OK) return 0;
    amqp_frame_t frame;
    struct timeval timeout = {5, 0};
    return amqp_simple_wait_frame_noblock(c, &frame, &timeout) == AMQP_STATUS_OK && frame.frame_type == AMQP_FRAME_METHOD && frame.payload.method.id == AMQP_BASIC_ACK_METHOD;
}

static amqp_connection_state_t to_consumer(void) {
    amqp_connection_state_t c = to_broker();
    amqp_basic_qos(c, 1, 0, 50, 0);
    check(well(c), "basic.qos");
    amqp_basic_consume(c, 1, amqp_cstring_bytes(QUEUE), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    check(well(c), "basic.consume");
    return c;
}

static int number_of(amqp_bytes_t body) {
    char text[16] = {0};
    memcpy(text, body.bytes, body.len < sizeof text ? body.len : sizeof text - 1);
    return atoi(text);
}

/* Consumes and acknowledges until every number below `count` was seen; gives how many never came. */
static int missing(int count) {
    char *seen = calloc(count + 1, 1);
    int left = count;
    amqp_connection_state_t c = to_consumer();
    while (left > 0) {
        amqp_envelope_t envelope;
        struct timeval timeout = {3, 0};
        amqp_maybe_release_buffers(c);
        if (amqp_consume_message(c, &envelope, &timeout, 0).reply_type != AMQP_RESPONSE_NORMAL) break;
        int number = number_of(envelope.message.body);
        if (number < count && !seen[number]) seen[number] = 1, left--;
        check(amqp_basic_ack(c, 1, envelope.delivery_tag, 0) == AMQP_STATUS_OK, "basic.ack");
        amqp_destroy_envelope(&envelope);
    }
    amqp_destroy_connection(c);
    free(seen);
    return left;
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    amqp_connection_state_t c = to_broker();
    amqp_queue_purge(c, 1, amqp_cstring_bytes(QUEUE));
    check(well(c), "queue.purge");
    for (int i = 0; i < 10; i++) check(publish(c, i), "publish");
    check(missing(10) == 0, "ten messages");
    puts("basics hold");
    int confirmed = 0, reconnects = 0;
    while (access(getenv("STOP"), F_OK) != 0) {
        if (publish(c, confirmed)) {
            if (++confirmed % 50 == 0) printf("at %d\n", confirmed);
            usleep(1000);
            continue;
        }
        amqp_destroy_connection(c);
        c = to_broker();
        reconnects++;
    }
    amqp_destroy_connection(c);
    printf("confirmed %d lost %d reconnects %d\n", confirmed, missing(confirmed), reconnects);
    return 0;
}

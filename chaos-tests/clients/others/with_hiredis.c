/* hiredis, from C. It knows no sentinels: the program asks them itself, as every C program does. The contract is in test_others.py. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check(int good, const char *what) {
    if (good) return;
    fprintf(stderr, "failed: %s\n", what);
    exit(1);
}

static redisContext *dial(const char *address) {
    char host[64] = {0};
    int port = 0;
    check(sscanf(address, "%63[^:]:%d", host, &port) == 2, "host:port");
    struct timeval timeout = {1, 0};
    redisContext *context = redisConnectWithTimeout(host, port, timeout);
    if (context && context->err == 0 && redisSetTimeout(context, timeout) == REDIS_OK) return context;
    if (context) redisFree(context);
    return NULL;
}

static redisContext *to_master(void) {
    for (int attempt = 0; attempt < 600; attempt++) {
        char list[512], *rest = list;
        snprintf(list, sizeof list, "%s", getenv("SENTINELS"));
        for (char *one; (one = strtok_r(rest, " ", &rest));) {
            redisContext *sentinel = dial(one);
            if (!sentinel) continue;
            redisReply *told = redisCommand(sentinel, "SENTINEL GET-MASTER-ADDR-BY-NAME %s", getenv("SERVICE"));
            char address[128] = {0};
            if (told && told->type == REDIS_REPLY_ARRAY && told->elements == 2)
                snprintf(address, sizeof address, "%s:%s", told->element[0]->str, told->element[1]->str);
            if (told) freeReplyObject(told);
            redisFree(sentinel);
            redisContext *master = *address ? dial(address) : NULL;
            if (master) return master;
        }
        usleep(50000);
    }
    check(0, "no master within 30 s");
    return NULL;
}

static int is(redisReply *reply, int type, long long number, const char *text) {
    int same = reply && reply->type == type && (text ? strcmp(reply->str, text) == 0 : reply->integer == number);
    if (reply) freeReplyObject(reply);
    return same;
}

static redisReply *next(redisContext *context) {
    void *reply = NULL;
    return redisGetReply(context, &reply) == REDIS_OK ? reply : NULL;
}

static void basics(void) {
    redisContext *c = to_master(), *listener = to_master();
    check(is(redisCommand(c, "SET hiredis:a %b", "x\0y", (size_t)3), REDIS_REPLY_STATUS, 0, "OK"), "SET");
    redisReply *got = redisCommand(c, "GET hiredis:a");
    check(got && got->len == 3 && memcmp(got->str, "x\0y", 3) == 0, "GET of binary");
    freeReplyObject(got);
    redisCommand(c, "DEL hiredis:n hiredis:m");
    for (int i = 0; i < 1000; i++) redisAppendCommand(c, "INCR hiredis:n");
    for (int i = 1; i <= 1000; i++) check(is(next(c), REDIS_REPLY_INTEGER, i, NULL), "pipeline");
    check(is(redisCommand(c, "MULTI"), REDIS_REPLY_STATUS, 0, "OK"), "MULTI");
    check(is(redisCommand(c, "INCRBY hiredis:m 5"), REDIS_REPLY_STATUS, 0, "QUEUED"), "QUEUED");
    got = redisCommand(c, "EXEC");
    check(got && got->elements == 1 && got->element[0]->integer == 5, "EXEC");
    freeReplyObject(got);
    check(is(redisCommand(c, "EVAL %s 1 hiredis:m 7", "return redis.call('INCRBY', KEYS[1], ARGV[1])"), REDIS_REPLY_INTEGER, 12, NULL), "EVAL");
    got = redisCommand(listener, "SUBSCRIBE hiredis:news");
    check(got && got->type == REDIS_REPLY_ARRAY && got->element[2]->integer == 1, "SUBSCRIBE");
    freeReplyObject(got);
    check(is(redisCommand(c, "PUBLISH hiredis:news hello"), REDIS_REPLY_INTEGER, 1, NULL), "PUBLISH");
    got = next(listener);
    check(got && got->elements == 3 && strcmp(got->element[2]->str, "hello") == 0, "message");
    freeReplyObject(got);
    redisFree(c);
    redisFree(listener);
    puts("basics hold");
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    basics();
    redisContext *c = to_master();
    int confirmed = 0, reconnects = 0, lost = 0;
    while (access(getenv("STOP"), F_OK) != 0) {
        if (is(redisCommand(c, "SET hiredis:load:%d %d", confirmed, confirmed), REDIS_REPLY_STATUS, 0, "OK")) {
            if (++confirmed % 50 == 0) printf("at %d\n", confirmed);
            usleep(1000);
            continue;
        }
        redisFree(c);
        c = to_master();
        reconnects++;
    }
    for (int i = 0; i < confirmed; i++) {
        char expected[16];
        snprintf(expected, sizeof expected, "%d", i);
        lost += !is(redisCommand(c, "GET hiredis:load:%d", i), REDIS_REPLY_STRING, 0, expected);
    }
    redisFree(c);
    printf("confirmed %d lost %d reconnects %d\n", confirmed, lost, reconnects);
    return 0;
}

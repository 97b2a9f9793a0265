/* The loads of socket_load.py in C, for more than Python can make; benchmarks/sockets.py compiles it when gcc is there.

     fast_load echo PORT CLIENTS SIZE SECONDS              blocks of SIZE sent on kept connections and waited for
     fast_load accept PORT CLIENTS SECONDS                 connections that the other side ends at once
     fast_load datagrams PORT CLIENTS WINDOW SIZE SECONDS  datagrams that come back, WINDOW of each client under way
     fast_load reflect                                     sends every datagram back; prints its port first

   A load prints what was done, what was lost, and the seconds it took. Everything stays on 127.0.0.1. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CLIENTS = 1024, MOST_WINDOW = 64, LARGEST = 1 << 20, EVENTS = 64 };

static const double LOST_AFTER = 0.2; /* seconds without an answer */

struct client {
    int fd;
    size_t to_send, to_receive;       /* echo */
    uint32_t attempt, under_way;      /* datagrams: which window, and how many of it */
    double answered;
};

static struct client clients[MOST_CLIENTS];
static char block[LARGEST];
static struct sockaddr_in target = {.sin_family = AF_INET};
static int events;
static long done, lost;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void watch(struct client *client, uint32_t mask)
{
    struct epoll_event event = {.events = mask, .data.ptr = client};
    if (epoll_ctl(events, EPOLL_CTL_ADD, client->fd, &event))
        fail("epoll_ctl");
}

static void report(double started)
{
    printf("%ld %ld %.6f\n", done, lost, now() - started);
}

/* Streams. */

static void begin(struct client *client, uint32_t mask)
{
    int one = 1;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (client->fd < 0)
        fail("socket");
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(client->fd, (struct sockaddr *)&target, sizeof target) && errno != EINPROGRESS)
        fail("connect");
    watch(client, mask);
}

/* Go on until the kernel takes and has no more; count each block that has come back whole. */
static void move(struct client *client, size_t size)
{
    static char room[LARGEST];
    for (;;) {
        int moved = 0;
        if (client->to_send) {
            ssize_t count = send(client->fd, block, client->to_send, MSG_NOSIGNAL);
            if (count < 0 && errno != EAGAIN && errno != ENOTCONN)
                fail("send");
            if (count > 0)
                client->to_send -= count, moved = 1;
        }
        ssize_t count = recv(client->fd, room, client->to_receive, 0);
        if (count == 0 || (count < 0 && errno != EAGAIN && errno != ENOTCONN)) {
            fprintf(stderr, "a kept connection was closed\n");
            exit(1);
        }
        if (count > 0) {
            moved = 1;
            client->to_receive -= count;
            if (!client->to_receive)
                client->to_send = client->to_receive = size, done++;
        }
        if (!moved)
            return;
    }
}

static void echo(int count, size_t size, double seconds)
{
    struct epoll_event ready[EVENTS];
    for (int n = 0; n < count; n++) {
        clients[n].to_send = clients[n].to_receive = size;
        begin(&clients[n], EPOLLIN | EPOLLOUT | EPOLLET);
    }
    double started = now();
    while (now() - started < seconds) {
        int found = epoll_wait(events, ready, EVENTS, 100);
        for (int n = 0; n < found; n++)
            move(ready[n].data.ptr, size);
    }
    report(started);
}

static void accept_rate(int count, double seconds)
{
    struct epoll_event ready[EVENTS];
    char byte;
    double started = now();
    for (int n = 0; n < count; n++)
        begin(&clients[n], EPOLLIN);
    while (now() - started < seconds) {
        int found = epoll_wait(events, ready, EVENTS, 100);
        for (int n = 0; n < found; n++) {
            struct client *client = ready[n].data.ptr;
            ssize_t got = recv(client->fd, &byte, 1, 0);
            if (got > 0 || (got < 0 && errno != ECONNRESET)) {
                fprintf(stderr, "a connection was not ended but: %s\n", got > 0 ? "data" : strerror(errno));
                exit(1);
            }
            close(client->fd);
            done++;
            begin(client, EPOLLIN);
        }
    }
    report(started);
}

/* Datagrams. */

static void send_more(struct client *client, uint32_t count, size_t size)
{
    struct mmsghdr messages[MOST_WINDOW];
    struct iovec parts[2] = {{&client->attempt, sizeof client->attempt}, {block, size - sizeof client->attempt}};
    memset(messages, 0, sizeof messages);
    for (uint32_t n = 0; n < count; n++)
        messages[n].msg_hdr.msg_iov = parts, messages[n].msg_hdr.msg_iovlen = 2;
    int sent = sendmmsg(client->fd, messages, count, 0);
    if (sent > 0)
        client->under_way += sent;
    else if (errno != EAGAIN && errno != ECONNREFUSED)
        fail("sendmmsg");
}

/* Take the answers and send as many again; those of a window that was given up have been counted as lost. */
static void take_answers(struct client *client, size_t size)
{
    static struct mmsghdr messages[MOST_WINDOW];
    static struct iovec parts[MOST_WINDOW];
    static char rooms[MOST_WINDOW][65536];
    for (int n = 0; n < MOST_WINDOW; n++) {
        parts[n] = (struct iovec){rooms[n], sizeof rooms[n]};
        messages[n].msg_hdr.msg_iov = &parts[n], messages[n].msg_hdr.msg_iovlen = 1;
    }
    int found = recvmmsg(client->fd, messages, MOST_WINDOW, 0, NULL);
    uint32_t answers = 0;
    for (int n = 0; n < found; n++) {
        uint32_t attempt;
        memcpy(&attempt, rooms[n], sizeof attempt);
        if (messages[n].msg_len != size) {
            fprintf(stderr, "a datagram of %u bytes came back for one of %zu\n", messages[n].msg_len, size);
            exit(1);
        }
        answers += attempt == client->attempt;
    }
    if (!answers)
        return;
    done += answers;
    client->under_way -= answers;
    client->answered = now();
    send_more(client, answers, size);
}

static void give_up(struct client *client, uint32_t window, size_t size)
{
    lost += client->under_way;
    client->under_way = 0;
    client->attempt++;
    client->answered = now();
    send_more(client, window, size);
}

static void datagrams(int count, uint32_t window, size_t size, double seconds)
{
    struct epoll_event ready[EVENTS];
    double started = now(), looked = started;
    for (int n = 0; n < count; n++) {
        struct client *client = &clients[n];
        client->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&target, sizeof target))
            fail("connect");
        client->answered = now();
        watch(client, EPOLLIN);
        send_more(client, window, size);
    }
    while (now() - started < seconds) {
        int found = epoll_wait(events, ready, EVENTS, 20);
        for (int n = 0; n < found; n++)
            take_answers(ready[n].data.ptr, size);
        if (now() - looked < LOST_AFTER / 4)
            continue;
        looked = now();
        for (int n = 0; n < count; n++)
            if (looked - clients[n].answered > LOST_AFTER)
                give_up(&clients[n], window, size);
    }
    report(started);
}

static void reflect(void)
{
    static struct mmsghdr messages[MOST_WINDOW];
    static struct iovec parts[MOST_WINDOW];
    static struct sockaddr_in names[MOST_WINDOW];
    static char rooms[MOST_WINDOW][65536];
    socklen_t length = sizeof target;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    target.sin_port = 0;
    if (fd < 0 || bind(fd, (struct sockaddr *)&target, length) || getsockname(fd, (struct sockaddr *)&target, &length))
        fail("bind");
    printf("%d\n", ntohs(target.sin_port));
    fflush(stdout);
    for (;;) {
        for (int n = 0; n < MOST_WINDOW; n++) {
            parts[n] = (struct iovec){rooms[n], sizeof rooms[n]};
            messages[n].msg_hdr = (struct msghdr){&names[n], sizeof names[n], &parts[n], 1, NULL, 0, 0};
        }
        int found = recvmmsg(fd, messages, MOST_WINDOW, MSG_WAITFORONE, NULL);
        if (found < 0 && errno != ECONNREFUSED)
            fail("recvmmsg");
        for (int n = 0; n < found; n++)
            parts[n].iov_len = messages[n].msg_len;
        for (int sent = 0; sent < found;) {
            int count = sendmmsg(fd, messages + sent, found - sent, 0);
            sent += count > 0 ? count : 1; /* one that cannot be sent is lost */
        }
    }
}

int main(int count, char **words)
{
    const char *load = count > 1 ? words[1] : "";
    double numbers[5] = {0};
    for (int n = 2; n < count && n < 7; n++)
        numbers[n - 2] = atof(words[n]);
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    target.sin_port = htons((int)numbers[0]);
    events = epoll_create1(0);
    if (numbers[1] > MOST_CLIENTS || numbers[2] > LARGEST || (count == 7 && numbers[2] > MOST_WINDOW))
        fprintf(stderr, "too much is asked for\n");
    else if (!strcmp(load, "echo") && count == 6)
        return echo(numbers[1], numbers[2], numbers[3]), 0;
    else if (!strcmp(load, "accept") && count == 5)
        return accept_rate(numbers[1], numbers[2]), 0;
    else if (!strcmp(load, "datagrams") && count == 7)
        return datagrams(numbers[1], numbers[2], numbers[3], numbers[4]), 0;
    else if (!strcmp(load, "reflect"))
        reflect();
    else
        fprintf(stderr, "fast_load: see the top of fast_load.c\n");
    return 2;
}

/* The loads of socket_load.py in C, for more than Python can make; benchmarks/sockets.py compiles it when gcc is there.
   Those of proxy_load.py are here alone.

     fast_load echo PORT CLIENTS SIZE SECONDS              blocks of SIZE sent on kept connections and waited for
     fast_load accept PORT CLIENTS SECONDS                 connections that the other side ends at once
     fast_load datagrams PORT CLIENTS WINDOW SIZE SECONDS  datagrams that come back, WINDOW of each client under way
     fast_load socks PROXY PORT CLIENTS SECONDS            connections through SOCKS5 to what ends them at once
     fast_load associate PROXY PORT CLIENTS WINDOW SIZE SECONDS
                                                           as datagrams, by SOCKS5 associations
     fast_load reflect                                     sends every datagram back; prints its port first
     fast_load close                                       ends every connection; prints its port first

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
static const double FIRST_SECONDS = 10; /* for the first answer, beyond the time of the load; load.py has it too */

struct client {
    int fd;
    size_t to_send, to_receive;       /* echo */
    uint32_t attempt, under_way;      /* datagrams: which window, and how many of it */
    double answered;
    int step;                         /* socks: what is waited for */
};

static struct client clients[MOST_CLIENTS];
static char block[LARGEST];
static struct sockaddr_in target = {.sin_family = AF_INET};
static char header[10];               /* of SOCKS5, before each datagram */
static size_t header_size;
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

/* A load goes on for its seconds, and on a machine that is busy until anything is done. */
static int goes_on(double started, double seconds)
{
    double spent = now() - started;
    if (!done && spent > seconds + FIRST_SECONDS) {
        fprintf(stderr, "nothing came through in %.1f s\n", spent);
        exit(1);
    }
    return spent < seconds || !done;
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
    while (goes_on(started, seconds)) {
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
    while (goes_on(started, seconds)) {
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

/* SOCKS5: the target of the requests is the header's. */

static const char GREETING[] = {5, 1, 0};

static void request(char *room, char command)
{
    memcpy(room, header, sizeof header);
    room[0] = 5, room[1] = command;
}

static void refused(const char *reply)
{
    fprintf(stderr, "the proxy refuses: reply %d\n", reply[1]);
    exit(1);
}

/* Make an association, whose control connection stays; return the port of its relay. */
static in_port_t relay_of(struct sockaddr_in *proxy)
{
    char room[10];
    in_port_t port;
    struct timeval patience = {.tv_sec = (time_t)FIRST_SECONDS};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience)
        || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience)
        || connect(fd, (struct sockaddr *)proxy, sizeof *proxy))
        fail("a control connection to the proxy");
    memcpy(room, "\5\3\0\1\0\0\0\0\0\0", sizeof room);
    if (send(fd, GREETING, sizeof GREETING, 0) < 0 || recv(fd, room, 2, MSG_WAITALL) != 2)
        fail("the answer to the greeting of an association");
    memcpy(room, "\5\3\0\1\0\0\0\0\0\0", sizeof room);
    if (send(fd, room, sizeof room, 0) < 0 || recv(fd, room, sizeof room, MSG_WAITALL) != sizeof room)
        fail("the answer to the request for an association");
    if (room[1])
        refused(room);
    memcpy(&port, room + 8, sizeof port);
    return port;
}

/* Go on with one client; it has had its connection when the target has ended it. */
static void converse(struct client *client)
{
    char room[16];
    for (;;) {
        ssize_t got = recv(client->fd, room, client->step == 0 ? 2 : client->step == 1 ? 10 : 1, 0);
        if (got < 0 && (errno == EAGAIN || errno == ENOTCONN))
            return;
        if (client->step == 2 && (got == 0 || (got < 0 && errno == ECONNRESET))) {
            close(client->fd);
            done++;
            client->step = client->to_send = 0;
            begin(client, EPOLLIN | EPOLLOUT | EPOLLET);
            return;
        }
        if (got != (client->step == 0 ? 2 : 10)) {
            fprintf(stderr, "the proxy closed, or answered in parts\n");
            exit(1);
        }
        if (client->step == 1 && room[1])
            refused(room);
        if (client->step++ == 0) {
            request(room, 1);
            send(client->fd, room, sizeof header, MSG_NOSIGNAL);
        }
    }
}

static void socks(int count, double seconds)
{
    struct epoll_event ready[EVENTS];
    double started = now();
    for (int n = 0; n < count; n++)
        begin(&clients[n], EPOLLIN | EPOLLOUT | EPOLLET);
    while (goes_on(started, seconds)) {
        int found = epoll_wait(events, ready, EVENTS, 100);
        for (int n = 0; n < found; n++) {
            struct client *client = ready[n].data.ptr;
            if (!client->to_send && ready[n].events & EPOLLOUT) {
                client->to_send = 1; /* it is connected: the greeting is out */
                send(client->fd, GREETING, sizeof GREETING, MSG_NOSIGNAL);
            }
            converse(client);
        }
    }
    report(started);
}

static void close_all(void)
{
    socklen_t length = sizeof target;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    target.sin_port = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&target, length) || listen(fd, 4096)
        || getsockname(fd, (struct sockaddr *)&target, &length))
        fail("bind");
    printf("%d\n", ntohs(target.sin_port));
    fflush(stdout);
    for (;;) {
        int client = accept(fd, NULL, NULL);
        if (client >= 0)
            close(client);
    }
}

/* Datagrams. */

static void send_more(struct client *client, uint32_t count, size_t size)
{
    struct mmsghdr messages[MOST_WINDOW];
    struct iovec parts[3] = {{header, header_size}, {&client->attempt, sizeof client->attempt},
                             {block, size - sizeof client->attempt}};
    memset(messages, 0, sizeof messages);
    for (uint32_t n = 0; n < count; n++)
        messages[n].msg_hdr.msg_iov = parts, messages[n].msg_hdr.msg_iovlen = 3;
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
        memcpy(&attempt, rooms[n] + header_size, sizeof attempt);
        if (messages[n].msg_len != size + header_size) {
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

static void datagrams(int count, uint32_t window, size_t size, double seconds, int through)
{
    struct epoll_event ready[EVENTS];
    for (int n = 0; n < count; n++) {
        struct sockaddr_in to = target;
        if (through)
            to.sin_port = relay_of(&to);
        clients[n].fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (clients[n].fd < 0 || connect(clients[n].fd, (struct sockaddr *)&to, sizeof to))
            fail("connect");
    }
    double started = now(), looked = started;
    for (int n = 0; n < count; n++) {
        struct client *client = &clients[n];
        client->answered = now();
        watch(client, EPOLLIN);
        send_more(client, window, size);
    }
    while (goes_on(started, seconds)) {
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
    double numbers[6] = {0};
    int through = !strcmp(load, "socks") || !strcmp(load, "associate");
    for (int n = 2, put = 0; n < count && put < 6; n++)
        if (through && n == 3) { /* where the proxy is to connect to */
            in_port_t port = htons(atoi(words[n]));
            memcpy(header, "\0\0\0\1\x7f\0\0\1", 8);
            memcpy(header + 8, &port, sizeof port);
        } else
            numbers[put++] = atof(words[n]);
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    target.sin_port = htons((int)numbers[0]);
    events = epoll_create1(0);
    if (numbers[1] > MOST_CLIENTS || numbers[2] > LARGEST || (count >= 7 && numbers[2] > MOST_WINDOW))
        fprintf(stderr, "too much is asked for\n");
    else if (!strcmp(load, "echo") && count == 6)
        return echo(numbers[1], numbers[2], numbers[3]), 0;
    else if (!strcmp(load, "accept") && count == 5)
        return accept_rate(numbers[1], numbers[2]), 0;
    else if (!strcmp(load, "datagrams") && count == 7)
        return datagrams(numbers[1], numbers[2], numbers[3], numbers[4], 0), 0;
    else if (!strcmp(load, "socks") && count == 6)
        return socks(numbers[1], numbers[2]), 0;
    else if (!strcmp(load, "associate") && count == 8) {
        header_size = sizeof header;
        return datagrams(numbers[1], numbers[2], numbers[3], numbers[4], 1), 0;
    } else if (!strcmp(load, "close"))
        close_all();
    else if (!strcmp(load, "reflect"))
        reflect();
    else
        fprintf(stderr, "fast_load: see the top of fast_load.c\n");
    return 2;
}

/*
 * A load generator for SMTP: many sessions at once in one thread, each of which plays a script of commands and
 * waits for the reply to each (no pipelining, as most clients do).
 *
 *     load HOST PORT SESSIONS MESSAGES PER_CONNECTION SOURCES RESUME SCRIPT
 *
 * SOURCES: connections come from so many addresses, 127.0.0.1 and those after 127.0.1.0 (0: the system's choice).
 * RESUME: 1 to offer the TLS session of the slot's connection before. SCRIPT: a file of steps, written by
 * bench/script.py, each "PHASE EXPECTED KIND LENGTH\n" and LENGTH octets to send. PHASE: o once after the connection
 * was made, m for each message, c before it is closed. EXPECTED: the first digit of the reply. KIND: s for a command,
 * t to start TLS now (nothing is sent, no reply is read).
 * Prints one JSON object. A message counts when the last reply of phase m is as expected; anything else is a failure,
 * ends its connection, and the first such reply is shown.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

#define MAX_STEPS 64
#define REPLY_SHOWN 200
#define GIVE_UP_SECONDS 120.0
#define MAX_FAILURES 1000

struct step {
    char phase, expected, kind;
    char *octets;
    size_t length;
};

struct session {
    int fd, step, messages, column, wants_write, in_tls_handshake;
    char code, is_last_line;
    char shown[REPLY_SHOWN];
    size_t shown_length, sent;
    double began;
#ifdef WITH_TLS
    SSL *tls;
    SSL_SESSION *ticket;
#endif
};

static struct step steps[MAX_STEPS];
static int step_count, first_message_step = -1, last_message_step = -1;
static struct session *sessions;
static struct sockaddr_in server;
static int epoll, sources, per_connection, resume;
static long wanted, begun, done, failed, reused, opened, alive;
static float *latencies;
static char first_failure[REPLY_SHOWN * 2];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void read_script(const char *name) {
    FILE *file = fopen(name, "rb");
    if (!file) die(name);
    while (step_count < MAX_STEPS) {
        struct step *step = &steps[step_count];
        if (fscanf(file, " %c %c %c %zu", &step->phase, &step->expected, &step->kind, &step->length) != 4) break;
        if (fgetc(file) != '\n') die("the script is damaged");
        step->octets = malloc(step->length + 1);
        if (!step->octets || fread(step->octets, 1, step->length, file) != step->length) die("the script is cut off");
        if (step->phase == 'm') {
            if (first_message_step < 0) first_message_step = step_count;
            last_message_step = step_count;
        }
        step_count++;
    }
    fclose(file);
    if (last_message_step < 0) die("the script has no step of a message");
}

static void open_session(struct session *session);

static void close_session(struct session *session) {
#ifdef WITH_TLS
    if (session->tls) {
        SSL_set_quiet_shutdown(session->tls, 1);
        SSL_shutdown(session->tls); /* without it OpenSSL would not let the session be resumed */
        if (resume) {
            if (session->ticket) SSL_SESSION_free(session->ticket);
            session->ticket = SSL_get1_session(session->tls);
        }
        SSL_free(session->tls);
        session->tls = NULL;
    }
#endif
    close(session->fd);
    session->fd = -1;
    alive--;
    if (begun < wanted && failed < MAX_FAILURES) open_session(session);
}

static void fail(struct session *session, const char *what) {
    if (!failed)
        snprintf(first_failure, sizeof first_failure, "%s at step %d: %.*s", what, session->step,
                 (int)session->shown_length, session->shown);
    failed++;
    close_session(session);
}

static void begin_message(struct session *session) {
    begun++;
    session->messages++;
}

/* How many octets were taken; 0: later; -1: the connection is broken. */
static ssize_t put(struct session *session, const char *octets, size_t length) {
#ifdef WITH_TLS
    if (session->tls) {
        int taken = SSL_write(session->tls, octets, (int)length);
        if (taken > 0) return taken;
        int error = SSL_get_error(session->tls, taken);
        return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? 0 : -1;
    }
#endif
    ssize_t taken = send(session->fd, octets, length, MSG_NOSIGNAL);
    return taken >= 0 ? taken : errno == EAGAIN ? 0 : -1;
}

static ssize_t get(struct session *session, char *octets, size_t length) {
#ifdef WITH_TLS
    if (session->tls) {
        int read_now = SSL_read(session->tls, octets, (int)length);
        if (read_now > 0) return read_now;
        int error = SSL_get_error(session->tls, read_now);
        return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
    }
#endif
    ssize_t read_now = recv(session->fd, octets, length, 0);
    return read_now > 0 ? read_now : read_now < 0 && errno == EAGAIN ? 0 : -1;
}

static void watch(struct session *session, int wants_write) {
    if (session->wants_write == wants_write) return;
    struct epoll_event event = {.events = wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = session};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, session->fd, &event) < 0) die("epoll_ctl");
    session->wants_write = wants_write;
}

/* Sends what is left of the step. False: the session has failed. */
static int go_on_sending(struct session *session) {
    struct step *step = &steps[session->step];
    while (session->sent < step->length) {
        ssize_t taken = put(session, step->octets + session->sent, step->length - session->sent);
        if (taken < 0) {
            fail(session, "connection lost while sending");
            return 0;
        }
        if (taken == 0) {
            watch(session, 1);
            return 1;
        }
        session->sent += (size_t)taken;
    }
    watch(session, 0);
    return 1;
}

#ifdef WITH_TLS
static SSL_CTX *tls_context;

static void prepare_tls(void) {
    tls_context = SSL_CTX_new(TLS_client_method());
    if (!tls_context) die("OpenSSL");
    SSL_CTX_set_verify(tls_context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* With a cache OpenSSL would call a session of TLS 1.3 used up after one connection, and servers that give out no
     * new ticket when they resume would be measured at every other one only. */
    SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);
}

static void next_step(struct session *session);

static void go_on_with_handshake(struct session *session) {
    int result = SSL_do_handshake(session->tls);
    if (result == 1) {
        session->in_tls_handshake = 0;
        if (SSL_session_reused(session->tls)) reused++;
        watch(session, 0);
        next_step(session);
        return;
    }
    int error = SSL_get_error(session->tls, result);
    if (error == SSL_ERROR_WANT_WRITE) watch(session, 1);
    else if (error != SSL_ERROR_WANT_READ) fail(session, "TLS handshake failed");
    else watch(session, 0);
}

static void start_tls(struct session *session) {
    if (!tls_context) prepare_tls();
    session->tls = SSL_new(tls_context);
    if (!session->tls) die("OpenSSL");
    SSL_set_app_data(session->tls, session);
    SSL_set_fd(session->tls, session->fd);
    if (resume && session->ticket && SSL_SESSION_is_resumable(session->ticket))
        SSL_set_session(session->tls, session->ticket);
    SSL_set_connect_state(session->tls);
    session->in_tls_handshake = 1;
    go_on_with_handshake(session);
}
#else
static void start_tls(struct session *session) { fail(session, "this was compiled without TLS"); }
#endif

/* The step that `session->step` names is begun. */
static void begin_step(struct session *session) {
    session->sent = session->shown_length = 0;
    session->column = 0;
    if (steps[session->step].kind == 't') start_tls(session);
    else go_on_sending(session);
}

/* After a reply that was as expected. */
static void next_step(struct session *session) {
    if (session->step == last_message_step) {
        double end = now();
        latencies[done++] = (float)(end - session->began);
        session->began = end;
        if (session->messages < per_connection && begun < wanted) {
            begin_message(session);
            session->step = first_message_step;
            begin_step(session);
            return;
        }
    }
    session->step++;
    if (session->step >= step_count) {
        close_session(session);
        return;
    }
    if (session->step == first_message_step && per_connection > 1) session->began = now();
    begin_step(session);
}

/* Octets of replies: the last line of one has no hyphen after its code. */
static void read_replies(struct session *session) {
    static char octets[16384];
    for (;;) {
        ssize_t length = get(session, octets, sizeof octets);
        if (length == 0) return;
        if (length < 0) {
            fail(session, "connection closed by the server");
            return;
        }
        for (ssize_t at = 0; at < length; at++) {
            char octet = octets[at];
            if (session->column == 0) session->code = octet, session->shown_length = 0;
            if (session->column == 3) session->is_last_line = octet != '-';
            session->column++;
            if (octet >= ' ' && octet <= '~' && octet != '"' && octet != '\\' && session->shown_length < REPLY_SHOWN)
                session->shown[session->shown_length++] = octet;
            if (octet != '\n') continue;
            if (session->column < 4) session->is_last_line = 1;
            session->column = 0;
            if (!session->is_last_line) continue;
            if (session->code != steps[session->step].expected) {
                fail(session, "unexpected reply");
                return;
            }
            long opened_before = opened;
            next_step(session);
            if (session->fd < 0 || opened != opened_before) return; /* another connection stands in its place */
            if (at + 1 >= length && !session->in_tls_handshake) break;
            if (session->in_tls_handshake) return;
        }
        if (length < (ssize_t)sizeof octets) return;
    }
}

static void open_session(struct session *session) {
    session->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (session->fd < 0) die("socket");
    int on = 1;
    setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (sources > 0) {
        uint32_t number = (uint32_t)(opened % sources);
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F000100u + number)};
        setsockopt(session->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(session->fd, (struct sockaddr *)&from, sizeof from) < 0) die("bind");
    }
    opened++;
    alive++;
    session->step = session->messages = session->wants_write = session->in_tls_handshake = 0;
    session->sent = session->shown_length = 0;
    session->column = 0;
    session->began = now();
    begin_message(session);
    if (connect(session->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) die("connect");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = session};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, session->fd, &event) < 0) die("epoll_ctl");
}

static int by_size(const void *one, const void *other) {
    float first = *(const float *)one, second = *(const float *)other;
    return (first > second) - (first < second);
}

static double percentile(double share) {
    if (!done) return 0;
    long at = (long)(share * (double)done);
    return latencies[at < done ? at : done - 1] * 1000.0;
}

static void run(void) {
    struct epoll_event events[256];
    double last_progress = now();
    long seen = 0;
    while (alive > 0) {
        int count = epoll_wait(epoll, events, 256, 1000);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        for (int at = 0; at < count; at++) {
            struct session *session = events[at].data.ptr;
            if (session->fd < 0) continue;
#ifdef WITH_TLS
            if (session->in_tls_handshake) {
                go_on_with_handshake(session);
                if (session->fd < 0 || session->in_tls_handshake || !SSL_pending(session->tls)) continue;
            }
#endif
            if (session->wants_write && events[at].events & EPOLLOUT && !go_on_sending(session)) continue;
            if (events[at].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) read_replies(session);
        }
        if (done + failed != seen) seen = done + failed, last_progress = now();
        else if (now() - last_progress > GIVE_UP_SECONDS) {
            fprintf(stderr, "load: nothing was answered for %.0f seconds\n", GIVE_UP_SECONDS);
            exit(3);
        }
    }
}

int main(int count, char **words) {
    if (count != 9) {
        fprintf(stderr, "usage: load HOST PORT SESSIONS MESSAGES PER_CONNECTION SOURCES RESUME SCRIPT\n");
        return 2;
    }
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)atoi(words[2]));
    if (inet_pton(AF_INET, words[1], &server.sin_addr) != 1) die("the host is no IPv4 address");
    int session_count = atoi(words[3]);
    wanted = atol(words[4]);
    per_connection = atoi(words[5]);
    sources = atoi(words[6]);
    resume = atoi(words[7]);
    read_script(words[8]);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    sessions = calloc((size_t)session_count, sizeof *sessions);
    latencies = malloc(sizeof *latencies * (size_t)(wanted + 1));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!sessions || !latencies || epoll < 0) die("start");
    double began = now();
    for (int at = 0; at < session_count && begun < wanted; at++) open_session(&sessions[at]);
    run();
    double seconds = now() - began;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    qsort(latencies, (size_t)done, sizeof *latencies, by_size);
    printf("{\"done\": %ld, \"failed\": %ld, \"connections\": %ld, \"resumed\": %ld, \"seconds\": %.6f, "
           "\"cpu_seconds\": %.6f, \"p50_ms\": %.3f, \"p95_ms\": %.3f, \"p99_ms\": %.3f, \"first_failure\": \"%s\"}\n",
           done, failed, opened, reused, seconds, cpu, percentile(0.50), percentile(0.95), percentile(0.99),
           first_failure);
    return 0;
}

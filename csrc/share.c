#include "share.h"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <pthread.h>
#include <stdatomic.h>
#endif

#define MOST 64 /* threads */

typedef struct {
    void (*work)(void *);
    void *data;
} start_t;

/* A thread, and a number that several may count up: of Windows, as MSVC has neither pthreads nor atomics in C, or POSIX. */
#if defined(_WIN32)
typedef HANDLE thread_t;
typedef volatile LONG64 count_t;

static DWORD WINAPI started(void *p) {
    const start_t *s = p;
    s->work(s->data);
    return 0;
}

static int start(thread_t *t, start_t *s) { return (*t = CreateThread(0, 0, started, s, 0, 0)) != 0; }

static void finish(thread_t t) {
    WaitForSingleObject(t, INFINITE);
    CloseHandle(t);
}

static int64_t count(count_t *n) { return InterlockedExchangeAdd64(n, 1); }
#else
typedef pthread_t thread_t;
typedef _Atomic int64_t count_t;

static void *started(void *p) {
    const start_t *s = p;
    s->work(s->data);
    return 0;
}

static int start(thread_t *t, start_t *s) { return pthread_create(t, 0, started, s) == 0; }

static void finish(thread_t t) { pthread_join(t, 0); }

static int64_t count(count_t *n) { return atomic_fetch_add(n, 1); }
#endif

void softmix_spawn(void (*work)(void *), void *data, unsigned threads, unsigned flags) {
    (void)flags;
    thread_t others[MOST];
    start_t s = {work, data};
    unsigned n = 0;
    while (n < MOST && n + 1 < threads && start(&others[n], &s)) n++;
    work(data); /* with fewer threads, or none, the work is the same */
    while (n) finish(others[--n]);
}

typedef struct {
    void (*piece)(void *data, int64_t i);
    void *data;
    int64_t n;
    count_t next;
} job_t;

static void take(void *p) {
    job_t *j = p;
    for (int64_t i; (i = count(&j->next)) < j->n;) j->piece(j->data, i);
}

void softmix_share(const softmix_team *team, void (*piece)(void *data, int64_t i), void *data, int64_t n) {
    job_t j = {piece, data, n, 0};
    const int64_t most = team && team->run ? team->threads : 1, threads = most < n ? most : n;
    if (threads > 1) team->run(take, &j, (unsigned)(threads < MOST ? threads : MOST), 0);
    else take(&j);
}

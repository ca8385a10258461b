#include "share.h"

#if defined(_MSC_VER)
#define NO_THREADS
#else
#include <pthread.h>
#include <stdatomic.h>
#endif

#define MOST 64 /* threads */

#if defined(NO_THREADS)
void softmix_spawn(void (*work)(void *), void *data, unsigned threads, unsigned flags) {
    (void)threads, (void)flags;
    work(data);
}

void softmix_share(const softmix_team *team, void (*piece)(void *data, int64_t i), void *data, int64_t n) {
    (void)team;
    for (int64_t i = 0; i < n; i++) piece(data, i);
}
#else
typedef struct {
    void (*work)(void *);
    void *data;
} start_t;

static void *started(void *p) {
    const start_t *s = p;
    s->work(s->data);
    return 0;
}

void softmix_spawn(void (*work)(void *), void *data, unsigned threads, unsigned flags) {
    (void)flags;
    pthread_t others[MOST];
    start_t s = {work, data};
    unsigned n = 0;
    while (n < MOST && n + 1 < threads && !pthread_create(&others[n], 0, started, &s)) n++;
    work(data); /* with fewer threads, or none, the work is the same */
    while (n) pthread_join(others[--n], 0);
}

typedef struct {
    void (*piece)(void *data, int64_t i);
    void *data;
    int64_t n;
    _Atomic int64_t next;
} job_t;

static void take(void *p) {
    job_t *j = p;
    for (int64_t i; (i = atomic_fetch_add(&j->next, 1)) < j->n;) j->piece(j->data, i);
}

void softmix_share(const softmix_team *team, void (*piece)(void *data, int64_t i), void *data, int64_t n) {
    job_t j = {piece, data, n, 0};
    const int64_t most = team && team->run ? team->threads : 1, threads = most < n ? most : n;
    if (threads > 1) team->run(take, &j, (unsigned)(threads < MOST ? threads : MOST), 0);
    else take(&j);
}
#endif

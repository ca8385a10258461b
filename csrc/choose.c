/* The likeliest, those of them that pass filters, and draws. */
#include "pass.h"

#include <math.h>

/* Is element a before element b in the result: larger, or equal and of lower index? */
static int before(const float *v, int32_t a, int32_t b) { return v[a] > v[b] || (v[a] == v[b] && a < b); }

/* Heap of indices whose root is the last in the order of `before`. */
static void sift(const float *v, int32_t *heap, int64_t k, int64_t root) {
    for (;;) {
        int64_t last = root;
        const int64_t l = 2 * root + 1;
        if (l < k && before(v, heap[last], heap[l])) last = l;
        if (l + 1 < k && before(v, heap[last], heap[l + 1])) last = l + 1;
        if (last == root) return;
        const int32_t t = heap[root];
        heap[root] = heap[last];
        heap[last] = t;
        root = last;
    }
}

/* Go on with a heap of the k largest, `have` of which are filled, over values [from, to). Returns the index of a NaN, or
 * -1. */
static int64_t top_in(const float *v, int64_t from, int64_t to, int64_t k, int32_t *heap, int64_t *have,
                      int (*above)(const float *, float)) {
    int64_t i = from;
    for (; i < to && *have < k; i++) {
        if (isnan(v[i])) return i;
        heap[(*have)++] = (int32_t)i;
        if (*have == k) {
            for (int64_t r = k / 2; r-- > 0;) sift(v, heap, k, r);
        }
    }
    while (i < to) {
        if (i + 64 <= to && !above(v + i, v[heap[0]])) { /* nothing in the next 64 that would change the heap */
            i += 64;
            continue;
        }
        for (const int64_t end = i + 64 < to ? i + 64 : to; i < end; i++) {
            if (v[i] > v[heap[0]]) { /* an equal value has a higher index, so it never displaces */
                heap[0] = (int32_t)i;
                sift(v, heap, k, 0);
            } else if (isnan(v[i])) {
                return i;
            }
        }
    }
    return -1;
}

/* From a heap to the order of the result: the last in order goes to the end. */
static void unheap(const float *v, int32_t *heap, int64_t k) {
    for (int64_t m = k - 1; m > 0; m--) {
        const int32_t t = heap[0];
        heap[0] = heap[m];
        heap[m] = t;
        sift(v, heap, m, 0);
    }
}

int softmix_top(const float *values, int64_t n, int64_t k, int32_t *ids, int isa) {
    if (!values) return 1;
    if (bad_size(n)) return 2;
    if (k < 1 || k > n) return 3;
    if (!ids) return 4;
    if (!softmix_runs(isa)) return 5;
    int64_t have = 0;
    const int64_t bad = top_in(values, 0, n, k, ids, &have, softmix_scanner(isa)->above);
    if (bad >= 0) return (int)-(bad + 1);
    unheap(values, ids, k);
    return 0;
}

/* The k <= SOFTMIX_KNOWN likeliest, given the largest of each block. They lie in the k blocks whose largest are the
 * largest (of equals the first), as each of those has one that is no less than any outside of them. */
void softmix_top_of_blocks(const pass_t *p, int64_t k, int32_t *ids) {
    int (*const above)(const float *, float) = p->scan->above;
    const int64_t block = p->size / BLOCKS, n = pieces(p->n, block);
    int32_t chosen[SOFTMIX_KNOWN];
    int64_t have = 0, m = k < n ? k : n;
    top_in(p->high, 0, n, m, chosen, &have, above);
    for (int64_t i = 1; i < m; i++) { /* in the order of ids */
        const int32_t c = chosen[i];
        int64_t j = i;
        for (; j > 0 && chosen[j - 1] > c; j--) chosen[j] = chosen[j - 1];
        chosen[j] = c;
    }
    have = 0;
    for (int64_t i = 0; i < m; i++) {
        const int64_t at = chosen[i] * block, end = at + block < p->n ? at + block : p->n;
        top_in(p->z, at, end, k, ids, &have, above);
    }
    unheap(p->z, ids, k);
}

int softmix_filter(const float *logits, int64_t n, const int32_t *likeliest, int64_t k, double temperature, double total,
                   double top_p, double min_p, int64_t at_most, int32_t *ids, double *p, int64_t *count) {
    const int bad = bad_logits(logits, n, temperature);
    if (bad) return bad == 3 ? 5 : bad;
    if (!likeliest) return 3;
    if (k < 1 || k > n) return 4;
    if (!(total >= 0.0)) return 6;
    if (!(top_p > 0.0)) return 7;
    if (!(min_p >= 0.0)) return 8;
    if (at_most < 1) return 9;
    if (!ids) return 10;
    if (!p) return 11;
    if (!count) return 12;
    for (int64_t i = 0; i < k; i++) {
        ids[i] = likeliest[i];
        if (ids[i] < 0 || ids[i] >= n) return (int)-(i + 1);
    }
    const double max = logits[ids[0]];
    double sum = 0.0;
    for (int64_t i = 0; i < k; i++) {
        p[i] = exp(((double)logits[ids[i]] - max) / temperature);
        sum += p[i];
    }
    const int some = total > 0.0; /* of all probability */
    if (!some) total = sum;
    for (int64_t i = 0; i < k; i++) p[i] /= total;
    int64_t m = k; /* every filter keeps some of the first */
    if (top_p < 1.0) {
        double covered = 0.0;
        for (m = 0; m < k && covered < top_p; m++) covered += p[m];
        if (some && covered < top_p && k < n) { /* the next likeliest are needed */
            *count = 0;
            return 0;
        }
    }
    while (m > 1 && !((float)p[m - 1] > 0.0f && p[m - 1] >= min_p * p[0])) m--;
    if (m > at_most) m = at_most;
    sum = 0.0;
    for (int64_t i = 0; i < m; i++) sum += p[i];
    for (int64_t i = 0; i < m; i++) p[i] /= sum;
    static const int gaps[] = {9841, 3280, 1093, 364, 121, 40, 13, 4, 1};
    for (int g = 0; g < 9; g++) { /* in the order of ids: Shell's sort */
        for (int64_t i = gaps[g]; i < m; i++) {
            const int32_t id = ids[i];
            const double v = p[i];
            int64_t j = i;
            for (; j >= gaps[g] && ids[j - gaps[g]] > id; j -= gaps[g]) {
                ids[j] = ids[j - gaps[g]];
                p[j] = p[j - gaps[g]];
            }
            ids[j] = id;
            p[j] = v;
        }
    }
    *count = m;
    return 0;
}

int64_t softmix_draw(const double *p, int64_t n, double u) {
    if (!p || bad_size(n)) return -1;
    double sum = 0.0, c = 0.0;
    for (int64_t i = 0; i < n; i++) sum += p[i];
    for (int64_t i = 0; i < n; i++) {
        c += p[i];
        if (c > u * sum) return i;
    }
    return n - 1;
}

int softmix_sample(const float *logits, int64_t n, double temperature, float max, double u, const double *parts, int32_t *id,
                   const softmix_team *team, int isa) {
    const int bad = bad_logits(logits, n, temperature);
    if (bad) return bad;
    if (!isfinite(max)) return 4;
    if (!(u >= 0.0 && u < 1.0)) return 5;
    if (!id) return 7;
    if (!softmix_runs(isa)) return 9;
    enum { BLOCK = 1024 }; /* a piece is a multiple */
    pass_t p = pass_over(logits, n, isa);
    p.max = max;
    double total[2], c = 0.0;
    if (parts) {
        total[0] = added(parts, pieces(n, p.size));
        p.inv_t = 1.0 / temperature;
    } else {
        softmix_find_sums(&p, temperature, team, total);
        parts = p.s;
    }
    const double target = u * total[0];
    int32_t last = -1; /* of the ids passed, the last that has a probability: rounding can put the target behind all */
    for (int64_t at = 0, m; at < n; at += m) {
        double s = parts[at / p.size], sx;
        if (at % p.size == 0 && c + s <= target && at + p.size < n) {
            c += s;
            m = p.size;
            continue;
        }
        m = n - at < BLOCK ? n - at : BLOCK;
        p.scan->sums(logits + at, m, p.max, p.inv_t, &s, &sx);
        if (c + s <= target && at + m < n) {
            c += s;
            continue;
        }
        for (int64_t i = at; i < at + m; i++) {
            const double e = exp(((double)logits[i] - max) * p.inv_t);
            if (e > 0.0) last = (int32_t)i;
            c += e;
            if (c > target && last >= 0) {
                *id = last;
                return 0;
            }
        }
    }
    for (int64_t i = n; last < 0 && i-- > 0;) {
        if (((double)logits[i] - max) * p.inv_t > -745.0) last = (int32_t)i;
    }
    *id = last < 0 ? 0 : last;
    return 0;
}

/* Passes over logits: what they say, and what is taken from them. */
#include "isa.h"
#include "share.h"

#include <math.h>
#include <string.h>

/* Shared by the passes over logits: arguments 1 to 3. */
static int bad_logits(const float *logits, int64_t n, double temperature) {
    if (!logits) return 1;
    if (bad_size(n)) return 2;
    return !(temperature > 0.0) || !isfinite(temperature) ? 3 : 0;
}

/* ---- passes in pieces ---------------------------------------------------------------------------------------- */

enum { PIECE = 8192, PIECES = 64, BLOCKS = 8 }; /* logits in a piece, unless there are more pieces; blocks in one */

/* Logits in a piece: it depends on n alone, so sums do. */
static int64_t piece_of(int64_t n) {
    int64_t size = PIECE;
    while (n > size * PIECES) size *= 2;
    return size;
}

static int64_t pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }

typedef struct {
    const softmix_scan *scan;
    const float *z, *other;
    int64_t n, size;
    double max, inv_t, ln_a, ln_b;
    float high[PIECES * BLOCKS];
    double s[PIECES], sx[PIECES];
} pass_t;

static int64_t length(const pass_t *p, int64_t i) {
    const int64_t rest = p->n - i * p->size;
    return rest < p->size ? rest : p->size;
}

static void highest_piece(void *data, int64_t i) {
    pass_t *p = data;
    const int64_t at = i * p->size, m = length(p, i), block = p->size / BLOCKS;
    for (int64_t j = 0; j * block < m; j++) {
        p->high[i * BLOCKS + j] = p->scan->highest(p->z + at + j * block, m - j * block < block ? m - j * block : block);
    }
}

static void sums_piece(void *data, int64_t i) {
    pass_t *p = data;
    p->scan->sums(p->z + i * p->size, length(p, i), p->max, p->inv_t, &p->s[i], &p->sx[i]);
}

static void js_piece(void *data, int64_t i) {
    pass_t *p = data;
    p->s[i] = p->scan->js(p->z + i * p->size, p->other + i * p->size, length(p, i), p->ln_a, p->ln_b);
}

static double added(const double *s, int64_t n) {
    double sum = s[0];
    for (int64_t i = 1; i < n; i++) sum += s[i];
    return sum;
}

/* high: the largest of each block. Returns the first index of the largest of all, or -(i+1) for a NaN or +inf at i; -1 if
 * all are -inf. */
static int64_t find_peak(pass_t *p, const softmix_team *team) {
    const int64_t block = p->size / BLOCKS, n = pieces(p->n, block);
    softmix_share(team, highest_piece, p, pieces(p->n, p->size));
    float best = -INFINITY;
    int64_t where = -1;
    for (int64_t b = 0; b < n; b++) {
        if (isnan(p->high[b])) {
            int64_t i = b * block;
            while (p->z[i] < INFINITY) i++;
            return -(i + 1);
        }
        if (p->high[b] > best) {
            best = p->high[b];
            where = b;
        }
    }
    if (where < 0) return -1;
    int64_t i = where * block;
    while (p->z[i] != best) i++;
    p->max = best;
    return i;
}

static void find_sums(pass_t *p, double temperature, const softmix_team *team, double *out) {
    const int64_t n = pieces(p->n, p->size);
    p->inv_t = 1.0 / temperature;
    softmix_share(team, sums_piece, p, n);
    out[0] = added(p->s, n);
    out[1] = added(p->sx, n);
}

static pass_t pass_over(const float *z, int64_t n, int isa) {
    pass_t p;
    p.scan = softmix_scanner(isa);
    p.z = z;
    p.n = n;
    p.size = piece_of(n);
    return p;
}

int softmix_peak(const float *logits, int64_t n, float *max, int32_t *argmax, int isa) {
    if (!logits) return 1;
    if (bad_size(n)) return 2;
    if (!max) return 3;
    if (!argmax) return 4;
    if (!softmix_runs(isa)) return 5;
    pass_t p = pass_over(logits, n, isa);
    const int64_t at = find_peak(&p, 0);
    if (at < 0) return (int)at;
    *max = logits[at];
    *argmax = (int32_t)at;
    return 0;
}

int softmix_sums(const float *logits, int64_t n, double temperature, float max, double *out, const softmix_team *team,
                 int isa) {
    const int bad = bad_logits(logits, n, temperature);
    if (bad) return bad;
    if (!isfinite(max)) return 4;
    if (!out) return 5;
    if (!softmix_runs(isa)) return 7;
    pass_t p = pass_over(logits, n, isa);
    p.max = max;
    find_sums(&p, temperature, team, out);
    return 0;
}

int softmix_probs(const float *logits, int64_t n, double temperature, float max, double sum, float *probs, int isa) {
    const int bad = bad_logits(logits, n, temperature);
    if (bad) return bad;
    if (!isfinite(max)) return 4;
    if (!(sum > 0.0)) return 5;
    if (!probs) return 6;
    if (!softmix_runs(isa)) return 7;
    softmix_scanner(isa)->probs(logits, n, max, 1.0 / temperature, 1.0 / sum, probs);
    return 0;
}

/* The smallest float whose bin is at most this one: bins fall as logits rise, so a search by halves finds it. */
static float least_of_bin(float max, double inv_t, int bin) {
    if (bin >= SOFTMIX_BINS - 1) return -INFINITY;
    double low = -3.4028234663852886e38, high = max;
    const double lowest = (low - max) * inv_t * -SOFTMIX_PER_NAT;
    if (BIN(lowest) <= bin) return -INFINITY; /* a temperature so high that all are in one bin */
    for (;;) { /* bin(low) > bin >= bin(high) */
        const float middle = (float)(low + (high - low) / 2);
        if (!(middle > (float)low && middle < (float)high)) return (float)high;
        const double d = ((double)middle - max) * inv_t * -SOFTMIX_PER_NAT;
        if (BIN(d) <= bin) high = middle;
        else low = middle;
    }
}

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
static void top_of_blocks(const pass_t *p, int64_t k, int32_t *ids) {
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

int softmix_summary(const float *logits, int64_t n, int64_t k, float *max, double *sums, int32_t *ids, float *probs,
                    const softmix_team *team, int isa) {
    if (!logits) return 1;
    if (bad_size(n)) return 2;
    if (k < 1 || k > n || k > SOFTMIX_KNOWN) return 3;
    if (!max) return 4;
    if (!sums) return 5;
    if (!ids) return 6;
    if (!probs) return 7;
    if (!softmix_runs(isa)) return 9;
    pass_t p = pass_over(logits, n, isa);
    const int64_t at = find_peak(&p, team);
    if (at < 0) return (int)at;
    *max = logits[at];
    find_sums(&p, 1.0, team, sums);
    top_of_blocks(&p, k, ids);
    for (int64_t i = 0; i < k; i++) probs[i] = logits[ids[i]];
    p.scan->probs(probs, k, *max, 1.0, 1.0 / sums[0], probs);
    return 0;
}

/* ---- the whole distribution as a mixture --------------------------------------------------------------------- */

enum { PARTS = 4, PART = 8192 }; /* of the logits, each with bins of its own, from so many logits each on */

typedef struct {
    const softmix_scan *scan;
    const float *z;
    int64_t n, size;
    double max, inv_t;
    int from;
    float least;
    int32_t *ids;
    int64_t counts[PARTS];
    double bins[PARTS][SOFTMIX_BINS + LANES];
} tail_t;

static void bins_part(void *data, int64_t i) {
    tail_t *t = data;
    const int64_t at = i * t->size, m = t->n - at < t->size ? t->n - at : t->size;
    for (int b = 0; b < SOFTMIX_BINS + LANES; b++) t->bins[i][b] = 0.0;
    t->scan->bins(t->z + at, m, t->max, t->inv_t, t->from, t->bins[i]);
}

static void pick_part(void *data, int64_t i) {
    tail_t *t = data;
    const int64_t at = i * t->size, m = t->n - at < t->size ? t->n - at : t->size;
    t->counts[i] = t->scan->pick(t->z + at, m, t->least, t->ids + at);
    for (int64_t j = 0; j < t->counts[i]; j++) t->ids[at + j] += (int32_t)at;
}

/* The ids (n) that remain when whole bins at the far end go, as many as sum to at most `mass` > 0: increasing, *count of
 * them. *below: sum e^x of what went. Returns the bin of those left that is the farthest: some of it may still go. */
static int tail(const float *logits, int64_t n, double temperature, float max, double mass, int32_t *ids, int64_t *count,
                double *below, const softmix_team *team, int isa) {
    tail_t t;
    t.scan = softmix_scanner(isa);
    t.z = logits;
    t.n = n;
    t.max = max;
    t.inv_t = 1.0 / temperature;
    t.ids = ids;
    t.size = n < PARTS * PART ? n : (n / PARTS / LANES + 1) * LANES;
    const int64_t parts = pieces(n, t.size);
    /* tokens of less than mass/n each are left out together, whatever their order */
    const double far = ceil(-log(mass / (double)n) * SOFTMIX_PER_NAT) + 1.0;
    t.from = far < 1.0 ? 1 : far < SOFTMIX_BINS - 1 ? (int)far : SOFTMIX_BINS - 1;
    softmix_share(team, bins_part, &t, parts);
    double *bins = t.bins[0], sum = 0.0;
    for (int64_t i = 1; i < parts; i++) {
        for (int b = 0; b < SOFTMIX_BINS + LANES; b++) bins[b] += t.bins[i][b];
    }
    for (int l = 0; l < LANES; l++) sum += bins[SOFTMIX_BINS + l];
    if (t.from == SOFTMIX_BINS - 1) { /* a bin like the others: together, its tokens may be more than so small a mass */
        bins[t.from] = sum;
        sum = 0.0;
    }
    int last = SOFTMIX_BINS - 1;
    for (; last > 0 && sum + bins[last] <= mass; last--) sum += bins[last];
    t.least = least_of_bin(max, t.inv_t, last);
    softmix_share(team, pick_part, &t, parts);
    *count = t.counts[0];
    for (int64_t i = 1; i < parts; i++) {
        memmove(ids + *count, ids + i * t.size, (size_t)t.counts[i] * sizeof *ids);
        *count += t.counts[i];
    }
    *below = sum;
    return last;
}

/* The least of the logits v (n) that stay when the smallest go whose e^x sum to at most *room, which becomes what is left of
 * it; +inf where all go. The order of v changes. */
static float least_that_stays(float *v, int64_t n, double max, double inv_t, double *room) {
    int64_t from = 0, to = n;
    while (from < to) {
        const float a = v[from], b = v[from + (to - from) / 2], c = v[to - 1];
        const float pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b); /* the middle one */
        double less = 0.0, equal = 0.0;
        int64_t low = from, high = to;
        for (int64_t i = from; i < high;) { /* [from, low) less, [low, i) equal, [high, to) greater */
            const float x = v[i];
            if (x > pivot) {
                v[i] = v[--high];
                v[high] = x;
                continue;
            }
            const double e = exp(((double)x - max) * inv_t);
            if (x < pivot) {
                less += e;
                v[i] = v[low];
                v[low++] = x;
            } else {
                equal += e;
            }
            i++;
        }
        if (less > *room) {
            to = low;
            continue;
        }
        *room -= less;
        if (equal > *room) return pivot;
        *room -= equal;
        from = high;
    }
    return INFINITY;
}

int softmix_whole(const float *logits, int64_t n, double temperature, float max, double total, double mass, int32_t *ids,
                  float *weights, int64_t *count, double *left, const softmix_team *team, int isa) {
    const int bad = bad_logits(logits, n, temperature);
    if (bad) return bad;
    if (!isfinite(max)) return 4;
    if (!(total > 0.0) || !isfinite(total)) return 5;
    if (!(mass >= 0.0)) return 6;
    if (!ids) return 7;
    if (!weights) return 8;
    if (!count) return 9;
    if (!left) return 10;
    if (!softmix_runs(isa)) return 12;
    const double inv_t = 1.0 / temperature;
    const softmix_scan *scan = softmix_scanner(isa);
    int64_t k = n;
    *left = 0.0;
    if (mass > 0.0) {
        double below;
        const int last = tail(logits, n, temperature, max, mass, ids, &k, &below, team, isa);
        const float sure = last ? least_of_bin(max, inv_t, last - 1) : INFINITY;
        int64_t edge = 0;
        for (int64_t i = 0; i < k; i++) {
            weights[edge] = logits[ids[i]];
            edge += weights[edge] < sure;
        }
        double room = mass - below;
        const double had = room;
        const float least = least_that_stays(weights, edge, max, inv_t, &room);
        *left = below + (had - room);
        if (had != room) {
            int64_t kept = 0;
            const float cut = least < sure ? least : sure;
            for (int64_t i = 0; i < k; i++) {
                ids[kept] = ids[i];
                kept += logits[ids[i]] >= cut;
            }
            k = kept;
        }
    } else {
        for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)i;
    }
    for (int64_t i = 0; i < k; i++) weights[i] = logits[ids[i]];
    double sums[2];
    scan->sums(weights, k, max, inv_t, sums, sums + 1);
    if (!(sums[0] > 0.0)) return 6; /* a mass that leaves nothing */
    scan->probs(weights, k, max, inv_t, 1.0 / sums[0], weights);
    int64_t kept = 0;
    for (int64_t i = 0; i < k; i++) {
        ids[kept] = ids[i];
        weights[kept] = weights[i];
        kept += weights[i] > 0.0f;
    }
    *count = kept;
    return 0;
}

int softmix_softmax(const float *logits, int64_t n, float temperature, float *probs, int isa) {
    const int bad = bad_logits(logits, n, temperature);
    if (bad) return bad;
    if (!probs) return 4;
    if (!softmix_runs(isa)) return 5;
    pass_t p = pass_over(logits, n, isa);
    const int64_t rc = find_peak(&p, 0);
    if (rc < 0) return (int)rc;
    double sums[2];
    find_sums(&p, (double)temperature, 0, sums);
    p.scan->probs(logits, n, p.max, p.inv_t, 1.0 / sums[0], probs);
    return 0;
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

int softmix_sample(const float *logits, int64_t n, double temperature, float max, double u, int32_t *id, int isa) {
    const int bad = bad_logits(logits, n, temperature);
    if (bad) return bad;
    if (!isfinite(max)) return 4;
    if (!(u >= 0.0 && u < 1.0)) return 5;
    if (!id) return 6;
    if (!softmix_runs(isa)) return 7;
    enum { BLOCK = 1024 };
    const double inv_t = 1.0 / temperature;
    const softmix_scan *scan = softmix_scanner(isa);
    double total = 0.0, s, sx, c = 0.0;
    scan->sums(logits, n, max, inv_t, &total, &sx);
    const double target = u * total;
    int32_t last = -1; /* of the ids passed, the last that has a probability: rounding can put the target behind all */
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t m = n - at < BLOCK ? n - at : BLOCK;
        scan->sums(logits + at, m, max, inv_t, &s, &sx);
        if (c + s <= target && at + m < n) {
            c += s;
            continue;
        }
        for (int64_t i = at; i < at + m; i++) {
            const double e = exp(((double)logits[i] - max) * inv_t);
            if (e > 0.0) last = (int32_t)i;
            c += e;
            if (c > target && last >= 0) {
                *id = last;
                return 0;
            }
        }
    }
    for (int64_t i = n; last < 0 && i-- > 0;) {
        if (((double)logits[i] - max) * inv_t > -745.0) last = (int32_t)i;
    }
    *id = last < 0 ? 0 : last;
    return 0;
}

int softmix_entropy(const float *logits, int64_t n, float temperature, double *out, int isa) {
    const int bad = bad_logits(logits, n, temperature);
    if (bad) return bad;
    if (!out) return 4;
    if (!softmix_runs(isa)) return 5;
    pass_t p = pass_over(logits, n, isa);
    const int64_t rc = find_peak(&p, 0);
    if (rc < 0) return (int)rc;
    double s[2]; /* H = ln S - sum x e^x / S with x = (z - max)/T: no term cancels */
    find_sums(&p, (double)temperature, 0, s);
    const double h = log(s[0]) - s[1] / s[0];
    *out = h > 0.0 ? h : 0.0;
    return 0;
}

/* Shared by KL and JS: arguments, and ln of the two normalisers about each one's largest logit. */
static int pair(const float *a, const float *b, int64_t n, const double *ln, const double *out, int isa, double *ln_a,
                double *ln_b) {
    if (!a) return 1;
    if (!b) return 2;
    if (bad_size(n)) return 3;
    if (!out) return 5;
    if (!softmix_runs(isa)) return 6;
    if (ln) {
        *ln_a = ln[0];
        *ln_b = ln[1];
        return isfinite(ln[0]) && isfinite(ln[1]) ? 0 : 4;
    }
    const float *const both[] = {a, b};
    double *const to[] = {ln_a, ln_b};
    for (int i = 0; i < 2; i++) {
        pass_t p = pass_over(both[i], n, isa);
        const int64_t at = find_peak(&p, 0);
        if (at < 0) return (int)at;
        double s[2];
        find_sums(&p, 1.0, 0, s);
        *to[i] = p.max + log(s[0]);
    }
    return 0;
}

int softmix_kl(const float *a, const float *b, int64_t n, const double *ln, double *out, int isa) {
    double ln_a = 0.0, ln_b = 0.0, sum = 0.0;
    const int rc = pair(a, b, n, ln, out, isa, &ln_a, &ln_b);
    if (rc) return rc;
    for (int64_t i = 0; i < n; i++) {
        const double ln_p = (double)a[i] - ln_a;
        const double p = exp(ln_p);
        if (p > 0.0) sum += p * (ln_p - ((double)b[i] - ln_b));
    }
    *out = sum > 0.0 ? sum : 0.0;
    return 0;
}

/* Half of the sum of terms, which rounding may have led out of [0, ln 2] */
static double bounded_js(double sum) {
    const double js = 0.5 * sum;
    return js > 0.0 ? (js < 0.69314718055994530942 ? js : 0.69314718055994530942) : 0.0;
}

int softmix_js(const float *a, const float *b, int64_t n, const double *ln, double *out, const softmix_team *team, int isa) {
    pass_t p;
    const int rc = pair(a, b, n, ln, out, isa, &p.ln_a, &p.ln_b);
    if (rc) return rc == 6 ? 7 : rc;
    p.scan = softmix_scanner(isa);
    p.z = a;
    p.other = b;
    p.n = n;
    p.size = piece_of(n);
    softmix_share(team, js_piece, &p, pieces(n, p.size));
    *out = bounded_js(added(p.s, pieces(n, p.size)));
    return 0;
}

typedef struct {
    const softmix_scan *scan;
    const float *const *many, *const *two;
    const double *ln, *ln_two;
    int64_t count, n, size;
    double *work;
} js_two_t;

static void js_two_piece(void *data, int64_t i) {
    js_two_t *p = data;
    const int64_t at = i * p->size, m = p->n - at < p->size ? p->n - at : p->size;
    double *sums = p->work + 2 * i * p->count;
    for (int64_t j = 0; j < 2 * p->count; j++) sums[j] = 0.0;
    p->scan->js_two(p->many, p->ln, p->count, p->two, p->ln_two, at, m, sums);
}

int softmix_js_two(const float *const *many, const double *ln, int64_t count, const float *const *two, const double *ln_two,
                   int64_t n, double *work, double *out, const softmix_team *team, int isa) {
    if (!many) return 1;
    if (!ln) return 2;
    if (bad_size(count)) return 3;
    if (!two || !two[0] || !two[1]) return 4;
    if (!ln_two || !isfinite(ln_two[0]) || !isfinite(ln_two[1])) return 5;
    if (bad_size(n)) return 6;
    if (!work) return 7;
    if (!out) return 8;
    if (!softmix_runs(isa)) return 10;
    for (int64_t r = 0; r < count; r++) {
        if (!many[r]) return 1;
        if (!isfinite(ln[r])) return 2;
    }
    js_two_t p = {softmix_scanner(isa), many, two, ln, ln_two, count, n, piece_of(n), work};
    const int64_t parts = pieces(n, p.size);
    softmix_share(team, js_two_piece, &p, parts);
    for (int64_t j = 0; j < 2 * count; j++) {
        double sum = 0.0;
        for (int64_t i = 0; i < parts; i++) sum += work[2 * i * count + j];
        out[j] = bounded_js(sum);
    }
    return 0;
}

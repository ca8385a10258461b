#include "isa.h"

#include <math.h>
#include <string.h>

/* 0 if a size is usable */
static int bad_size(int64_t n) { return n < 1 || n > SOFTMIX_MAX_N; }

/* ---- mixing -------------------------------------------------------------------------------------------------- */

#define BATCH 32 /* rows summed in float32 before the sum goes to double */
#define AHEAD 4  /* a row is fetched while the row so many before it is added: the processor itself does not look beyond a page */
#define FAR 16   /* scattered rows: where their page lies is looked up that much earlier */

/* Rows of a checked table, and how they are read. */
typedef struct {
    const unsigned char *data;
    int64_t row_bytes, block, block_bytes;
    softmix_add_row kernel; /* NULL: to_float */
    softmix_to_float to_float;
    softmix_flush flush;
} rows_t;

/* Where a row's column `first` is, the first of a block. */
static const unsigned char *place(const rows_t *t, int64_t row, int64_t first) {
    return t->data + row * t->row_bytes + first / t->block * t->block_bytes;
}

/* Columns [first, first + n) of a row into values, as float32, by ggml's own function; first and n are whole blocks. */
static void read_row(const rows_t *t, int64_t row, int64_t first, int64_t n, float *values) {
    const unsigned char *src = place(t, row, first);
    if (t->to_float) {
        t->to_float(src, values, n);
    } else {
        memcpy(values, src, (size_t)n * sizeof(float)); /* rows in a file need not be aligned */
    }
}

/* acc += w * those columns, while the processor fetches the same columns of a later row */
static void add_row(const rows_t *t, int64_t row, int64_t first, int64_t n, float w, float *acc, int64_t later) {
    if (t->kernel) {
        t->kernel(place(t, row, first), n, w, acc, place(t, later, first));
        return;
    }
    float values[SOFTMIX_TILE];
    read_row(t, row, first, n, values);
    for (int64_t j = 0; j < n; j++) acc[j] += w * values[j];
}

/* sum[j] += sum_i weights[i] * column first + j of row ids[i] (NULL: i), n <= SOFTMIX_TILE columns.
 * Few rows: every product in double. Many: BATCH of them in float32, then on in double. */
static void add_tile(const rows_t *t, int64_t first, int64_t n, const int32_t *ids, const float *weights, int64_t k,
                     int few, double *sum) {
    ALIGNED float acc[SOFTMIX_TILE]; /* wide loads that cross cache lines are slow */
    for (int64_t j = 0; j < n; j++) acc[j] = 0.0f;
    for (int64_t start = 0; start < k;) {
        const int64_t end = few ? start + 1 : start + BATCH < k ? start + BATCH : k;
        for (int64_t i = start; i < end; i++) {
            const int64_t later = i + AHEAD < k ? i + AHEAD : i;
            if (ids && i + FAR < k) FETCH(place(t, ids[i + FAR], first));
            if (weights[i] == 0.0f) continue;
            add_row(t, ids ? ids[i] : i, first, n, few ? 1.0f : weights[i], acc, ids ? ids[later] : later);
        }
        t->flush(acc, n, few ? (double)weights[start] : 1.0, sum);
        start = end;
    }
}

/* The code of the first row that is not finite in these columns; of the first of all where none is: a sum overflowed. */
static int blame(const rows_t *t, int64_t first, int64_t n, const int32_t *ids, int64_t k) {
    float values[SOFTMIX_TILE];
    for (int64_t i = 0; i < k; i++) {
        read_row(t, ids ? ids[i] : i, first, n, values);
        for (int64_t j = 0; j < n; j++) {
            if (!isfinite(values[j])) return (int)-(i + 1);
        }
    }
    return -1;
}

/* Check a table's arguments, numbered 1 to 7 in both functions, and fill t. */
static int open_rows(rows_t *t, const void *table, int64_t n_rows, int64_t row_bytes, int64_t n_embd, int64_t block,
                     int type, int isa, softmix_to_float to_float) {
    if (!table) return 1;
    if (bad_size(n_rows)) return 2;
    if (bad_size(row_bytes)) return 3;
    if (bad_size(n_embd)) return 4;
    if (bad_size(block) || SOFTMIX_TILE % block || n_embd % block) return 5;
    if (!to_float && row_bytes != n_embd * (int64_t)sizeof(float)) return 3;
    if (row_bytes % (n_embd / block)) return 3; /* a row is a whole number of equal blocks */
    t->data = table;
    t->row_bytes = row_bytes;
    t->block = block;
    t->block_bytes = row_bytes / (n_embd / block);
    t->kernel = softmix_row_kernel(type, isa, block, t->block_bytes);
    t->to_float = to_float;
    t->flush = softmix_flusher(isa);
    return 0;
}

int softmix_mix(const void *table, int64_t n_rows, int64_t row_bytes, int64_t n_embd, int64_t block,
                softmix_to_float to_float, const int64_t *offsets, int64_t n, const int32_t *ids, const float *weights,
                float scale, float *out, int64_t stride, int type, int isa) {
    rows_t t;
    const int bad = open_rows(&t, table, n_rows, row_bytes, n_embd, block, type, isa, to_float);
    if (bad) return bad;
    if (!offsets) return 7;
    if (bad_size(n)) return 8;
    if (!ids) return 9;
    if (!weights) return 10;
    if (!isfinite(scale)) return 11;
    if (!out) return 12;
    if (stride < n_embd || bad_size(stride)) return 13;
    if (!softmix_runs(isa)) return 15;
    if (offsets[0] != 0) return 7;
    for (int64_t r = 0; r < n; r++) {
        if (offsets[r + 1] <= offsets[r] || offsets[r + 1] > SOFTMIX_MAX_N) return 7;
    }
    for (int64_t i = 0; i < offsets[n]; i++) {
        if (ids[i] < 0 || ids[i] >= n_rows || !isfinite(weights[i])) return (int)-(i + 1);
    }

    double sum[SOFTMIX_TILE];
    for (int64_t r = 0; r < n; r++) {
        float *dst = out + r * stride;
        const int64_t at = offsets[r], k = offsets[r + 1] - at;
        for (int64_t first = 0; first < n_embd; first += SOFTMIX_TILE) {
            const int64_t m = n_embd - first < SOFTMIX_TILE ? n_embd - first : SOFTMIX_TILE;
            if (k == 1) { /* a token: its row by ggml's own function, whatever the kernels do */
                read_row(&t, ids[at], first, m, dst + first);
                for (int64_t j = 0; j < m; j++) dst[first + j] = weights[at] * dst[first + j] * scale;
            } else {
                for (int64_t j = 0; j < m; j++) sum[j] = 0.0;
                add_tile(&t, first, m, ids + at, weights + at, k, k <= SOFTMIX_FEW, sum);
                for (int64_t j = 0; j < m; j++) dst[first + j] = (float)sum[j] * scale;
            }
            int finite = 1;
            for (int64_t j = 0; j < m; j++) finite &= isfinite(dst[first + j]) != 0;
            if (!finite) return (int)-at + blame(&t, first, m, ids + at, k);
        }
        for (int64_t j = n_embd; j < stride; j++) dst[j] = 0.0f;
    }
    return 0;
}

int softmix_add(const void *table, int64_t n_rows, int64_t row_bytes, int64_t n_embd, int64_t block,
                softmix_to_float to_float, const int32_t *ids, const float *weights, int64_t k, double *sum, int type,
                int isa) {
    rows_t t;
    const int bad = open_rows(&t, table, n_rows, row_bytes, n_embd, block, type, isa, to_float);
    if (bad) return bad;
    if (!weights) return 8;
    if (bad_size(k) || (!ids && k > n_rows)) return 9;
    if (!sum) return 10;
    if (!softmix_runs(isa)) return 12;
    for (int64_t i = 0; i < k; i++) {
        if ((ids && (ids[i] < 0 || ids[i] >= n_rows)) || !isfinite(weights[i])) return (int)-(i + 1);
    }
    /* some rows at a time for all columns, so that each row is read from memory once */
    for (int64_t start = 0; start < k; start += 4 * BATCH) {
        const int64_t m = k - start < 4 * BATCH ? k - start : 4 * BATCH;
        rows_t part = t;
        if (!ids) part.data += start * row_bytes;
        for (int64_t first = 0; first < n_embd; first += SOFTMIX_TILE) {
            const int64_t c = n_embd - first < SOFTMIX_TILE ? n_embd - first : SOFTMIX_TILE;
            add_tile(&part, first, c, ids ? ids + start : NULL, weights + start, m, 0, sum + first);
        }
    }
    for (int64_t first = 0; first < n_embd; first += SOFTMIX_TILE) {
        const int64_t c = n_embd - first < SOFTMIX_TILE ? n_embd - first : SOFTMIX_TILE;
        int finite = 1;
        for (int64_t j = 0; j < c; j++) finite &= isfinite(sum[first + j]) != 0;
        if (!finite) return blame(&t, first, c, ids, k);
    }
    return 0;
}

/* ---- measures ------------------------------------------------------------------------------------------------ */

/* Shared by the passes over logits: arguments 1 to 3. */
static int bad_logits(const float *logits, int64_t n, double temperature) {
    if (!logits) return 1;
    if (bad_size(n)) return 2;
    return !(temperature > 0.0) || !isfinite(temperature) ? 3 : 0;
}

int softmix_peak(const float *logits, int64_t n, float *max, int32_t *argmax, int isa) {
    if (!logits) return 1;
    if (bad_size(n)) return 2;
    if (!max) return 3;
    if (!argmax) return 4;
    if (!softmix_runs(isa)) return 5;
    const int64_t at = softmix_scanner(isa)->peak(logits, n, max);
    if (at < 0) return (int)at;
    *argmax = (int32_t)at;
    return 0;
}

int softmix_sums(const float *logits, int64_t n, double temperature, float max, double *out, int isa) {
    const int bad = bad_logits(logits, n, temperature);
    if (bad) return bad;
    if (!isfinite(max)) return 4;
    if (!out) return 5;
    if (!softmix_runs(isa)) return 6;
    softmix_scanner(isa)->sums(logits, n, max, 1.0 / temperature, out, out + 1);
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

int softmix_summary(const float *logits, int64_t n, int64_t k, float *max, double *sums, int32_t *ids, float *probs,
                    int isa) {
    if (!sums) return 5;
    if (!probs) return 7;
    int rc = softmix_peak(logits, n, max, ids, isa);
    if (rc) return rc == 5 ? 8 : rc == 3 ? 4 : rc == 4 ? 6 : rc;
    rc = softmix_top(logits, n, k, ids, isa);
    if (rc) return rc;
    const softmix_scan *scan = softmix_scanner(isa);
    scan->sums(logits, n, *max, 1.0, sums, sums + 1);
    for (int64_t i = 0; i < k; i++) probs[i] = logits[ids[i]];
    scan->probs(probs, k, *max, 1.0, 1.0 / sums[0], probs);
    return 0;
}

int softmix_tail(const float *logits, int64_t n, double temperature, float max, double mass, int32_t *ids, int64_t *count,
                 double *below, int isa) {
    const int bad = bad_logits(logits, n, temperature);
    if (bad) return bad;
    if (!isfinite(max)) return 4;
    if (!(mass > 0.0)) return 5;
    if (!ids) return 6;
    if (!count) return 7;
    if (!below) return 8;
    if (!softmix_runs(isa)) return 9;
    double bins[SOFTMIX_BINS + LANES];
    for (int i = 0; i < SOFTMIX_BINS + LANES; i++) bins[i] = 0.0;
    const double inv_t = 1.0 / temperature;
    const softmix_scan *scan = softmix_scanner(isa);
    /* tokens of less than mass/n each are left out together, whatever their order */
    const double far = ceil(-log(mass / (double)n) * SOFTMIX_PER_NAT) + 1.0;
    const int from = far < 1.0 ? 1 : far < SOFTMIX_BINS - 1 ? (int)far : SOFTMIX_BINS - 1;
    scan->bins(logits, n, max, inv_t, from, bins);
    int last = SOFTMIX_BINS - 1;
    double sum = 0.0;
    for (int l = 0; l < LANES; l++) sum += bins[SOFTMIX_BINS + l];
    if (from == SOFTMIX_BINS - 1) { /* a bin like the others: together, its tokens may be more than so small a mass */
        bins[from] = sum;
        sum = 0.0;
    }
    for (; last > 0 && sum + bins[last] <= mass; last--) sum += bins[last];
    *count = scan->pick(logits, n, least_of_bin(max, inv_t, last), ids);
    below[0] = sum;
    below[1] = (double)last;
    return 0;
}

int softmix_softmax(const float *logits, int64_t n, float temperature, float *probs, int isa) {
    const int bad = bad_logits(logits, n, temperature);
    if (bad) return bad;
    if (!probs) return 4;
    if (!softmix_runs(isa)) return 5;
    const softmix_scan *scan = softmix_scanner(isa);
    float max;
    const int64_t rc = scan->peak(logits, n, &max);
    if (rc < 0) return (int)rc;
    const double inv_t = 1.0 / (double)temperature;
    double s, sx;
    scan->sums(logits, n, max, inv_t, &s, &sx);
    scan->probs(logits, n, max, inv_t, 1.0 / s, probs);
    return 0;
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

int softmix_top(const float *values, int64_t n, int64_t k, int32_t *ids, int isa) {
    if (!values) return 1;
    if (bad_size(n)) return 2;
    if (k < 1 || k > n) return 3;
    if (!ids) return 4;
    if (!softmix_runs(isa)) return 5;
    int (*const above)(const float *, float) = softmix_scanner(isa)->above;
    for (int64_t i = 0; i < k; i++) {
        if (isnan(values[i])) return (int)-(i + 1);
        ids[i] = (int32_t)i;
    }
    for (int64_t i = k / 2; i-- > 0;) sift(values, ids, k, i);
    for (int64_t i = k; i < n;) {
        if (i + 64 <= n && !above(values + i, values[ids[0]])) { /* nothing in the next 64 that would change the heap */
            i += 64;
            continue;
        }
        for (const int64_t end = i + 64 < n ? i + 64 : n; i < end; i++) {
            if (values[i] > values[ids[0]]) { /* an equal value has a higher index, so it never displaces */
                ids[0] = (int32_t)i;
                sift(values, ids, k, 0);
            } else if (isnan(values[i])) {
                return (int)-(i + 1);
            }
        }
    }
    for (int64_t m = k - 1; m > 0; m--) { /* heap sort: the last in order goes to the end */
        const int32_t t = ids[0];
        ids[0] = ids[m];
        ids[m] = t;
        sift(values, ids, m, 0);
    }
    return 0;
}

int softmix_filter(const float *logits, int64_t n, int32_t *ids, int64_t k, double temperature, double total, double top_p,
                   double min_p, int64_t at_most, double *p, int64_t *count) {
    const int bad = bad_logits(logits, n, temperature);
    if (bad) return bad == 3 ? 5 : bad;
    if (!ids) return 3;
    if (k < 1 || k > n) return 4;
    if (!(total >= 0.0)) return 6;
    if (!(top_p > 0.0)) return 7;
    if (!(min_p >= 0.0)) return 8;
    if (at_most < 1) return 9;
    if (!p) return 10;
    if (!count) return 11;
    for (int64_t i = 0; i < k; i++) {
        if (ids[i] < 0 || ids[i] >= n) return (int)-(i + 1);
    }
    const double max = logits[ids[0]];
    double sum = 0.0;
    for (int64_t i = 0; i < k; i++) {
        p[i] = exp(((double)logits[ids[i]] - max) / temperature);
        sum += p[i];
    }
    if (total == 0.0) total = sum;
    for (int64_t i = 0; i < k; i++) p[i] /= total;
    int64_t m = k; /* every filter keeps some of the first */
    if (top_p < 1.0) {
        double covered = 0.0;
        for (m = 0; m < k && covered < top_p; m++) covered += p[m];
    }
    while (m > 1 && !(p[m - 1] > 0.0 && p[m - 1] >= min_p * p[0])) m--;
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
    const softmix_scan *scan = softmix_scanner(isa);
    float max;
    const int64_t rc = scan->peak(logits, n, &max);
    if (rc < 0) return (int)rc;
    double s, sx; /* H = ln S - sum x e^x / S with x = (z - max)/T: no term cancels */
    scan->sums(logits, n, max, 1.0 / (double)temperature, &s, &sx);
    const double h = log(s) - sx / s;
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
    const softmix_scan *scan = softmix_scanner(isa);
    float max_a, max_b;
    const int64_t at_a = scan->peak(a, n, &max_a), at_b = at_a < 0 ? 0 : scan->peak(b, n, &max_b);
    if (at_a < 0 || at_b < 0) return (int)(at_a < 0 ? at_a : at_b);
    double s, sx;
    scan->sums(a, n, max_a, 1.0, &s, &sx);
    *ln_a = max_a + log(s);
    scan->sums(b, n, max_b, 1.0, &s, &sx);
    *ln_b = max_b + log(s);
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

int softmix_js(const float *a, const float *b, int64_t n, const double *ln, double *out, int isa) {
    double ln_a = 0.0, ln_b = 0.0;
    const int rc = pair(a, b, n, ln, out, isa, &ln_a, &ln_b);
    if (rc) return rc;
    const double sum = 0.5 * softmix_scanner(isa)->js(a, b, n, ln_a, ln_b);
    *out = sum > 0.0 ? (sum < 0.69314718055994530942 ? sum : 0.69314718055994530942) : 0.0;
    return 0;
}

/* ---- lists of strings ---------------------------------------------------------------------------------------- */

int softmix_skip_strings(const void *buffer, int64_t size, int64_t n, int64_t *pos) {
    if (!buffer) return 1;
    if (size < 0) return 2;
    if (n < 0 || n > SOFTMIX_MAX_N) return 3;
    if (!pos || *pos < 0 || *pos > size) return 4;
    const unsigned char *bytes = buffer;
    int64_t at = *pos;
    for (int64_t i = 0; i < n; i++) {
        uint64_t length;
        if (size - at < (int64_t)sizeof length) return -(int)(i + 1);
        memcpy(&length, bytes + at, sizeof length);
        at += (int64_t)sizeof length;
        if (length > (uint64_t)(size - at)) return -(int)(i + 1);
        at += (int64_t)length;
    }
    *pos = at;
    return 0;
}

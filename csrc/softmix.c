#include "softmix.h"

#include <math.h>
#include <string.h>

/* 0 if a size is usable */
static int bad_size(int64_t n) { return n < 1 || n > SOFTMIX_MAX_N; }

/* ---- mixing -------------------------------------------------------------------------------------------------- */

/* Columns [first, first + n) of a row into values, as float32; first and n are whole blocks. */
static void read_row(const unsigned char *row, int64_t first, int64_t n, int64_t block, int64_t block_bytes,
                     softmix_to_float to_float, float *values) {
    const unsigned char *src = row + first / block * block_bytes;
    if (to_float) {
        to_float(src, values, n);
    } else {
        memcpy(values, src, (size_t)n * sizeof(float)); /* rows in a file need not be aligned */
    }
}

int softmix_mix(const void *table, int64_t n_rows, int64_t row_bytes, int64_t n_embd, int64_t block,
                softmix_to_float to_float, const int64_t *offsets, int64_t n, const int32_t *ids, const float *weights,
                float scale, float *out, int64_t stride) {
    if (!table) return 1;
    if (bad_size(n_rows)) return 2;
    if (bad_size(row_bytes)) return 3;
    if (bad_size(n_embd)) return 4;
    if (bad_size(block) || SOFTMIX_TILE % block || n_embd % block) return 5;
    if (!to_float && row_bytes != n_embd * (int64_t)sizeof(float)) return 3;
    if (row_bytes % (n_embd / block)) return 3; /* a row is a whole number of equal blocks */
    if (!offsets) return 7;
    if (bad_size(n)) return 8;
    if (!ids) return 9;
    if (!weights) return 10;
    if (!isfinite(scale)) return 11;
    if (!out) return 12;
    if (stride < n_embd || bad_size(stride)) return 13;
    if (offsets[0] != 0) return 7;
    for (int64_t r = 0; r < n; r++) {
        if (offsets[r + 1] <= offsets[r] || offsets[r + 1] > SOFTMIX_MAX_N) return 7;
    }
    const int64_t k = offsets[n], block_bytes = row_bytes / (n_embd / block);
    for (int64_t i = 0; i < k; i++) {
        if (ids[i] < 0 || ids[i] >= n_rows || !isfinite(weights[i])) return (int)-(i + 1);
    }

    double sum[SOFTMIX_TILE];
    float values[SOFTMIX_TILE];
    for (int64_t r = 0; r < n; r++) {
        float *dst = out + r * stride;
        for (int64_t first = 0; first < n_embd; first += SOFTMIX_TILE) {
            const int64_t m = n_embd - first < SOFTMIX_TILE ? n_embd - first : SOFTMIX_TILE;
            for (int64_t j = 0; j < m; j++) sum[j] = 0.0;
            for (int64_t i = offsets[r]; i < offsets[r + 1]; i++) {
                const unsigned char *row = (const unsigned char *)table + (int64_t)ids[i] * row_bytes;
                read_row(row, first, m, block, block_bytes, to_float, values);
                const double w = weights[i];
                for (int64_t j = 0; j < m; j++) sum[j] += w * (double)values[j];
            }
            int finite = 1;
            for (int64_t j = 0; j < m; j++) {
                dst[first + j] = (float)sum[j] * scale;
                finite &= isfinite(dst[first + j]) != 0;
            }
            if (finite) continue;
            for (int64_t i = offsets[r]; i < offsets[r + 1]; i++) { /* rare: find the row to blame */
                const unsigned char *row = (const unsigned char *)table + (int64_t)ids[i] * row_bytes;
                read_row(row, first, m, block, block_bytes, to_float, values);
                for (int64_t j = 0; j < m; j++) {
                    if (!isfinite(values[j])) return (int)-(i + 1);
                }
            }
            return (int)-(offsets[r] + 1); /* finite rows whose sum overflows */
        }
        for (int64_t j = n_embd; j < stride; j++) dst[j] = 0.0f;
    }
    return 0;
}

/* ---- measures ------------------------------------------------------------------------------------------------ */

/* The largest logit, or the code of a bad element. -INFINITY alone is a bad element 0: there is no distribution. */
static int largest(const float *z, int64_t n, float *max) {
    float m = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (!(z[i] < INFINITY)) return (int)-(i + 1); /* NaN or +inf */
        if (z[i] > m) m = z[i];
    }
    *max = m;
    return m == -INFINITY ? -1 : 0;
}

static double sum_exp(const float *z, int64_t n, double max, double inv_t) {
    double s = 0.0;
    for (int64_t i = 0; i < n; i++) s += exp(((double)z[i] - max) * inv_t);
    return s;
}

int softmix_softmax(const float *logits, int64_t n, float temperature, float *probs) {
    if (!logits) return 1;
    if (bad_size(n)) return 2;
    if (!(temperature > 0.0f) || !isfinite(temperature)) return 3;
    if (!probs) return 4;
    float max;
    const int rc = largest(logits, n, &max);
    if (rc) return rc;
    const double inv_t = 1.0 / (double)temperature;
    const double inv_s = 1.0 / sum_exp(logits, n, max, inv_t);
    for (int64_t i = 0; i < n; i++) probs[i] = (float)(exp(((double)logits[i] - max) * inv_t) * inv_s);
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

int softmix_top(const float *values, int64_t n, int64_t k, int32_t *ids) {
    if (!values) return 1;
    if (bad_size(n)) return 2;
    if (k < 1 || k > n) return 3;
    if (!ids) return 4;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(values[i])) return (int)-(i + 1);
    }
    for (int64_t i = 0; i < k; i++) ids[i] = (int32_t)i;
    for (int64_t i = k / 2; i-- > 0;) sift(values, ids, k, i);
    for (int64_t i = k; i < n; i++) {
        if (values[i] > values[ids[0]]) { /* an equal value has a higher index, so it never displaces */
            ids[0] = (int32_t)i;
            sift(values, ids, k, 0);
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

int softmix_entropy(const float *logits, int64_t n, float temperature, double *out) {
    if (!logits) return 1;
    if (bad_size(n)) return 2;
    if (!(temperature > 0.0f) || !isfinite(temperature)) return 3;
    if (!out) return 4;
    float max;
    const int rc = largest(logits, n, &max);
    if (rc) return rc;
    const double inv_t = 1.0 / (double)temperature;
    double s = 0.0, sx = 0.0; /* H = ln S - sum x e^x / S with x = (z - max)/T: no term cancels */
    for (int64_t i = 0; i < n; i++) {
        const double x = ((double)logits[i] - max) * inv_t;
        const double e = exp(x);
        s += e;
        if (e > 0.0) sx += x * e;
    }
    const double h = log(s) - sx / s;
    *out = h > 0.0 ? h : 0.0;
    return 0;
}

/* Shared by KL and JS: arguments, and ln of the two normalisers about each one's largest logit. */
static int pair(const float *a, const float *b, int64_t n, const double *out, double *ln_a, double *ln_b) {
    if (!a) return 1;
    if (!b) return 2;
    if (bad_size(n)) return 3;
    if (!out) return 4;
    float max_a, max_b;
    int rc = largest(a, n, &max_a);
    if (!rc) rc = largest(b, n, &max_b);
    if (rc) return rc;
    *ln_a = max_a + log(sum_exp(a, n, max_a, 1.0));
    *ln_b = max_b + log(sum_exp(b, n, max_b, 1.0));
    return 0;
}

int softmix_kl(const float *a, const float *b, int64_t n, double *out) {
    double ln_a, ln_b, sum = 0.0;
    const int rc = pair(a, b, n, out, &ln_a, &ln_b);
    if (rc) return rc;
    for (int64_t i = 0; i < n; i++) {
        const double ln_p = (double)a[i] - ln_a;
        const double p = exp(ln_p);
        if (p > 0.0) sum += p * (ln_p - ((double)b[i] - ln_b));
    }
    *out = sum > 0.0 ? sum : 0.0;
    return 0;
}

int softmix_js(const float *a, const float *b, int64_t n, double *out) {
    double ln_a, ln_b, sum = 0.0;
    const int rc = pair(a, b, n, out, &ln_a, &ln_b);
    if (rc) return rc;
    for (int64_t i = 0; i < n; i++) {
        const double ln_p = (double)a[i] - ln_a, ln_q = (double)b[i] - ln_b;
        if (ln_p == ln_q) continue; /* exactly 0, where the rounding of log(exp()) would leave 1e-17 */
        const double p = exp(ln_p), q = exp(ln_q), ln_m = log(0.5 * (p + q));
        const double from_p = p > 0.0 ? p * (ln_p - ln_m) : 0.0, from_q = q > 0.0 ? q * (ln_q - ln_m) : 0.0;
        sum += from_p + from_q; /* in one step, so that JS(p, q) = JS(q, p) to the bit */
    }
    sum *= 0.5;
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

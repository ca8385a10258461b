/* The shim under libFuzzer: scripts/dev/fuzz_shim builds it with AddressSanitizer and UndefinedBehaviorSanitizer.
 *
 * FUZZ chooses what is driven: MIX, ADD, SCAN or TOP. The bytes of a case are read as sizes, ids, weights and
 * table; every buffer has exactly its size, so that a step beyond it is seen. Beside what sanitizers see, each function is
 * held against a plain one in this file, the instruction sets against each other (to the bit), and parts against wholes.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softmix.h"

#define MIX 1
#define ADD 2
#define SCAN 3
#define TOP 4

#define CHECK(x)                                                              \
    do {                                                                      \
        if (!(x)) {                                                           \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);   \
            abort();                                                          \
        }                                                                     \
    } while (0)

typedef struct {
    const uint8_t *at;
    size_t left;
} bytes_t;

static void take(bytes_t *b, void *to, size_t n) {
    const size_t have = n < b->left ? n : b->left;
    memset(to, 0, n);
    if (have) memcpy(to, b->at, have);
    b->at += have;
    b->left -= have;
}
static uint32_t number(bytes_t *b, uint32_t below) {
    uint32_t u;
    take(b, &u, 4);
    return u % below;
}
static int byte(bytes_t *b) {
    uint8_t u;
    take(b, &u, 1);
    return u;
}
/* a float: of any bits, or an ordinary one */
static float real(bytes_t *b) {
    float f;
    if (byte(b) & 7) return (float)(int16_t)number(b, 65536) / 1024.0f;
    take(b, &f, 4);
    return f;
}
static double wide(bytes_t *b) {
    double d;
    if (byte(b) & 7) return (double)number(b, 4096) / 1024.0;
    take(b, &d, 8);
    return d;
}
/* n > 0 items of exactly their size */
static void *room(size_t n, size_t size) {
    void *p = malloc(n * size ? n * size : 1);
    CHECK(p);
    return p;
}

static int isas[4], n_isas;

/* ---- table types, read plainly ------------------------------------------------------------------------------- */

static float half(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    const int e = h >> 10 & 31, m = h & 1023;
    const float v = e == 31 ? (m ? NAN : INFINITY) : ldexpf(e ? (float)(m + 1024) : (float)m, (e ? e : 1) - 25);
    return h >> 15 ? -v : v;
}
static void from_f16(const void *src, float *to, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] = half((const uint8_t *)src + 2 * i);
}
static void from_bf16(const void *src, float *to, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, (const uint8_t *)src + 2 * i, 2);
        const uint32_t u = (uint32_t)h << 16;
        memcpy(to + i, &u, 4);
    }
}
static void from_q8_0(const void *src, float *to, int64_t n) {
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i++) to[i] = half(p + i / 32 * 34) * (float)(int8_t)p[i / 32 * 34 + 2 + i % 32];
}
static void from_q4_0(const void *src, float *to, int64_t n) {
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *b = p + i / 32 * 18, q = b[2 + i % 16];
        to[i] = half(b) * (float)((i % 32 < 16 ? q & 15 : q >> 4) - 8);
    }
}
/* scale or minimum j of a K-block's 12 bytes */
static int six(const uint8_t *p, int j, int minimum) {
    if (j < 4) return p[j + 4 * minimum] & 63;
    const uint8_t low = p[j + 4], high = p[j - 4 + 4 * minimum];
    return (minimum ? low >> 4 : low & 15) | (high >> 6) << 4;
}
static void from_q45(const uint8_t *p, float *to, int64_t n, int five) {
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *b = p + i / 256 * (five ? 176 : 144), *q = b + (five ? 48 : 16);
        const int v = (int)(i % 256), g = v / 64, j = v / 32, nibble = q[32 * g + v % 32];
        int value = v % 64 < 32 ? nibble & 15 : nibble >> 4;
        if (five) value |= (b[16 + v % 32] >> j & 1) << 4;
        const float d = half(b) * (float)six(b + 4, j, 0), m = half(b + 2) * (float)six(b + 4, j, 1);
        to[i] = d * (float)value - m;
    }
}
static void from_q4_k(const void *src, float *to, int64_t n) { from_q45(src, to, n, 0); }
static void from_q5_k(const void *src, float *to, int64_t n) { from_q45(src, to, n, 1); }
static void from_q6_k(const void *src, float *to, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *b = (const uint8_t *)src + i / 256 * 210;
        const int v = (int)(i % 256), g = v / 128, w = v % 128, k = w / 32, l = w % 32;
        const uint8_t low = b[64 * g + 32 * (k & 1) + l], high = b[128 + 32 * g + l] >> 2 * k & 3;
        const int q = ((k < 2 ? low & 15 : low >> 4) | high << 4) - 32;
        to[i] = half(b + 208) * (float)(int8_t)b[192 + v / 16] * (float)q;
    }
}
/* value i % 32 of the nibbles of a block of 32: low ones first; with fifth bits, where `high` is not NULL */
static int nibble(const uint8_t *q, const uint8_t *high, int64_t i) {
    const int l = (int)(i % 32), low = l < 16 ? q[l] & 15 : q[l - 16] >> 4;
    return high ? low | (high[l / 8] >> l % 8 & 1) << 4 : low;
}
static void from_q4_1(const void *src, float *to, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *b = (const uint8_t *)src + i / 32 * 20;
        to[i] = half(b) * (float)nibble(b + 4, NULL, i) + half(b + 2);
    }
}
static void from_q5_0(const void *src, float *to, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *b = (const uint8_t *)src + i / 32 * 22;
        to[i] = half(b) * (float)(nibble(b + 6, b + 2, i) - 16);
    }
}
static void from_q5_1(const void *src, float *to, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *b = (const uint8_t *)src + i / 32 * 24;
        to[i] = half(b) * (float)nibble(b + 8, b + 4, i) + half(b + 2);
    }
}
static const float iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static void from_iq4_nl(const void *src, float *to, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *b = (const uint8_t *)src + i / 32 * 18;
        to[i] = half(b) * iq4[nibble(b + 2, NULL, i)];
    }
}
static void from_iq4_xs(const void *src, float *to, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *b = (const uint8_t *)src + i / 256 * 136;
        const int g = (int)(i % 256 / 32), low = b[4 + g / 2] >> 4 * (g % 2) & 15, high = (b[2] | b[3] << 8) >> 2 * g & 3;
        to[i] = half(b) * (float)((low | high << 4) - 32) * iq4[nibble(b + 8 + 16 * g, NULL, i)];
    }
}
static void from_mxfp4(const void *src, float *to, int64_t n) {
    static const float e2m1[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *b = (const uint8_t *)src + i / 32 * 17;
        const int q = nibble(b + 1, NULL, i);
        to[i] = (q & 8 ? -1.0f : 1.0f) * ldexpf(e2m1[q & 7], *b - 127);
    }
}
/* pair i % 256 of 64 bytes: 128 of them lie in 32 bytes, the lowest first */
static int pair(const uint8_t *q, int64_t i) {
    const int v = (int)(i % 256);
    return q[v / 128 * 32 + v % 32] >> v % 128 / 32 * 2 & 3;
}
static void from_q2_k(const void *src, float *to, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *b = (const uint8_t *)src + i / 256 * 84, s = b[i % 256 / 16];
        const float m = half(b + 82) * (float)(s >> 4);
        to[i] = half(b + 80) * (float)(s & 15) * (float)pair(b + 16, i) - m;
    }
}
static void from_q3_k(const void *src, float *to, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *b = (const uint8_t *)src + i / 256 * 110, *s = b + 96;
        const int v = (int)(i % 256), g = v / 16;
        const int scale = (s[g % 8] >> 4 * (g / 8) & 15) | (s[8 + g % 4] >> 2 * (g / 4) & 3) << 4;
        to[i] = half(b + 108) * (float)(scale - 32) * (float)(pair(b + 32, i) + 4 * (b[v % 32] >> v / 32 & 1) - 4);
    }
}
/* a type without a kernel: 24 values in 7 bytes */
static void from_odd(const void *src, float *to, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] = (float)((const int8_t *)src)[i / 32 * 7 + i % 7];
}

static const struct {
    int type, block, block_bytes;
    softmix_to_float to_float;
} types[] = {{0, 1, 4, NULL},          {1, 1, 2, from_f16},      {30, 1, 2, from_bf16},     {2, 32, 18, from_q4_0},
             {8, 32, 34, from_q8_0},   {12, 256, 144, from_q4_k}, {13, 256, 176, from_q5_k}, {14, 256, 210, from_q6_k},
             {3, 32, 20, from_q4_1},   {6, 32, 22, from_q5_0},    {7, 32, 24, from_q5_1},     {20, 32, 18, from_iq4_nl},
             {39, 32, 17, from_mxfp4}, {10, 256, 84, from_q2_k},  {11, 256, 110, from_q3_k},  {23, 256, 136, from_iq4_xs},
             {-1, 32, 7, from_odd},    {99, 32, 7, from_odd}};

typedef struct {
    uint8_t *memory, *data;
    int64_t n_rows, row_bytes, n_embd, block, k;
    int type;
    softmix_to_float to_float;
    int32_t *ids;
    float *weights, *rows; /* rows: (n_rows, n_embd), read plainly */
} table_t;

static table_t make_table(bytes_t *b, int64_t most) {
    table_t t;
    const int which = byte(b) % (int)(sizeof types / sizeof *types);
    t.type = types[which].type;
    t.block = types[which].block;
    t.to_float = types[which].to_float;
    t.n_rows = 1 + number(b, 12);
    t.n_embd = t.block * (1 + number(b, t.block == 1 ? 70 : 3));
    if (byte(b) == 200) t.n_embd += SOFTMIX_TILE; /* more than one tile */
    t.row_bytes = t.n_embd / t.block * types[which].block_bytes;
    const size_t shift = (size_t)byte(b) % 8, n = (size_t)(t.n_rows * t.row_bytes);
    t.memory = room(n + shift, 1);
    t.data = t.memory + shift; /* rows begin at any byte */
    t.k = 1 + number(b, (uint32_t)most);
    t.ids = room((size_t)t.k, 4);
    t.weights = room((size_t)t.k, 4);
    const int bad = byte(b);
    for (int64_t i = 0; i < t.k; i++) {
        t.ids[i] = bad == 1 ? (int32_t)number(b, 4096) - 2048 : (int32_t)number(b, (uint32_t)t.n_rows);
        t.weights[i] = bad == 2 ? real(b) : (float)byte(b) / 256.0f;
    }
    uint8_t noise[64];
    take(b, noise, 64);
    for (size_t i = 0; i < n; i++) t.data[i] = (uint8_t)(noise[i % 61] + (bad & 64 ? i * i / 61 : i / 61));
    take(b, t.data, n < b->left ? n : b->left);
    t.rows = room((size_t)(t.n_rows * t.n_embd), 4);
    for (int64_t r = 0; r < t.n_rows; r++) {
        if (t.to_float) t.to_float(t.data + r * t.row_bytes, t.rows + r * t.n_embd, t.n_embd);
        else memcpy(t.rows + r * t.n_embd, t.data + r * t.row_bytes, (size_t)t.row_bytes);
    }
    return t;
}
static void drop_table(table_t *t) {
    free(t->memory);
    free(t->ids);
    free(t->weights);
    free(t->rows);
}

/* The first element that is not allowed by itself: an id, a weight; k if there is none. */
static int64_t wrong(const table_t *t) {
    int64_t i = 0;
    while (i < t->k && t->ids[i] >= 0 && t->ids[i] < t->n_rows && isfinite(t->weights[i])) i++;
    return i;
}
static int same(const void *a, const void *b, int64_t n) { return memcmp(a, b, (size_t)n) == 0; }

#if FUZZ == MIX
static void run(bytes_t *b) {
    table_t t = make_table(b, byte(b) & 1 ? 12 : SOFTMIX_FEW + 70);
    /* one to three mixtures; offsets that may be wrong */
    const int64_t n = 1 + byte(b) % 3;
    int64_t *offsets = room((size_t)n + 1, 8);
    offsets[0] = 0;
    for (int64_t r = 1; r < n; r++) offsets[r] = offsets[r - 1] + 1 + number(b, 8);
    offsets[n] = t.k;
    int fits = 1;
    for (int64_t r = 0; r < n; r++) fits &= offsets[r + 1] > offsets[r];
    const float scale = real(b);
    const int64_t stride = t.n_embd + byte(b) % 5;
    float *out = room((size_t)(n * stride), 4), *first = room((size_t)(n * stride), 4);
    int code = 0;
    for (int s = 0; s < n_isas; s++) {
        float *to = s ? out : first;
        memset(to, 0xa5, (size_t)(n * stride) * 4);
        const int rc = softmix_mix(t.data, t.n_rows, t.row_bytes, t.n_embd, t.block, t.to_float, offsets, n, t.ids, t.weights,
                                   scale, to, stride, t.type, isas[s]);
        if (!s) code = rc;
        CHECK(rc == code);
        if (!rc && s) CHECK(same(out, first, n * stride * 4));
    }
    if (!isfinite(scale)) CHECK(code == 11);
    else if (!fits) CHECK(code == 7);
    else if (wrong(&t) < t.k) CHECK(code == -(wrong(&t) + 1));
    else CHECK(code <= 0 && code >= -t.k);
    for (int64_t r = 0; !code && r < n; r++) {
        const int64_t at = offsets[r], k = offsets[r + 1] - at;
        for (int64_t j = 0; j < stride; j++) {
            const float got = first[r * stride + j];
            if (j >= t.n_embd) {
                CHECK(got == 0.0f);
                continue;
            }
            double sum = 0.0, size = 0.0;
            for (int64_t i = at; i < at + k; i++) {
                const double v = t.rows[t.ids[i] * t.n_embd + j];
                if (t.weights[i] == 0.0f && k > 1) continue;
                sum += (double)t.weights[i] * v;
                size += fabs((double)t.weights[i] * v);
            }
            if (k == 1) {
                const float want = t.weights[at] * t.rows[t.ids[at] * t.n_embd + j] * scale;
                CHECK(got == want);
            } else if (k <= SOFTMIX_FEW) {
                CHECK(got == (float)sum * scale);
            } else {
                CHECK(fabs((double)got - sum * (double)scale) <= 1e-5 * size * fabs((double)scale) + 1e-37);
            }
        }
    }
    /* arguments that are wrong */
    float *o = first;
    const softmix_to_float f = t.to_float;
    CHECK(softmix_mix(NULL, t.n_rows, t.row_bytes, t.n_embd, t.block, f, offsets, n, t.ids, t.weights, 1, o, stride, t.type, 0) == 1);
    CHECK(softmix_mix(t.data, 0, t.row_bytes, t.n_embd, t.block, f, offsets, n, t.ids, t.weights, 1, o, stride, t.type, 0) == 2);
    CHECK(softmix_mix(t.data, t.n_rows, t.row_bytes, t.n_embd, t.block, f, offsets, n, t.ids, t.weights, 1, o, t.n_embd - 1, t.type, 0) == 13);
    CHECK(softmix_mix(t.data, t.n_rows, t.row_bytes, t.n_embd, t.block, f, offsets, n, t.ids, t.weights, 1, o, stride, t.type, 4 + byte(b)) == 15);
    int64_t odd[5];
    take(b, odd, sizeof odd);
    if (odd[0] < 1 || odd[0] > SOFTMIX_MAX_N) {
        CHECK(softmix_mix(t.data, t.n_rows, t.row_bytes, odd[0], t.block, f, offsets, n, t.ids, t.weights, 1, o, stride, t.type, 0) == 4);
        CHECK(softmix_mix(t.data, t.n_rows, odd[0], t.n_embd, t.block, f, offsets, n, t.ids, t.weights, 1, o, stride, t.type, 0) == 3);
        CHECK(softmix_mix(t.data, t.n_rows, t.row_bytes, t.n_embd, odd[0], f, offsets, n, t.ids, t.weights, 1, o, stride, t.type, 0) == 5);
        CHECK(softmix_mix(t.data, t.n_rows, t.row_bytes, t.n_embd, t.block, f, offsets, odd[0], t.ids, t.weights, 1, o, stride, t.type, 0) == 8);
    }
    free(offsets);
    free(out);
    free(first);
    drop_table(&t);
}
#endif

#if FUZZ == ADD
/* One mixture of many rows: the same for every instruction set and any number of threads, and near a plain sum. */
static void run(bytes_t *b) {
    table_t t = make_table(b, 700);
    const int in_order = byte(b) & 1; /* no ids: the first rows */
    if (in_order && t.k > t.n_rows) t.k = t.n_rows;
    int64_t bad = 0;
    while (bad < t.k && isfinite(t.weights[bad]) && (in_order || (t.ids[bad] >= 0 && t.ids[bad] < t.n_rows))) bad++;
    const int64_t stride = t.n_embd + 2;
    const size_t size = (size_t)stride * 4;
    double *pieces = room(SOFTMIX_PIECES, (size_t)t.n_embd * 8);
    float *first = room(1, size), *out = room(1, size);
    const softmix_team two = {softmix_spawn, 2};
    int code = 0;
    for (int s = 0; s < 2 * n_isas; s++) { /* each instruction set alone and with two threads */
        const int rc = softmix_mix_many(t.data, t.n_rows, t.row_bytes, t.n_embd, t.block, t.to_float, in_order ? NULL : t.ids,
                                        t.weights, t.k, 0.25f, pieces, s ? out : first, stride, t.type, s % 2 ? &two : NULL,
                                        isas[s / 2]);
        if (!s) code = rc;
        CHECK(rc == code);
        if (!rc && s) CHECK(same(out, first, (int64_t)size));
    }
    CHECK(code <= 0 && code >= -t.k && (bad == t.k || (code && code >= -(bad + 1)))); /* an earlier row may be damaged */
    for (int64_t j = 0; !code && j < t.n_embd; j++) {
        double plain = 0.0, total = 0.0;
        for (int64_t i = 0; i < t.k; i++) {
            const double v = (double)t.weights[i] * (double)t.rows[(in_order ? i : t.ids[i]) * t.n_embd + j];
            if (t.weights[i] == 0.0f) continue;
            plain += v;
            total += fabs(v);
        }
        CHECK(fabs(plain * 0.25 - (double)first[j]) <= 1e-5 * total + 1e-37);
    }
    if (!code) CHECK(first[t.n_embd] == 0.0f && first[t.n_embd + 1] == 0.0f);
    free(pieces);
    free(first);
    free(out);
    drop_table(&t);
}
#endif

#if FUZZ == SCAN || FUZZ == TOP
static float *make_logits(bytes_t *b, int64_t n) {
    float *z = room((size_t)n, 4);
    const int kind = byte(b) % 5;
    uint32_t u = number(b, 1u << 31);
    for (int64_t i = 0; i < n; i++) {
        u = u * 1664525u + 1013904223u;
        z[i] = kind == 0 ? real(b) : kind == 1 ? 0.0f : (float)(int16_t)(u >> 16) / (kind == 2 ? 64.0f : kind == 3 ? 4096.0f : 1e-30f);
    }
    for (int i = byte(b) % 5; i > 0; i--) { /* a few of any bits */
        float f;
        take(b, &f, 4);
        z[number(b, (uint32_t)n)] = f;
    }
    return z;
}
#endif

#if FUZZ == SCAN
static void run(bytes_t *b) {
    const int64_t n = 1 + number(b, byte(b) & 3 ? 70 : 2500);
    float *a = make_logits(b, n), *c = byte(b) & 3 ? make_logits(b, n) : NULL;
    double t = wide(b), mass = wide(b) * 1e-3, sums[2], ln2 = 0.69314718055994530942;
    float high = 0, peak = 0;
    int32_t at = 0, where = 0;
    int code = 0;
    for (int s = 0; s < n_isas; s++) {
        const int rc = softmix_peak(a, n, &peak, &where, isas[s]);
        if (!s) code = rc, high = peak, at = where;
        CHECK(rc == code && (rc || (where == at && peak == high)));
    }
    int64_t bad = 0;
    while (bad < n && a[bad] < INFINITY) bad++;
    int all = 1;
    for (int64_t i = 0; i < n; i++) all &= a[i] == -INFINITY;
    CHECK(code == (bad < n ? -(bad + 1) : all ? -1 : 0));
    float *p = room((size_t)n, 4), *q = room((size_t)n, 4);
    int32_t *ids = room((size_t)n, 4), *other = room((size_t)n, 4);
    double *w = room((size_t)n, 8);
    if (!code) {
        for (int64_t i = 0; i < at; i++) CHECK(a[i] < high);
        for (int64_t i = at; i < n; i++) CHECK(a[i] <= high);
        CHECK(a[at] == high);
        for (int s = 0; s < n_isas; s++) {
            double now[2];
            const int rc = softmix_sums(a, n, t, high, now, NULL, isas[s]);
            CHECK(rc == (t > 0 && isfinite(t) ? 0 : 3));
            if (rc) continue;
            if (!s) memcpy(sums, now, sizeof now);
            CHECK(same(sums, now, sizeof now));
        }
        if (t > 1e-300 && isfinite(t)) {
            CHECK(sums[0] >= 1.0 && sums[0] <= (double)n * 1.0000001 && sums[1] <= 0.0 && isfinite(sums[1]));
            const double entropy = log(sums[0]) - sums[1] / sums[0];
            CHECK(entropy >= -1e-9 && entropy <= log((double)n) + 1e-9);
            for (int s = 0; s < n_isas; s++) {
                CHECK(!softmix_probs(a, n, t, high, sums[0], s ? q : p, isas[s]));
                CHECK(!s || same(p, q, n * 4));
            }
            double total = 0.0;
            for (int64_t i = 0; i < n; i++) {
                const double x = ((double)a[i] - (double)high) / t, want = exp(x) / sums[0];
                CHECK(p[i] >= 0.0f && p[i] <= 1.0f && fabs((double)p[i] - want) <= 1e-6 * want + 1e-44);
                total += p[i];
            }
            CHECK(fabs(total - 1.0) < 1e-5);
            const double u = wide(b);
            int32_t one_of = -1, too = -1;
            for (int s = 0; s < n_isas; s++) {
                const int rc = softmix_sample(a, n, t, high, u, NULL, s ? &too : &one_of, NULL, isas[s]);
                CHECK(rc == (u >= 0 && u < 1 ? 0 : 5));
                CHECK(rc || !s || one_of == too);
            }
            if (u >= 0 && u < 1) {
                CHECK(one_of >= 0 && one_of < n && ((double)a[one_of] - (double)high) / t > -746.0);
                double before = 0.0;
                for (int32_t i = 0; i < one_of; i++) before += exp(((double)a[i] - (double)high) / t);
                const double with = before + exp(((double)a[one_of] - (double)high) / t);
                CHECK(before <= u * sums[0] * (1 + 1e-9) + 1e-9 && with >= u * sums[0] * (1 - 1e-9) - 1e-9);
            }
            if (mass >= 0 && mass < sums[0]) {
                int64_t kept = 0, again = 0;
                double gone = 0, too = 0;
                int rc = 0;
                for (int s = 0; s < n_isas; s++) {
                    const softmix_team two = {s & 1 ? softmix_spawn : NULL, 2};
                    const int now = softmix_whole(a, n, t, high, sums[0], mass, s ? other : ids, s ? q : p, s ? &again : &kept,
                                                  s ? &too : &gone, &two, isas[s]);
                    if (!s) rc = now;
                    CHECK(now == rc && (rc == 0 || rc == 6)); /* 6: a mass that rounding makes the whole of */
                    CHECK(rc || !s || (again == kept && too == gone && same(ids, other, kept * 4) && same(p, q, kept * 4)));
                }
                double left = 0.0, weight = 0.0;
                int64_t j = 0;
                float least = INFINITY, most = -INFINITY;
                for (int64_t i = 0; i < n && !rc; i++) {
                    if (j < kept && ids[j] == i) {
                        CHECK(p[j] > 0.0f && p[j] <= 1.0f);
                        weight += p[j];
                        j++;
                        if (a[i] < least) least = a[i];
                    } else {
                        left += exp(((double)a[i] - (double)high) / t);
                        if (a[i] > most) most = a[i];
                    }
                }
                if (!rc) {
                    CHECK(j == kept && kept >= 1 && least > most); /* increasing; all that stay are above all that go */
                    CHECK(fabs(weight - 1.0) < 1e-5 && gone >= 0.0 && gone <= mass * (1 + 1e-12));
                    CHECK(fabs(left - gone) <= 1e-9 * left + 1e-40 * (double)n * sums[0]); /* and those that are 0 in float32 */
                }
            }
        }
        softmix_known known, again;
        for (int s = 0; s < n_isas; s++) {
            memset(&again, 0, sizeof again);
            CHECK(!softmix_summary(a, n, &again, NULL, isas[s]));
            if (!s) known = again;
            CHECK(same(&known, &again, sizeof known));
        }
        softmix_known two[2];
        softmix_known *const both[2] = {&two[0], &two[1]};
        const float *const rows[2] = {a, a};
        int32_t codes[2];
        memset(two, 0, sizeof two);
        CHECK(!softmix_summaries(rows, 2, n, both, codes, NULL, 0) && !codes[0] && !codes[1]);
        CHECK(same(&two[0], &known, sizeof known) && same(&two[1], &known, sizeof known));
        CHECK(known.max == high && known.ids[0] == at && known.k == (n < SOFTMIX_KNOWN ? n : SOFTMIX_KNOWN));
        CHECK(!softmix_top(a, n, known.k, other, 0) && same(known.ids, other, known.k * 4));
        CHECK(fabs((double)known.p[0] - 1.0 / known.sums[0]) < 1e-6);
        const double where = wide(b);
        if (where >= 0 && where < 1) { /* the parts that are known give the same draw */
            int32_t drawn = -1, too = -1;
            CHECK(!softmix_sample(a, n, 1.0, high, where, known.parts, &drawn, NULL, 0));
            CHECK(!softmix_sample(a, n, 1.0, high, where, NULL, &too, NULL, 0) && drawn == too);
        }
        const int64_t k = 1 + number(b, (uint32_t)known.k);
        memcpy(ids, known.ids, (size_t)k * 4);
        /* filters on those k, and a draw */
        double top_p = wide(b), min_p = wide(b), total = byte(b) & 1 ? 0.0 : known.sums[0];
        const int64_t at_most = (int64_t)number(b, 40) - 2;
        int64_t count = 0;
        const int rc = softmix_filter(a, n, ids, k, t, total, top_p, min_p, at_most, other, w, &count);
        const int ok = t > 0 && isfinite(t) && top_p > 0 && min_p >= 0 && at_most >= 1;
        CHECK((rc == 0) == ok);
        CHECK(rc || count || (total > 0.0 && top_p < 1.0 && k < n));
        if (!rc && count && t > 1e-300) {
            double sum = 0.0;
            CHECK(count >= 1 && count <= k && count <= at_most);
            for (int64_t i = 0; i < count; i++) {
                CHECK(w[i] >= 0.0 && (!i || other[i] > other[i - 1]));
                sum += w[i];
            }
            CHECK(fabs(sum - 1.0) < 1e-9);
            const double u = (double)number(b, 1000) / 1000.0;
            const int64_t d = softmix_draw(w, count, u);
            CHECK(d >= 0 && d < count);
            double before = 0.0;
            for (int64_t i = 0; i < d; i++) before += w[i];
            CHECK(before <= u * sum + 1e-9 && before + w[d] >= u * sum - 1e-9);
        }
        for (int64_t i = 0; i < k; i++) ids[i] = (int32_t)number(b, 1u << 31) - 1000; /* ids of any number */
        (void)softmix_filter(a, n, ids, k, t, total, top_p, min_p, at_most, other, w, &count);
    }
    if (c) {
        double first[2] = {0, 0};
        double ln[2];
        take(b, ln, sizeof ln);
        for (int s = 0; s < n_isas; s++) {
            double js, sj, kl;
            const int r = softmix_js(a, c, n, NULL, &js, NULL, isas[s]), r2 = softmix_js(c, a, n, NULL, &sj, NULL, isas[s]);
            CHECK((r == 0) == (r2 == 0) && (code == 0 || r == code));
            CHECK(softmix_kl(a, c, n, NULL, &kl, isas[s]) == r);
            if (!r) {
                CHECK(js == sj && js >= 0.0 && js <= ln2 && kl >= 0.0);
                float size = 0;
                for (int64_t i = 0; i < n; i++) {
                    if (isfinite(a[i])) size = fmaxf(size, fabsf(a[i]));
                    if (isfinite(c[i])) size = fmaxf(size, fabsf(c[i]));
                }
                if (size < 1e6f) CHECK(kl + 1e-9 >= 0.5 * js * js); /* loose: both measure the same difference */
                if (!s) first[0] = js, first[1] = kl;
                CHECK(js == first[0] && kl == first[1]);
            }
            if (code == 0) { /* normalisers of any bits: a number comes out, whatever it is */
                const int known = softmix_js(a, c, n, ln, &js, NULL, isas[s]);
                CHECK(known == (isfinite(ln[0]) && isfinite(ln[1]) ? 0 : 4));
            }
        }
    }
    free(a);
    free(c);
    free(p);
    free(q);
    free(ids);
    free(other);
    free(w);
}
#endif

#if FUZZ == TOP
static const float *sorting;
static int order(const void *x, const void *y) {
    const int32_t i = *(const int32_t *)x, j = *(const int32_t *)y;
    return sorting[i] > sorting[j] ? -1 : sorting[i] < sorting[j] ? 1 : i < j ? -1 : 1;
}
static void run(bytes_t *b) {
    const int64_t n = 1 + number(b, byte(b) & 3 ? 200 : 2500), k = (int64_t)number(b, (uint32_t)n + 3) - 1;
    float *v = make_logits(b, n);
    int32_t *ids = room((size_t)n, 4), *want = room((size_t)n, 4);
    int64_t bad = 0;
    while (bad < n && !isnan(v[bad])) bad++;
    for (int64_t i = 0; i < n; i++) want[i] = (int32_t)i;
    sorting = v;
    if (bad == n) qsort(want, (size_t)n, 4, order);
    for (int s = 0; s < n_isas; s++) {
        int32_t *exact = room((size_t)(k > 0 ? k : 1), 4);
        const int rc = softmix_top(v, n, k, exact, isas[s]);
        CHECK(rc == (k < 1 || k > n ? 3 : bad < n ? -(bad + 1) : 0));
        CHECK(rc || same(exact, want, k * 4));
        free(exact);
    }
    free(v);
    free(ids);
    free(want);
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!n_isas) {
        for (int i = 0; i < 4; i++) {
            if (softmix_has(i)) isas[n_isas++] = i;
        }
    }
    bytes_t b = {data, size};
    run(&b);
    return 0;
}

/* Print a digest of what the kernels compute from made-up tables and logits, a line for each instruction set that the
 * machine can run. All lines must be equal, on every machine: scripts/dev/check_arm64 compares this one with an emulated one. */
#include "isa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 1500, WIDE = 2048 + 256, LOGITS = 20011 };

static uint64_t state = 88172645463325252u; /* Marsaglia's xorshift */

static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

/* A float in (-1, 1), the same on every machine. */
static float uniform(void) { return ((float)(next() >> 40) - 8388608.0f) / 8388608.0f; }

static uint64_t digest(uint64_t h, const void *p, size_t n) { /* FNV-1a */
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 1099511628211u;
    return h;
}

/* Places of half floats in a block, -1 for none: given an exponent that leaves them finite. */
typedef struct {
    int type, block, bytes, half[2];
} kind_t;

static const kind_t KINDS[] = {
    {0, 1, 4, {-1, -1}},       {1, 1, 2, {0, -1}},      {30, 1, 2, {-1, -1}},    {2, 32, 18, {0, -1}},
    {8, 32, 34, {0, -1}},      {12, 256, 144, {0, 2}},  {13, 256, 176, {0, 2}},  {14, 256, 210, {208, -1}},
    {3, 32, 20, {0, 2}},       {6, 32, 22, {0, -1}},    {7, 32, 24, {0, 2}},     {20, 32, 18, {0, -1}},
    {39, 32, 17, {-1, -1}},    {10, 256, 84, {80, 82}}, {11, 256, 110, {108, -1}}, {23, 256, 136, {0, -1}},
};

static void no_reader(const void *src, float *dst, int64_t n) {
    (void)src;
    memset(dst, 0, (size_t)n * sizeof *dst); /* only single rows are read by it */
}

static void fill(unsigned char *table, const kind_t *k, int64_t blocks) {
    for (int64_t b = 0; b < blocks; b++) {
        unsigned char *p = table + b * k->bytes;
        for (int i = 0; i < k->bytes; i++) p[i] = (unsigned char)(next() >> 56);
        const float f = uniform();
        if (k->type == 0) memcpy(p, &f, 4);
        if (k->type == 30) {
            uint32_t u;
            memcpy(&u, &f, 4);
            const uint16_t h = (uint16_t)(u >> 16);
            memcpy(p, &h, 2);
        }
        if (k->type == 39) p[0] = (unsigned char)(64 + p[0] / 2); /* an exponent: below 2^64 */
        for (int i = 0; i < 2; i++) {
            if (k->half[i] >= 0) p[k->half[i] + 1] &= 0xbf; /* below 2, subnormals included */
        }
    }
}

int main(void) {
    static const int isas[] = {SOFTMIX_SCALAR, SOFTMIX_AVX2, SOFTMIX_AVX512, SOFTMIX_NEON};
    static const char *names[] = {"scalar", "avx2", "avx512", "neon"};
    static float weights[ROWS], out[2 * WIDE], many[WIDE], in_order[WIDE], kept_p[LOGITS], z[LOGITS], y[LOGITS], p[LOGITS];
    static double sums[SOFTMIX_PIECES * WIDE];
    static int32_t ids[ROWS], kept[LOGITS];
    const softmix_team team = {softmix_spawn, 2};
    unsigned char *table = malloc((size_t)ROWS * WIDE * 4 + 1);
    if (!table) return 2;
    for (int i = 0; i < ROWS; i++) weights[i] = uniform();
    for (int i = 0; i < ROWS; i++) ids[i] = (int32_t)(next() % ROWS);
    for (int i = 0; i < LOGITS; i++) z[i] = 30.0f * uniform(), y[i] = 30.0f * uniform();
    const uint64_t seed = state;
    for (int s = 0; s < 4; s++) {
        const int isa = isas[s];
        if (!softmix_has(isa)) continue;
        state = seed;
        printf("%-7s", names[s]);
        for (size_t t = 0; t < sizeof KINDS / sizeof *KINDS; t++) {
            const kind_t *k = &KINDS[t];
            const int64_t width = k->block == 1 ? WIDE - 219 : WIDE, bytes = width / k->block * k->bytes;
            unsigned char *rows = table + 1; /* rows in a file begin anywhere */
            fill(rows, k, ROWS * width / k->block);
            const int64_t offsets[] = {0, 7, 607};
            softmix_to_float read = k->type ? no_reader : 0;
            uint64_t h = 14695981039346656037u;
            if (softmix_mix(rows, ROWS, bytes, width, k->block, read, offsets, 2, ids, weights, 0.5f, out, WIDE, k->type, isa)
                || softmix_mix_many(rows, ROWS, bytes, width, k->block, read, 0, weights, ROWS, 0.5f, sums, in_order, WIDE, k->type,
                                    0, isa)
                || softmix_mix_many(rows, ROWS, bytes, width, k->block, read, ids, weights, ROWS, 0.5f, sums, many, WIDE, k->type,
                                    &team, isa)) {
                fprintf(stderr, "type %d failed\n", k->type);
                return 1;
            }
            h = digest(digest(digest(h, out, sizeof out), in_order, sizeof in_order), many, sizeof many);
            printf(" %016llx", (unsigned long long)h);
        }
        float max;
        int32_t at, id[3];
        int64_t n;
        double s4[4], left, js;
        const double ln[] = {29.5, 29.25};
        uint64_t h = 14695981039346656037u;
        int rc = softmix_peak(z, LOGITS, &max, &at, isa) | softmix_sums(z, LOGITS, 0.7, max, s4, &team, isa) |
                 softmix_sums(z, LOGITS, 1.0, max, s4 + 2, &team, isa) | softmix_probs(z, LOGITS, 1.0, max, s4[2], p, isa) |
                 softmix_js(z, y, LOGITS, ln, &js, &team, isa);
        for (int i = 0; i < 3; i++) rc |= softmix_sample(z, LOGITS, 0.7, max, 0.3 * i + 0.05, 0, id + i, &team, isa);
        h = digest(digest(digest(h, &max, 4), &at, 4), s4, sizeof s4);
        h = digest(digest(digest(h, p, sizeof p), &js, 8), id, sizeof id);
        rc |= softmix_whole(z, LOGITS, 1.0, max, s4[2], 1e-4 * s4[2], kept, kept_p, &n, &left, &team, isa);
        h = digest(digest(digest(h, kept, (size_t)n * 4), kept_p, (size_t)n * 4), &left, 8);
        rc |= softmix_top(z, LOGITS, 500, kept, isa);
        printf(" %016llx\n", (unsigned long long)digest(h, kept, 2000));
        if (rc) return 1;
    }
    free(table);
    return 0;
}

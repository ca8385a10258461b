/* Passes over logits in pieces, for whichever threads there are. Shared by the files that make them; defined in logits.c
 * where nothing else is said. */
#ifndef SOFTMIX_PASS_H
#define SOFTMIX_PASS_H

#include "isa.h"

#include <math.h>

/* Arguments 1 to 3 of many functions. */
static inline int bad_logits(const float *logits, int64_t n, double temperature) {
    if (!logits) return 1;
    if (bad_size(n)) return 2;
    return !(temperature > 0.0) || !isfinite(temperature) ? 3 : 0;
}

enum { PIECE = 8192, PIECES = SOFTMIX_SUMS, BLOCKS = 8 }; /* logits in a piece, unless there are more pieces; blocks in one */

/* Logits in a piece: it depends on n alone, so sums do. */
static inline int64_t piece_of(int64_t n) {
    int64_t size = PIECE;
    while (n > size * PIECES) size *= 2;
    return size;
}

static inline int64_t pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }

typedef struct {
    const softmix_scan *scan;
    const float *z, *other; /* other: of a divergence */
    int64_t n, size;
    double max, inv_t, ln_a, ln_b;
    float high[PIECES * BLOCKS];
    double s[PIECES], sx[PIECES];
} pass_t;

static inline double added(const double *s, int64_t n) {
    double sum = s[0];
    for (int64_t i = 1; i < n; i++) sum += s[i];
    return sum;
}

/* A pass over z; the fields that it needs are filled by those below. */
static inline pass_t pass_over(const float *z, int64_t n, int isa) {
    pass_t p;
    p.scan = softmix_scanner(isa);
    p.z = z;
    p.n = n;
    p.size = piece_of(n);
    return p;
}

/* p->high: the largest of each block; p->max. Returns the first index of the largest of all, or -(i+1) for a NaN or +inf at
 * i; -1 if all are -inf. */
int64_t softmix_find_peak(pass_t *p, const softmix_team *team);

/* out (2): sum e^x and sum x e^x, x = (z - p->max) / temperature */
void softmix_find_sums(pass_t *p, double temperature, const softmix_team *team, double *out);

/* The k <= SOFTMIX_KNOWN likeliest, given the largest of each block. (choose.c) */
void softmix_top_of_blocks(const pass_t *p, int64_t k, int32_t *ids);

#endif

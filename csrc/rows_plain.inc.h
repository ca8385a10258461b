/* The pieces of the row kernels in plain C, for SUFFIX. HALF16(h, f): 16 half floats to floats; HALF(h): one. */

static inline float NAME(half_)(const unsigned char *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return HALF(h);
}

/* s[r] = w[r] times the half float at byte `at` of each of SOFTMIX_TOGETHER rows */
static inline void NAME(halves_of_)(const unsigned char *const *src, int64_t at, const float *w, float *s) {
    for (int r = 0; r < SOFTMIX_TOGETHER; r++) s[r] = w[r] * NAME(half_)(src[r] + at);
}

typedef struct {
    float l[16];
} NAME(v16); /* 16 floats */

static inline NAME(v16) NAME(get_)(const float *a) {
    NAME(v16) v;
    memcpy(&v, a, sizeof v);
    return v;
}

static inline void NAME(put_)(float *a, NAME(v16) v) { memcpy(a, &v, sizeof v); }

/* s v + a */
static inline NAME(v16) NAME(fma_)(float s, NAME(v16) v, NAME(v16) a) {
    for (int l = 0; l < 16; l++) a.l[l] = fmaf(s, v.l[l], a.l[l]);
    return a;
}

/* d v + m, rounded twice */
static inline NAME(v16) NAME(plus_)(float d, NAME(v16) v, float m) {
    for (int l = 0; l < 16; l++) v.l[l] = d * v.l[l] + m;
    return v;
}

/* 16 integers as floats */
static inline NAME(v16) NAME(ints_)(const int8_t *q) {
    NAME(v16) v;
    for (int l = 0; l < 16; l++) v.l[l] = (float)q[l];
    return v;
}

/* v (2): the values in a table (16) of the low nibbles of 16 bytes, then of the high ones */
static inline void NAME(by_nibble_)(const unsigned char *src, const int8_t *table, NAME(v16) *v) {
    for (int l = 0; l < 16; l++) {
        v[0].l[l] = (float)table[src[l] & 15];
        v[1].l[l] = (float)table[src[l] >> 4];
    }
}

/* v (2): 16 bytes of nibbles, the low ones first, below 32 fifth bits, less 16 or 0 */
static inline void NAME(by_fifth_)(const unsigned char *high, const unsigned char *src, int less, NAME(v16) *v) {
    for (int l = 0; l < 16; l++) {
        v[0].l[l] = (float)(((src[l] & 15) | (high[l / 8] >> l % 8 & 1) << 4) - less);
        v[1].l[l] = (float)(((src[l] >> 4) | (high[2 + l / 8] >> l % 8 & 1) << 4) - less);
    }
}

/* s (8) = w (d b) */
static inline void NAME(scales_)(const int8_t *b, float d, float w, float *RESTRICT s) {
    for (int l = 0; l < 8; l++) s[l] = w * (d * (float)b[l]);
}

/* a (16) += w * 16 values */
static inline void NAME(f32_16_)(float *RESTRICT a, const unsigned char *src, float w) {
    float v[16];
    memcpy(v, src, sizeof v);
    for (int l = 0; l < 16; l++) a[l] = fmaf(w, v[l], a[l]);
}

static inline void NAME(bf16_16_)(float *RESTRICT a, const unsigned char *src, float w) {
    uint16_t h[16];
    uint32_t u[16];
    float v[16];
    memcpy(h, src, sizeof h);
    for (int l = 0; l < 16; l++) u[l] = (uint32_t)h[l] << 16;
    memcpy(v, u, sizeof v);
    for (int l = 0; l < 16; l++) a[l] = fmaf(w, v[l], a[l]);
}

static inline void NAME(f16_16_)(float *RESTRICT a, const unsigned char *src, float w) {
    uint16_t h[16];
    float v[16];
    memcpy(h, src, sizeof h);
    HALF16(h, v);
    for (int l = 0; l < 16; l++) a[l] = fmaf(w, v[l], a[l]);
}

/* a (32) += s q: the first 16 with s, the others with t */
static inline void NAME(i8_32_)(float *RESTRICT a, const int8_t *q, float s, float t) {
    for (int l = 0; l < 16; l++) a[l] = fmaf(s, (float)q[l], a[l]);
    for (int l = 16; l < 32; l++) a[l] = fmaf(t, (float)q[l], a[l]);
}

/* a (16) += s q of each row, whose q lie q_step apart and whose scales s_step */
static inline void NAME(i8_16_rows_)(float *RESTRICT a, const int8_t *q, int q_step, const float *s, int s_step) {
    for (int r = 0; r < SOFTMIX_TOGETHER; r++) {
        for (int l = 0; l < 16; l++) a[l] = fmaf(s[s_step * r], (float)q[q_step * r + l], a[l]);
    }
}

/* a (16) += w (d q - m) */
static inline void NAME(i8m_16_)(float *RESTRICT a, const int8_t *q, float w, float d, float m) {
    for (int l = 0; l < 16; l++) a[l] = fmaf(w, d * (float)q[l] - m, a[l]);
}

/* v (32): the low nibbles of 16 bytes, then the high ones, less a number */
static inline void NAME(fourth_)(const unsigned char *src, int less, int8_t *RESTRICT v) {
    for (int l = 0; l < 16; l++) {
        v[l] = (int8_t)((src[l] & 15) - less);
        v[16 + l] = (int8_t)((src[l] >> 4) - less);
    }
}

/* v (32): the same nibbles' values in a table (16) */
static inline void NAME(lookup_)(const unsigned char *src, const int8_t *table, int8_t *RESTRICT v) {
    for (int l = 0; l < 16; l++) {
        v[l] = table[src[l] & 15];
        v[16 + l] = table[src[l] >> 4];
    }
}

/* v (64): the low nibbles of 32 bytes, then the high ones */
static inline void NAME(nibbles_)(const unsigned char *src, int8_t *RESTRICT v) {
    for (int l = 0; l < 32; l++) {
        v[l] = (int8_t)(src[l] & 15);
        v[32 + l] = (int8_t)(src[l] >> 4);
    }
}

/* v (256) from 32 bytes of fifth bits and 128 of nibbles behind them */
static inline void NAME(fifth_)(const unsigned char *src, int8_t *RESTRICT v) {
    for (int g = 0; g < 4; g++) {
        for (int l = 0; l < 32; l++) {
            const unsigned high = src[l] >> 2 * g, q = src[32 + 32 * g + l];
            v[64 * g + l] = (int8_t)((q & 15) | ((high & 1) << 4));
            v[64 * g + 32 + l] = (int8_t)((q >> 4) | ((high & 2) << 3));
        }
    }
}

/* v (128) from 32 bytes: their lowest pairs of bits first */
static inline void NAME(pairs_)(const unsigned char *src, int8_t *RESTRICT v) {
    for (int k = 0; k < 4; k++) {
        for (int l = 0; l < 32; l++) v[32 * k + l] = (int8_t)(src[l] >> 2 * k & 3);
    }
}

/* v (128): the same pairs below bits `first` to `first` + 3 of 32 other bytes, less 4 */
static inline void NAME(third_)(const unsigned char *high, int first, const unsigned char *src, int8_t *RESTRICT v) {
    for (int k = 0; k < 4; k++) {
        for (int l = 0; l < 32; l++) {
            v[32 * k + l] = (int8_t)(((src[l] >> 2 * k & 3) | (high[l] >> (first + k) & 1) << 2) - 4);
        }
    }
}

/* v (128) from 64 bytes of low nibbles and 32 of high pairs of bits, less 32 */
static inline void NAME(sixth_)(const unsigned char *lo, const unsigned char *hi, int8_t *RESTRICT v) {
    for (int l = 0; l < 32; l++) {
        v[l] = (int8_t)(((lo[l] & 15) | ((hi[l] & 3) << 4)) - 32);
        v[32 + l] = (int8_t)(((lo[32 + l] & 15) | ((hi[l] & 12) << 2)) - 32);
        v[64 + l] = (int8_t)(((lo[l] >> 4) | (hi[l] & 48)) - 32);
        v[96 + l] = (int8_t)(((lo[32 + l] >> 4) | ((hi[l] & 192) >> 2)) - 32);
    }
}

#undef HALF16
#undef HALF

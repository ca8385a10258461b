/* Row kernels: dequantize and accumulate in one go. Included by rows.c once for each instruction set, after the pieces that
 * differ: half_, halves_of_, scales_, v16 (get_, put_, fma_, plus_, ints_, by_nibble_, by_fifth_), f32_16_, f16_16_, bf16_16_,
 * i8_32_, i8_16_rows_, i8m_16_, fourth_, lookup_, nibbles_, fifth_, pairs_, third_, sixth_.
 *
 * A product and its sum are rounded once (fmaf). Values are ggml's: acc = 0 and w = 1 give its to_float bit for bit (but for -0, which becomes 0). Where a block has only
 * a scale, the weight is multiplied into that, once a group; where it has a minimum too, the value is made first, since
 * the two cancel. Rows in a file may begin at any byte.
 */

TARGET static void NAME(f32_)(const unsigned char *src, int64_t n, float w, float *RESTRICT acc,
                               const unsigned char *next) {
    int64_t j = 0;
    for (; j + 16 <= n; j += 16) {
        FETCH(next + 4 * j);
        NAME(f32_16_)(acc + j, src + 4 * j, w);
    }
    for (; j < n; j++) {
        float v;
        memcpy(&v, src + 4 * j, 4);
        acc[j] = fmaf(w, v, acc[j]);
    }
}

TARGET static void NAME(bf16_)(const unsigned char *src, int64_t n, float w, float *RESTRICT acc,
                               const unsigned char *next) {
    int64_t j = 0;
    for (; j + 32 <= n; j += 32) {
        FETCH(next + 2 * j);
        NAME(bf16_16_)(acc + j, src + 2 * j, w);
        NAME(bf16_16_)(acc + j + 16, src + 2 * j + 32, w);
    }
    for (; j + 16 <= n; j += 16) NAME(bf16_16_)(acc + j, src + 2 * j, w);
    for (; j < n; j++) acc[j] = fmaf(w, bfloat(src + 2 * j), acc[j]);
}

TARGET static void NAME(f16_)(const unsigned char *src, int64_t n, float w, float *RESTRICT acc,
                               const unsigned char *next) {
    int64_t j = 0;
    for (; j + 32 <= n; j += 32) {
        FETCH(next + 2 * j);
        NAME(f16_16_)(acc + j, src + 2 * j, w);
        NAME(f16_16_)(acc + j + 16, src + 2 * j + 32, w);
    }
    for (; j + 16 <= n; j += 16) NAME(f16_16_)(acc + j, src + 2 * j, w);
    for (; j < n; j++) acc[j] = fmaf(w, NAME(half_)(src + 2 * j), acc[j]);
}

/* block_q8_0, 34 bytes for 32: half d, int8 q[32]; d q */
TARGET static inline void NAME(q8_0_values_)(const unsigned char *src, NAME(v16) *v) {
    v[0] = NAME(ints_)((const int8_t *)src + 2);
    v[1] = NAME(ints_)((const int8_t *)src + 18);
}

/* block_q4_0, 18 bytes for 32: half d, nibbles[16], low ones first; d (q - 8) */
TARGET static inline void NAME(q4_0_values_)(const unsigned char *src, NAME(v16) *v) {
    NAME(by_nibble_)(src + 2, less_8, v);
}

/* block_q5_0, 22 bytes for 32: half d, fifth bits[4], nibbles[16] as in q4_0; d (q - 16) */
TARGET static inline void NAME(q5_0_values_)(const unsigned char *src, NAME(v16) *v) {
    NAME(by_fifth_)(src + 2, src + 6, 16, v);
}

/* block_iq4_nl, 18 bytes for 32: half d, nibbles[16] as in q4_0; d table[q] */
TARGET static inline void NAME(iq4_nl_values_)(const unsigned char *src, NAME(v16) *v) {
    NAME(by_nibble_)(src + 2, iq4_values, v);
}

/* block_mxfp4, 17 bytes for 32: exponent, nibbles[16] as in q4_0; 2^(exponent - 128) table[q] */
TARGET static inline void NAME(mxfp4_values_)(const unsigned char *src, NAME(v16) *v) {
    NAME(by_nibble_)(src + 1, mxfp4_values, v);
}

/* The kernels of a type whose blocks of 32 begin with one scale: NAME_values_ gives the integers as floats. The scales of the
 * rows are made together. */
#define ONE_SCALE(type, bytes, scale, scales)                                                                              \
    TARGET static void NAME(type##_)(const unsigned char *src, int64_t n, float w, float *RESTRICT acc,                    \
                                     const unsigned char *next) {                                                          \
        for (int64_t j = 0; j < n; j += 32, src += bytes, next += bytes) {                                                 \
            FETCH(next);                                                                                                   \
            NAME(v16) v[2];                                                                                                \
            const float s = w * scale(src);                                                                                \
            NAME(type##_values_)(src, v);                                                                                  \
            NAME(put_)(acc + j, NAME(fma_)(s, v[0], NAME(get_)(acc + j)));                                                 \
            NAME(put_)(acc + j + 16, NAME(fma_)(s, v[1], NAME(get_)(acc + j + 16)));                                       \
        }                                                                                                                  \
    }                                                                                                                      \
    TARGET static void NAME(type##_rows_)(const unsigned char *const *src, int64_t n, const float *w, float *RESTRICT acc, \
                                          const unsigned char *const *next, int64_t step) {                                \
        for (int64_t j = 0, at = 0; j < n; j += 32, at += bytes) {                                                         \
            ALIGNED float t[SOFTMIX_TOGETHER];                                                                             \
            scales(src, at, w, t);                                                                                         \
            NAME(v16) a = NAME(get_)(acc + j), b = NAME(get_)(acc + j + 16), v[2];                                         \
            for (int r = 0; r < SOFTMIX_TOGETHER; r++) {                                                                   \
                FETCH(next[r] + step * at);                                                                                \
                NAME(type##_values_)(src[r] + at, v);                                                                      \
                a = NAME(fma_)(t[r], v[0], a);                                                                             \
                b = NAME(fma_)(t[r], v[1], b);                                                                             \
            }                                                                                                              \
            NAME(put_)(acc + j, a);                                                                                        \
            NAME(put_)(acc + j + 16, b);                                                                                   \
        }                                                                                                                  \
    }

ONE_SCALE(q8_0, 34, NAME(half_), NAME(halves_of_))
ONE_SCALE(q4_0, 18, NAME(half_), NAME(halves_of_))
ONE_SCALE(q5_0, 22, NAME(half_), NAME(halves_of_))
ONE_SCALE(iq4_nl, 18, NAME(half_), NAME(halves_of_))
ONE_SCALE(mxfp4, 17, power_of, powers_of)

/* block_q4_1, 20 bytes for 32: half d, half m, nibbles[16] as in q4_0; d q + m */
TARGET static inline void NAME(q4_1_values_)(const unsigned char *src, NAME(v16) *v) { NAME(by_nibble_)(src + 4, less_0, v); }

/* block_q5_1, 24 bytes for 32: half d, half m, fifth bits[4], nibbles[16] as in q4_0; d q + m */
TARGET static inline void NAME(q5_1_values_)(const unsigned char *src, NAME(v16) *v) { NAME(by_fifth_)(src + 4, src + 8, 0, v); }

/* The kernels of a type whose blocks of 32 begin with a scale and a minimum. */
#define SCALE_AND_MINIMUM(type, bytes)                                                                                     \
    TARGET static void NAME(type##_)(const unsigned char *src, int64_t n, float w, float *RESTRICT acc,                    \
                                     const unsigned char *next) {                                                          \
        for (int64_t j = 0; j < n; j += 32, src += bytes, next += bytes) {                                                 \
            FETCH(next);                                                                                                   \
            NAME(v16) v[2];                                                                                                \
            const float d = NAME(half_)(src), m = NAME(half_)(src + 2);                                                    \
            NAME(type##_values_)(src, v);                                                                                  \
            NAME(put_)(acc + j, NAME(fma_)(w, NAME(plus_)(d, v[0], m), NAME(get_)(acc + j)));                              \
            NAME(put_)(acc + j + 16, NAME(fma_)(w, NAME(plus_)(d, v[1], m), NAME(get_)(acc + j + 16)));                    \
        }                                                                                                                  \
    }                                                                                                                      \
    TARGET static void NAME(type##_rows_)(const unsigned char *const *src, int64_t n, const float *w, float *RESTRICT acc, \
                                          const unsigned char *const *next, int64_t step) {                                \
        for (int64_t j = 0, at = 0; j < n; j += 32, at += bytes) {                                                         \
            NAME(v16) a = NAME(get_)(acc + j), b = NAME(get_)(acc + j + 16), v[2];                                         \
            for (int r = 0; r < SOFTMIX_TOGETHER; r++) {                                                                   \
                FETCH(next[r] + step * at);                                                                                \
                const float d = NAME(half_)(src[r] + at), m = NAME(half_)(src[r] + at + 2);                                \
                NAME(type##_values_)(src[r] + at, v);                                                                      \
                a = NAME(fma_)(w[r], NAME(plus_)(d, v[0], m), a);                                                          \
                b = NAME(fma_)(w[r], NAME(plus_)(d, v[1], m), b);                                                          \
            }                                                                                                              \
            NAME(put_)(acc + j, a);                                                                                        \
            NAME(put_)(acc + j + 16, b);                                                                                   \
        }                                                                                                                  \
    }

SCALE_AND_MINIMUM(q4_1, 20)
SCALE_AND_MINIMUM(q5_1, 24)

TARGET static inline void NAME(i8m_32_)(float *RESTRICT a, const int8_t *q, float w, float d, float m) {
    NAME(i8m_16_)(a, q, w, d, m);
    NAME(i8m_16_)(a + 16, q + 16, w, d, m);
}

/* block_q2_K, 84 bytes for 256: a scale and above it a minimum of 4 bits[16], pairs of bits[64], half d, half dmin.
 * 128 values come from 32 bytes: their lowest pairs first; (d sc) q - (dmin m) */
TARGET static void NAME(q2_k_)(const unsigned char *src, int64_t n, float w, float *RESTRICT acc,
                               const unsigned char *next) {
    for (int64_t j = 0; j < n; j += 256, src += 84, next += 84) {
        for (int l = 0; l < 84; l += 64) FETCH(next + l);
        ALIGNED float d[16], m[16];
        ALIGNED int8_t v[256], b[32];
        NAME(fourth_)(src, 0, b);
        for (int g = 0; g < 2; g++) {
            NAME(scales_)(b + 8 * g, NAME(half_)(src + 80), 1.0f, d + 8 * g);
            NAME(scales_)(b + 16 + 8 * g, NAME(half_)(src + 82), 1.0f, m + 8 * g);
            NAME(pairs_)(src + 16 + 32 * g, v + 128 * g);
        }
        for (int g = 0; g < 16; g++) NAME(i8m_16_)(acc + j + 16 * g, v + 16 * g, w, d[g], m[g]);
    }
}

/* block_q4_K, 144 bytes for 256: half d, half dmin, 8 scales and 8 minima of 6 bits in 12 bytes, nibbles[128].
 * 64 values come from 32 bytes: low nibbles, then high ones; (d sc) q - (dmin m) */
TARGET static void NAME(q4_k_)(const unsigned char *src, int64_t n, float w, float *RESTRICT acc,
                               const unsigned char *next) {
    for (int64_t j = 0; j < n; j += 256, src += 144, next += 144) {
        for (int l = 0; l < 144; l += 64) FETCH(next + l);
        ALIGNED float d[8], m[8];
        int8_t b[16];
        six_bits(src + 4, b);
        NAME(scales_)(b, NAME(half_)(src), 1.0f, d);
        NAME(scales_)(b + 8, NAME(half_)(src + 2), 1.0f, m);
        ALIGNED int8_t v[256];
        for (int g = 0; g < 4; g++) NAME(nibbles_)(src + 16 + 32 * g, v + 64 * g);
        for (int g = 0; g < 8; g++) NAME(i8m_32_)(acc + j + 32 * g, v + 32 * g, w, d[g], m[g]);
    }
}

/* block_q5_K, 176 bytes for 256: as q4_K, with the fifth bits in 32 bytes before the nibbles */
TARGET static void NAME(q5_k_)(const unsigned char *src, int64_t n, float w, float *RESTRICT acc,
                               const unsigned char *next) {
    for (int64_t j = 0; j < n; j += 256, src += 176, next += 176) {
        for (int l = 0; l < 176; l += 64) FETCH(next + l);
        ALIGNED float d[8], m[8];
        int8_t b[16];
        six_bits(src + 4, b);
        NAME(scales_)(b, NAME(half_)(src), 1.0f, d);
        NAME(scales_)(b + 8, NAME(half_)(src + 2), 1.0f, m);
        ALIGNED int8_t v[256];
        NAME(fifth_)(src + 16, v);
        for (int g = 0; g < 8; g++) NAME(i8m_32_)(acc + j + 32 * g, v + 32 * g, w, d[g], m[g]);
    }
}

/* block_q6_K, 210 bytes for 256: low 4 bits[128], high 2 bits[64], int8 scales[16], half d; (d sc) (q - 32) */
TARGET static inline void NAME(q6_k_block_)(const unsigned char *src, float w, int8_t *RESTRICT v, float *RESTRICT s,
                                            const unsigned char *next) {
    for (int l = 0; l < 210; l += 64) FETCH(next + l);
    const float d = NAME(half_)(src + 208);
    NAME(scales_)((const int8_t *)src + 192, d, w, s);
    NAME(scales_)((const int8_t *)src + 200, d, w, s + 8);
    for (int g = 0; g < 2; g++) NAME(sixth_)(src + 64 * g, src + 128 + 32 * g, v + 128 * g);
}

/* block_q3_K, 110 bytes for 256: third bits[32], pairs of bits[64] as in q2_K, 16 scales of 6 bits in 12 bytes, half d;
 * (d (sc - 32)) (q - 4) */
TARGET static inline void NAME(q3_k_block_)(const unsigned char *src, float w, int8_t *RESTRICT v, float *RESTRICT s,
                                            const unsigned char *next) {
    for (int l = 0; l < 110; l += 64) FETCH(next + l);
    const float d = NAME(half_)(src + 108);
    int8_t b[16];
    six_bits_less_32(src + 96, b);
    NAME(scales_)(b, d, w, s);
    NAME(scales_)(b + 8, d, w, s + 8);
    for (int g = 0; g < 2; g++) NAME(third_)(src, 4 * g, src + 32 + 32 * g, v + 128 * g);
}

/* block_iq4_xs, 136 bytes for 256: half d, high pairs of bits of 8 scales[2], their low nibbles[4], nibbles[128] of each 32
 * as in q4_0; (d (sc - 32)) table[q] */
TARGET static inline void NAME(iq4_xs_block_)(const unsigned char *src, float w, int8_t *RESTRICT v, float *RESTRICT s,
                                              const unsigned char *next) {
    for (int l = 0; l < 136; l += 64) FETCH(next + l);
    float eight[8];
    int8_t b[8];
    for (int g = 0; g < 8; g++) {
        const int low = src[4 + g / 2] >> 4 * (g % 2) & 15, high = src[2 + g / 4] >> 2 * (g % 4) & 3;
        b[g] = (int8_t)((low | high << 4) - 32);
    }
    NAME(scales_)(b, NAME(half_)(src), w, eight);
    for (int g = 0; g < 8; g++) {
        s[2 * g] = s[2 * g + 1] = eight[g];
        NAME(lookup_)(src + 8 + 16 * g, iq4_values, v + 32 * g);
    }
}

/* The kernels of a type whose blocks of 256 have 16 scales: NAME_block_ writes w times them to s (16), the integers to v (256). */
#define SCALES_16(type, bytes)                                                                                             \
    TARGET static void NAME(type##_)(const unsigned char *src, int64_t n, float w, float *RESTRICT acc,                    \
                                     const unsigned char *next) {                                                          \
        for (int64_t j = 0; j < n; j += 256, src += bytes, next += bytes) {                                                \
            ALIGNED int8_t v[256];                                                                                         \
            ALIGNED float s[16];                                                                                           \
            NAME(type##_block_)(src, w, v, s, next);                                                                       \
            for (int g = 0; g < 8; g++) NAME(i8_32_)(acc + j + 32 * g, v + 32 * g, s[2 * g], s[2 * g + 1]);                \
        }                                                                                                                  \
    }                                                                                                                      \
    TARGET static void NAME(type##_rows_)(const unsigned char *const *src, int64_t n, const float *w, float *RESTRICT acc, \
                                          const unsigned char *const *next, int64_t step) {                                \
        for (int64_t j = 0, at = 0; j < n; j += 256, at += bytes) {                                                        \
            ALIGNED int8_t v[SOFTMIX_TOGETHER][256];                                                                       \
            ALIGNED float s[SOFTMIX_TOGETHER][16];                                                                         \
            for (int r = 0; r < SOFTMIX_TOGETHER; r++) {                                                                   \
                NAME(type##_block_)(src[r] + at, w[r], v[r], s[r], next[r] + step * at);                                   \
            }                                                                                                              \
            for (int g = 0; g < 16; g++) NAME(i8_16_rows_)(acc + j + 16 * g, v[0] + 16 * g, 256, s[0] + g, 16);            \
        }                                                                                                                  \
    }

SCALES_16(q3_k, 110)
SCALES_16(iq4_xs, 136)
SCALES_16(q6_k, 210)

/* sum += w acc, acc = 0 */
TARGET static void NAME(flush_)(float *RESTRICT acc, int64_t n, double w, double *RESTRICT sum) {
    for (int64_t j = 0; j < n; j++) {
        sum[j] += w * (double)acc[j];
        acc[j] = 0.0f;
    }
}

static const softmix_add_row NAME(rows)[] = {
    NAME(f32_),    NAME(f16_),   NAME(bf16_), NAME(q8_0_), NAME(q4_0_), NAME(q4_1_), NAME(q5_0_),   NAME(q5_1_),
    NAME(iq4_nl_), NAME(mxfp4_), NAME(q2_k_), NAME(q3_k_), NAME(q4_k_), NAME(q5_k_), NAME(iq4_xs_), NAME(q6_k_),
};
static const softmix_add_rows NAME(together)[] = {
    0, 0, 0, NAME(q8_0_rows_), NAME(q4_0_rows_), NAME(q4_1_rows_), NAME(q5_0_rows_), NAME(q5_1_rows_),
    NAME(iq4_nl_rows_), NAME(mxfp4_rows_), 0, NAME(q3_k_rows_), 0, 0, NAME(iq4_xs_rows_), NAME(q6_k_rows_),
};

#undef ONE_SCALE
#undef SCALE_AND_MINIMUM
#undef SCALES_16
#undef SUFFIX
#undef TARGET

/* Row kernels: dequantize and accumulate in one go. Included by rows.c once for each instruction set, after the pieces that
 * differ: half_, scales_, f32_16_, f16_16_, bf16_16_, i8_32_, i8_16_rows_, i8m_32_, fourth_, nibbles_, fifth_, sixth_.
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
TARGET static void NAME(q8_0_)(const unsigned char *src, int64_t n, float w, float *RESTRICT acc,
                               const unsigned char *next) {
    for (int64_t j = 0; j < n; j += 32, src += 34, next += 34) {
        FETCH(next);
        const float s = w * NAME(half_)(src);
        NAME(i8_32_)(acc + j, (const int8_t *)src + 2, s, s);
    }
}

/* block_q4_0, 18 bytes for 32: half d, nibbles[16], low ones first; d (q - 8) */
TARGET static void NAME(q4_0_)(const unsigned char *src, int64_t n, float w, float *RESTRICT acc,
                               const unsigned char *next) {
    for (int64_t j = 0; j < n; j += 32, src += 18, next += 18) {
        if (j % 64 == 0) FETCH(next);
        const float s = w * NAME(half_)(src);
        int8_t v[32];
        NAME(fourth_)(src + 2, v);
        NAME(i8_32_)(acc + j, v, s, s);
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

TARGET static void NAME(q6_k_)(const unsigned char *src, int64_t n, float w, float *RESTRICT acc,
                               const unsigned char *next) {
    for (int64_t j = 0; j < n; j += 256, src += 210, next += 210) {
        ALIGNED int8_t v[256];
        ALIGNED float s[16];
        NAME(q6_k_block_)(src, w, v, s, next);
        for (int g = 0; g < 8; g++) NAME(i8_32_)(acc + j + 32 * g, v + 32 * g, s[2 * g], s[2 * g + 1]);
    }
}

TARGET static void NAME(q6_k_rows_)(const unsigned char *const *src, int64_t n, const float *w, float *RESTRICT acc,
                                    const unsigned char *const *next, int64_t step) {
    for (int64_t j = 0, at = 0; j < n; j += 256, at += 210) {
        ALIGNED int8_t v[SOFTMIX_TOGETHER][256];
        ALIGNED float s[SOFTMIX_TOGETHER][16];
        for (int r = 0; r < SOFTMIX_TOGETHER; r++) NAME(q6_k_block_)(src[r] + at, w[r], v[r], s[r], next[r] + step * at);
        for (int g = 0; g < 16; g++) NAME(i8_16_rows_)(acc + j + 16 * g, v[0] + 16 * g, s[0] + g);
    }
}

/* sum += w acc, acc = 0 */
TARGET static void NAME(flush_)(float *RESTRICT acc, int64_t n, double w, double *RESTRICT sum) {
    for (int64_t j = 0; j < n; j++) {
        sum[j] += w * (double)acc[j];
        acc[j] = 0.0f;
    }
}

static const softmix_add_row NAME(rows)[] = {
    NAME(f32_), NAME(f16_), NAME(q4_0_), NAME(q8_0_), NAME(q4_k_), NAME(q5_k_), NAME(q6_k_), NAME(bf16_),
};

#undef SUFFIX
#undef TARGET

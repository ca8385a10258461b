/* The pieces of the row kernels for x86, for SUFFIX: AVX2, and where WIDE is set AVX-512 for the sums. */

#define LOAD32(p) _mm256_loadu_si256((const __m256i *)(p))
#define STORE32(p, v) _mm256_storeu_si256((__m256i *)(p), (v))

TARGET static inline float NAME(half_)(const unsigned char *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return _cvtsh_ss(h);
}

/* s[r] = w[r] times the half float at byte `at` of each of SOFTMIX_TOGETHER rows: they are put together as an integer, by
 * units that have nothing else to do. */
TARGET static inline void NAME(halves_of_)(const unsigned char *const *src, int64_t at, const float *w, float *s) {
    uint64_t all = 0;
    for (int r = SOFTMIX_TOGETHER; r-- > 0;) {
        uint16_t h;
        memcpy(&h, src[r] + at, 2);
        all = all << 16 | h;
    }
    _mm_storeu_ps(s, _mm_mul_ps(_mm_loadu_ps(w), _mm_cvtph_ps(_mm_cvtsi64_si128((long long)all))));
}

TARGET static inline void NAME(scales_)(const int8_t *b, float d, float w, float *RESTRICT s) {
    const __m256 v = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)b)));
    _mm256_storeu_ps(s, _mm256_mul_ps(_mm256_set1_ps(w), _mm256_mul_ps(_mm256_set1_ps(d), v)));
}

#if WIDE
typedef __m512 NAME(v16); /* 16 floats */

TARGET static inline NAME(v16) NAME(get_)(const float *a) { return _mm512_loadu_ps(a); }
TARGET static inline void NAME(put_)(float *a, NAME(v16) v) { _mm512_storeu_ps(a, v); }
TARGET static inline NAME(v16) NAME(fma_)(float s, NAME(v16) v, NAME(v16) a) {
    return _mm512_fmadd_ps(_mm512_set1_ps(s), v, a);
}
TARGET static inline NAME(v16) NAME(plus_)(float d, NAME(v16) v, float m) {
    return _mm512_add_ps(_mm512_mul_ps(_mm512_set1_ps(d), v), _mm512_set1_ps(m));
}
TARGET static inline NAME(v16) NAME(ints_)(const int8_t *q) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)q)));
}

/* a look-up by the lowest 4 bits of each lane */
TARGET static inline void NAME(by_nibble_)(const unsigned char *src, const int8_t *table, NAME(v16) *v) {
    const __m512i q = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)src));
    const __m512 t = NAME(ints_)(table);
    v[0] = _mm512_permutexvar_ps(q, t);
    v[1] = _mm512_permutexvar_ps(_mm512_srli_epi32(q, 4), t);
}

TARGET static inline void NAME(by_fifth_)(const unsigned char *high, const unsigned char *src, int less, NAME(v16) *v) {
    uint16_t bits[2];
    memcpy(bits, high, sizeof bits);
    NAME(by_nibble_)(src, less ? less_16 : less_0, v);
    for (int h = 0; h < 2; h++) v[h] = _mm512_mask_add_ps(v[h], bits[h], v[h], _mm512_set1_ps(16.0f));
}

#define AXPY(a, w, v) _mm512_storeu_ps((a), _mm512_fmadd_ps((w), (v), _mm512_loadu_ps(a)))
#define INT8(q) _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(q))))

TARGET static inline void NAME(f32_16_)(float *RESTRICT a, const unsigned char *src, float w) {
    AXPY(a, _mm512_set1_ps(w), _mm512_loadu_ps((const void *)src));
}

TARGET static inline void NAME(bf16_16_)(float *RESTRICT a, const unsigned char *src, float w) {
    const __m512i u = _mm512_slli_epi32(_mm512_cvtepu16_epi32(LOAD32(src)), 16);
    AXPY(a, _mm512_set1_ps(w), _mm512_castsi512_ps(u));
}

TARGET static inline void NAME(f16_16_)(float *RESTRICT a, const unsigned char *src, float w) {
    AXPY(a, _mm512_set1_ps(w), _mm512_cvtph_ps(LOAD32(src)));
}

TARGET static inline void NAME(i8_32_)(float *RESTRICT a, const int8_t *q, float s, float t) {
    AXPY(a, _mm512_set1_ps(s), INT8(q));
    AXPY(a + 16, _mm512_set1_ps(t), INT8(q + 16));
}

/* 16 values of each row, whose q lie q_step apart and whose scales s_step */
TARGET static inline void NAME(i8_16_rows_)(float *RESTRICT a, const int8_t *q, int q_step, const float *s, int s_step) {
    __m512 sum = _mm512_loadu_ps(a);
    for (int r = 0; r < SOFTMIX_TOGETHER; r++) {
        sum = _mm512_fmadd_ps(_mm512_set1_ps(s[s_step * r]), INT8(q + q_step * r), sum);
    }
    _mm512_storeu_ps(a, sum);
}

TARGET static inline void NAME(i8m_16_)(float *RESTRICT a, const int8_t *q, float w, float d, float m) {
    AXPY(a, _mm512_set1_ps(w), _mm512_sub_ps(_mm512_mul_ps(_mm512_set1_ps(d), INT8(q)), _mm512_set1_ps(m)));
}
#else
#define AXPY(a, w, v) _mm256_storeu_ps((a), _mm256_fmadd_ps((w), (v), _mm256_loadu_ps(a)))
#define INT8(q) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(q))))
#define LOAD16(p) _mm_loadu_si128((const __m128i *)(p))

typedef struct {
    __m256 low, high;
} NAME(v16); /* 16 floats */

TARGET static inline NAME(v16) NAME(get_)(const float *a) {
    const NAME(v16) v = {_mm256_loadu_ps(a), _mm256_loadu_ps(a + 8)};
    return v;
}
TARGET static inline void NAME(put_)(float *a, NAME(v16) v) {
    _mm256_storeu_ps(a, v.low);
    _mm256_storeu_ps(a + 8, v.high);
}
TARGET static inline NAME(v16) NAME(fma_)(float s, NAME(v16) v, NAME(v16) a) {
    const __m256 s_ = _mm256_set1_ps(s);
    const NAME(v16) sum = {_mm256_fmadd_ps(s_, v.low, a.low), _mm256_fmadd_ps(s_, v.high, a.high)};
    return sum;
}
TARGET static inline NAME(v16) NAME(plus_)(float d, NAME(v16) v, float m) {
    const __m256 d_ = _mm256_set1_ps(d), m_ = _mm256_set1_ps(m);
    const NAME(v16) sum = {_mm256_add_ps(_mm256_mul_ps(d_, v.low), m_), _mm256_add_ps(_mm256_mul_ps(d_, v.high), m_)};
    return sum;
}
TARGET static inline NAME(v16) NAME(ints_)(const int8_t *q) {
    const NAME(v16) v = {INT8(q), INT8(q + 8)};
    return v;
}

TARGET static inline void NAME(f32_16_)(float *RESTRICT a, const unsigned char *src, float w) {
    const __m256 w_ = _mm256_set1_ps(w);
    AXPY(a, w_, _mm256_castsi256_ps(LOAD32(src)));
    AXPY(a + 8, w_, _mm256_castsi256_ps(LOAD32(src + 32)));
}

TARGET static inline void NAME(bf16_16_)(float *RESTRICT a, const unsigned char *src, float w) {
    const __m256 w_ = _mm256_set1_ps(w);
    for (int l = 0; l < 16; l += 8) {
        const __m256i u = _mm256_slli_epi32(_mm256_cvtepu16_epi32(LOAD16(src + 2 * l)), 16);
        AXPY(a + l, w_, _mm256_castsi256_ps(u));
    }
}

TARGET static inline void NAME(f16_16_)(float *RESTRICT a, const unsigned char *src, float w) {
    const __m256 w_ = _mm256_set1_ps(w);
    for (int l = 0; l < 16; l += 8) AXPY(a + l, w_, _mm256_cvtph_ps(LOAD16(src + 2 * l)));
}

TARGET static inline void NAME(i8_32_)(float *RESTRICT a, const int8_t *q, float s, float t) {
    const __m256 s_ = _mm256_set1_ps(s), t_ = _mm256_set1_ps(t);
    AXPY(a, s_, INT8(q));
    AXPY(a + 8, s_, INT8(q + 8));
    AXPY(a + 16, t_, INT8(q + 16));
    AXPY(a + 24, t_, INT8(q + 24));
}

TARGET static inline void NAME(i8_16_rows_)(float *RESTRICT a, const int8_t *q, int q_step, const float *s, int s_step) {
    __m256 low = _mm256_loadu_ps(a), high = _mm256_loadu_ps(a + 8);
    for (int r = 0; r < SOFTMIX_TOGETHER; r++) {
        const __m256 s_ = _mm256_set1_ps(s[s_step * r]);
        low = _mm256_fmadd_ps(s_, INT8(q + q_step * r), low);
        high = _mm256_fmadd_ps(s_, INT8(q + q_step * r + 8), high);
    }
    _mm256_storeu_ps(a, low);
    _mm256_storeu_ps(a + 8, high);
}

TARGET static inline void NAME(i8m_16_)(float *RESTRICT a, const int8_t *q, float w, float d, float m) {
    const __m256 w_ = _mm256_set1_ps(w), d_ = _mm256_set1_ps(d), m_ = _mm256_set1_ps(m);
    for (int l = 0; l < 16; l += 8) AXPY(a + l, w_, _mm256_sub_ps(_mm256_mul_ps(d_, INT8(q + l)), m_));
}
#undef LOAD16
#endif

/* 32 bytes: the low nibbles of 16 bytes, then the high ones */
TARGET static inline __m256i NAME(halves_)(const unsigned char *src) {
    const __m128i q = _mm_loadu_si128((const __m128i *)src);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), _mm256_set1_epi8(15));
}

TARGET static inline void NAME(fourth_)(const unsigned char *src, int less, int8_t *RESTRICT v) {
    STORE32(v, _mm256_sub_epi8(NAME(halves_)(src), _mm256_set1_epi8((char)less)));
}

TARGET static inline void NAME(lookup_)(const unsigned char *src, const int8_t *table, int8_t *RESTRICT v) {
    const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
    STORE32(v, _mm256_shuffle_epi8(both, NAME(halves_)(src)));
}

TARGET static inline void NAME(nibbles_)(const unsigned char *src, int8_t *RESTRICT v) {
    const __m256i q = LOAD32(src), low = _mm256_set1_epi8(15);
    STORE32(v, _mm256_and_si256(q, low));
    STORE32(v + 32, _mm256_and_si256(_mm256_srli_epi16(q, 4), low));
}

TARGET static inline void NAME(fifth_)(const unsigned char *src, int8_t *RESTRICT v) {
    const __m256i low = _mm256_set1_epi8(15), fifth = _mm256_set1_epi8(16);
    __m256i high = LOAD32(src); /* two bits for each group; the bits that cross a byte are masked out */
    for (int g = 0; g < 4; g++) {
        const __m256i q = LOAD32(src + 32 + 32 * g);
        const __m256i a = _mm256_and_si256(_mm256_slli_epi16(high, 4), fifth);
        const __m256i b = _mm256_and_si256(_mm256_slli_epi16(high, 3), fifth);
        STORE32(v + 64 * g, _mm256_or_si256(_mm256_and_si256(q, low), a));
        STORE32(v + 64 * g + 32, _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(q, 4), low), b));
        high = _mm256_srli_epi16(high, 2);
    }
}

#if !WIDE
TARGET static inline void NAME(fifth_32_)(const unsigned char *high, const unsigned char *src, int less, int8_t *RESTRICT v) {
    uint32_t bits;
    memcpy(&bits, high, 4);
    const __m256i all = _mm256_sub_epi8(NAME(halves_)(src), _mm256_set1_epi8((char)less));
    /* byte i of a quarter gets the byte of its bits, of which it keeps bit i % 8 */
    const __m256i which = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i one = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), which), one), one);
    STORE32(v, _mm256_add_epi8(all, _mm256_and_si256(set, _mm256_set1_epi8(16))));
}

TARGET static inline void NAME(by_nibble_)(const unsigned char *src, const int8_t *table, NAME(v16) *v) {
    ALIGNED int8_t q[32];
    NAME(lookup_)(src, table, q);
    v[0] = NAME(ints_)(q);
    v[1] = NAME(ints_)(q + 16);
}

TARGET static inline void NAME(by_fifth_)(const unsigned char *high, const unsigned char *src, int less, NAME(v16) *v) {
    ALIGNED int8_t q[32];
    NAME(fifth_32_)(high, src, less, q);
    v[0] = NAME(ints_)(q);
    v[1] = NAME(ints_)(q + 16);
}
#endif

TARGET static inline void NAME(pairs_)(const unsigned char *src, int8_t *RESTRICT v) {
    const __m256i q = LOAD32(src), pair = _mm256_set1_epi8(3);
    for (int k = 0; k < 4; k++) STORE32(v + 32 * k, _mm256_and_si256(_mm256_srli_epi16(q, 2 * k), pair));
}

TARGET static inline void NAME(third_)(const unsigned char *high, int first, const unsigned char *src, int8_t *RESTRICT v) {
    const __m256i q = LOAD32(src), h = _mm256_srli_epi16(LOAD32(high), first);
    const __m256i pair = _mm256_set1_epi8(3), third = _mm256_set1_epi8(4);
    for (int k = 0; k < 4; k++) {
        const __m256i low = _mm256_and_si256(_mm256_srli_epi16(q, 2 * k), pair);
        const __m256i bit = _mm256_and_si256(_mm256_slli_epi16(_mm256_srli_epi16(h, k), 2), third);
        STORE32(v + 32 * k, _mm256_sub_epi8(_mm256_or_si256(low, bit), third));
    }
}

#if WIDE
TARGET static inline void NAME(sixth_)(const unsigned char *lo, const unsigned char *hi, int8_t *RESTRICT v) {
    /* 64 values at a time: the upper half of a register takes the next pair of bits */
    const __m512i nibble = _mm512_set1_epi8(15), six = _mm512_set1_epi8(63), less = _mm512_set1_epi8(32);
    const __m512i up = _mm512_inserti64x4(_mm512_set1_epi16(4), _mm256_set1_epi16(2), 1);
    const __m512i down = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
    const __m512i q = _mm512_loadu_si512(lo), h = _mm512_broadcast_i64x4(LOAD32(hi));
    /* 0xca: the bits of the second where the first is set, of the third elsewhere */
    const __m512i a = _mm512_ternarylogic_epi32(nibble, q, _mm512_sllv_epi16(h, up), 0xca);
    const __m512i b = _mm512_ternarylogic_epi32(nibble, _mm512_srli_epi16(q, 4), _mm512_srlv_epi16(h, down), 0xca);
    _mm512_storeu_si512(v, _mm512_sub_epi8(_mm512_and_si512(a, six), less));
    _mm512_storeu_si512(v + 64, _mm512_sub_epi8(_mm512_and_si512(b, six), less));
}
#else
TARGET static inline void NAME(sixth_)(const unsigned char *lo, const unsigned char *hi, int8_t *RESTRICT v) {
    const __m256i low = _mm256_set1_epi8(15), pair = _mm256_set1_epi8(48), less = _mm256_set1_epi8(32);
    const __m256i p = LOAD32(lo), q = LOAD32(lo + 32), h = LOAD32(hi);
    const __m256i a = _mm256_or_si256(_mm256_and_si256(p, low), _mm256_and_si256(_mm256_slli_epi16(h, 4), pair));
    const __m256i b = _mm256_or_si256(_mm256_and_si256(q, low), _mm256_and_si256(_mm256_slli_epi16(h, 2), pair));
    const __m256i c = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(p, 4), low), _mm256_and_si256(h, pair));
    const __m256i d = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(q, 4), low),
                                      _mm256_and_si256(_mm256_srli_epi16(h, 2), pair));
    STORE32(v, _mm256_sub_epi8(a, less));
    STORE32(v + 32, _mm256_sub_epi8(b, less));
    STORE32(v + 64, _mm256_sub_epi8(c, less));
    STORE32(v + 96, _mm256_sub_epi8(d, less));
}
#endif

#undef LOAD32
#undef STORE32
#undef AXPY
#undef INT8
#undef WIDE

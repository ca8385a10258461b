/* Row kernels for each instruction set, and the choice among them. */
#include "isa.h"

#include <math.h>
#include <string.h>

#if defined(SOFTMIX_X86)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(SOFTMIX_ARM64)
#include <arm_neon.h>
#endif

/* IEEE half to float, exact for every value (subnormals, infinity and NaN included) */
static inline float half_to_float(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7fff) << 13;
    uint32_t normal = rest + (112u << 23);
    if ((h & 0x7c00) == 0x7c00) normal += 112u << 23;
    /* a subnormal is its digits times 2^-24: put them behind the exponent of 2^-14 and take that away again */
    const uint32_t bits = rest + (113u << 23), base = 113u << 23;
    float small, one;
    memcpy(&small, &bits, 4);
    memcpy(&one, &base, 4);
    small -= one;
    uint32_t u;
    memcpy(&u, &small, 4);
    u = ((h & 0x7c00) ? normal : u) | sign;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline float bfloat(const unsigned char *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    const uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* 8 scales and 8 minima of 6 bits from the 12 bytes of a K-block: four bytes at a time */
static inline void six_bits(const unsigned char *p, int8_t *b) {
    uint32_t u[3], v[4];
    memcpy(u, p, sizeof u);
    v[0] = u[0] & 0x3f3f3f3f;
    v[1] = (u[2] & 0x0f0f0f0f) | (u[0] >> 2 & 0x30303030);
    v[2] = u[1] & 0x3f3f3f3f;
    v[3] = (u[2] >> 4 & 0x0f0f0f0f) | (u[1] >> 2 & 0x30303030);
    memcpy(b, v, sizeof v);
}

/* 16 scales of 6 bits, less 32, from the 12 bytes of a Q3_K block: low nibbles in 8 bytes, then high pairs in 4 */
static inline void six_bits_less_32(const unsigned char *p, int8_t *b) {
    for (int i = 0; i < 16; i++) {
        b[i] = (int8_t)(((p[i % 8] >> 4 * (i / 8) & 15) | (p[8 + i % 4] >> 2 * (i / 4) & 3) << 4) - 32);
    }
}

/* What the nibbles of IQ4_NL and IQ4_XS mean, and those of MXFP4: twice E2M1, whose -0 becomes 0 */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const int8_t less_0[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static const int8_t less_8[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
static const int8_t less_16[16] = {-16, -15, -14, -13, -12, -11, -10, -9, -8, -7, -6, -5, -4, -3, -2, -1};
static const int8_t mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2^(e - 128) */
static inline float power_of_two(unsigned e) {
    const uint32_t u = e < 2 ? 0x00200000u << e : (e - 1) << 23;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline float power_of(const unsigned char *p) { return power_of_two(*p); }

/* s[r] = w[r] times it at byte `at` of each of the rows */
static inline void powers_of(const unsigned char *const *src, int64_t at, const float *w, float *s) {
    for (int r = 0; r < SOFTMIX_TOGETHER; r++) s[r] = w[r] * power_of(src[r] + at);
}

#define SUFFIX scalar
#define TARGET
#define HALF(h) half_to_float(h)
#define HALF16(h, f) for (int l_ = 0; l_ < 16; l_++) (f)[l_] = half_to_float((h)[l_])
#include "rows_plain.inc.h"
#include "rows.inc.h"

#if defined(SOFTMIX_X86)
#define SUFFIX avx2
#define TARGET TARGET_AVX2
#define WIDE 0
#include "rows_x86.inc.h"
#include "rows.inc.h"

#define SUFFIX avx512
#define TARGET TARGET_AVX512
#define WIDE 1
#include "rows_x86.inc.h"
#include "rows.inc.h"
#elif defined(SOFTMIX_ARM64)
static inline float neon_half(uint16_t h) {
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0);
}
#define SUFFIX neon
#define TARGET
#define HALF(h) neon_half(h)
#define HALF16(h, f) \
    for (int l_ = 0; l_ < 16; l_ += 4) vst1q_f32((f) + l_, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((h) + l_))))
#include "rows_plain.inc.h"
#include "rows.inc.h"
#endif

/* What the compiler's runtime found out at start. The cpuid instruction itself takes 10 us and more in virtual machines. */
int softmix_runs(int isa) {
    switch (isa) {
    case SOFTMIX_SCALAR: return 1;
#if defined(SOFTMIX_X86)
    case SOFTMIX_AVX2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case SOFTMIX_AVX512:
        return __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#elif defined(SOFTMIX_ARM64)
    case SOFTMIX_NEON: return 1;
#endif
    default: return 0;
    }
}

int softmix_has(int isa) {
    if (!softmix_runs(isa)) return 0;
#if defined(SOFTMIX_X86)
    unsigned a, b, c = 0, d; /* not every compiler's runtime knows F16C */
    if (isa != SOFTMIX_SCALAR) return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
#endif
    return 1;
}

int softmix_isa(void) {
    static const int best_first[] = {SOFTMIX_AVX512, SOFTMIX_AVX2, SOFTMIX_NEON};
    for (int i = 0; i < 3; i++) {
        if (softmix_has(best_first[i])) return best_first[i];
    }
    return SOFTMIX_SCALAR;
}

/* The place of a type in the tables of rows.inc.h, or -1. */
static int place_of(int type, int64_t block, int64_t block_bytes) {
    static const int known[][3] = {/* ggml's number, values and bytes of a block */
                                   {0, 1, 4},      {1, 1, 2},      {30, 1, 2},     {8, 32, 34},
                                   {2, 32, 18},    {3, 32, 20},    {6, 32, 22},    {7, 32, 24},
                                   {20, 32, 18},   {39, 32, 17},   {10, 256, 84},  {11, 256, 110},
                                   {12, 256, 144}, {13, 256, 176}, {23, 256, 136}, {14, 256, 210}};
    for (int i = 0; i < (int)(sizeof known / sizeof *known); i++) {
        if (known[i][0] == type) return known[i][1] == block && known[i][2] == block_bytes ? i : -1;
    }
    return -1;
}

softmix_add_row softmix_row_kernel(int type, int isa, int64_t block, int64_t block_bytes) {
    const int i = place_of(type, block, block_bytes);
    if (i < 0) return 0;
    switch (isa) {
#if defined(SOFTMIX_X86)
    case SOFTMIX_AVX2: return rowsavx2[i];
    case SOFTMIX_AVX512: return rowsavx512[i];
#elif defined(SOFTMIX_ARM64)
    case SOFTMIX_NEON: return rowsneon[i];
#endif
    default: return rowsscalar[i];
    }
}

softmix_add_rows softmix_rows_kernel(int type, int isa, int64_t block, int64_t block_bytes) {
    const int i = place_of(type, block, block_bytes);
    if (i < 0) return 0;
    switch (isa) {
#if defined(SOFTMIX_X86)
    case SOFTMIX_AVX2: return togetheravx2[i];
    case SOFTMIX_AVX512: return togetheravx512[i];
#elif defined(SOFTMIX_ARM64)
    case SOFTMIX_NEON: return togetherneon[i];
#endif
    default: return togetherscalar[i];
    }
}

softmix_flush softmix_flusher(int isa) {
    switch (isa) {
#if defined(SOFTMIX_X86)
    case SOFTMIX_AVX2: return flush_avx2;
    case SOFTMIX_AVX512: return flush_avx512;
#elif defined(SOFTMIX_ARM64)
    case SOFTMIX_NEON: return flush_neon;
#endif
    default: return flush_scalar;
    }
}

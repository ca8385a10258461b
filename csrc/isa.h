/* The instruction sets that kernels are compiled for, and their names for the files that are included once for each.
 *
 * A kernel is written once, as plain C that compilers vectorise, in a file *.inc.h. It is included with SUFFIX (what its
 * functions' names end in) and TARGET (the attribute that lets the compiler use the instructions) set. Lanes are summed in
 * an order that is written down, and a product and a sum are fused only where fmaf says so (-ffp-contract=off), so all of
 * them give the same bits.
 */
#ifndef SOFTMIX_ISA_H
#define SOFTMIX_ISA_H

#include "softmix.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#define SOFTMIX_X86 1
#define TARGET_AVX2 __attribute__((target("avx2,f16c,fma")))
#if defined(__clang__)
#define TARGET_AVX512 __attribute__((target("avx2,f16c,fma,avx512f,avx512bw,avx512vl,avx512dq")))
#else /* GCC would use half of each register without this */
#define TARGET_AVX512 __attribute__((target("avx2,f16c,fma,avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")))
#endif
#elif defined(__aarch64__)
#define SOFTMIX_ARM64 1 /* NEON is part of arm64: "scalar" is the same code there, but for half floats */
#endif

#if defined(_MSC_VER)
#define RESTRICT __restrict
#define ALIGNED __declspec(align(64))
#else
#define RESTRICT restrict
#define ALIGNED _Alignas(64)
#endif

#if defined(__GNUC__) || defined(__clang__)
#define FETCH(p) __builtin_prefetch(p)
#else
#define FETCH(p) (void)(p)
#endif

/* 0 if a size is usable */
static inline int bad_size(int64_t n) { return n < 1 || n > SOFTMIX_MAX_N; }

#define LANES 16 /* partial sums of a pass over logits */

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(x) JOIN(x, SUFFIX)

/* acc[j] += w * (value j of src), n values, n a multiple of the type's block; acc: (n) float32. As many bytes at `next` are
 * fetched into the cache on the way. */
typedef void (*softmix_add_row)(const unsigned char *src, int64_t n, float w, float *RESTRICT acc,
                                const unsigned char *next);

/* The same for SOFTMIX_TOGETHER rows, one after the other: each value of acc is loaded and stored once for all of them.
 * Where byte i of row r is read, byte step * i behind next[r] is fetched. */
#define SOFTMIX_TOGETHER 4
typedef void (*softmix_add_rows)(const unsigned char *const *src, int64_t n, const float *w, float *RESTRICT acc,
                                 const unsigned char *const *next, int64_t step);

/* softmix_has without asking the processor: a check for every call. (rows.c) */
int softmix_runs(int isa);

/* The row kernel of a table type; NULL where there is none, or its blocks are not of this size. (rows.c) */
softmix_add_row softmix_row_kernel(int type, int isa, int64_t block, int64_t block_bytes);

/* The kernel for several rows at once; NULL for a type that is read row by row. (rows.c) */
softmix_add_rows softmix_rows_kernel(int type, int isa, int64_t block, int64_t block_bytes);

/* sum (n) += w * acc (n), and acc = 0 (rows.c) */
typedef void (*softmix_flush)(float *RESTRICT acc, int64_t n, double w, double *RESTRICT sum);
softmix_flush softmix_flusher(int isa);

/* The bin of d = -x SOFTMIX_PER_NAT: the distance from the largest logit. */
#define BIN(d) ((int32_t)((d) < SOFTMIX_BINS - 1 ? (d) : SOFTMIX_BINS - 1))

/* What is known of logits in one pass, and in a second. (scan.c) */
typedef struct {
    float (*highest)(const float *z, int64_t n);
    void (*sums)(const float *z, int64_t n, double max, double inv_t, double *s, double *sx);
    void (*probs)(const float *z, int64_t n, double max, double inv_t, double inv_s, float *p);
    void (*bins)(const float *z, int64_t n, double max, double inv_t, int far, double *mass);
    int64_t (*pick)(const float *z, int64_t n, float least, int32_t *ids);
    int (*above)(const float *v, float than);
    double (*js)(const float *a, const float *b, int64_t n, double ln_a, double ln_b);
    void (*js_two)(const float *const *many, const double *ln, int64_t count, const float *const *two, const double *ln_two,
                   int64_t at, int64_t n, double *sums);
} softmix_scan;

const softmix_scan *softmix_scanner(int isa);

#endif

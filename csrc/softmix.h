/* softmix: mixed embeddings and measures of distributions over a vocabulary.
 *
 * Pure C11. Knows neither Python nor llama.cpp: the dequantizer comes in as a function pointer. No allocation, no
 * globals, no I/O; every function may run in several threads at once.
 *
 * Return codes, for every function:
 *    0         done
 *   -(i+1)     element i of the data is not allowed (an id out of range, a number that is NaN or infinite)
 *    p > 0     argument p, counted from 1, is not allowed (NULL, a size out of range, a bad temperature)
 * Outputs are unspecified after an error.
 *
 * Logits are any finite floats or -INFINITY, which means probability 0; at least one must be finite.
 */
#ifndef SOFTMIX_H
#define SOFTMIX_H

#include <stdint.h>

#define SOFTMIX_MAX_N (1 << 30) /* largest size, so that an element's index always fits the return code */
#define SOFTMIX_TILE 2048       /* columns mixed at once; a multiple of every ggml block size */
#define SOFTMIX_FEW 256         /* up to so many rows are mixed in double throughout */
#define SOFTMIX_PIECES 16     /* of a mixture of many rows, for threads */
#define SOFTMIX_KNOWN 32      /* likeliest tokens that softmix_summary finds at most */
#define SOFTMIX_SUMS 64       /* parts of the logits, at most, whose sums are kept apart */
#define SOFTMIX_BINS 4096       /* of softmix_tail */
#define SOFTMIX_PER_NAT 32.0    /* bins in a nat: they reach 128 nats below the largest logit */

/* Instruction sets. Every function that takes one gives the same bits with each of them. */
#define SOFTMIX_SCALAR 0
#define SOFTMIX_AVX2 1 /* with F16C */
#define SOFTMIX_AVX512 2 /* F, BW, VL, DQ */
#define SOFTMIX_NEON 3

int softmix_has(int isa); /* 1 if this machine can run it: to be asked once, and not to be passed otherwise */
int softmix_isa(void);    /* the best that it can run */

/* Threads to share work with: run(work, data, threads, 0) calls work(data) in so many threads at once and returns when all
 * are done (the form of GOMP_parallel, whose threads are awake when llama.cpp has just used them). NULL: the caller works
 * alone. What is computed depends on no number of threads. */
typedef struct softmix_team {
    void (*run)(void (*work)(void *), void *data, unsigned threads, unsigned flags);
    int32_t threads;
} softmix_team;

/* A `run` that starts threads for each call: some 30 us. */
void softmix_spawn(void (*work)(void *), void *data, unsigned threads, unsigned flags);

/* ggml's ggml_to_float_t: dequantize n values, n a multiple of the type's block size. */
typedef void (*softmix_to_float)(const void *src, float *dst, int64_t n);

/* n mixed rows of a table: out[r] = scale * sum_i weights[i] * row(ids[i]), i in [offsets[r], offsets[r+1]).
 *   table     n_rows * row_bytes bytes, rows of n_embd values in the type that to_float reads
 *   block     values in a block of the type (1 for plain floats): n_embd is a multiple, and block divides the tile
 *   to_float  NULL: the rows are float32
 *   offsets   (n + 1) int64, from 0, strictly increasing
 *   ids       (offsets[n]) int32 in [0, n_rows)        weights   (offsets[n]) finite float32, of any sign
 *   scale     finite; applied once, in float32, to the finished sum
 *   out       (n, stride) float32, stride >= n_embd; columns from n_embd on become 0
 *   type      ggml's number of the type. Those with a kernel of their own (F32, F16, BF16, Q8_0, Q5_0, Q5_1, Q4_0, Q4_1,
 *             IQ4_NL, MXFP4, Q6_K, Q5_K, Q4_K, Q3_K, Q2_K, IQ4_XS) are read by that, all others (and -1) by to_float
 * A single row is read by to_float and multiplied by its weight, so an id of weight 1 gives the dequantized row to the bit.
 * Up to SOFTMIX_FEW rows are summed in double in the order given; more in float32, 32 rows at a time, and those sums in
 * double. A row of the table that holds NaN or infinity counts as a bad element. */
int softmix_mix(const void *table, int64_t n_rows, int64_t row_bytes, int64_t n_embd, int64_t block,
                softmix_to_float to_float, const int64_t *offsets, int64_t n, const int32_t *ids, const float *weights,
                float scale, float *out, int64_t stride, int type, int isa);

/* One mixture of many rows: at most SOFTMIX_PIECES pieces of at least SOFTMIX_FEW rows, each summed in float32, 32 rows at a
 * time, and those sums in double. The pieces are added up in order: out[0..n_embd) = scale * that, columns from n_embd to
 * stride become 0.
 *   ids   (k) int32, or NULL for the first k rows in order      sums   (SOFTMIX_PIECES, n_embd) double, to work in
 * The rest is as in softmix_mix. */
int softmix_mix_many(const void *table, int64_t n_rows, int64_t row_bytes, int64_t n_embd, int64_t block,
                     softmix_to_float to_float, const int32_t *ids, const float *weights, int64_t k, float scale,
                     double *sums, float *out, int64_t stride, int type, const softmix_team *team, int isa);

/* The largest logit and its first index. */
int softmix_peak(const float *logits, int64_t n, float *max, int32_t *argmax, int isa);

/* out (2) = sum e^x and sum x e^x, x = (logits - max) / temperature; max from softmix_peak, which has checked the logits.
 * Their quotient and the logarithm of the first give the entropy, the first alone every probability. */
int softmix_sums(const float *logits, int64_t n, double temperature, float max, double *out, const softmix_team *team,
                 int isa);

/* What every step of a generation wants to know of its logits.
 *   max    of softmix_peak              sums   of softmix_sums at temperature 1
 *   ids    the k likeliest, likeliest first, k = min(n, SOFTMIX_KNOWN); p: their probabilities
 *   parts  sum e^x of each part of the logits, for softmix_sample */
typedef struct softmix_known {
    float max;
    int32_t k;
    double sums[2];
    int32_t ids[SOFTMIX_KNOWN];
    float p[SOFTMIX_KNOWN];
    double parts[SOFTMIX_SUMS];
} softmix_known;

int softmix_summary(const float *logits, int64_t n, softmix_known *known, const softmix_team *team, int isa);

/* softmix_summary of several rows of logits, a row for each thread.
 *   rows   (count) pointers to (n) logits      known   (count) pointers      codes   (count) out: the code of each row */
int softmix_summaries(const float *const *rows, int64_t count, int64_t n, softmix_known *const *known, int32_t *codes,
                      const softmix_team *team, int isa);

/* probs = e^x / sum: the probabilities of some or all logits, sum being that of softmix_sums over all; may be in place. */
int softmix_probs(const float *logits, int64_t n, double temperature, float max, double sum, float *probs, int isa);

/* The whole distribution as a mixture: without the least probable tokens, as long as their e^x sum to at most `mass` (equal
 * logits together or not at all), and without those whose probability is 0 in float32.
 *   total    sum e^x over all logits, x as in softmix_sums       mass    >= 0; 0 leaves nothing out for being small
 *   ids      (n) int32, increasing; the first *count are valid   weights (n) float32, their probabilities, renormalised
 *   left     sum e^x of what was left out by `mass` */
int softmix_whole(const float *logits, int64_t n, double temperature, float max, double total, double mass, int32_t *ids,
                  float *weights, int64_t *count, double *left, const softmix_team *team, int isa);

/* The k largest of values (n), largest first, the lower index first among equals: ids (k) int32. 1 <= k <= n. */
int softmix_top(const float *values, int64_t n, int64_t k, int32_t *ids, int isa);

/* Top-p, min-p and top-n on the likeliest tokens.
 *   likeliest (k) ids, likeliest first (softmix_top)
 *   total     sum e^x over all logits, or 0 to make the probabilities of these k sum to 1 before top_p
 *   top_p     keep the fewest whose sum reaches it (1: all); min_p: of these, those of at least min_p times the first;
 *   at_most   of these, the first so many
 *   ids, p    (k) out: those that passed, increasing, and their probabilities, positive in float32 and summing to 1; *count
 *             of them, 0 where these k of n do not reach top_p: more are needed */
int softmix_filter(const float *logits, int64_t n, const int32_t *likeliest, int64_t k, double temperature, double total,
                   double top_p, double min_p, int64_t at_most, int32_t *ids, double *p, int64_t *count);

/* The first index whose cumulative sum exceeds u times the whole sum, 0 <= u < 1; -1 for no array. p: (n) >= 0. */
int64_t softmix_draw(const double *p, int64_t n, double u);

/* One id of softmax(logits / temperature): the first whose cumulative sum, in the order of ids, exceeds u times the whole
 * sum, 0 <= u < 1; never one of probability 0. max as in softmix_sums.
 *   parts   of softmix_summary, at temperature 1: only one part is then read again; NULL: they are computed */
int softmix_sample(const float *logits, int64_t n, double temperature, float max, double u, const double *parts, int32_t *id,
                   const softmix_team *team, int isa);

/* KL(p || q) = sum p ln(p/q) in nats, p = softmax(a), q = softmax(b); +inf where q lacks mass that p has. Here and in JS
 * the largest logit, times 1e-16, is the error: logits of 1e15 and more say nothing.
 *   ln   (2) ln sum e^a and ln sum e^b, where they are known (the logits are then not checked); or NULL */
int softmix_kl(const float *a, const float *b, int64_t n, const double *ln, double *out, int isa);

/* JS(p, q) = (KL(p || m) + KL(q || m)) / 2 in nats, m = (p + q) / 2; between 0 and ln 2. */
int softmix_js(const float *a, const float *b, int64_t n, const double *ln, double *out, const softmix_team *team, int isa);

/* JS of many logits to each of two others: out (count, 2).
 *   many   (count) pointers to (n) logits      ln       (count) ln sum e^logits of each
 *   two    (2) pointers, as many logits        ln_two   (2)
 *   work   (64, count, 2) double, to work in */
int softmix_js_two(const float *const *many, const double *ln, int64_t count, const float *const *two, const double *ln_two,
                   int64_t n, double *work, double *out, const softmix_team *team, int isa);

#endif

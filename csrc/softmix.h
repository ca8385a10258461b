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
 * Sums are taken in double in the order given, so one id of weight 1 gives the dequantized row to the bit. A row of the
 * table that holds NaN or infinity counts as a bad element. */
int softmix_mix(const void *table, int64_t n_rows, int64_t row_bytes, int64_t n_embd, int64_t block,
                softmix_to_float to_float, const int64_t *offsets, int64_t n, const int32_t *ids, const float *weights,
                float scale, float *out, int64_t stride);

/* probs = softmax(logits / temperature); logits, probs: (n) float32, may be the same array; 0 < temperature < inf. */
int softmix_softmax(const float *logits, int64_t n, float temperature, float *probs);

/* The k largest of values (n), largest first, the lower index first among equals: ids (k) int32. 1 <= k <= n. */
int softmix_top(const float *values, int64_t n, int64_t k, int32_t *ids);

/* Entropy of softmax(logits / temperature) in nats: -sum p ln p. */
int softmix_entropy(const float *logits, int64_t n, float temperature, double *out);

/* KL(p || q) = sum p ln(p/q) in nats, p = softmax(a), q = softmax(b); +inf where q lacks mass that p has. */
int softmix_kl(const float *a, const float *b, int64_t n, double *out);

/* JS(p, q) = (KL(p || m) + KL(q || m)) / 2 in nats, m = (p + q) / 2; between 0 and ln 2. */
int softmix_js(const float *a, const float *b, int64_t n, double *out);

/* Where n strings end that lie one behind the other in buffer (size bytes), each as a length (uint64 in the machine's byte
 * order) and as many bytes: *pos is where the first length is, and becomes where the last string ends. A vocabulary in a
 * file's header is such a list. -(i+1) for the string i that does not end in the buffer; *pos is then as it was. */
int softmix_skip_strings(const void *buffer, int64_t size, int64_t n, int64_t *pos);

#endif

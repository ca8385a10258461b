/* Mixed rows of a table. */
#include "isa.h"
#include "share.h"

#include <math.h>
#include <string.h>

#define BATCH 32 /* rows summed in float32 before the sum goes to double */
#define AHEAD 20  /* scattered rows are fetched while the row so many before is added: the processor itself looks at no other page */
#define NEAR 3500 /* rows in order: so many bytes before */
#define MOST 60   /* per cent of the rows from the first to the last: then, and in types of more than so many bits a value, */
#define BITS 6    /* which wait for memory, all of them are read in order, which is faster than to leave some out */
#define FAR 32    /* where the first and the last bytes of scattered rows lie is looked up that much earlier */

/* Rows of a checked table, and how they are read. */
typedef struct {
    const unsigned char *data;
    int64_t row_bytes, block, block_bytes;
    softmix_add_row kernel; /* NULL: to_float */
    softmix_add_rows together; /* NULL: row by row */
    softmix_to_float to_float;
    softmix_flush flush;
    int in_order; /* ids rise, and rows between them are added with weight 0 */
} rows_t;

/* Where a row's column `first` is, the first of a block. */
static const unsigned char *place(const rows_t *t, int64_t row, int64_t first) {
    return t->data + row * t->row_bytes + first / t->block * t->block_bytes;
}

/* Columns [first, first + n) of a row into values, as float32, by ggml's own function; first and n are whole blocks. */
static void read_row(const rows_t *t, int64_t row, int64_t first, int64_t n, float *values) {
    const unsigned char *src = place(t, row, first);
    if (t->to_float) {
        t->to_float(src, values, n);
    } else {
        memcpy(values, src, (size_t)n * sizeof(float)); /* rows in a file need not be aligned */
    }
}

/* acc += w * those columns, while the processor fetches the same columns of a later row */
static void add_row(const rows_t *t, int64_t row, int64_t first, int64_t n, float w, float *acc, int64_t later) {
    if (t->kernel) {
        t->kernel(place(t, row, first), n, w, acc, place(t, later, first));
        return;
    }
    float values[SOFTMIX_TILE];
    read_row(t, row, first, n, values);
    for (int64_t j = 0; j < n; j++) acc[j] += w * values[j];
}

/* acc += sum_i weights[i] * columns first to first + n of row ids[i] (NULL: i), start <= i < end; rows before k are fetched. */
static void add_rows(const rows_t *t, int64_t first, int64_t n, const int32_t *ids, const float *weights, int64_t start,
                     int64_t end, int64_t k, float *acc) {
    const unsigned char *src[SOFTMIX_TOGETHER], *next[SOFTMIX_TOGETHER];
    float w[SOFTMIX_TOGETHER];
    const int scattered = ids && !t->in_order;
    const int as_read = !scattered && n / t->block * t->block_bytes == t->row_bytes; /* bytes are fetched in order, too */
    const int64_t ahead = scattered ? AHEAD : NEAR / t->row_bytes + 1, last = ids ? ids[k - 1] : k - 1;
    int have = 0;
    for (int64_t i = start, at = ids ? ids[start] : start; i < end; at++) {
        const int64_t row = scattered ? ids[i] : at;
        const int64_t later = scattered ? ids[i + ahead < k ? i + ahead : i] : row + ahead <= last ? row + ahead : row;
        if (scattered && i + FAR < k) {
            const unsigned char *far = t->data + ids[i + FAR] * t->row_bytes;
            FETCH(far);
            FETCH(far + t->row_bytes - 1);
        }
        const int meant = !ids || ids[i] == row;
        const float weight = meant ? weights[i] : 0.0f;
        i += meant;
        if (weight == 0.0f && !t->in_order) continue;
        if (!t->together) {
            add_row(t, row, first, n, weight, acc, later);
            continue;
        }
        src[have] = place(t, row, first);
        next[have] = place(t, later, first);
        w[have++] = weight;
        if (have == SOFTMIX_TOGETHER) {
            for (int r = 1; as_read && r < have; r++) next[r] = next[0] + r * t->block_bytes;
            t->together(src, n, w, acc, next, as_read ? SOFTMIX_TOGETHER : 1);
            have = 0;
        }
    }
    for (int i = 0; i < have; i++) t->kernel(src[i], n, w[i], acc, next[i]);
}

/* sum[j] += sum_i weights[i] * column first + j of row ids[i] (NULL: i), n <= SOFTMIX_TILE columns.
 * Few rows: every product in double. Many: BATCH of them in float32, then on in double. */
static void add_tile(const rows_t *t, int64_t first, int64_t n, const int32_t *ids, const float *weights, int64_t k,
                     int few, double *sum) {
    ALIGNED float acc[SOFTMIX_TILE]; /* wide loads that cross cache lines are slow */
    for (int64_t j = 0; j < n; j++) acc[j] = 0.0f;
    for (int64_t i = 0; few && i < k; i++) {
        const int64_t later = i + 1 < k ? i + 1 : i;
        if (weights[i] != 0.0f) add_row(t, ids ? ids[i] : i, first, n, 1.0f, acc, ids ? ids[later] : later);
        t->flush(acc, n, (double)weights[i], sum);
    }
    for (int64_t start = 0; !few && start < k; start += BATCH) {
        add_rows(t, first, n, ids, weights, start, start + BATCH < k ? start + BATCH : k, k, acc);
        t->flush(acc, n, 1.0, sum);
    }
}

/* The code of the first row that is not finite in these columns; of the first of all where none is: a sum overflowed. */
static int bad_row(const rows_t *t, int64_t first, int64_t n, const int32_t *ids, int64_t k) {
    float values[SOFTMIX_TILE];
    for (int64_t i = 0; i < k; i++) {
        read_row(t, ids ? ids[i] : i, first, n, values);
        for (int64_t j = 0; j < n; j++) {
            if (!isfinite(values[j])) return (int)-(i + 1);
        }
    }
    return -1;
}

/* Check a table's arguments, numbered 1 to 7 in both functions, and fill t. */
static int open_rows(rows_t *t, const void *table, int64_t n_rows, int64_t row_bytes, int64_t n_embd, int64_t block,
                     int type, int isa, softmix_to_float to_float) {
    if (!table) return 1;
    if (bad_size(n_rows)) return 2;
    if (bad_size(row_bytes)) return 3;
    if (bad_size(n_embd)) return 4;
    if (bad_size(block) || SOFTMIX_TILE % block || n_embd % block) return 5;
    if (!to_float && row_bytes != n_embd * (int64_t)sizeof(float)) return 3;
    if (row_bytes % (n_embd / block)) return 3; /* a row is a whole number of equal blocks */
    t->data = table;
    t->row_bytes = row_bytes;
    t->block = block;
    t->block_bytes = row_bytes / (n_embd / block);
    t->kernel = softmix_row_kernel(type, isa, block, t->block_bytes);
    t->together = softmix_rows_kernel(type, isa, block, t->block_bytes);
    t->to_float = to_float;
    t->flush = softmix_flusher(isa);
    t->in_order = 0;
    return 0;
}

int softmix_mix(const void *table, int64_t n_rows, int64_t row_bytes, int64_t n_embd, int64_t block,
                softmix_to_float to_float, const int64_t *offsets, int64_t n, const int32_t *ids, const float *weights,
                float scale, float *out, int64_t stride, int type, int isa) {
    rows_t t;
    const int bad = open_rows(&t, table, n_rows, row_bytes, n_embd, block, type, isa, to_float);
    if (bad) return bad;
    if (!offsets) return 7;
    if (bad_size(n)) return 8;
    if (!ids) return 9;
    if (!weights) return 10;
    if (!isfinite(scale)) return 11;
    if (!out) return 12;
    if (stride < n_embd || bad_size(stride)) return 13;
    if (!softmix_runs(isa)) return 15;
    if (offsets[0] != 0) return 7;
    for (int64_t r = 0; r < n; r++) {
        if (offsets[r + 1] <= offsets[r] || offsets[r + 1] > SOFTMIX_MAX_N) return 7;
    }
    for (int64_t i = 0; i < offsets[n]; i++) {
        if (ids[i] < 0 || ids[i] >= n_rows || !isfinite(weights[i])) return (int)-(i + 1);
    }

    double sum[SOFTMIX_TILE];
    for (int64_t r = 0; r < n; r++) {
        float *dst = out + r * stride;
        const int64_t at = offsets[r], k = offsets[r + 1] - at;
        for (int64_t first = 0; first < n_embd; first += SOFTMIX_TILE) {
            const int64_t m = n_embd - first < SOFTMIX_TILE ? n_embd - first : SOFTMIX_TILE;
            if (k == 1) { /* a token: its row by ggml's own function, whatever the kernels do */
                read_row(&t, ids[at], first, m, dst + first);
                for (int64_t j = 0; j < m; j++) dst[first + j] = weights[at] * dst[first + j] * scale;
            } else {
                for (int64_t j = 0; j < m; j++) sum[j] = 0.0;
                add_tile(&t, first, m, ids + at, weights + at, k, k <= SOFTMIX_FEW, sum);
                for (int64_t j = 0; j < m; j++) dst[first + j] = (float)sum[j] * scale;
            }
            int finite = 1;
            for (int64_t j = 0; j < m; j++) finite &= isfinite(dst[first + j]) != 0;
            if (!finite) return (int)-at + bad_row(&t, first, m, ids + at, k);
        }
        for (int64_t j = n_embd; j < stride; j++) dst[j] = 0.0f;
    }
    return 0;
}

/* sum (n_embd) = sum_i weights[i] * row(ids[i]) (ids NULL: row i), i < k. Returns 1 where all of it is finite. */
static int add_columns(const rows_t *t, int64_t n_embd, const int32_t *ids, const float *weights, int64_t k, double *sum) {
    for (int64_t j = 0; j < n_embd; j++) sum[j] = 0.0;
    /* wide rows: some at a time for all columns, so that each is read from memory once */
    const int64_t step = n_embd <= SOFTMIX_TILE ? k : 4 * BATCH;
    for (int64_t start = 0; start < k; start += step) {
        const int64_t m = k - start < step ? k - start : step;
        rows_t part = *t;
        if (!ids) part.data += start * t->row_bytes;
        for (int64_t first = 0; first < n_embd; first += SOFTMIX_TILE) {
            const int64_t c = n_embd - first < SOFTMIX_TILE ? n_embd - first : SOFTMIX_TILE;
            add_tile(&part, first, c, ids ? ids + start : NULL, weights + start, m, 0, sum + first);
        }
    }
    int finite = 1;
    for (int64_t j = 0; j < n_embd; j++) finite &= isfinite(sum[j]) != 0;
    return finite;
}

/* The same, of a part of one mixture, with its arguments checked. 0, or -(i + 1). */
static int add_part(const rows_t *t, int64_t n_rows, int64_t n_embd, const int32_t *ids, const float *weights, int64_t k,
                    double *sum) {
    int rising = 1;
    for (int64_t i = 0; i < k; i++) {
        if ((ids && (ids[i] < 0 || ids[i] >= n_rows)) || !isfinite(weights[i])) return (int)-(i + 1);
        rising &= !ids || i == 0 || ids[i] > ids[i - 1];
    }
    rows_t part = *t;
    const int waits = 8 * t->row_bytes > BITS * n_embd;
    part.in_order = ids && rising && waits && 100 * k > MOST * ((int64_t)ids[k - 1] - ids[0] + 1);
    if (add_columns(&part, n_embd, ids, weights, k, sum)) return 0;
    if (part.in_order && add_columns(t, n_embd, ids, weights, k, sum)) return 0; /* a damaged row, not of these, times 0 */
    for (int64_t first = 0; first < n_embd; first += SOFTMIX_TILE) {
        const int64_t c = n_embd - first < SOFTMIX_TILE ? n_embd - first : SOFTMIX_TILE;
        int finite = 1;
        for (int64_t j = 0; j < c; j++) finite &= isfinite(sum[first + j]) != 0;
        if (!finite) return bad_row(t, first, c, ids, k);
    }
    return 0;
}

/* ---- one mixture of many rows -------------------------------------------------------------------------------- */

typedef struct {
    rows_t rows;
    int64_t n_rows, n_embd;
    const int32_t *ids;    /* (k), or NULL */
    const float *weights;  /* (k) */
    int64_t k, piece;      /* rows of all pieces, and of one */
    double *sums;          /* (SOFTMIX_PIECES, n_embd) */
    int codes[SOFTMIX_PIECES];
} many_t;

static void add_piece(void *data, int64_t i) {
    many_t *m = data;
    const int64_t at = i * m->piece, k = m->k - at < m->piece ? m->k - at : m->piece, skip = m->ids ? 0 : at;
    double *sum = m->sums + i * m->n_embd;
    rows_t rows = m->rows;
    rows.data += skip * rows.row_bytes;
    m->codes[i] = add_part(&rows, m->n_rows - skip, m->n_embd, m->ids ? m->ids + at : 0, m->weights + at, k, sum);
}

int softmix_mix_many(const void *table, int64_t n_rows, int64_t row_bytes, int64_t n_embd, int64_t block,
                     softmix_to_float to_float, const int32_t *ids, const float *weights, int64_t k, float scale,
                     double *sums, float *out, int64_t stride, int type, const softmix_team *team, int isa) {
    rows_t t;
    const int bad = open_rows(&t, table, n_rows, row_bytes, n_embd, block, type, isa, to_float);
    if (bad) return bad;
    if (!weights) return 8;
    if (bad_size(k) || (!ids && k > n_rows)) return 9;
    if (!isfinite(scale)) return 10;
    if (!sums) return 11;
    if (!out) return 12;
    if (stride < n_embd || bad_size(stride)) return 13;
    if (!softmix_runs(isa)) return 16;
    const int64_t share = (k + SOFTMIX_PIECES - 1) / SOFTMIX_PIECES, piece = share > SOFTMIX_FEW ? share : SOFTMIX_FEW;
    many_t m = {t, n_rows, n_embd, ids, weights, k, piece, sums, {0}};
    const int64_t n = (k + piece - 1) / piece;
    softmix_share(team, add_piece, &m, n);
    for (int64_t i = 0; i < n; i++) {
        if (m.codes[i]) return m.codes[i] - (int)(i * piece); /* negative: the arguments are good */
    }
    int finite = 1;
    for (int64_t j = 0; j < n_embd; j++) {
        double sum = 0.0;
        for (int64_t i = 0; i < n; i++) sum += sums[i * n_embd + j];
        out[j] = (float)sum * scale;
        finite &= isfinite(out[j]) != 0;
    }
    for (int64_t j = n_embd; j < stride; j++) out[j] = 0.0f;
    return finite ? 0 : -1;
}

/* Passes over logits, and what they say. */
#include "pass.h"
#include "share.h"

#include <math.h>

static int64_t length(const pass_t *p, int64_t i) {
    const int64_t rest = p->n - i * p->size;
    return rest < p->size ? rest : p->size;
}

static void highest_piece(void *data, int64_t i) {
    pass_t *p = data;
    const int64_t at = i * p->size, m = length(p, i), block = p->size / BLOCKS;
    for (int64_t j = 0; j * block < m; j++) {
        p->high[i * BLOCKS + j] = p->scan->highest(p->z + at + j * block, m - j * block < block ? m - j * block : block);
    }
}

static void sums_piece(void *data, int64_t i) {
    pass_t *p = data;
    p->scan->sums(p->z + i * p->size, length(p, i), p->max, p->inv_t, &p->s[i], &p->sx[i]);
}

int64_t softmix_find_peak(pass_t *p, const softmix_team *team) {
    const int64_t block = p->size / BLOCKS, n = pieces(p->n, block);
    softmix_share(team, highest_piece, p, pieces(p->n, p->size));
    float best = -INFINITY;
    int64_t where = -1;
    for (int64_t b = 0; b < n; b++) {
        if (isnan(p->high[b])) {
            int64_t i = b * block;
            while (p->z[i] < INFINITY) i++;
            return -(i + 1);
        }
        if (p->high[b] > best) {
            best = p->high[b];
            where = b;
        }
    }
    if (where < 0) return -1;
    int64_t i = where * block;
    while (p->z[i] != best) i++;
    p->max = best;
    return i;
}

void softmix_find_sums(pass_t *p, double temperature, const softmix_team *team, double *out) {
    const int64_t n = pieces(p->n, p->size);
    p->inv_t = 1.0 / temperature;
    softmix_share(team, sums_piece, p, n);
    out[0] = added(p->s, n);
    out[1] = added(p->sx, n);
}

int softmix_peak(const float *logits, int64_t n, float *max, int32_t *argmax, int isa) {
    if (!logits) return 1;
    if (bad_size(n)) return 2;
    if (!max) return 3;
    if (!argmax) return 4;
    if (!softmix_runs(isa)) return 5;
    pass_t p = pass_over(logits, n, isa);
    const int64_t at = softmix_find_peak(&p, 0);
    if (at < 0) return (int)at;
    *max = logits[at];
    *argmax = (int32_t)at;
    return 0;
}

int softmix_sums(const float *logits, int64_t n, double temperature, float max, double *out, const softmix_team *team,
                 int isa) {
    const int bad = bad_logits(logits, n, temperature);
    if (bad) return bad;
    if (!isfinite(max)) return 4;
    if (!out) return 5;
    if (!softmix_runs(isa)) return 7;
    pass_t p = pass_over(logits, n, isa);
    p.max = max;
    softmix_find_sums(&p, temperature, team, out);
    return 0;
}

int softmix_probs(const float *logits, int64_t n, double temperature, float max, double sum, float *probs, int isa) {
    const int bad = bad_logits(logits, n, temperature);
    if (bad) return bad;
    if (!isfinite(max)) return 4;
    if (!(sum > 0.0)) return 5;
    if (!probs) return 6;
    if (!softmix_runs(isa)) return 7;
    softmix_scanner(isa)->probs(logits, n, max, 1.0 / temperature, 1.0 / sum, probs);
    return 0;
}

int softmix_summary(const float *logits, int64_t n, softmix_known *known, const softmix_team *team, int isa) {
    if (!logits) return 1;
    if (bad_size(n)) return 2;
    if (!known) return 3;
    if (!softmix_runs(isa)) return 5;
    pass_t p = pass_over(logits, n, isa);
    const int64_t at = softmix_find_peak(&p, team), parts = pieces(n, p.size);
    if (at < 0) return (int)at;
    known->max = logits[at];
    softmix_find_sums(&p, 1.0, team, known->sums);
    for (int64_t i = 0; i < parts; i++) known->parts[i] = p.s[i];
    known->k = (int32_t)(n < SOFTMIX_KNOWN ? n : SOFTMIX_KNOWN);
    softmix_top_of_blocks(&p, known->k, known->ids);
    for (int32_t i = 0; i < known->k; i++) known->p[i] = logits[known->ids[i]];
    p.scan->probs(known->p, known->k, known->max, 1.0, 1.0 / known->sums[0], known->p);
    return 0;
}

typedef struct {
    const float *const *rows;
    int64_t n;
    softmix_known *const *known;
    int32_t *codes;
    const softmix_team *team;
    int isa;
} summaries_t;

static void summary_of_row(void *data, int64_t i) {
    const summaries_t *s = data;
    s->codes[i] = softmix_summary(s->rows[i], s->n, s->known[i], s->team, s->isa);
}

int softmix_summaries(const float *const *rows, int64_t count, int64_t n, softmix_known *const *known, int32_t *codes,
                      const softmix_team *team, int isa) {
    if (!rows) return 1;
    if (bad_size(count)) return 2;
    if (bad_size(n)) return 3;
    if (!known) return 4;
    if (!codes) return 5;
    if (!softmix_runs(isa)) return 7;
    const int by_row = team && count >= team->threads; /* fewer rows than threads: these share each row */
    summaries_t s = {rows, n, known, codes, by_row ? 0 : team, isa};
    softmix_share(by_row ? team : 0, summary_of_row, &s, count);
    return 0;
}

/* Divergences of two distributions. */
#include "pass.h"
#include "share.h"

#include <math.h>

static int64_t length(const pass_t *p, int64_t i) {
    const int64_t rest = p->n - i * p->size;
    return rest < p->size ? rest : p->size;
}

static void js_piece(void *data, int64_t i) {
    pass_t *p = data;
    p->s[i] = p->scan->js(p->z + i * p->size, p->other + i * p->size, length(p, i), p->ln_a, p->ln_b);
}

/* Shared by KL and JS: arguments, and ln of the two normalisers about each one's largest logit. */
static int pair(const float *a, const float *b, int64_t n, const double *ln, const double *out, int isa, double *ln_a,
                double *ln_b) {
    if (!a) return 1;
    if (!b) return 2;
    if (bad_size(n)) return 3;
    if (!out) return 5;
    if (!softmix_runs(isa)) return 6;
    if (ln) {
        *ln_a = ln[0];
        *ln_b = ln[1];
        return isfinite(ln[0]) && isfinite(ln[1]) ? 0 : 4;
    }
    const float *const both[] = {a, b};
    double *const to[] = {ln_a, ln_b};
    for (int i = 0; i < 2; i++) {
        pass_t p = pass_over(both[i], n, isa);
        const int64_t at = softmix_find_peak(&p, 0);
        if (at < 0) return (int)at;
        double s[2];
        softmix_find_sums(&p, 1.0, 0, s);
        *to[i] = p.max + log(s[0]);
    }
    return 0;
}

int softmix_kl(const float *a, const float *b, int64_t n, const double *ln, double *out, int isa) {
    double ln_a = 0.0, ln_b = 0.0, sum = 0.0;
    const int rc = pair(a, b, n, ln, out, isa, &ln_a, &ln_b);
    if (rc) return rc;
    for (int64_t i = 0; i < n; i++) {
        const double ln_p = (double)a[i] - ln_a;
        const double p = exp(ln_p);
        if (p > 0.0) sum += p * (ln_p - ((double)b[i] - ln_b));
    }
    *out = sum > 0.0 ? sum : 0.0;
    return 0;
}

/* Half of the sum of terms, which rounding may have led out of [0, ln 2] */
static double bounded_js(double sum) {
    const double js = 0.5 * sum;
    return js > 0.0 ? (js < 0.69314718055994530942 ? js : 0.69314718055994530942) : 0.0;
}

int softmix_js(const float *a, const float *b, int64_t n, const double *ln, double *out, const softmix_team *team, int isa) {
    pass_t p;
    const int rc = pair(a, b, n, ln, out, isa, &p.ln_a, &p.ln_b);
    if (rc) return rc == 6 ? 7 : rc;
    p.scan = softmix_scanner(isa);
    p.z = a;
    p.other = b;
    p.n = n;
    p.size = piece_of(n);
    softmix_share(team, js_piece, &p, pieces(n, p.size));
    *out = bounded_js(added(p.s, pieces(n, p.size)));
    return 0;
}

typedef struct {
    const softmix_scan *scan;
    const float *const *many, *const *two;
    const double *ln, *ln_two;
    int64_t count, n, size;
    double *work;
} js_two_t;

static void js_two_piece(void *data, int64_t i) {
    js_two_t *p = data;
    const int64_t at = i * p->size, m = p->n - at < p->size ? p->n - at : p->size;
    double *sums = p->work + 2 * i * p->count;
    for (int64_t j = 0; j < 2 * p->count; j++) sums[j] = 0.0;
    p->scan->js_two(p->many, p->ln, p->count, p->two, p->ln_two, at, m, sums);
}

int softmix_js_two(const float *const *many, const double *ln, int64_t count, const float *const *two, const double *ln_two,
                   int64_t n, double *work, double *out, const softmix_team *team, int isa) {
    if (!many) return 1;
    if (!ln) return 2;
    if (bad_size(count)) return 3;
    if (!two || !two[0] || !two[1]) return 4;
    if (!ln_two || !isfinite(ln_two[0]) || !isfinite(ln_two[1])) return 5;
    if (bad_size(n)) return 6;
    if (!work) return 7;
    if (!out) return 8;
    if (!softmix_runs(isa)) return 10;
    for (int64_t r = 0; r < count; r++) {
        if (!many[r]) return 1;
        if (!isfinite(ln[r])) return 2;
    }
    js_two_t p = {softmix_scanner(isa), many, two, ln, ln_two, count, n, piece_of(n), work};
    const int64_t parts = pieces(n, p.size);
    softmix_share(team, js_two_piece, &p, parts);
    for (int64_t j = 0; j < 2 * count; j++) {
        double sum = 0.0;
        for (int64_t i = 0; i < parts; i++) sum += work[2 * i * count + j];
        out[j] = bounded_js(sum);
    }
    return 0;
}

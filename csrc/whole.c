/* The whole distribution as a mixture. */
#include "pass.h"
#include "share.h"

#include <math.h>
#include <string.h>

/* The smallest float whose bin is at most this one: bins fall as logits rise, so a search by halves finds it. */
static float least_of_bin(float max, double inv_t, int bin) {
    if (bin >= SOFTMIX_BINS - 1) return -INFINITY;
    double low = -3.4028234663852886e38, high = max;
    const double lowest = (low - max) * inv_t * -SOFTMIX_PER_NAT;
    if (BIN(lowest) <= bin) return -INFINITY; /* a temperature so high that all are in one bin */
    for (;;) { /* bin(low) > bin >= bin(high) */
        const float middle = (float)(low + (high - low) / 2);
        if (!(middle > (float)low && middle < (float)high)) return (float)high;
        const double d = ((double)middle - max) * inv_t * -SOFTMIX_PER_NAT;
        if (BIN(d) <= bin) high = middle;
        else low = middle;
    }
}

enum { PARTS = 4, PART = 8192 }; /* of the logits, each with bins of its own, from so many logits each on */

typedef struct {
    const softmix_scan *scan;
    const float *z;
    int64_t n, size;
    double max, inv_t;
    int from;
    float least;
    int32_t *ids;
    int64_t counts[PARTS];
    double bins[PARTS][SOFTMIX_BINS + LANES];
} tail_t;

static void bins_part(void *data, int64_t i) {
    tail_t *t = data;
    const int64_t at = i * t->size, m = t->n - at < t->size ? t->n - at : t->size;
    for (int b = 0; b < SOFTMIX_BINS + LANES; b++) t->bins[i][b] = 0.0;
    t->scan->bins(t->z + at, m, t->max, t->inv_t, t->from, t->bins[i]);
}

static void pick_part(void *data, int64_t i) {
    tail_t *t = data;
    const int64_t at = i * t->size, m = t->n - at < t->size ? t->n - at : t->size;
    t->counts[i] = t->scan->pick(t->z + at, m, t->least, t->ids + at);
    for (int64_t j = 0; j < t->counts[i]; j++) t->ids[at + j] += (int32_t)at;
}

/* The ids (n) that remain when whole bins at the far end go, as many as sum to at most `mass` > 0: increasing, *count of
 * them. *below: sum e^x of what went. Returns the bin of those left that is the farthest: some of it may still go. */
static int tail(const float *logits, int64_t n, double temperature, float max, double mass, int32_t *ids, int64_t *count,
                double *below, const softmix_team *team, int isa) {
    tail_t t;
    t.scan = softmix_scanner(isa);
    t.z = logits;
    t.n = n;
    t.max = max;
    t.inv_t = 1.0 / temperature;
    t.ids = ids;
    t.size = n < PARTS * PART ? n : (n / PARTS / LANES + 1) * LANES;
    const int64_t parts = pieces(n, t.size);
    /* tokens of less than mass/n each are left out together, whatever their order */
    const double far = ceil(-log(mass / (double)n) * SOFTMIX_PER_NAT) + 1.0;
    t.from = far < 1.0 ? 1 : far < SOFTMIX_BINS - 1 ? (int)far : SOFTMIX_BINS - 1;
    softmix_share(team, bins_part, &t, parts);
    double *bins = t.bins[0], sum = 0.0;
    for (int64_t i = 1; i < parts; i++) {
        for (int b = 0; b < SOFTMIX_BINS + LANES; b++) bins[b] += t.bins[i][b];
    }
    for (int l = 0; l < LANES; l++) sum += bins[SOFTMIX_BINS + l];
    if (t.from == SOFTMIX_BINS - 1) { /* a bin like the others: together, its tokens may be more than so small a mass */
        bins[t.from] = sum;
        sum = 0.0;
    }
    int last = SOFTMIX_BINS - 1;
    for (; last > 0 && sum + bins[last] <= mass; last--) sum += bins[last];
    t.least = least_of_bin(max, t.inv_t, last);
    softmix_share(team, pick_part, &t, parts);
    *count = t.counts[0];
    for (int64_t i = 1; i < parts; i++) {
        memmove(ids + *count, ids + i * t.size, (size_t)t.counts[i] * sizeof *ids);
        *count += t.counts[i];
    }
    *below = sum;
    return last;
}

/* The least of the logits v (n) that stay when the smallest go whose e^x sum to at most *room, which becomes what is left of
 * it; +inf where all go. The order of v changes. */
static float least_that_stays(float *v, int64_t n, double max, double inv_t, double *room) {
    int64_t from = 0, to = n;
    while (from < to) {
        const float a = v[from], b = v[from + (to - from) / 2], c = v[to - 1];
        const float pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b); /* the middle one */
        double less = 0.0, equal = 0.0;
        int64_t low = from, high = to;
        for (int64_t i = from; i < high;) { /* [from, low) less, [low, i) equal, [high, to) greater */
            const float x = v[i];
            if (x > pivot) {
                v[i] = v[--high];
                v[high] = x;
                continue;
            }
            const double e = exp(((double)x - max) * inv_t);
            if (x < pivot) {
                less += e;
                v[i] = v[low];
                v[low++] = x;
            } else {
                equal += e;
            }
            i++;
        }
        if (less > *room) {
            to = low;
            continue;
        }
        *room -= less;
        if (equal > *room) return pivot;
        *room -= equal;
        from = high;
    }
    return INFINITY;
}

int softmix_whole(const float *logits, int64_t n, double temperature, float max, double total, double mass, int32_t *ids,
                  float *weights, int64_t *count, double *left, const softmix_team *team, int isa) {
    const int bad = bad_logits(logits, n, temperature);
    if (bad) return bad;
    if (!isfinite(max)) return 4;
    if (!(total > 0.0) || !isfinite(total)) return 5;
    if (!(mass >= 0.0)) return 6;
    if (!ids) return 7;
    if (!weights) return 8;
    if (!count) return 9;
    if (!left) return 10;
    if (!softmix_runs(isa)) return 12;
    const double inv_t = 1.0 / temperature;
    const softmix_scan *scan = softmix_scanner(isa);
    int64_t k = n;
    *left = 0.0;
    if (mass > 0.0) {
        double below;
        const int last = tail(logits, n, temperature, max, mass, ids, &k, &below, team, isa);
        const float sure = last ? least_of_bin(max, inv_t, last - 1) : INFINITY;
        int64_t edge = 0;
        for (int64_t i = 0; i < k; i++) {
            weights[edge] = logits[ids[i]];
            edge += weights[edge] < sure;
        }
        double room = mass - below;
        const double had = room;
        const float least = least_that_stays(weights, edge, max, inv_t, &room);
        *left = below + (had - room);
        if (had != room) {
            int64_t kept = 0;
            const float cut = least < sure ? least : sure;
            for (int64_t i = 0; i < k; i++) {
                ids[kept] = ids[i];
                kept += logits[ids[i]] >= cut;
            }
            k = kept;
        }
    } else {
        for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)i;
    }
    for (int64_t i = 0; i < k; i++) weights[i] = logits[ids[i]];
    double sums[2];
    scan->sums(weights, k, max, inv_t, sums, sums + 1);
    if (!(sums[0] > 0.0)) return 6; /* a mass that leaves nothing */
    scan->probs(weights, k, max, inv_t, 1.0 / sums[0], weights);
    int64_t kept = 0;
    for (int64_t i = 0; i < k; i++) {
        ids[kept] = ids[i];
        weights[kept] = weights[i];
        kept += weights[i] > 0.0f;
    }
    *count = kept;
    return 0;
}

/* Passes over logits. Included by scan.c once for each instruction set.
 *
 * LANES partial sums, element i in lane i % LANES, added up in the order of the lanes: the same bits whatever the width of
 * a register.
 */

/* e^x for x <= 0, relative error below 1e-15; 0 below -708. x = k ln 2 + r, |r| <= ln 2 / 2; e^r is a polynomial of
 * degree 10 (Chebyshev interpolation); the exponent k goes in as bits. e^0 is exactly 1. */
TARGET static inline double NAME(exp_)(double x) {
    const double big = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to a whole number in the low bits */
    const double y = x < -708.0 ? -708.0 : x;
    const double t = fma(y, 1.4426950408889634, big);
    const double k = t - big;
    const double r = fma(k, -0x1.a39ef35793c76p-33, fma(k, -0x1.62e42fee00000p-1, y));
    const double r2 = r * r, r4 = r2 * r2;
    const double a = fma(r2, fma(r, 0x1.555555554b107p-3, 0x1.ffffffffffbdcp-2), fma(r, 0x1.0000000000023p+0, 1.0));
    const double b = fma(r2, fma(r, 0x1.a01979ef0c710p-13, 0x1.6c16bee9d2561p-10),
                         fma(r, 0x1.1111112dd9716p-7, 0x1.555555560f031p-5));
    const double c = fma(r2, 0x1.224e25d68aec1p-22, fma(r, 0x1.72f94b07effaap-19, 0x1.a0209a80ad498p-16));
    const double p = fma(r4, fma(r4, c, b), a);
    uint64_t bits, scale;
    double e;
    memcpy(&bits, &t, 8);
    memcpy(&scale, &p, 8);
    scale += bits << 52;
    memcpy(&e, &scale, 8);
    return x < -708.0 ? 0.0 : e;
}

#if VECTORS
/* The largest of n values, n a multiple of LANES; NaN if any is NaN or +inf. */
TARGET static inline float NAME(of_lanes_)(const float *z, int64_t n) {
    const __m256 inf = _mm256_set1_ps(INFINITY);
    __m256 a = _mm256_set1_ps(-INFINITY), b = a, good = _mm256_cmp_ps(a, inf, _CMP_LT_OQ);
    for (int64_t i = 0; i < n; i += LANES) {
        const __m256 u = _mm256_loadu_ps(z + i), v = _mm256_loadu_ps(z + i + 8);
        good = _mm256_and_ps(good, _mm256_and_ps(_mm256_cmp_ps(u, inf, _CMP_LT_OQ), _mm256_cmp_ps(v, inf, _CMP_LT_OQ)));
        a = _mm256_max_ps(u, a);
        b = _mm256_max_ps(v, b);
    }
    if (_mm256_movemask_ps(good) != 255) return NAN;
    float m[8], high = -INFINITY;
    _mm256_storeu_ps(m, _mm256_max_ps(a, b));
    for (int l = 0; l < 8; l++) high = m[l] > high ? m[l] : high;
    return high;
}

/* Is any of the 4 * LANES values not at most `than` (greater, or NaN)? */
TARGET static int NAME(above_)(const float *v, float than) {
    const __m256 t = _mm256_set1_ps(than);
    __m256 any = _mm256_cmp_ps(_mm256_loadu_ps(v), t, _CMP_NLE_UQ);
    for (int l = 8; l < 4 * LANES; l += 8) any = _mm256_or_ps(any, _mm256_cmp_ps(_mm256_loadu_ps(v + l), t, _CMP_NLE_UQ));
    return _mm256_movemask_ps(any) != 0;
}
#else
static inline float NAME(of_lanes_)(const float *z, int64_t n) {
    float m[LANES], high = -INFINITY;
    int32_t bad = 0;
    for (int l = 0; l < LANES; l++) m[l] = -INFINITY;
    for (int64_t i = 0; i < n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            bad |= !(z[i + l] < INFINITY);
            m[l] = z[i + l] > m[l] ? z[i + l] : m[l];
        }
    }
    for (int l = 0; l < LANES; l++) high = m[l] > high ? m[l] : high;
    return bad ? NAN : high;
}

static int NAME(above_)(const float *v, float than) {
    int32_t any = 0;
    for (int l = 0; l < 4 * LANES; l++) any |= !(v[l] <= than);
    return any;
}
#endif

/* The largest of n values; NaN if any is NaN or +inf. */
TARGET static float NAME(highest_)(const float *z, int64_t n) {
    const int64_t whole = n / LANES * LANES;
    float high = NAME(of_lanes_)(z, whole);
    for (int64_t i = whole; i < n; i++) {
        if (!(z[i] < INFINITY)) high = NAN; /* which no later value replaces */
        else if (z[i] > high) high = z[i];
    }
    return high;
}

/* a += e^x, b += x e^x, x = (z - max) inv_t. Below -708 e^x is 0, and so is its product with any number but -inf. */
TARGET static inline void NAME(add_)(const float *z, int64_t n, double max, double inv_t, double *a, double *b) {
    for (int64_t l = 0; l < n; l++) {
        const double x = ((double)z[l] - max) * inv_t, y = x < -708.0 ? -708.0 : x;
        const double e = x < -708.0 ? 0.0 : NAME(exp_)(y);
        a[l] += e;
        b[l] = fma(y, e, b[l]);
    }
}

/* s = sum e^x, sx = sum x e^x, x = (z - max) inv_t */
TARGET static void NAME(sums_)(const float *z, int64_t n, double max, double inv_t, double *s, double *sx) {
    double a[LANES], b[LANES];
    for (int l = 0; l < LANES; l++) a[l] = b[l] = 0.0;
    int64_t i = 0;
    if (inv_t == 1.0) { /* without the product, which changes nothing */
        for (; i + LANES <= n; i += LANES) NAME(add_)(z + i, LANES, max, 1.0, a, b);
    } else {
        for (; i + LANES <= n; i += LANES) NAME(add_)(z + i, LANES, max, inv_t, a, b);
    }
    NAME(add_)(z + i, n - i, max, inv_t, a, b);
    double s_ = 0.0, sx_ = 0.0;
    for (int l = 0; l < LANES; l++) {
        s_ += a[l];
        sx_ += b[l];
    }
    *s = s_;
    *sx = sx_;
}

/* p = e^((z - max) inv_t) inv_s; p may be z */
TARGET static void NAME(probs_)(const float *z, int64_t n, double max, double inv_t, double inv_s, float *p) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        float v[LANES];
        for (int l = 0; l < LANES; l++) v[l] = (float)(NAME(exp_)(((double)z[i + l] - max) * inv_t) * inv_s);
        memcpy(p + i, v, sizeof v);
    }
    for (; i < n; i++) p[i] = (float)(NAME(exp_)(((double)z[i] - max) * inv_t) * inv_s);
}

enum { NAME(CHUNK) = 16 * LANES }; /* loops long enough for compilers to see that they are worth vectorising */

/* 2 atanh(s), 0 <= s <= 1/3, within 2 units in the last place: its series in s^2 as a polynomial of degree 9 (least squares
 * at Chebyshev's points). ln(1 + y) is this at s = y / (2 + y). */
TARGET static inline double NAME(atanh2_)(double s) {
    const double u = s * s, u2 = u * u, u4 = u2 * u2;
    const double a = fma(u2, fma(u, 0x1.24924982c420fp-3, 0x1.99999998c684ap-3), fma(u, 0x1.5555555555b0fp-2, 1.0));
    const double b = fma(u2, fma(u, 0x1.166087efa97bdp-4, 0x1.3aa5219cdbb95p-4),
                         fma(u, 0x1.74629a5c95e40p-4, 0x1.c71c472f43411p-4));
    const double c = fma(u, 0x1.6c693ce7c1a1ep-4, 0x1.9474d1f0f942fp-5);
    return 2.0 * s * fma(u4, fma(u4, c, b), a);
}

/* A term of the sum below, of p = e^w and q = e^x. The addend keeps 0/0 away, where both are 0. */
TARGET static inline double NAME(js_term_)(double p, double w, double q, double x) {
    const double h = p > q ? p : q, l = p > q ? q : p, t = w > x ? w - x : x - w;
    const double r = 0.69314718055994530942 - NAME(atanh2_)(l / (2.0 * h + l + 1e-300));
    const double term = fma(l, r - t, h * r);
    return t == 0.0 ? 0.0 : term;
}

/* The sum of p (ln p/m) + q (ln q/m), m = (p + q)/2, p = e^(a - ln_a), q = e^(b - ln_b). With t = |ln p - ln q| and
 * h the larger, l the smaller of the two, each term is h (ln 2 - ln(1 + e^-t)) + l (ln 2 - ln(1 + e^-t) - t), e^-t = l/h:
 * the same to the bit when p and q change places. */
TARGET static double NAME(js_)(const float *a, const float *b, int64_t n, double ln_a, double ln_b) {
    double sum[LANES], total = 0.0;
    for (int l = 0; l < LANES; l++) sum[l] = 0.0;
    for (int64_t i = 0; i < n; i += LANES) {
        float v[LANES], w[LANES];
        if (i + LANES <= n) {
            memcpy(v, a + i, sizeof v);
            memcpy(w, b + i, sizeof w);
        } else {
            for (int l = 0; l < LANES; l++) v[l] = i + l < n ? a[i + l] : -INFINITY;
            for (int l = 0; l < LANES; l++) w[l] = i + l < n ? b[i + l] : -INFINITY;
        }
        for (int l = 0; l < LANES; l++) {
            const double p = (double)v[l] - ln_a, q = (double)w[l] - ln_b;
            const double p_ = p < -800.0 ? -800.0 : p, q_ = q < -800.0 ? -800.0 : q; /* e^-800 is 0 here */
            sum[l] += NAME(js_term_)(NAME(exp_)(p_), p_, NAME(exp_)(q_), q_);
        }
    }
    for (int l = 0; l < LANES; l++) total += sum[l];
    return total;
}

/* sums (count, 2) += the same sums of many logits to two others, of logits [at, at + n) of all of them: the exponentials of
 * the two are taken once for all. */
TARGET static void NAME(js_two_)(const float *const *many, const double *ln, int64_t count, const float *const *two,
                                 const double *ln_two, int64_t at, int64_t n, double *sums) {
    for (int64_t i = 0; i < n; i += NAME(CHUNK)) {
        const int64_t m = n - i < NAME(CHUNK) ? n - i : NAME(CHUNK);
        double x[2][NAME(CHUNK)], q[2][NAME(CHUNK)];
        float z[NAME(CHUNK)];
        for (int e = 0; e < 2; e++) {
            for (int l = 0; l < NAME(CHUNK); l++) z[l] = -INFINITY;
            memcpy(z, two[e] + at + i, (size_t)m * sizeof *z);
            for (int l = 0; l < NAME(CHUNK); l++) {
                const double d = (double)z[l] - ln_two[e];
                x[e][l] = d < -800.0 ? -800.0 : d;
                q[e][l] = NAME(exp_)(x[e][l]);
            }
        }
        for (int64_t r = 0; r < count; r++) {
            double a[LANES], b[LANES];
            for (int l = 0; l < LANES; l++) a[l] = b[l] = 0.0;
            memcpy(z, many[r] + at + i, (size_t)m * sizeof *z); /* what is behind has been -INFINITY since it was filled */
            for (int64_t j = 0; j < m; j += LANES) {
                for (int l = 0; l < LANES; l++) {
                    const double d = (double)z[j + l] - ln[r], w = d < -800.0 ? -800.0 : d, p = NAME(exp_)(w);
                    a[l] += NAME(js_term_)(p, w, q[0][j + l], x[0][j + l]);
                    b[l] += NAME(js_term_)(p, w, q[1][j + l], x[1][j + l]);
                }
            }
            double s = 0.0, t = 0.0;
            for (int l = 0; l < LANES; l++) s += a[l], t += b[l];
            sums[2 * r] += s;
            sums[2 * r + 1] += t;
        }
    }
}

/* mass[bin] += e^x: (SOFTMIX_BINS + LANES). What is in bins from `far` on goes to the places behind, one for each lane. */
TARGET static void NAME(bins_)(const float *z, int64_t n, double max, double inv_t, int far, double *mass) {
    for (int64_t i = 0; i < n; i += NAME(CHUNK)) {
        const int m = n - i < NAME(CHUNK) ? (int)(n - i) : NAME(CHUNK);
        double e[NAME(CHUNK)];
        int32_t bin[NAME(CHUNK)];
        for (int l = 0; l < m; l++) e[l] = ((double)z[i + l] - max) * inv_t;
        for (int l = 0; l < m; l++) bin[l] = BIN(e[l] * -SOFTMIX_PER_NAT);
        for (int l = 0; l < m; l++) bin[l] = bin[l] < far ? bin[l] : SOFTMIX_BINS + l % LANES;
        for (int l = 0; l < m; l++) e[l] = NAME(exp_)(e[l]);
        for (int l = 0; l < m; l++) mass[bin[l]] += e[l];
    }
}

/* The ids of logits of at least `least`, in increasing order; returns how many. */
#if VECTORS
TARGET static int64_t NAME(pick_)(const float *z, int64_t n, float least, int32_t *ids) {
    const __m256 t = _mm256_set1_ps(least);
    int64_t k = 0, i = 0;
    for (; i + 8 <= n; i += 8) {
        unsigned found = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(z + i), t, _CMP_GE_OQ));
        for (; found; found &= found - 1) ids[k++] = (int32_t)i + __builtin_ctz(found);
    }
    for (; i < n; i++) {
        ids[k] = (int32_t)i;
        k += z[i] >= least;
    }
    return k;
}
#else
TARGET static int64_t NAME(pick_)(const float *z, int64_t n, float least, int32_t *ids) {
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++) { /* without a branch, as nothing foretells which they are */
        ids[k] = (int32_t)i;
        k += z[i] >= least;
    }
    return k;
}
#endif

static const softmix_scan NAME(scan) = {NAME(highest_), NAME(sums_), NAME(probs_), NAME(bins_), NAME(pick_), NAME(above_),
                                      NAME(js_), NAME(js_two_)};

#undef SUFFIX
#undef TARGET
#undef VECTORS

/* fma and fmaf, rounded once, for the scalar kernels where the C library's are not: those of MinGW-w64 before version 11
 * round twice. With an instruction set that has fused multiply-add, compilers take that instead. */
#ifndef SOFTMIX_EXACT_H
#define SOFTMIX_EXACT_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* a + b = result + *low, exactly (Knuth) */
static inline double two_sum(double a, double b, double *low) {
    const double s = a + b, t = s - a;
    *low = (a - (s - t)) + (b - t);
    return s;
}

/* a + b, and where that is not exact, of the two neighbours the one whose last bit is 1: to be rounded once more, later */
static inline double odd_sum(double a, double b) {
    double low, s = two_sum(a, b, &low);
    uint64_t u;
    memcpy(&u, &s, 8);
    if (low != 0.0 && isfinite(s) && !(u & 1)) {
        u += (low > 0.0) == (s > 0.0) ? 1 : (uint64_t)-1;
        memcpy(&s, &u, 8);
    }
    return s;
}

/* The product of two floats is exact in double precision, and 53 bits are enough to round twice (Boldo and Melquiond, 2008). */
static inline float exact_fmaf(float a, float b, float c) { return (float)odd_sum((double)a * b, c); }

/* The same for doubles: the product in two parts (Dekker), the sum of three (Boldo and Melquiond). For products whose lower
 * part neither overflows nor underflows. */
static inline double exact_fma(double a, double b, double c) {
    const double p = a * b;
    if (!isfinite(p) || !isfinite(c)) return p + c;
    const double split = 134217729.0; /* 2^27 + 1 */
    const double ah = split * a - (split * a - a), al = a - ah, bh = split * b - (split * b - b), bl = b - bh;
    const double e = ((ah * bh - p) + ah * bl + al * bh) + al * bl;
    double tl, vl;
    const double th = two_sum(c, e, &tl), vh = two_sum(p, th, &vl);
    return vh + odd_sum(tl, vl);
}

#endif

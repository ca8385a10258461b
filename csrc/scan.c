/* Passes over logits for each instruction set, and the choice among them. */
#include "isa.h"

#include <math.h>
#include <string.h>

#if defined(SOFTMIX_X86)
#include <immintrin.h>
#endif

#if defined(__MINGW32__)
#include "exact.h"
#define fma exact_fma
#define fmaf exact_fmaf
#endif
#define SUFFIX scalar
#define TARGET
#define VECTORS 0
#include "scan.inc.h"
#undef fma
#undef fmaf

#if defined(SOFTMIX_X86)
#define SUFFIX avx2
#define TARGET TARGET_AVX2
#define VECTORS 1
#include "scan.inc.h"

#define SUFFIX avx512
#define TARGET TARGET_AVX512
#define VECTORS 1
#include "scan.inc.h"
#endif

const softmix_scan *softmix_scanner(int isa) {
    switch (isa) {
#if defined(SOFTMIX_X86)
    case SOFTMIX_AVX2: return &scanavx2;
    case SOFTMIX_AVX512: return &scanavx512;
#endif
    default: return &scanscalar; /* NEON needs nothing but what the compiler does for all of arm64 */
    }
}

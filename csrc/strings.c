/* Lists of strings in a file. */
#include "softmix.h"

#include <string.h>

int softmix_skip_strings(const void *buffer, int64_t size, int64_t n, int64_t *pos) {
    if (!buffer) return 1;
    if (size < 0) return 2;
    if (n < 0 || n > SOFTMIX_MAX_N) return 3;
    if (!pos || *pos < 0 || *pos > size) return 4;
    const unsigned char *bytes = buffer;
    int64_t at = *pos;
    for (int64_t i = 0; i < n; i++) {
        uint64_t length;
        if (size - at < (int64_t)sizeof length) return -(int)(i + 1);
        memcpy(&length, bytes + at, sizeof length);
        at += (int64_t)sizeof length;
        if (length > (uint64_t)(size - at)) return -(int)(i + 1);
        at += (int64_t)length;
    }
    *pos = at;
    return 0;
}

/* Pieces of work, taken by whichever thread of a team is free. (share.c) */
#ifndef SOFTMIX_SHARE_H
#define SOFTMIX_SHARE_H

#include "softmix.h"

/* piece(data, i) for i < n, each once, in any order; returns when all are done. */
void softmix_share(const softmix_team *team, void (*piece)(void *data, int64_t i), void *data, int64_t n);

#endif

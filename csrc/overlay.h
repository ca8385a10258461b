/* overlay: rows of one's own in place of what a node of llama.cpp's graph has computed.
 *
 * An evaluation callback of ggml's scheduler, in C because it is called for every node of every graph. Knows no header of
 * ggml: its functions come in as pointers. No allocation, no globals. One overlay belongs to one context, whose calls do
 * not overlap.
 */
#ifndef OVERLAY_H
#define OVERLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OVERLAY_NODES 4

/* ggml_backend_sched_eval_callback: with ask, "do you want this node?"; without, "here it is", of those that were wanted. */
typedef bool (*overlay_watch)(void *tensor, bool ask, void *user_data);

typedef struct overlay_node {
  const char *name;  /* of the node */
  const float *rows; /* (n_rows, width) float32 */
  int64_t width;
  int64_t done; /* rows written since it was set to 0; the next evaluation goes on there, as llama.cpp may split a batch */
} overlay_node;

typedef struct overlay {
  const char *(*get_name)(const void *tensor);
  int64_t (*n_elements)(const void *tensor);
  size_t (*n_bytes)(const void *tensor);
  void (*set)(void *tensor, const void *data, size_t offset, size_t size);
  overlay_watch watch; /* another callback that is asked as well, or NULL */
  void *watch_data;
  int64_t n_rows;  /* of each node's array; 0: write nothing */
  int32_t n_nodes; /* 0 to OVERLAY_NODES */
  int32_t misfit;  /* i + 1 if node i was no array of floats with rows of its width, or had more rows than are left */
  bool watching;   /* did the other callback want the node that was last asked about? */
  overlay_node nodes[OVERLAY_NODES];
} overlay;

/* The callback. user_data: the overlay. */
bool overlay_eval(void *tensor, bool ask, void *user_data);

#endif

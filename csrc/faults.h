/* What the command line does when the system sends a signal. Knows neither Python nor llama.cpp.
 *
 * The shim's only globals are here, since a signal handler has no arguments; nothing is installed unless asked for.
 * Both functions return 0, or 1 where the system has no such signals.
 */
#ifndef FAULTS_H
#define FAULTS_H

#include <stdint.h>

/* From now on `signal` does what it did before, and raises a flag. Call again after somebody changed the handler. */
int faults_flag_on(int signal);

/* Is the flag up? In the form of llama.cpp's abort callback; `unused` may be NULL. */
_Bool faults_flag(void *unused);

/* Lower the flag. */
void faults_clear(void);

/* A memory access that the file behind a mapping no longer has (SIGBUS) ends the process with exit code 1, after these
 * `n` bytes of `text` went to stderr; at most 1,000 are kept. Any other SIGBUS looks the same from here. */
int faults_say_on_bus_error(const char *text, int32_t n);

#endif

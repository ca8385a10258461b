#define _POSIX_C_SOURCE 200809L /* sigaction */
#include "faults.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t flag;

_Bool faults_flag(void *unused)
{
    (void)unused;
    return flag != 0;
}

void faults_clear(void)
{
    flag = 0;
}

#ifdef _WIN32

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

static DWORD WINAPI raise_flag(void *unused)
{
    (void)unused;
    Sleep(20); /* whoever sees the flag must find that Python's handler knows already; it is called after ours */
    flag = 1;
    return 0;
}

static BOOL WINAPI pressed(DWORD event)
{
    if (event == CTRL_C_EVENT || event == CTRL_BREAK_EVENT) {
        HANDLE thread = CreateThread(NULL, 0, raise_flag, NULL, 0, NULL);
        if (thread != NULL)
            CloseHandle(thread);
    }
    return FALSE; /* not done: the handlers before ours come next */
}

int faults_flag_on(int signal)
{
    if (signal != SIGINT)
        return 1; /* nobody sends another one */
    SetConsoleCtrlHandler(pressed, FALSE); /* or a second call would add a second one */
    return !SetConsoleCtrlHandler(pressed, TRUE);
}

int faults_say_on_bus_error(const char *text, int32_t n)
{
    (void)text;
    (void)n;
    return 1;
}

#else

#include <string.h>
#include <unistd.h>

#define N_SIGNALS 32

static struct sigaction before[N_SIGNALS]; /* what to do before raising the flag */
static char message[1000];
static size_t message_size;

static void raise_flag(int signal)
{
    struct sigaction *old = &before[signal];
    if (old->sa_handler == SIG_DFL) {
        sigaction(signal, old, NULL); /* as if we had never been there */
        raise(signal);
    } else if (old->sa_handler != SIG_IGN) {
        old->sa_handler(signal);
    }
    flag = 1; /* last: whoever sees it, in another thread, finds that the old handler knows already */
}

int faults_flag_on(int signal)
{
    struct sigaction now, new;
    if (signal < 1 || signal >= N_SIGNALS || sigaction(signal, NULL, &now) != 0)
        return 1;
    if (now.sa_handler == raise_flag || (now.sa_flags & SA_SIGINFO))
        return (now.sa_flags & SA_SIGINFO) != 0; /* a handler with three arguments is somebody else's: leave it */
    before[signal] = now;
    new = now;
    new.sa_handler = raise_flag;
    return sigaction(signal, &new, NULL) != 0;
}

static void say(int signal)
{
    (void)signal;
    if (message_size > 0 && write(STDERR_FILENO, message, message_size) < 0)
        _exit(1);
    _exit(1);
}

int faults_say_on_bus_error(const char *text, int32_t n)
{
    struct sigaction new;
    if (text == NULL || n < 0)
        return 1;
    message_size = (size_t)n < sizeof message ? (size_t)n : sizeof message;
    memcpy(message, text, message_size);
    memset(&new, 0, sizeof new);
    new.sa_handler = say;
    sigemptyset(&new.sa_mask);
    return sigaction(SIGBUS, &new, NULL) != 0;
}

#endif

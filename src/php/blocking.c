/*
 * C library calls in which a PHP thread waits for somebody else. Defined here, they come before the C library's own for
 * everything linked into this program; on a thread that is not PHP's they do what the C library does.
 *
 * A signal breaks the kernel's part of such a call, but nearly every caller then calls again. So when the watchdog has sent that
 * signal (rr_libc_break), the wait is ended for good here: sockets are shut down, which their callers take for a peer that has
 * left; a pipe is at its end; a lock is not had; a child is told to end. What the thread is waiting in is its own, and it is this
 * thread that ends it: no descriptor can be another's by then.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"

/* Set by the signal, forgotten before each wait: one that comes between two waits breaks none, and the watchdog sends another. */
__thread volatile sig_atomic_t rr_libc_broken;
static __thread volatile sig_atomic_t breaks; /* all of them */
static __thread sig_atomic_t cut_at; /* the one that ended a poll() of the script that runs; 0 if none has */
static __thread bool gave_up_lock;

void rr_libc_break(int signal)
{
	(void) signal;
	rr_libc_broken = 1;
	breaks++;
}

bool rr_libc_gave_up_lock(void)
{
	bool gave_up = gave_up_lock;
	gave_up_lock = false;
	return gave_up;
}

void rr_libc_script_ended(void)
{
	rr_children_forget();
	cut_at = 0;
}

#define STOCK(name) RR_STOCK(stock, name)

static bool is_broken(long result)
{
	return result < 0 && errno == EINTR && rr_libc_broken;
}

static bool cut(int descriptor)
{
	return shutdown(descriptor, SHUT_RDWR) == 0;
}

/* --- sockets and pipes ------------------------------------------------------------------------------------------------ */

int poll(struct pollfd *polled, nfds_t count, int timeout)
{
	STOCK(poll)
	if (!rr_in_php || timeout == 0) {
		return stock(polled, count, timeout);
	}
	if (cut_at && breaks != cut_at) {
		/* It was told of what was cut, and waits on: curl while it looks up a name. */
		errno = EBADF;
		return -1;
	}
	rr_libc_broken = 0;
	int result = stock(polled, count, timeout);
	if (!is_broken(result)) {
		return result;
	}
	cut_at = breaks;
	for (nfds_t i = 0; i < count; i++) {
		if (polled[i].fd >= 0) {
			(void) cut(polled[i].fd);
		}
	}
	/* Tells of what was cut; if nothing could be, the time is over. */
	return stock(polled, count, 0);
}

/* A socket that was cut says so itself. Anything else is at its end from here on. */
#define READ(call) \
	if (!rr_in_php) { \
		return stock call; \
	} \
	rr_libc_broken = 0; \
	ssize_t result = stock call; \
	if (!is_broken(result)) { \
		return result; \
	} \
	if (cut(descriptor)) { \
		return stock call; \
	} \
	/* Whoever writes to the other end. */ \
	rr_children_end(); \
	return 0;

ssize_t read(int descriptor, void *buffer, size_t length)
{
	STOCK(read)
	READ((descriptor, buffer, length))
}

ssize_t recv(int descriptor, void *buffer, size_t length, int flags)
{
	STOCK(recv)
	READ((descriptor, buffer, length, flags))
}

ssize_t recvfrom(int descriptor, void *restrict buffer, size_t length, int flags, struct sockaddr *restrict from,
	socklen_t *restrict from_length)
{
	STOCK(recvfrom)
	READ((descriptor, buffer, length, flags, from, from_length))
}

ssize_t recvmsg(int descriptor, struct msghdr *message, int flags)
{
	STOCK(recvmsg)
	READ((descriptor, message, flags))
}

/* --- locks ------------------------------------------------------------------------------------------------------------ */

int flock(int descriptor, int operation)
{
	STOCK(flock)
	if (!rr_in_php) {
		return stock(descriptor, operation);
	}
	rr_libc_broken = 0;
	int result = stock(descriptor, operation);
	if (is_broken(result)) {
		/* Session files are asked for until the error is another. */
		errno = ETIMEDOUT;
		gave_up_lock = true;
	}
	return result;
}

/* --- sleeping --------------------------------------------------------------------------------------------------------- */

_Thread_local _Atomic(const char *) rr_overdue;

/* The same for max_execution_time. */
static __thread const volatile bool *is_over;

void rr_libc_watch(const volatile bool *over)
{
	is_over = over;
}

/* A library that sleeps between two attempts, as SQLite does for as long as a lock is another's, sleeps again when a signal has
 * woken it. So nobody sleeps on the way to that opcode, and the attempts are soon used up. */
static bool has_time(void)
{
	return !rr_in_php || !(rr_overdue || (is_over && *is_over));
}

unsigned int sleep(unsigned int seconds)
{
	STOCK(sleep)
	return has_time() ? stock(seconds) : 0;
}

int usleep(useconds_t microseconds)
{
	STOCK(usleep)
	return has_time() ? stock(microseconds) : 0;
}

int nanosleep(const struct timespec *length, struct timespec *rest)
{
	STOCK(nanosleep)
	return has_time() ? stock(length, rest) : 0;
}

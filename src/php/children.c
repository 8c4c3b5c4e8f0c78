/*
 * The processes that PHP threads have started. A thread ends them when it is told to while it waits for them; and those that PHP
 * itself does not wait for are waited for here, or they would stay as zombies: under php-fpm a process of the pool does not live
 * long enough to have many, but this one does.
 *
 * PHP lets go of a child in two ways: the last handle of proc_open() goes while the child runs, for which PHP asks waitpid() with
 * WNOHANG alone (proc_get_status() asks for stopped ones too, proc_close() waits); or the script ends. From then on nobody else
 * asks for it, and rr_children_reap() does.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"

/* Further ones are neither ended with their script nor waited for. */
enum { CHILDREN = 1024, GENERATIONS = 8 };

typedef struct {
	pid_t pid;         /* 0: the place is free */
	const void *owner; /* stands for the thread whose script has started it; NULL once that has ended */
	bool let_go;       /* PHP does not ask for it any more */
} child;

static child children[CHILDREN];
static int used; /* places, from the first on, that have been taken at some time */
static atomic_int to_reap;
static atomic_int unknown;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* This thread's script has some. The address stands for the thread. */
static __thread bool has_some;

/* Under the lock, as what follows. */
static child *find(pid_t pid)
{
	for (int i = 0; i < used; i++) {
		if (children[i].pid == pid) {
			return &children[i];
		}
	}
	return NULL;
}

/* NULL if it is another's by now: a number that was waited for is given to the next process. */
static child *find_own(pid_t pid)
{
	child *entry = find(pid);
	return entry && entry->owner == &has_some ? entry : NULL;
}

static void set_let_go(child *entry, bool value)
{
	if (entry->let_go != value) {
		entry->let_go = value;
		to_reap += value ? 1 : -1;
	}
}

static void forget(child *entry)
{
	set_let_go(entry, false);
	*entry = (child) {0};
}

void rr_children_add(pid_t pid)
{
	pthread_mutex_lock(&lock);
	/* An old entry with that number is of a child that somebody else has waited for. */
	child *place = find(pid);
	if (place) {
		forget(place);
	} else {
		place = find(0);
	}
	if (!place && used < CHILDREN) {
		place = &children[used++];
	}
	if (place) {
		*place = (child) {pid, &has_some, false};
		has_some = true;
	} else {
		unknown++;
	}
	pthread_mutex_unlock(&lock);
}

void rr_children_forget(void)
{
	if (!has_some) {
		return;
	}
	pthread_mutex_lock(&lock);
	for (int i = 0; i < used; i++) {
		if (children[i].pid && children[i].owner == &has_some) {
			children[i].owner = NULL;
			set_let_go(&children[i], true);
		}
	}
	has_some = false;
	pthread_mutex_unlock(&lock);
}

int rr_children_unknown(void)
{
	return atomic_exchange(&unknown, 0);
}

void rr_children_reap(void)
{
	RR_STOCK(stock, waitpid)
	if (to_reap == 0) {
		return;
	}
	pthread_mutex_lock(&lock);
	for (int i = 0; i < used; i++) {
		if (children[i].let_go && stock(children[i].pid, NULL, WNOHANG) != 0) {
			/* It has ended; or it is not ours to wait for. */
			forget(&children[i]);
		}
	}
	pthread_mutex_unlock(&lock);
}

/* Ends `pid` and its descendants, youngest first: an orphan would not be found any more. */
static void end_family(pid_t pid, int signal, int generations)
{
	char text[4096];
	snprintf(text, sizeof(text), "/proc/%d/task/%d/children", (int) pid, (int) pid);
	int list = generations > 0 ? open(text, O_RDONLY | O_CLOEXEC) : -1;
	if (list >= 0) {
		/* Not by our own read(), which may come here. */
		long length = syscall(SYS_read, list, text, sizeof(text) - 1);
		close(list);
		text[length > 0 ? length : 0] = 0;
		char *rest = text;
		for (long child = strtol(rest, &rest, 10); child > 0; child = strtol(rest, &rest, 10)) {
			end_family((pid_t) child, signal, generations - 1);
		}
	}
	(void) kill(pid, signal);
}

void rr_children_end(void)
{
	if (!has_some) {
		return;
	}
	/* Under the lock the numbers stay theirs: nobody else waits for them meanwhile. */
	pthread_mutex_lock(&lock);
	for (int i = 0; i < used; i++) {
		if (children[i].pid && children[i].owner == &has_some) {
			end_family(children[i].pid, SIGTERM, GENERATIONS);
		}
	}
	pthread_mutex_unlock(&lock);
}

/* --- waiting for a child ---------------------------------------------------------------------------------------------------- */

/* PHP asks for it: whatever it seemed to be before, it is not let go of. */
static void take_back(pid_t pid)
{
	pthread_mutex_lock(&lock);
	child *entry = find_own(pid);
	if (entry) {
		set_let_go(entry, false);
	}
	pthread_mutex_unlock(&lock);
}

/* waitpid(`pid`, `options`) has answered `result`. */
static void note_answer(pid_t pid, pid_t result, int status, int options)
{
	bool ended = result > 0 && (WIFEXITED(status) || WIFSIGNALED(status));
	if (!ended && !(result == 0 && options == WNOHANG)) {
		return;
	}
	pthread_mutex_lock(&lock);
	child *entry = find_own(ended ? result : pid);
	if (entry && ended) {
		forget(entry);
	} else if (entry) {
		set_let_go(entry, true);
	}
	pthread_mutex_unlock(&lock);
}

pid_t waitpid(pid_t pid, int *status_out, int options)
{
	RR_STOCK(stock, waitpid)
	if (!rr_in_php) {
		return stock(pid, status_out, options);
	}
	if (pid > 0) {
		take_back(pid);
	}
	int signal = SIGTERM, status = 0;
	for (;;) {
		rr_libc_broken = 0;
		pid_t result = stock(pid, &status, options);
		if (result > 0 && status_out) {
			*status_out = status;
		}
		int error = errno;
		note_answer(pid, result, status, options);
		errno = error;
		if (pid <= 0 || !(result < 0 && errno == EINTR && rr_libc_broken)) {
			return result;
		}
		end_family(pid, signal, GENERATIONS);
		signal = SIGKILL;
	}
}

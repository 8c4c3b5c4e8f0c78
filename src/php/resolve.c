/*
 * Looking up names. The C library waits for name servers with calls of its own that nothing comes before, and starts each again
 * that a signal breaks. So on a PHP thread another thread asks, and the PHP thread waits for that one: broken off, it goes on as if
 * no server could be reached, and the other ends by the resolver's own time-outs. Defined here, these come before the C library's
 * own; on a thread that is not PHP's they do what the C library does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <resolv.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "shim.h"

/* One question, the asker's and the thread's that asks: the last of them frees it. All that it points to is its own. */
typedef struct lookup {
	void (*ask)(struct lookup *);
	sem_t done;
	atomic_int holders;
	int result, error, host_error;
	char *name, *service;
	struct addrinfo hints, *found;
	struct hostent host, *host_found;
	struct sockaddr_storage address;
	socklen_t address_length;
	int flags, type;
	size_t length, service_length;
	char buffer[];
} lookup;

/* Threads that ask, at once. Beyond that the asker asks itself, which then nothing breaks off. */
enum { LOOKUPS = 256, STACK = 1 << 20 };
static atomic_int running;

#define STOCK(name) RR_STOCK(stock_##name, name)

static lookup *new_lookup(void (*ask)(lookup *), const char *name, const char *service, size_t room)
{
	lookup *made = calloc(1, sizeof(lookup) + room);
	if (made) {
		made->ask = ask;
		made->name = name ? strdup(name) : NULL;
		made->service = service ? strdup(service) : NULL;
		atomic_init(&made->holders, 1);
		sem_init(&made->done, 0, 0);
	}
	return made;
}

static void release(lookup *held)
{
	if (atomic_fetch_sub(&held->holders, 1) > 1) {
		return;
	}
	if (held->found) {
		freeaddrinfo(held->found);
	}
	sem_destroy(&held->done);
	free(held->name);
	free(held->service);
	free(held);
}

static void *run(void *context)
{
	lookup *asked = context;
	asked->ask(asked);
	asked->error = errno;
	atomic_fetch_sub(&running, 1);
	sem_post(&asked->done);
	release(asked);
	return NULL;
}

static bool start(lookup *asked)
{
	if (atomic_fetch_add(&running, 1) >= LOOKUPS) {
		atomic_fetch_sub(&running, 1);
		return false;
	}
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK);
	atomic_fetch_add(&asked->holders, 1);
	/* Signals to the process are for threads that know them. */
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_t thread;
	bool started = pthread_create(&thread, &attributes, run, asked) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (!started) {
		atomic_fetch_sub(&asked->holders, 1);
		atomic_fetch_sub(&running, 1);
	}
	return started;
}

/* False if the wait was broken off; the answer is then not to be looked at. */
static bool answered(lookup *asked)
{
	if (!start(asked)) {
		asked->ask(asked);
		asked->error = errno;
		return true;
	}
	rr_libc_broken = 0;
	while (sem_wait(&asked->done) != 0) {
		if (rr_libc_broken) {
			return false;
		}
	}
	return true;
}

/* --- getaddrinfo ------------------------------------------------------------------------------------------------------ */

static bool is_number(const char *name)
{
	unsigned char address[sizeof(struct in6_addr)];
	return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

static void ask_addresses(lookup *asked)
{
	STOCK(getaddrinfo)
	asked->result = stock_getaddrinfo(asked->name, asked->service, &asked->hints, &asked->found);
}

int getaddrinfo(const char *restrict name, const char *restrict service, const struct addrinfo *restrict hints,
	struct addrinfo **restrict found)
{
	STOCK(getaddrinfo)
	bool is_local = !name || is_number(name) || (hints && (hints->ai_flags & AI_NUMERICHOST));
	lookup *asked = rr_in_php && !is_local ? new_lookup(ask_addresses, name, service, 0) : NULL;
	if (!asked) {
		return stock_getaddrinfo(name, service, hints, found);
	}
	/* What no hints stand for. */
	asked->hints = (struct addrinfo) {.ai_family = AF_UNSPEC, .ai_flags = AI_V4MAPPED | AI_ADDRCONFIG};
	if (hints) {
		asked->hints = *hints;
	}
	int result = EAI_AGAIN;
	if (answered(asked)) {
		result = asked->result;
		*found = asked->found;
		asked->found = NULL;
		errno = asked->error;
	}
	release(asked);
	return result;
}

/* --- gethostbyname_r -------------------------------------------------------------------------------------------------- */

static void ask_host(lookup *asked)
{
	STOCK(gethostbyname_r)
	asked->result =
		stock_gethostbyname_r(asked->name, &asked->host, asked->buffer, asked->length, &asked->host_found, &asked->host_error);
}

/* All that a host's entry points to lies in its buffer, which is elsewhere now. */
static void move_list(char **list, ptrdiff_t distance)
{
	for (; list && *list; list++) {
		*list += distance;
	}
}

int gethostbyname_r(const char *restrict name, struct hostent *restrict host, char *restrict buffer, size_t length,
	struct hostent **restrict found, int *restrict error)
{
	STOCK(gethostbyname_r)
	lookup *asked = rr_in_php && !is_number(name) ? new_lookup(ask_host, name, NULL, length) : NULL;
	if (!asked) {
		return stock_gethostbyname_r(name, host, buffer, length, found, error);
	}
	asked->length = length;
	*found = NULL;
	*error = TRY_AGAIN;
	int result = EAGAIN;
	if (answered(asked)) {
		result = asked->result;
		*error = asked->host_error;
		errno = asked->error;
		if (asked->host_found) {
			ptrdiff_t distance = buffer - asked->buffer;
			memcpy(buffer, asked->buffer, length);
			*host = asked->host;
			host->h_name += distance;
			host->h_aliases = (char **) ((char *) host->h_aliases + distance);
			host->h_addr_list = (char **) ((char *) host->h_addr_list + distance);
			move_list(host->h_aliases, distance);
			move_list(host->h_addr_list, distance);
			*found = host;
		}
	}
	release(asked);
	return result;
}

/* --- getnameinfo ------------------------------------------------------------------------------------------------------ */

static void ask_name(lookup *asked)
{
	STOCK(getnameinfo)
	char *service = asked->service_length ? asked->buffer + asked->length : NULL;
	asked->result = stock_getnameinfo((struct sockaddr *) &asked->address, asked->address_length,
		asked->length ? asked->buffer : NULL, (socklen_t) asked->length, service, (socklen_t) asked->service_length, asked->flags);
}

int getnameinfo(const struct sockaddr *restrict address, socklen_t address_length, char *restrict host, socklen_t host_length,
	char *restrict service, socklen_t service_length, int flags)
{
	STOCK(getnameinfo)
	size_t room = host ? host_length : 0, service_room = service ? service_length : 0;
	bool is_local = (flags & NI_NUMERICHOST) || room == 0 || address_length > sizeof(struct sockaddr_storage);
	lookup *asked = rr_in_php && !is_local ? new_lookup(ask_name, NULL, NULL, room + service_room) : NULL;
	if (!asked) {
		return stock_getnameinfo(address, address_length, host, host_length, service, service_length, flags);
	}
	memcpy(&asked->address, address, address_length);
	asked->address_length = address_length;
	asked->length = room;
	asked->service_length = service_room;
	asked->flags = flags;
	int result = EAI_AGAIN;
	if (answered(asked)) {
		result = asked->result;
		errno = asked->error;
		if (result == 0) {
			memcpy(host, asked->buffer, room);
			if (service_room) {
				memcpy(service, asked->buffer + room, service_room);
			}
		}
	}
	release(asked);
	return result;
}

/* --- res_nsearch ------------------------------------------------------------------------------------------------------ */

#undef res_nsearch
int res_nsearch(res_state, const char *, int, int, unsigned char *, int);

static void ask_records(lookup *asked)
{
	STOCK(res_nsearch)
	/* The asker's may be gone by the time the answer comes. */
	struct __res_state state = {0};
	asked->result = -1;
	if (res_ninit(&state) == 0) {
		asked->result =
			stock_res_nsearch(&state, asked->name, asked->flags, asked->type, (unsigned char *) asked->buffer, (int) asked->length);
		asked->host_error = state.res_h_errno;
		res_nclose(&state);
	}
}

int res_nsearch(res_state state, const char *name, int class, int type, unsigned char *answer, int length)
{
	STOCK(res_nsearch)
	lookup *asked = rr_in_php && length > 0 ? new_lookup(ask_records, name, NULL, (size_t) length) : NULL;
	if (!asked) {
		return stock_res_nsearch(state, name, class, type, answer, length);
	}
	asked->flags = class;
	asked->type = type;
	asked->length = (size_t) length;
	int result = -1;
	state->res_h_errno = TRY_AGAIN;
	if (answered(asked)) {
		result = asked->result;
		state->res_h_errno = asked->host_error;
		errno = asked->error;
		if (result > 0) {
			memcpy(answer, asked->buffer, (size_t) (result < length ? result : length));
		}
	}
	h_errno = state->res_h_errno;
	release(asked);
	return result;
}

/* --- curl ------------------------------------------------------------------------------------------------------------- */

/* curl asks on a thread of its own, and waits for that even when it has been told to give up, unless it is asked not to: since
 * 7.87, by this option. */
enum { QUICK_EXIT = 322 };

void *curl_easy_init(void);

void *curl_easy_init(void)
{
	STOCK(curl_easy_init)
	void *handle = stock_curl_easy_init ? stock_curl_easy_init() : NULL;
	if (handle && rr_in_php) {
		int (*set)(void *, int, ...) = (int (*)(void *, int, ...)) dlsym(RTLD_DEFAULT, "curl_easy_setopt");
		if (set) {
			set(handle, QUICK_EXIT, 1L);
		}
	}
	return handle;
}

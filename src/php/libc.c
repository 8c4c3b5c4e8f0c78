/*
 * C library calls that libphp makes and that would act on the whole process. Defined here, they come before the C library's
 * own for everything linked into this program; on a thread that is not PHP's they do what the C library does. Those in which a
 * thread waits are in blocking.c and children.c.
 *
 * getpid: remembered. fcntl: no locks on OPcache's file. popen, posix_spawn: children of a PHP thread get that thread's environment. setlocale: the locale of the thread only.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"

__thread bool rr_in_php;

/* Given by rr_libc_install: this file calls nothing of PHP's, for it is in every program that links the crate. */
static char **snapshot;
static char **(*changed_environment)(void);

void rr_libc_install(char **environment, char **(*for_child)(void))
{
	snapshot = environment;
	changed_environment = for_child;
}

/* --- the process's number ---------------------------------------------------------------------------------------------- */

static pid_t process;

static void in_child(void)
{
	process = 0;
}

/* Not left to the first getpid: that comes before main, when a sanitizer's own calls are not in place yet. */
__attribute__((constructor)) static void watch_forks(void)
{
	pthread_atfork(NULL, NULL, in_child);
}

/* The engine asks four times in every request, and the C library asks the kernel each time. */
pid_t getpid(void)
{
	if (process == 0) {
		process = (pid_t) syscall(SYS_getpid);
	}
	return process;
}

/* --- OPcache's locks ---------------------------------------------------------------------------------------------------- */

static int lock_free = -1;

void rr_libc_spare_locks(int descriptor)
{
	lock_free = descriptor;
}

/* OPcache locks its file for each request, to tell other processes that its memory is in use. There are none, and threads do not
 * see such locks. F_GETLK is passed on: it sees the lock that opcache.rs holds. */
int fcntl(int descriptor, int command, ...)
{
	static int (*stock)(int, int, ...);
	va_list arguments;
	va_start(arguments, command);
	void *argument = va_arg(arguments, void *);
	va_end(arguments);
	if (descriptor == lock_free && (command == F_SETLK || command == F_SETLKW)) {
		return 0;
	}
	if (!stock) {
		stock = (int (*)(int, int, ...)) dlsym(RTLD_NEXT, "fcntl");
	}
	return stock ? stock(descriptor, command, argument) : (int) syscall(SYS_fcntl, descriptor, command, argument);
}

/* --- children --------------------------------------------------------------------------------------------------------- */

typedef int spawn_function(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[], char *const[]);

static int spawn(const char *symbol, pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
	const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
	spawn_function *stock = (spawn_function *) dlsym(RTLD_NEXT, symbol);
	if (!stock) {
		return ENOSYS;
	}
	if (!rr_in_php) {
		return stock(pid, path, actions, attributes, argv, envp);
	}
	pid_t child;
	char **changed = envp == environ ? changed_environment() : NULL;
	char *const *own = changed ? changed : snapshot;
	int result = stock(&child, path, actions, attributes, argv, envp == environ ? own : envp);
	free(changed);
	if (result == 0) {
		rr_children_add(child);
		if (pid) {
			*pid = child;
		}
	}
	return result;
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
	char *const argv[], char *const envp[])
{
	return spawn("posix_spawn", pid, path, actions, attributes, argv, envp);
}

int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
	char *const argv[], char *const envp[])
{
	return spawn("posix_spawnp", pid, file, actions, attributes, argv, envp);
}

/* The children behind the streams that popen has given out. */
typedef struct child {
	FILE *stream;
	pid_t pid;
	struct child *next;
} child;

static child *children;
static pthread_mutex_t children_lock = PTHREAD_MUTEX_INITIALIZER;

FILE *popen(const char *command, const char *mode)
{
	bool reads = mode[0] == 'r';
	int ends[2];
	if ((mode[0] != 'r' && mode[0] != 'w') || pipe2(ends, O_CLOEXEC) != 0) {
		if (mode[0] != 'r' && mode[0] != 'w') {
			errno = EINVAL;
		}
		return NULL;
	}
	int ours = reads ? ends[0] : ends[1], theirs = reads ? ends[1] : ends[0];
	child *entry = malloc(sizeof(child));
	FILE *stream = entry ? fdopen(ours, reads ? "r" : "w") : NULL;
	posix_spawn_file_actions_t actions;
	if (!stream || posix_spawn_file_actions_init(&actions) != 0) {
		if (stream) {
			fclose(stream);
		} else {
			close(ours);
		}
		close(theirs);
		free(entry);
		return NULL;
	}
	posix_spawn_file_actions_adddup2(&actions, theirs, reads ? STDOUT_FILENO : STDIN_FILENO);
	char *const argv[] = {"sh", "-c", (char *) command, NULL};
	int error = posix_spawn(&entry->pid, "/bin/sh", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(theirs);
	if (error != 0) {
		fclose(stream);
		free(entry);
		errno = error;
		return NULL;
	}
	entry->stream = stream;
	pthread_mutex_lock(&children_lock);
	entry->next = children;
	children = entry;
	pthread_mutex_unlock(&children_lock);
	return stream;
}

int pclose(FILE *stream)
{
	pthread_mutex_lock(&children_lock);
	child **link = &children;
	while (*link && (*link)->stream != stream) {
		link = &(*link)->next;
	}
	child *entry = *link;
	if (entry) {
		*link = entry->next;
	}
	pthread_mutex_unlock(&children_lock);
	if (!entry) {
		errno = EINVAL;
		return -1;
	}
	fclose(stream);
	int status;
	pid_t waited;
	do {
		waited = waitpid(entry->pid, &status, 0);
	} while (waited < 0 && errno == EINTR);
	free(entry);
	return waited < 0 ? -1 : status;
}

/* --- locale ----------------------------------------------------------------------------------------------------------- */

static const struct {
	int category;
	int mask;
	const char *name;
} categories[] = {
	{LC_CTYPE, LC_CTYPE_MASK, "LC_CTYPE"},
	{LC_NUMERIC, LC_NUMERIC_MASK, "LC_NUMERIC"},
	{LC_TIME, LC_TIME_MASK, "LC_TIME"},
	{LC_COLLATE, LC_COLLATE_MASK, "LC_COLLATE"},
	{LC_MONETARY, LC_MONETARY_MASK, "LC_MONETARY"},
	{LC_MESSAGES, LC_MESSAGES_MASK, "LC_MESSAGES"},
};
enum { CATEGORIES = sizeof(categories) / sizeof(categories[0]) };

/* None until a script sets one: the process's own is as the engine wants it, all of C but characters in UTF-8. */
static __thread locale_t thread_locale;
static __thread char thread_names[CATEGORIES][64];
static __thread char all_names[CATEGORIES * 80];

/* The name that "" stands for: LC_ALL, else the category's variable, else LANG. */
static const char *name_from_environment(const char *category)
{
	const char *variables[] = {"LC_ALL", category, "LANG"};
	for (int i = 0; i < 3; i++) {
		size_t length = strlen(variables[i]);
		for (char **entry = snapshot; entry && *entry; entry++) {
			if (strncmp(*entry, variables[i], length) == 0 && (*entry)[length] == '=' && (*entry)[length + 1]) {
				return *entry + length + 1;
			}
		}
	}
	return "C";
}

static char *locale_name(int index)
{
	if (thread_names[index][0]) {
		return thread_names[index];
	}
	return categories[index].category == LC_CTYPE ? "C.UTF-8" : "C";
}

static locale_t first_locale(void)
{
	locale_t base = newlocale(LC_ALL_MASK, "C", NULL);
	locale_t utf8 = base ? newlocale(LC_CTYPE_MASK, "C.UTF-8", base) : NULL;
	return utf8 ? utf8 : base;
}

static char *query_locale(int category)
{
	if (category != LC_ALL) {
		for (int i = 0; i < CATEGORIES; i++) {
			if (categories[i].category == category) {
				return locale_name(i);
			}
		}
		return NULL;
	}
	bool same = true;
	for (int i = 1; i < CATEGORIES; i++) {
		same = same && strcmp(locale_name(i), locale_name(0)) == 0;
	}
	if (same) {
		return locale_name(0);
	}
	char *end = all_names;
	for (int i = 0; i < CATEGORIES; i++) {
		end += sprintf(end, "%s%s=%s", i ? ";" : "", categories[i].name, locale_name(i));
	}
	return all_names;
}

char *setlocale(int category, const char *name)
{
	if (!rr_in_php) {
		char *(*stock)(int, const char *) = (char *(*)(int, const char *)) dlsym(RTLD_NEXT, "setlocale");
		return stock ? stock(category, name) : NULL;
	}
	if (!name) {
		return query_locale(category);
	}
	locale_t base = thread_locale ? duplocale(thread_locale) : first_locale();
	char names[CATEGORIES][64];
	memcpy(names, thread_names, sizeof(names));
	for (int i = 0; i < CATEGORIES && base; i++) {
		if (category != LC_ALL && category != categories[i].category) {
			continue;
		}
		const char *wanted = *name ? name : name_from_environment(categories[i].name);
		char part[64];
		/* The composite form that a query of LC_ALL gives. */
		const char *found = strchr(wanted, '=') ? strstr(wanted, categories[i].name) : NULL;
		if (found) {
			const char *value = strchr(found, '=') + 1;
			snprintf(part, sizeof(part), "%.*s", (int) strcspn(value, ";"), value);
			wanted = part;
		}
		locale_t next = strlen(wanted) < sizeof(names[i]) ? newlocale(categories[i].mask, wanted, base) : NULL;
		if (!next) {
			freelocale(base);
			return NULL;
		}
		base = next;
		strcpy(names[i], wanted);
	}
	if (!base) {
		return NULL;
	}
	uselocale(base);
	if (thread_locale) {
		freelocale(thread_locale);
	}
	thread_locale = base;
	memcpy(thread_names, names, sizeof(names));
	return query_locale(category);
}

/* --- a thread's life -------------------------------------------------------------------------------------------------- */

void rr_libc_thread_start(void)
{
	/* Gives the thread an umask and a working directory of its own. A container profile may forbid it: then both stay shared. */
	(void) unshare(CLONE_FS);
	rr_in_php = true;
}

void rr_libc_thread_end(void)
{
	rr_in_php = false;
	if (thread_locale) {
		uselocale(LC_GLOBAL_LOCALE);
		freelocale(thread_locale);
		thread_locale = NULL;
	}
}

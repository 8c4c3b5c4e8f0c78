/*
 * The border between Rust and the engine.
 *
 * rr_php_* are verbs that Rust calls; each is guarded, so none ever longjmps over a Rust frame.
 * rr_on_*  are callbacks into Rust; they move bytes and return a verdict, and C raises only after they have returned.
 */
#ifndef RR_SHIM_H
#define RR_SHIM_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct {
	const char *ptr;
	size_t len;
} rr_bytes;

typedef struct {
	rr_bytes name;
	rr_bytes value;
} rr_pair;

typedef struct {
	rr_bytes name;
	rr_bytes value;
	bool locked;
} rr_ini;

/* What a callback tells its C caller to do next. */
typedef enum {
	RR_GO_ON = 0,
	RR_ABORTED = 1, /* the client is gone: raise it, unless the script ignores that */
	RR_FATAL = 2,   /* our own code failed (a panic): end the script */
} rr_verdict;

/* How a request ended. */
typedef enum {
	RR_DONE = 0,
	RR_STARTUP_FAILED = 1,
	RR_FATAL_ERROR = 3, /* the script was cut off by a fatal error */
	RR_BAILED_OUT = 2, /* a bailout reached the outermost guard: the thread's context is suspect */
} rr_end;

typedef struct {
	const char *sapi_name;
	const char *ini_entries; /* "key=value\n" lines that win over php.ini; lives as long as the process */
	const char *php_binary;  /* absolute path of the matching php, or NULL */
	const char *ini_path;    /* a php.ini, or a folder with one, in place of the usual search; or NULL */
	bool no_ini;             /* no php.ini is read */
	char **environment;      /* NULL-terminated NAME=value snapshot; lives as long as the process */
	int threads;
	bool leaks; /* say what grows from request to request of a worker script */
} rr_engine;

/* Addresses inside a thread's engine context that the watchdog reads and writes; valid until rr_php_thread_end. */
typedef struct {
	void *timed_out;    /* zend_atomic_bool: max_execution_time is reached */
	void *overdue;      /* rr_overdue */
	void *vm_interrupt; /* zend_atomic_bool */
	const int64_t *time_limit; /* max_execution_time in seconds, as set_time_limit last set it */
	const uint32_t *limit_epoch; /* grows each time the limit is set, which restarts its count */
	void *trace_wanted;  /* bool: at its next interrupt the thread calls rr_on_trace */
	void *const *frame;  /* what it executes */
} rr_thread;

/* Bounds of a trace: frames, and bytes of its text. */
enum { RR_TRACE_DEPTH = 50, RR_TRACE_ROOM = 8192 };

/* What a script is to the server. */
typedef enum {
	RR_CLASSIC = 0,
	RR_WORKER = 1, /* boots once, then asks for requests */
	RR_ROADRUNNER = 2, /* the same, and asks by reading frames from STDIN */
} rr_kind;

/* How OPcache is. */
typedef enum {
	RR_OPCACHE_OFF = 0,     /* or its functions are disabled */
	RR_OPCACHE_DONE = 1,    /* it wants nothing */
	RR_OPCACHE_PENDING = 2, /* it wants to restart */
	RR_OPCACHE_FAILED = 3,  /* the request went wrong */
} rr_opcache;

/* What is wanted of OPcache. */
typedef enum {
	RR_OPCACHE_STATUS = 0,  /* what it says of itself goes to rr_on_opcache_status() */
	RR_OPCACHE_RESET = 1,   /* the same, and it wants to restart from then on */
	RR_OPCACHE_SCRIPTS = 2, /* what it has goes to rr_on_opcache_script() */
	RR_OPCACHE_COMPILE = 3, /* that it has what rr_on_opcache_next() names */
} rr_opcache_wish;

/* How much of what a request changed is undone before the next one of the same worker. */
typedef enum {
	RR_RESET_BASIC = 0,
	RR_RESET_STRICT = 1,
} rr_reset;

typedef enum {
	RR_SERVER = 0,       /* what $_SERVER has */
	RR_HEADERS = 1,      /* the request's header fields; those of one name joined */
	RR_HEADER_LINES = 2, /* line by line, those of one name together */
} rr_variables;

typedef struct {
	rr_kind kind;
	rr_reset reset;
	bool tasks;               /* what a worker asks for are tasks, not requests */
	const char *method;       /* NULL where there is no request */
	char *query;
	char *uri;                /* SCRIPT_NAME, as php-fpm has it */
	const char *path_info;    /* what PHP_SELF adds to the script's name */
	char *script;             /* absolute path */
	const char *document_root;
	const char *server_name;
	const char *content_type; /* NULL if there is none */
	const char *authorization;
	char *cookies;            /* NULL if there are none */
	int64_t content_length;
	double received;          /* seconds since the epoch */
	const rr_ini *ini;
	size_t ini_count;
	char **argv;              /* NULL but on a command line */
	int argc;
} rr_request;

/* What became of a read from STDIN. */
typedef enum {
	RR_STDIN_READ = 0,
	RR_STDIN_NOTHING = 1, /* for now: the stream does not block */
	RR_STDIN_END = 2,
	RR_STDIN_LEAVE = 3,   /* the script does not see that this is the end: end it */
} rr_stdin;

/* What of a worker script's is measured from request to request. Each kind of variable has two, for elements and for bytes. */
typedef enum {
	RR_GLOBALS = 0,
	RR_RESOURCES = 1,
	RR_GLOBAL = 2,
	RR_STATIC_PROPERTY = 4,
	RR_STATIC_VARIABLE = 6,
	RR_OBJECTS = 8,
	RR_PROPERTY = 10, /* of all objects of a class; right after their RR_OBJECTS */
} rr_measured;

typedef struct {
	rr_measured what;
	uint64_t id; /* of what is measured, the same on every thread */
	uint64_t value;
	rr_bytes scope;    /* class */
	rr_bytes function;
	rr_bytes name;
} rr_measure;

/* --- out: Rust calls the engine ------------------------------------------------------------------------------------- */

int rr_php_startup(const rr_engine *engine);
void rr_php_shutdown(void);
void rr_php_thread_start(rr_thread *out);
void rr_php_thread_end(void);
/* From any thread: waits for those processes that scripts have started, that have ended, and that PHP does not wait for. */
void rr_children_reap(void);
/* How many were started since the last call for which there was no room: they are neither ended nor waited for. */
int rr_children_unknown(void);
rr_end rr_php_run(rr_request *request, void *context);
/* Gives back the memory that this thread's heap keeps for its next request; between two requests. */
void rr_php_trim(void);
/* What the calling thread's script was to end for is over. */
void rr_php_spare(void);
size_t rr_php_memory_peak(void);
size_t rr_php_memory_peak_so_far(void);
size_t rr_php_heap(void); /* bytes that this thread's heap has of the system's memory now */
/* The fatal error that ended the last script of this thread, or the start, with file and line; empty if there was none. */
const char *rr_php_last_error(void);
/* The calls of the thread whose `frame` is there, which need not be this one, innermost first, one a line; returns the length,
 * 0 if they cannot be told. */
size_t rr_php_trace(void *const *frame, char *buffer, size_t room);
const char *rr_php_version(void);
bool rr_php_opcache_enabled(void);
/* Seconds that OPcache may want to restart before it is forced; 0 is never. */
int64_t rr_php_opcache_patience(void);
/* Runs a request without a script, at whose start OPcache restarts if it may. */
rr_opcache rr_php_opcache(rr_opcache_wish wish, void *context);
const char *rr_php_ini_path(void);

/* --- in: the engine calls Rust ---------------------------------------------------------------------------------------- */

rr_verdict rr_on_write(void *context, const char *bytes, size_t length);
rr_verdict rr_on_flush(void *context);
rr_verdict rr_on_headers(void *context, int status, const char *status_line, const rr_bytes *lines, size_t count);
bool rr_on_interim(void *context, int status, const rr_bytes *lines, size_t count);
size_t rr_on_read(void *context, char *buffer, size_t length);
/* The body's bytes from `offset` on; for a body that rr_on_read has not touched. */
size_t rr_on_read_at(void *context, uint64_t offset, char *buffer, size_t length);
/* Borrowed until the next call on this thread. */
size_t rr_on_variables(void *context, rr_variables which, const rr_pair **out);
bool rr_on_finish(void *context); /* false if already finished */
/* A worker script is ready for a request: waits for it. NULL when the script is to leave its loop. Valid until the next call.
 * What is printed while a `pulled` one is handled goes to the log; it is answered by rr_on_answer(). */
rr_request *rr_on_next(void *context, bool pulled);
/* The request that rr_on_next gave has been handled. */
void rr_on_done(void *context);
/* The head of the answer to a pulled request; false if it has been answered. `lines` are what header() and the like have set. */
bool rr_on_answer(void *context, int status, rr_bytes reason, const rr_pair *fields, size_t count, const rr_bytes *lines,
	size_t line_count);
/* All of its body at once, which ends it. */
rr_verdict rr_on_answer_whole(void *context, const char *bytes, size_t length);
/* A part of its body; with `flush` it leaves at once. */
rr_verdict rr_on_answer_part(void *context, const char *bytes, size_t length, bool flush);
/* The end of a body given in parts. */
void rr_on_answer_end(void *context, const rr_pair *trailers, size_t count);
/* The context of the task at hand; borrowed until it is over. */
rr_bytes rr_on_task(void *context);
bool rr_on_task_streams(void *context); /* whether its answer may come in parts */
/* The context of its answer, whose body follows by the functions above; false if a part of another one is out. */
bool rr_on_answer_task(void *context, const char *bytes, size_t length);
void rr_on_answer_task_error(void *context, const char *text, size_t length);
/* There is no answer, or no more of it; `said` if the log has the reason already. */
void rr_on_answer_fail(void *context, bool said);
bool rr_on_answer_interim(void *context, int status, const rr_pair *fields, size_t count);
/* Reads what is there, waiting for something if `blocking`. */
rr_stdin rr_on_stdin(void *context, char *buffer, size_t length, bool blocking, size_t *read);
/* A descriptor that is readable while STDIN is; -1 if there is none. Stays ours. */
int rr_on_stdin_watch(void *context);
rr_verdict rr_on_stdout(void *context, const char *bytes, size_t length);
void rr_on_stderr(void *context, const char *bytes, size_t length);
/* What the worker script keeps after a request; lent until this returns. */
void rr_on_measures(void *context, const rr_measure *measures, size_t count);
/* True once after each request, when a script that reads frames has answered it and reads on. */
bool rr_on_rest(void *context);
void rr_on_log(void *context, int level, const char *message, size_t length);
/* The calls that this thread is in, as it was asked to tell. */
void rr_on_trace(void *context, const char *text, size_t length);
void rr_on_opcache_restart(int reason);
void rr_on_opcache_status(void *context, const char *json, size_t length);
void rr_on_opcache_script(void *context, const char *path, size_t length, int64_t hits);
/* False if there is nothing more to compile; the path stays until the next call. */
bool rr_on_opcache_next(void *context, rr_bytes *path);
/* What was named last. */
void rr_on_opcache_compiled(void *context);
size_t rr_on_status(char *buffer, size_t length); /* JSON of the fpm-like status; returns its length, writes if it fits */

/* --- between the C files --------------------------------------------------------------------------------------------- */

char **rr_environment(void); /* the snapshot */
void rr_environment_reset(void);
/* As a script on this thread sees it; valid until the next call on this thread. */
char *rr_environment_value(const char *name, size_t length);
/* A malloc'ed NULL-terminated array (free the array only) of what a child of this thread should get, or NULL for the snapshot. */
char **rr_environment_for_child(void);
/* The environment of all PHP threads, and what asks for that of the calling one. */
void rr_libc_install(char **environment, char **(*for_child)(void));
/* From now on OPcache's locks on its file are not taken; -1 for none. */
void rr_libc_spare_locks(int descriptor);
void rr_libc_thread_start(void);
extern __thread bool rr_in_php; /* this is a PHP thread */
/* `as` is the C library's own `name`, which one of ours comes before; needs <dlfcn.h>. */
#define RR_STOCK(as, name) \
	static __typeof__(name) *as; \
	if (!as) { \
		as = (__typeof__(name) *) dlsym(RTLD_NEXT, #name); \
	}
/* The handler of the signal that breaks what its thread waits for. */
void rr_libc_break(int signal);
extern __thread volatile sig_atomic_t rr_libc_broken;
/* While not NULL, the thread's script is to end at its next opcode, by a fatal error with this text. */
extern _Thread_local _Atomic(const char *) rr_overdue;
/* From now on this thread does not sleep while that is true. */
void rr_libc_watch(const volatile bool *over);
/* True, once, if a wait for a file's lock was broken: the thread goes on without it. */
bool rr_libc_gave_up_lock(void);
/* The thread's script has started a child. */
void rr_children_add(pid_t pid);
/* Ends all that it has started. */
void rr_children_end(void);
/* It has ended, and waits for none of them. */
void rr_children_forget(void);
/* What was started and broken off was that script's. */
void rr_libc_script_ended(void);
void rr_sapi_begin(const rr_request *request);
void rr_set_directory(const char *directory); /* of the script; a real path */
void rr_fill_request_info(const rr_request *request);
/* Around the one long request that a worker script is to the engine. */
void rr_worker_start(const rr_request *request);
void rr_worker_end(void);
bool rr_in_worker(void);
bool rr_in_callback(void);
void rr_worker_install(void);
/* What code that ran at the end of a request, or between two, has thrown is reported; the script goes on. */
void rr_worker_settle(void);
/* The script has a new request: a step debugger may want to hear of it. */
void rr_debugger_begin(void);
/* For pull.c: waits for the next request, or task, of a script that answers by itself. False if there is none, or an error was
 * thrown. */
bool rr_worker_pull(bool task);
/* For worker.c: the pulled request is over, answered or not. */
void rr_pull_close(void);
bool rr_pull_is_answering(void);
void rr_pull_install(void);
/* Around a script that has STDIN, STDOUT and STDERR of its own. */
void rr_stdio_start(void);
void rr_stdio_end(void);
bool rr_has_stdio(void);
/* While modules start, and once they have. */
void rr_stdio_module_starts(void);
void rr_stdio_install(void);
/* What is undone between two requests of a worker: how things were when it had booted, and back to that. */
void rr_reset_remember(rr_reset level);
void rr_reset_between(void);
void rr_reset_forget(void);
/* What a worker script keeps from request to request; in development only. */
void rr_leaks_enable(bool wanted);
bool rr_leaks_wanted(void);
void rr_leaks_look(void);
void rr_leaks_forget(void);
void rr_environment_remember(void);
void rr_environment_restore(void);
void rr_user_ini_free(void);
void rr_libc_thread_end(void);
void rr_overrides_install(void);
/* While modules start: OPcache's JIT compiles the first interrupt function there is into its code. */
void rr_deadline_install(void);
void rr_trace_install(void);
void *rr_trace_wanted(void);
void rr_streams_install(void);
void rr_input_install(void);
extern __thread uint32_t rr_limit_epoch;
/* Of the last request, taken before its heap was reset. */
extern __thread size_t rr_memory_peak;
#ifdef PHP_STREAMS_H
/* One more stream on "stdin", "stdout" or "stderr"; NULL for another name. */
php_stream *rr_stdio_open(const char *name, const char *mode);
#endif
#ifdef SAPI_H /* libc.c knows nothing of PHP */
extern const zend_function_entry rr_sapi_functions[];
extern sapi_module_struct rr_sapi;
size_t rr_header_lines(sapi_headers_struct *headers, rr_bytes *lines);
void rr_request_install(void);
void rr_task_install(void);
/* An RR\Task of the task at hand. */
void rr_task_make(zval *into);
/* An RR\Request of the request at hand; `serial` tells it from all others of the thread. */
void rr_request_make(zval *into, uint64_t serial);
/* That of the request at hand, 0 if there is none. */
uint64_t rr_pull_serial(void);
extern zend_class_entry *rr_response_class;
void rr_response_install(void);
/* RR_ABORTED if the client did not take all of it; RR_GO_ON with an exception if it could not be made. */
rr_verdict rr_respond(zend_object *response);
rr_verdict rr_respond_text(zend_string *text);
/* The same for a task, of whose answer there is a body and a context alone; `response` may be NULL, and then there is `text`. */
rr_verdict rr_respond_task(zend_object *response, zend_string *text, zend_string *context);
bool rr_early_hints(HashTable *headers);
void rr_import_environment(zval *into);
#endif

#endif

/* The engine's life, a thread's life, and one request. */
#include "php.h"
#include "php_main.h"
#include "php_ini.h"
#include "php_variables.h"
#include "SAPI.h"
#include "TSRM.h"
#include "ext/standard/php_standard.h"
#include "zend_ini.h"
#include "zend_observer.h"
#include <dlfcn.h>
#include <signal.h>

#include "shim.h"

#ifdef RR_LIBPHP_SHARED
ZEND_TSRMLS_CACHE_DEFINE()
#else
/* A static libphp brings it along. */
ZEND_TSRMLS_CACHE_EXTERN()
#endif

extern void *rr_php_module(void);
extern void (*rr_on_module_start)(void);
/* Exported by libphp, in none of its headers. */
extern PHPAPI char *php_ini_opened_path;

static char **environment;
__thread uint32_t rr_limit_epoch;
__thread size_t rr_memory_peak;
static ZEND_INI_MH((*stock_time_limit));

char **rr_environment(void)
{
	return environment;
}

/* set_time_limit() and ini_set() both end here. The stock handler only knows PHP's own timer; the watchdog must hear of it too. */
static ZEND_INI_MH(rr_time_limit)
{
	int result = stock_time_limit(entry, new_value, mh_arg1, mh_arg2, mh_arg3, stage);
	rr_limit_epoch++;
	return result;
}

static __thread char last_error[1024];

const char *rr_php_last_error(void)
{
	return last_error;
}

static void note_error(zend_string *message, zend_string *file, uint32_t line)
{
	snprintf(last_error, sizeof(last_error), "%.700s in %.250s:%d", ZSTR_VAL(message), file ? ZSTR_VAL(file) : "unknown", line);
}

static bool is_starting;

/* By the time that the start has failed, the engine has forgotten why: preloading is a request. Whoever started it says so. */
static void error_while_starting(int type, zend_string *file, uint32_t line, zend_string *message)
{
	if (!is_starting) {
		return;
	}
	/* There is no page that shows it. Threads have these from the ini table. */
	PG(html_errors) = 0;
	PG(display_errors) = 0;
	if (type & E_FATAL_ERRORS) {
		note_error(message, file, line);
		/* A child that preloads as another user can tell nobody else. */
		PG(display_errors) = 1;
	}
}

/* A file that preloads and calls exit ends the start without an error of PHP's. */
static void note_failed_start(void)
{
	zend_ini_entry *preload = EG(ini_directives) ? zend_hash_str_find_ptr(EG(ini_directives), ZEND_STRL("opcache.preload")) : NULL;
	if (!last_error[0] && preload && preload->value && ZSTR_LEN(preload->value) > 0) {
		snprintf(last_error, sizeof(last_error), "%.700s, which opcache.preload names, called exit or failed; if it failed, the error is above",
			ZSTR_VAL(preload->value));
	}
}

static void (*stock_ini_defaults)(HashTable *configuration);

/* The first of our hooks that comes when errors can be observed: some are about the values of php.ini. */
static void configuration_begins(HashTable *configuration)
{
	zend_observer_error_register(error_while_starting);
	stock_ini_defaults(configuration);
}

static int (*stock_extensions)(void);

/* Comes after php.ini's values and before the first extension, whose messages would be escaped for HTML. */
static int extensions_begin(void)
{
	PG(html_errors) = 0;
	return stock_extensions();
}

/* While modules start, the ini table is still the one that every thread's is copied from. */
static void module_starts(void)
{
	rr_worker_install();
	rr_stdio_module_starts();
	rr_deadline_install();
	rr_trace_install();
	zend_ini_entry *limit = zend_hash_str_find_ptr(EG(ini_directives), ZEND_STRL("max_execution_time"));
	if (limit) {
		stock_time_limit = limit->on_modify;
		limit->on_modify = rr_time_limit;
	}
}

int rr_php_startup(const rr_engine *engine)
{
	environment = engine->environment;
	rr_leaks_enable(engine->leaks);
	rr_libc_install(environment, rr_environment_for_child);
	signal(SIGPIPE, SIG_IGN);
	/* One more than the PHP threads: this one. */
	if (!php_tsrm_startup_ex(engine->threads + 1)) {
		return -1;
	}
	/* The engine calls us while it starts, and a shared libphp has a cache of its own. */
	ZEND_TSRMLS_CACHE_UPDATE();
	zend_signal_startup();
	rr_sapi.name = (char *) engine->sapi_name;
	sapi_startup(&rr_sapi);
	rr_sapi.ini_entries = engine->ini_entries;
	rr_sapi.executable_location = (char *) engine->php_binary;
	rr_sapi.php_ini_ignore_cwd = 1;
	rr_sapi.php_ini_path_override = (char *) engine->ini_path;
	rr_sapi.php_ini_ignore = engine->no_ini;
	rr_sapi.phpinfo_as_text = strcmp(engine->sapi_name, "cli") == 0;
	rr_sapi.additional_functions = rr_sapi_functions;
	stock_ini_defaults = rr_sapi.ini_defaults;
	rr_sapi.ini_defaults = configuration_begins;
	stock_extensions = php_register_internal_extensions_func;
	php_register_internal_extensions_func = extensions_begin;
	rr_on_module_start = module_starts;
	is_starting = true;
	int started = php_module_startup(&rr_sapi, rr_php_module());
	is_starting = false;
	if (started == FAILURE) {
		note_failed_start();
		sapi_shutdown();
		tsrm_shutdown();
		return -1;
	}
	rr_overrides_install();
	rr_streams_install();
	rr_input_install();
	rr_stdio_install();
	zend_accel_schedule_restart_hook = rr_on_opcache_restart;
	return 0;
}

void rr_php_shutdown(void)
{
	rr_libc_spare_locks(-1);
	php_module_shutdown();
	sapi_shutdown();
	tsrm_shutdown();
}

/* The folder of the last script and its real path, for a second: most requests to a thread are for the same one. */
static __thread struct {
	char *folder;
	char *real;
	time_t until;
} last_folder;

static void forget_folder(void)
{
	free(last_folder.folder);
	free(last_folder.real);
	last_folder.folder = last_folder.real = NULL;
}

/* A script starts in its own folder. The engine would look at that folder on the disk twice for every request. */
static void rr_enter_folder(const rr_request *request)
{
	const char *slash = strrchr(request->script, '/');
	size_t length = slash && slash != request->script ? (size_t) (slash - request->script) : 1;
	if (!last_folder.folder || (time_t) request->received > last_folder.until
		|| strncmp(last_folder.folder, request->script, length) != 0 || last_folder.folder[length]) {
		forget_folder();
		last_folder.folder = strndup(request->script, length);
		last_folder.real = last_folder.folder ? realpath(last_folder.folder, NULL) : NULL;
		last_folder.until = (time_t) request->received + 1;
	}
	if (!last_folder.real) {
		forget_folder();
		return;
	}
	rr_set_directory(last_folder.real);
	SG(options) |= SAPI_OPTION_NO_CHDIR;
}

void rr_set_directory(const char *directory)
{
#ifdef RR_LIBPHP_SHARED
	/* Looks at the disk; a shared libphp exports nothing that does not. */
	VCWD_CHDIR(directory);
#else
	if (CWDG(cwd).cwd) {
		efree(CWDG(cwd).cwd);
	}
	CWDG(cwd).cwd_length = strlen(directory);
	CWDG(cwd).cwd = estrndup(directory, CWDG(cwd).cwd_length);
#endif
}

void rr_php_thread_start(rr_thread *out)
{
	(void) ts_resource(0);
	ZEND_TSRMLS_CACHE_UPDATE();
#ifdef ZEND_SIGNALS
	/* Else every request start would replace the process's own signal handlers. */
	SIGG(reset) = 0;
#endif
	rr_libc_thread_start();
	rr_libc_watch((const volatile bool *) &EG(timed_out));
	out->timed_out = &EG(timed_out);
	out->overdue = &rr_overdue;
	out->vm_interrupt = &EG(vm_interrupt);
	out->time_limit = &EG(timeout_seconds);
	out->limit_epoch = &rr_limit_epoch;
	out->trace_wanted = rr_trace_wanted();
	out->frame = (void *const *) &EG(current_execute_data);
}

/* Connections that a script opened to outlive it. A thread's context goes without them: they would stay open, with the locks and
 * transactions that the other side keeps for them, for as long as the process lives. */
static void close_persistent(void)
{
	zend_first_try {
		zend_hash_graceful_reverse_destroy(&EG(persistent_list));
	} zend_end_try();
	/* Whatever else ends with the context finds it empty. */
	zend_hash_init(&EG(persistent_list), 0, NULL, NULL, 1);
}

void rr_php_thread_end(void)
{
	close_persistent();
	rr_user_ini_free();
	forget_folder();
	rr_libc_thread_end();
	ts_free_thread();
}

#ifndef RR_LIBPHP_SHARED
/* The engine has extensions look for symbols among their own libraries first. OPcache is to find our fcntl. */
void *__real_dlopen(const char *name, int flags);
void *__wrap_dlopen(const char *name, int flags)
{
	const char *base = name ? strrchr(name, '/') : NULL;
	if (base && strcmp(base, "/opcache.so") == 0) {
		flags &= ~RTLD_DEEPBIND;
	}
	return __real_dlopen(name, flags);
}

/* With a static libphp the linker sends the engine's calls here (--wrap). The stock function also installs the handler of a
 * timer that we keep from existing: two system calls for every request. */
void __wrap_zend_set_timeout(zend_long seconds, bool reset_signals)
{
	EG(timeout_seconds) = seconds;
	zend_atomic_bool_store_ex(&EG(timed_out), false);
}
#endif

static void rr_apply_ini(const rr_request *request)
{
	for (size_t i = 0; i < request->ini_count; i++) {
		const rr_ini *ini = &request->ini[i];
		zend_string *name = zend_string_init(ini->name.ptr, ini->name.len, 0);
		zend_string *value = zend_string_init(ini->value.ptr, ini->value.len, 0);
		/* An unknown name is no error. */
		if (zend_alter_ini_entry_ex(name, value, ZEND_INI_ALL, ZEND_INI_STAGE_ACTIVATE, true) == SUCCESS && ini->locked) {
			/* Not ZEND_INI_SYSTEM, as the engine itself would lock it: OPcache takes the value of such an entry for a constant
			 * and compiles it into the shared copy of every script. Undone with the value. */
			zend_ini_entry *entry = zend_hash_find_ptr(EG(ini_directives), name);
			entry->modifiable = 0;
		}
		zend_string_release(value);
		zend_string_release(name);
	}
}

void rr_fill_request_info(const rr_request *request)
{
	SG(request_info).request_method = request->method;
	SG(request_info).query_string = request->query;
	SG(request_info).request_uri = request->uri;
	SG(request_info).path_translated = request->script;
	SG(request_info).content_type = request->content_type;
	SG(request_info).content_length = request->content_length;
	SG(request_info).auth_user = NULL;
	SG(request_info).auth_password = NULL;
	SG(request_info).auth_digest = NULL;
	SG(request_info).argc = request->argc;
	SG(request_info).argv = request->argv;
	SG(sapi_headers).http_response_code = 200;
	if (request->authorization) {
		php_handle_auth_data(request->authorization);
	}
}

static void note_last_error(void)
{
	last_error[0] = 0;
	if (PG(last_error_message) && (PG(last_error_type) & E_FATAL_ERRORS)) {
		note_error(PG(last_error_message), PG(last_error_file), PG(last_error_lineno));
	}
}

/* A wait for a session's lock that was broken left the session open without it: what was read must not be written back. */
static void abort_session(void)
{
	zval function, result;
	ZVAL_STRING(&function, "session_abort");
	if (zend_hash_exists(CG(function_table), Z_STR(function)) && call_user_function(NULL, NULL, &function, &result, 0, NULL) == SUCCESS) {
		zval_ptr_dtor(&result);
	}
	zval_ptr_dtor(&function);
}

rr_end rr_php_run(rr_request *request, void *context)
{
	volatile rr_end end = RR_DONE;
	volatile bool started = false;

	/* What was meant for the script before. */
	rr_overdue = NULL;
	zend_first_try {
		rr_sapi_begin(request);
		SG(server_context) = context;
		rr_fill_request_info(request);
#ifdef ZEND_MAX_EXECUTION_TIMERS
		/* As long as the engine believes that its timer exists, it makes none; `activate` then tells it that there is none to
		 * set. The watchdog enforces the limits, in CPU time as php-fpm does, and two system calls per request are saved. */
		EG(pid) = getpid();
#endif
		rr_apply_ini(request);
		started = true;
		if (php_request_startup() == FAILURE) {
			end = RR_STARTUP_FAILED;
		} else {
			zend_file_handle file;
			zend_stream_init_filename(&file, request->script);
			file.primary_script = 1;
			CG(skip_shebang) = 1;
			if (request->kind == RR_ROADRUNNER) {
				/* A command stays where it was called. */
				SG(options) |= SAPI_OPTION_NO_CHDIR;
				rr_stdio_start();
			} else {
				rr_enter_folder(request);
			}
			if (request->kind == RR_WORKER) {
				rr_worker_start(request);
			}
			php_execute_script(&file);
			if (CG(unclean_shutdown)) {
				end = RR_FATAL_ERROR;
			}
			zend_destroy_file_handle(&file);
			note_last_error();
		}
	} zend_catch {
		end = RR_BAILED_OUT;
	} zend_end_try();

	zend_first_try {
		if (request->kind == RR_WORKER) {
			rr_worker_end();
		}
		if (rr_libc_gave_up_lock() && started && end != RR_STARTUP_FAILED) {
			abort_session();
		}
		if (started) {
			php_request_shutdown(NULL);
		} else {
			/* An ini value was fatal. There is no request to shut down, and the flags still speak of the one before. */
			zend_ini_deactivate();
			rr_sapi_begin(NULL);
		}
	} zend_catch {
		end = RR_BAILED_OUT;
	} zend_end_try();

	rr_stdio_end();
	rr_libc_script_ended();
	SG(server_context) = NULL;
	rr_environment_reset();
	return end;
}

size_t rr_php_memory_peak(void)
{
	return rr_memory_peak;
}

size_t rr_php_memory_peak_so_far(void)
{
	return zend_memory_peak_usage(true);
}

size_t rr_php_heap(void)
{
	return zend_memory_usage(true);
}

const char *rr_php_version(void)
{
	return PHP_VERSION;
}

const char *rr_php_ini_path(void)
{
	return php_ini_opened_path;
}

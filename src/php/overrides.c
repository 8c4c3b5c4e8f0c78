/*
 * Functions that would change the whole process, given a meaning for one thread: environment, signals, process control,
 * and the php:// streams that would hand out the server's own descriptors. And one that threads make slower than need be.
 */
#include "php.h"
#include "php_streams.h"
#include "php_variables.h"
#include "SAPI.h"
#include "ext/standard/php_standard.h"

#include "shim.h"

ZEND_TSRMLS_CACHE_EXTERN()

/* --- environment: a snapshot for all, and what this thread's script has changed since ----------------------------------- */

/* name → malloc'ed "NAME=value", or NULL if the script removed it. Made by the first putenv of a request. */
static __thread HashTable *changed;

static void free_entry(zval *entry)
{
	free(Z_PTR_P(entry));
}


/* What `changed` was when a worker had booted. */
static __thread HashTable *remembered;
static __thread bool changed_since;

static HashTable *copy_of(HashTable *from)
{
	if (!from) {
		return NULL;
	}
	HashTable *to = malloc(sizeof(HashTable));
	zend_hash_init(to, zend_hash_num_elements(from), NULL, free_entry, 1);
	zend_string *name;
	zval *entry;
	ZEND_HASH_FOREACH_STR_KEY_VAL(from, name, entry) {
		zval copy;
		ZVAL_PTR(&copy, Z_PTR_P(entry) ? strdup(Z_PTR_P(entry)) : NULL);
		zend_hash_str_update(to, ZSTR_VAL(name), ZSTR_LEN(name), &copy);
	} ZEND_HASH_FOREACH_END();
	return to;
}

static void free_table(HashTable **table)
{
	if (*table) {
		zend_hash_destroy(*table);
		free(*table);
		*table = NULL;
	}
}

void rr_environment_reset(void)
{
	free_table(&changed);
	free_table(&remembered);
}

void rr_environment_remember(void)
{
	free_table(&remembered);
	remembered = copy_of(changed);
	changed_since = false;
}

void rr_environment_restore(void)
{
	if (changed_since) {
		free_table(&changed);
		changed = copy_of(remembered);
		changed_since = false;
	}
}

static const char *snapshot_value(const char *name, size_t length)
{
	for (char **entry = rr_environment(); entry && *entry; entry++) {
		if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=') {
			return *entry + length + 1;
		}
	}
	return NULL;
}

/* Calls `each` with every entry in force on this thread. */
static void each_entry(void (*each)(void *argument, const char *entry), void *argument)
{
	for (char **entry = rr_environment(); entry && *entry; entry++) {
		const char *equals = strchr(*entry, '=');
		if (equals && !(changed && zend_hash_str_exists(changed, *entry, equals - *entry))) {
			each(argument, *entry);
		}
	}
	if (changed) {
		char *entry;
		ZEND_HASH_FOREACH_PTR(changed, entry) {
			if (entry) {
				each(argument, entry);
			}
		} ZEND_HASH_FOREACH_END();
	}
}

typedef struct {
	char **entries;
	size_t count;
} entry_list;

static void append_entry(void *argument, const char *entry)
{
	entry_list *list = argument;
	list->entries[list->count++] = (char *) entry;
}

char **rr_environment_for_child(void)
{
	if (!changed) {
		return NULL;
	}
	size_t room = zend_hash_num_elements(changed) + 1;
	for (char **entry = rr_environment(); entry && *entry; entry++) {
		room++;
	}
	entry_list list = {calloc(room, sizeof(char *)), 0};
	if (list.entries) {
		each_entry(append_entry, &list);
	}
	return list.entries;
}

static void import_entry(void *argument, const char *entry)
{
	const char *equals = strchr(entry, '=');
	/* The names that PHP itself would mangle are left out, as it does for $_SERVER. */
	if (equals == entry || strcspn(entry, " .[") < (size_t) (equals - entry)) {
		return;
	}
	zval value;
	ZVAL_STRING(&value, equals + 1);
	zend_symtable_str_update(argument, entry, equals - entry, &value);
}

void rr_import_environment(zval *into)
{
	each_entry(import_entry, Z_ARRVAL_P(into));
}

/* $_ENV and getenv() have the request's variables too, as under php-fpm, whose environment they are. */
static void import_all(zval *into)
{
	rr_import_environment(into);
	const rr_pair *pairs;
	size_t count = SG(server_context) ? rr_on_variables(SG(server_context), false, &pairs) : 0;
	for (size_t i = 0; i < count; i++) {
		zval value;
		ZVAL_STRINGL_FAST(&value, pairs[i].value.ptr, pairs[i].value.len);
		zend_symtable_str_update(Z_ARRVAL_P(into), pairs[i].name.ptr, pairs[i].name.len, &value);
	}
}

/* One of the request's variables, valid until the next call on this thread. */
static char *request_variable(const char *name, size_t length)
{
	static __thread char value[8192];
	const rr_pair *pairs;
	size_t count = SG(server_context) ? rr_on_variables(SG(server_context), false, &pairs) : 0;
	for (size_t i = 0; i < count; i++) {
		if (pairs[i].name.len == length && memcmp(pairs[i].name.ptr, name, length) == 0 && pairs[i].value.len < sizeof(value)) {
			memcpy(value, pairs[i].value.ptr, pairs[i].value.len);
			value[pairs[i].value.len] = 0;
			return value;
		}
	}
	return NULL;
}

static const char *own_value(const char *name, size_t length)
{
	if (changed) {
		zval *entry = zend_hash_str_find(changed, name, length);
		if (entry) {
			return Z_PTR_P(entry) ? (char *) Z_PTR_P(entry) + length + 1 : NULL;
		}
	}
	return snapshot_value(name, length);
}

char *rr_environment_value(const char *name, size_t length)
{
	const char *value = own_value(name, length);
	return value ? (char *) value : request_variable(name, length);
}

static ZEND_FUNCTION(getenv)
{
	char *name = NULL;
	size_t length;
	bool local_only = false;
	ZEND_PARSE_PARAMETERS_START(0, 2)
		Z_PARAM_OPTIONAL
		Z_PARAM_STRING_OR_NULL(name, length)
		Z_PARAM_BOOL(local_only)
	ZEND_PARSE_PARAMETERS_END();
	if (!name) {
		array_init(return_value);
		import_all(return_value);
		return;
	}
	const char *value = local_only ? own_value(name, length) : rr_environment_value(name, length);
	if (!value) {
		RETURN_FALSE;
	}
	RETURN_STRING(value);
}

static ZEND_FUNCTION(putenv)
{
	char *setting;
	size_t length;
	ZEND_PARSE_PARAMETERS_START(1, 1)
		Z_PARAM_STRING(setting, length)
	ZEND_PARSE_PARAMETERS_END();
	if (length == 0 || setting[0] == '=') {
		zend_argument_value_error(1, "must have a valid syntax");
		RETURN_THROWS();
	}
	const char *equals = strchr(setting, '=');
	size_t name_length = equals ? (size_t) (equals - setting) : length;
	if (!changed) {
		changed = malloc(sizeof(HashTable));
		zend_hash_init(changed, 8, NULL, free_entry, 1);
	}
	zval entry;
	ZVAL_PTR(&entry, equals ? strdup(setting) : NULL);
	zend_hash_str_update(changed, setting, name_length, &entry);
	changed_since = true;
	RETURN_TRUE;
}

/* --- process control: refused in a server thread ------------------------------------------------------------------------ */

static void refuse(void)
{
	php_error_docref(NULL, E_WARNING, "is not available in a server thread, where it would act on the whole server; run the script with `rr php`");
}

static ZEND_FUNCTION(refused_false)
{
	refuse();
	RETURN_FALSE;
}

static ZEND_FUNCTION(refused_minus_one)
{
	refuse();
	RETURN_LONG(-1);
}

static ZEND_FUNCTION(refused_zero)
{
	refuse();
	RETURN_LONG(0);
}

/* Signals are the server's own business: a handler is accepted and never called, as on a host where the signal never comes. */
static ZEND_FUNCTION(accepted)
{
	RETURN_TRUE;
}

/* --- files -------------------------------------------------------------------------------------------------------------- */

/* As PHP without threads has it, and so php-fpm: a real path that is remembered needs no look at the disk. The threaded one takes
 * that look every time, 120 times for a page of WordPress. */
static ZEND_FUNCTION(realpath)
{
	char *path;
	size_t length;
	char real[MAXPATHLEN];

	ZEND_PARSE_PARAMETERS_START(1, 1)
		Z_PARAM_PATH(path, length)
	ZEND_PARSE_PARAMETERS_END();

	if (!VCWD_REALPATH(path, real) || php_check_open_basedir(real)) {
		RETURN_FALSE;
	}
	RETURN_STRING(real);
}

static const struct {
	const char *name;
	zif_handler handler;
} overrides[] = {
	{"realpath", ZEND_FN(realpath)},
	{"getenv", ZEND_FN(getenv)},
	{"putenv", ZEND_FN(putenv)},
	{"pcntl_fork", ZEND_FN(refused_minus_one)},
	{"pcntl_rfork", ZEND_FN(refused_minus_one)},
	{"pcntl_forkx", ZEND_FN(refused_minus_one)},
	{"pcntl_exec", ZEND_FN(refused_false)},
	{"pcntl_unshare", ZEND_FN(refused_false)},
	{"pcntl_setns", ZEND_FN(refused_false)},
	{"pcntl_alarm", ZEND_FN(refused_zero)},
	{"pcntl_wait", ZEND_FN(refused_minus_one)},
	{"pcntl_waitpid", ZEND_FN(refused_minus_one)},
	{"pcntl_waitid", ZEND_FN(refused_false)},
	{"pcntl_signal", ZEND_FN(accepted)},
	{"pcntl_async_signals", ZEND_FN(refused_false)},
	{"pcntl_sigprocmask", ZEND_FN(refused_false)},
	{"pcntl_sigwaitinfo", ZEND_FN(refused_false)},
	{"pcntl_sigtimedwait", ZEND_FN(refused_false)},
	{"pcntl_setpriority", ZEND_FN(refused_false)},
	{"pcntl_setcpuaffinity", ZEND_FN(refused_false)},
	{"posix_setuid", ZEND_FN(refused_false)},
	{"posix_setgid", ZEND_FN(refused_false)},
	{"posix_seteuid", ZEND_FN(refused_false)},
	{"posix_setegid", ZEND_FN(refused_false)},
	{"posix_initgroups", ZEND_FN(refused_false)},
	{"posix_setsid", ZEND_FN(refused_minus_one)},
	{"posix_setpgid", ZEND_FN(refused_false)},
	{"posix_setrlimit", ZEND_FN(refused_false)},
};

void rr_overrides_install(void)
{
	for (size_t i = 0; i < sizeof(overrides) / sizeof(overrides[0]); i++) {
		zend_function *function = zend_hash_str_find_ptr(CG(function_table), overrides[i].name, strlen(overrides[i].name));
		if (function && function->type == ZEND_INTERNAL_FUNCTION) {
			function->internal_function.handler = overrides[i].handler;
		}
	}
	php_import_environment_variables = import_all;
}

/* --- php://stdin, stdout, stderr and fd: never the server's own descriptors --------------------------------------------- */

typedef struct {
	char *line;
	size_t length, room;
} log_stream;

static void log_lines(log_stream *log, bool all)
{
	size_t start = 0;
	for (size_t i = 0; i < log->length; i++) {
		if (log->line[i] == '\n') {
			rr_on_log(SG(server_context), -1, log->line + start, i - start);
			start = i + 1;
		}
	}
	/* A line without an end is not kept for ever. */
	if (start < log->length && (all || log->length - start >= 8192)) {
		rr_on_log(SG(server_context), -1, log->line + start, log->length - start);
		start = log->length;
	}
	memmove(log->line, log->line + start, log->length - start);
	log->length -= start;
}

static ssize_t log_write(php_stream *stream, const char *bytes, size_t count)
{
	log_stream *log = stream->abstract;
	size_t room = log->length + count;
	if (room > log->room) {
		/* The size is noted only once it is had: the allocation may bail out, and the stream outlives that. */
		log->line = erealloc(log->line, room);
		log->room = room;
	}
	memcpy(log->line + log->length, bytes, count);
	log->length += count;
	log_lines(log, false);
	return count;
}

static int log_close(php_stream *stream, int close_handle)
{
	log_stream *log = stream->abstract;
	log_lines(log, true);
	if (log->line) {
		efree(log->line);
	}
	efree(log);
	return 0;
}

static ssize_t nothing_read(php_stream *stream, char *buffer, size_t count)
{
	stream->eof = 1;
	return 0;
}

static int log_flush(php_stream *stream)
{
	return 0;
}

static const php_stream_ops log_ops = {log_write, nothing_read, log_close, log_flush, "rr log", NULL, NULL, NULL, NULL};

static ssize_t discard(php_stream *stream, const char *bytes, size_t count)
{
	return count;
}

static int nothing_closed(php_stream *stream, int close_handle)
{
	return 0;
}

static const php_stream_ops null_ops = {discard, nothing_read, nothing_closed, log_flush, "rr null", NULL, NULL, NULL, NULL};

static php_stream_wrapper php_wrapper;
static php_stream_wrapper_ops php_wrapper_ops;
static const php_stream_wrapper *stock_wrapper;

static php_stream *open_php(php_stream_wrapper *wrapper, const char *path, const char *mode, int options, zend_string **opened,
	php_stream_context *context STREAMS_DC)
{
	const char *name = strncasecmp(path, "php://", 6) == 0 ? path + 6 : path;
	php_stream *own = rr_has_stdio() ? rr_stdio_open(name, mode) : NULL;
	if (own) {
		return own;
	}
	if (strcasecmp(name, "stderr") == 0 || strcasecmp(name, "stdout") == 0) {
		return php_stream_alloc(&log_ops, ecalloc(1, sizeof(log_stream)), NULL, mode);
	}
	if (strcasecmp(name, "stdin") == 0) {
		return php_stream_alloc(&null_ops, NULL, NULL, mode);
	}
	if (strncasecmp(name, "fd/", 3) == 0) {
		php_stream_wrapper_log_error(wrapper, options, "Direct access to file descriptors is not available in a server thread");
		return NULL;
	}
	return stock_wrapper->wops->stream_opener((php_stream_wrapper *) stock_wrapper, path, mode, options, opened, context STREAMS_REL_CC);
}

void rr_streams_install(void)
{
	stock_wrapper = zend_hash_str_find_ptr(php_stream_get_url_stream_wrappers_hash_global(), ZEND_STRL("php"));
	if (!stock_wrapper) {
		return;
	}
	php_wrapper_ops = *stock_wrapper->wops;
	php_wrapper_ops.stream_opener = open_php;
	php_wrapper = *stock_wrapper;
	php_wrapper.wops = &php_wrapper_ops;
	php_unregister_url_stream_wrapper("php");
	php_register_url_stream_wrapper("php", &php_wrapper);
}

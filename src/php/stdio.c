/*
 * STDIN, STDOUT and STDERR of a script that speaks to its server through them, as RoadRunner's workers do: streams of the
 * thread's own whose bytes never leave the process.
 *
 * They behave as the pipes of a worker's process would: each byte is read once, through whichever stream asks first, what is
 * written is taken whole, and stream_select() knows when there is something to read.
 */
#include "php.h"
#include "php_ini.h"
#include "php_network.h"
#include "php_output.h"
#include "php_streams.h"
#include "SAPI.h"
#include "zend_constants.h"
#include "zend_exceptions.h"

#include "shim.h"

ZEND_TSRMLS_CACHE_EXTERN()

static __thread struct {
	bool on;
	bool blocking; /* as with a pipe, for every stream that reads from it */
} stdio;

bool rr_has_stdio(void)
{
	return stdio.on;
}

/* The script is to end: as by exit(), with destructors and shutdown functions. */
static void leave(void)
{
	if (EG(current_execute_data) && !EG(exception)) {
		zend_throw_unwind_exit();
	}
}

static ssize_t input_read(php_stream *stream, char *buffer, size_t count)
{
	if (!stdio.on || count == 0) {
		stream->eof = !stdio.on;
		return 0;
	}
	if (rr_leaks_wanted() && rr_on_rest(SG(server_context))) {
		rr_leaks_look();
	}
	size_t read = 0;
	switch (rr_on_stdin(SG(server_context), buffer, count, stdio.blocking, &read)) {
		case RR_STDIN_READ:
			return (ssize_t) read;
		case RR_STDIN_NOTHING:
			return 0;
		case RR_STDIN_END:
			stream->eof = 1;
			return 0;
		default:
			stream->eof = 1;
			leave();
			return -1;
	}
}

static ssize_t output_write(php_stream *stream, const char *bytes, size_t count)
{
	if (!stdio.on) {
		return -1;
	}
	if (rr_on_stdout(SG(server_context), bytes, count) != RR_GO_ON) {
		leave();
		return -1;
	}
	return (ssize_t) count;
}

static ssize_t error_write(php_stream *stream, const char *bytes, size_t count)
{
	rr_on_stderr(SG(server_context), bytes, count);
	return (ssize_t) count;
}

static ssize_t not_written(php_stream *stream, const char *bytes, size_t count)
{
	return -1;
}

static ssize_t not_read(php_stream *stream, char *buffer, size_t count)
{
	stream->eof = 1;
	return 0;
}

static int nothing_closed(php_stream *stream, int close_handle)
{
	return 0;
}

static int nothing_flushed(php_stream *stream)
{
	return 0;
}

/* For stream_select() alone: no descriptor has the bytes. */
static int input_cast(php_stream *stream, int as, void **result)
{
	if (as != PHP_STREAM_AS_FD_FOR_SELECT || !stdio.on) {
		return FAILURE;
	}
	int descriptor = rr_on_stdin_watch(SG(server_context));
	if (descriptor < 0) {
		return FAILURE;
	}
	if (result) {
		*(php_socket_t *) result = descriptor;
	}
	return SUCCESS;
}

static int input_option(php_stream *stream, int option, int value, void *argument)
{
	if (option == PHP_STREAM_OPTION_BLOCKING) {
		int before = stdio.blocking;
		stdio.blocking = value;
		return before;
	}
	return PHP_STREAM_OPTION_RETURN_NOTIMPL;
}

static const php_stream_ops input_ops = {
	not_written, input_read, nothing_closed, nothing_flushed, "rr stdin", NULL, input_cast, NULL, input_option};
static const php_stream_ops output_ops = {
	output_write, not_read, nothing_closed, nothing_flushed, "rr stdout", NULL, NULL, NULL, NULL};
static const php_stream_ops error_ops = {
	error_write, not_read, nothing_closed, nothing_flushed, "rr stderr", NULL, NULL, NULL, NULL};

php_stream *rr_stdio_open(const char *name, const char *mode)
{
	if (strcasecmp(name, "stdin") == 0) {
		php_stream *stream = php_stream_alloc(&input_ops, NULL, NULL, mode);
		/* As much as a pipe gives at once. */
		stream->chunk_size = 65536;
		return stream;
	}
	if (strcasecmp(name, "stdout") == 0) {
		return php_stream_alloc(&output_ops, NULL, NULL, mode);
	}
	return strcasecmp(name, "stderr") == 0 ? php_stream_alloc(&error_ops, NULL, NULL, mode) : NULL;
}

static void define(const char *constant, const char *name, const char *mode)
{
	zend_constant stream;
	php_stream_to_zval(rr_stdio_open(name, mode), &stream.value);
	ZEND_CONSTANT_SET_FLAGS(&stream, CONST_CS, 0);
	/* The script's, and gone with it. */
	Z_CONSTANT_FLAGS(stream.value) = 0;
	stream.name = zend_string_init_interned(constant, strlen(constant), 0);
	zend_register_constant(&stream);
}

void rr_stdio_start(void)
{
	stdio.on = true;
	stdio.blocking = true;
	define("STDIN", "stdin", "r");
	define("STDOUT", "stdout", "w");
	define("STDERR", "stderr", "w");
	/* On the command line there is nobody to send headers to, so they are never sent: a session may start at any time. */
	SG(request_info).no_headers = 1;
	zend_llist_clean(&SG(sapi_headers).headers);
	if (PG(implicit_flush)) {
		php_output_set_implicit_flush(1);
	}
}

void rr_stdio_end(void)
{
	stdio.on = false;
}

/* --- errors displayed on standard error (display_errors=stderr) ----------------------------------------------------------- */

/* Under the name cli the engine writes them to the process's own. To it they are not displayed at all; they are here. */
static __thread bool errors_to_stderr;
static ZEND_INI_MH((*stock_display_errors));
static void (*stock_error_cb)(int type, zend_string *file, const uint32_t line, zend_string *message);

static ZEND_INI_MH(rr_display_errors)
{
	zend_result result = stock_display_errors(entry, new_value, mh_arg1, mh_arg2, mh_arg3, stage);
	/* A new thread's settings are made before rr_php_thread_start() has learnt where they are. */
	ZEND_TSRMLS_CACHE_UPDATE();
	errors_to_stderr = PG(display_errors) == PHP_DISPLAY_ERRORS_STDERR && strcmp(sapi_module.name, "cli") == 0;
	if (errors_to_stderr) {
		PG(display_errors) = 0;
	}
	return result;
}

static const char *kind_of_error(int type)
{
	switch (type) {
		case E_ERROR:
		case E_CORE_ERROR:
		case E_COMPILE_ERROR:
		case E_USER_ERROR:
			return "Fatal error";
		case E_RECOVERABLE_ERROR:
			return "Recoverable fatal error";
		case E_WARNING:
		case E_CORE_WARNING:
		case E_COMPILE_WARNING:
		case E_USER_WARNING:
			return "Warning";
		case E_PARSE:
			return "Parse error";
		case E_NOTICE:
		case E_USER_NOTICE:
			return "Notice";
		case E_DEPRECATED:
		case E_USER_DEPRECATED:
			return "Deprecated";
		default:
			return "Unknown error";
	}
}

static void rr_error_cb(int type, zend_string *file, const uint32_t line, zend_string *message)
{
	int kind = type & E_ALL;
	bool thrown = EG(error_handling) == EH_THROW && (kind & (E_WARNING | E_CORE_WARNING | E_COMPILE_WARNING | E_USER_WARNING));
	if (errors_to_stderr && stdio.on && !thrown && ((EG(error_reporting) & kind) || (kind & E_CORE))) {
		char place[64];
		const char *name = kind_of_error(kind);
		int length = snprintf(place, sizeof(place), " on line %u\n", line);
		rr_on_stderr(SG(server_context), name, strlen(name));
		rr_on_stderr(SG(server_context), ZEND_STRL(": "));
		rr_on_stderr(SG(server_context), ZSTR_VAL(message), ZSTR_LEN(message));
		if (file) {
			rr_on_stderr(SG(server_context), ZEND_STRL(" in "));
			rr_on_stderr(SG(server_context), ZSTR_VAL(file), ZSTR_LEN(file));
		}
		rr_on_stderr(SG(server_context), place, (size_t) length);
	}
	stock_error_cb(type, file, line, message);
}

void rr_stdio_module_starts(void)
{
	zend_ini_entry *display = zend_hash_str_find_ptr(EG(ini_directives), ZEND_STRL("display_errors"));
	if (display) {
		stock_display_errors = display->on_modify;
		display->on_modify = rr_display_errors;
	}
}

void rr_stdio_install(void)
{
	stock_error_cb = zend_error_cb;
	zend_error_cb = rr_error_cb;
}

/*
 * Worker scripts: to the engine one long request, to clients many short ones.
 *
 * A request begins and ends inside the script's own, by the steps of php_request_startup() and php_request_shutdown() that are
 * about the client: input, output, headers, uploads, sessions. What the script keeps (classes, statics, connections) stays.
 */
#include "php.h"
#include "php_ini.h"
#include "php_output.h"
#include "php_streams.h"
#include "php_variables.h"
#include "SAPI.h"
#include "zend_exceptions.h"
#include "zend_ini.h"
#include "ext/standard/basic_functions.h"
#include "ext/standard/head.h"
#include "ext/standard/php_filestat.h"
#include "ext/standard/php_var.h"
#include "zend_smart_str.h"
#include "ext/json/php_json.h"
#if defined(HAVE_PHP_SESSION) && !defined(COMPILE_DL_SESSION)
# define RR_SESSION 1
# include "ext/session/php_session.h"
#endif

#include "shim.h"

ZEND_TSRMLS_CACHE_EXTERN()

/* Calls after the script was told to leave its loop; then it is made to. */
#define PATIENCE 16

static __thread struct {
	bool worker;
	bool tasks;
	bool booted;
	/* FrankenPHP's applications boot when their first request is there: what that changes for its own use is the boot's. */
	bool boots_late;
	bool remembered;
	bool in_request;
	bool in_callback;
	bool pulled; /* the request at hand came by waitRequest(): the script answers it itself */
	bool ending;
	int refused;
	rr_reset reset;
#ifdef RR_SESSION
	bool session_remembered;
	zval session_handlers[9];
	zend_string *session_save_handler;
#endif
} state;

bool rr_in_worker(void)
{
	return state.worker;
}

bool rr_in_callback(void)
{
	return state.in_callback;
}

void rr_worker_start(const rr_request *request)
{
	memset(&state, 0, sizeof(state));
	state.worker = true;
	state.tasks = request->tasks;
	state.reset = request->reset;
	PG(html_errors) = false;
}

/* --- sessions: the boot's handlers stay, a request's go ------------------------------------------------------------------ */

#ifdef RR_SESSION
static zval *session_handler(size_t index)
{
	return (zval *) &PS(mod_user_names) + index;
}

static void remember_session_handlers(void)
{
	for (size_t i = 0; i < 9; i++) {
		ZVAL_COPY(&state.session_handlers[i], session_handler(i));
	}
	state.session_save_handler = zend_ini_str(ZEND_STRL("session.save_handler"), false);
	zend_string_addref(state.session_save_handler);
	state.session_remembered = true;
}

static void forget_session_handlers(void)
{
	for (size_t i = 0; state.session_remembered && i < 9; i++) {
		zval_ptr_dtor(&state.session_handlers[i]);
	}
	if (state.session_remembered) {
		zend_string_release(state.session_save_handler);
	}
	state.session_remembered = false;
}

static void restore_session_handlers(void)
{
	for (size_t i = 0; i < 9; i++) {
		ZVAL_COPY(session_handler(i), &state.session_handlers[i]);
	}
	/* ini_set() refuses "user", which session_set_save_handler() sets by another way. */
	PS(set_handler) = !Z_ISUNDEF(state.session_handlers[0]);
}
#endif

static zend_module_entry *module(const char *name)
{
	return zend_hash_str_find_ptr(&module_registry, name, strlen(name));
}

static void end_module(const char *name)
{
	zend_module_entry *entry = module(name);
	if (entry && entry->request_shutdown_func) {
		entry->request_shutdown_func(entry->type, entry->module_number);
	}
}

static void begin_module(const char *name)
{
	zend_module_entry *entry = module(name);
	if (entry && entry->request_startup_func) {
		entry->request_startup_func(entry->type, entry->module_number);
	}
}

/* --- a request inside the script ------------------------------------------------------------------------------------------- */

/* php://input reads from the request's body. Handles that the script has kept are closed with it. */
static void close_body(void)
{
	php_stream *body = SG(request_info).request_body;
	if (!body) {
		return;
	}
	SG(request_info).request_body = NULL;
	/* Closing one changes the list that it stands in. */
	zend_resource *handles[32];
	size_t count;
	do {
		count = 0;
		zend_resource *resource;
		ZEND_HASH_FOREACH_PTR(&EG(regular_list), resource) {
			php_stream *stream = resource && resource->type == php_file_le_stream() ? resource->ptr : NULL;
			if (stream && stream->ops && strcmp(stream->ops->label, "Input") == 0 && count < 32) {
				handles[count++] = resource;
			}
		} ZEND_HASH_FOREACH_END();
		for (size_t i = 0; i < count; i++) {
			zend_list_close(handles[i]);
		}
	} while (count > 0);
	php_stream_free(body, PHP_STREAM_FREE_CLOSE);
}

static void start_output_buffers(void)
{
	if (PG(output_handler) && PG(output_handler)[0]) {
		zval handler;
		ZVAL_STRING(&handler, PG(output_handler));
		php_output_start_user(&handler, 0, PHP_OUTPUT_HANDLER_STDFLAGS);
		zval_ptr_dtor(&handler);
	} else if (PG(output_buffering)) {
		php_output_start_user(NULL, PG(output_buffering) > 1 ? PG(output_buffering) : 0, PHP_OUTPUT_HANDLER_STDFLAGS);
	} else if (PG(implicit_flush)) {
		php_output_set_implicit_flush(1);
	}
}

/* Those that a script has asked for are made anew; the others stay lazy. $_ENV and $GLOBALS are the process's and the script's. */
static void refresh_superglobals(void)
{
	zval_ptr_dtor(&PG(http_globals)[TRACK_VARS_FILES]);
	ZVAL_UNDEF(&PG(http_globals)[TRACK_VARS_FILES]);
	zend_auto_global *global;
	ZEND_HASH_MAP_FOREACH_PTR(CG(auto_globals), global) {
		if (!global->auto_global_callback || global->armed || zend_string_equals_literal(global->name, "_ENV")
			|| zend_string_equals_literal(global->name, "GLOBALS")) {
			continue;
		}
		global->armed = global->auto_global_callback(global->name);
	} ZEND_HASH_FOREACH_END();
}

/* In the log tags are noise. */
static void spell_errors(bool for_client)
{
	PG(html_errors) = for_client && zend_ini_long(ZEND_STRL("html_errors"), 0);
}

static void begin_request(const rr_request *request, bool pulled)
{
	/* What the script printed since the last request is no part of the next answer. */
	php_output_end_all();
	php_output_deactivate();

	rr_sapi_begin(request);
	rr_fill_request_info(request);
	php_output_activate();
	PG(header_is_being_sent) = 0;
	PG(connection_status) = PHP_CONNECTION_NORMAL;
	sapi_activate();
	rr_overdue = NULL;
	zend_set_timeout(EG(timeout_seconds), 0);
	rr_limit_epoch++;
	if (PG(expose_php)) {
		sapi_add_header(SAPI_PHP_VERSION_HEADER, sizeof(SAPI_PHP_VERSION_HEADER) - 1, 1);
	}
	start_output_buffers();
	/* What a file was like a request ago says nothing now. */
	php_clear_stat_cache(false, NULL, 0);
	refresh_superglobals();
	if (!pulled) {
		/* Its output handler looks at what the client accepts. */
		begin_module("zlib");
	}
	begin_module("session");
	SG(sapi_started) = 1;
	/* Fields that header() and the like set are kept until the script answers. */
	SG(request_info).no_headers = pulled;
	spell_errors(!pulled);
	state.pulled = pulled;
	state.in_request = true;
	rr_debugger_begin();
}

/* As at the end of a script: the user's handler, else the error that says it was uncaught. exit() is an exception too: it ends
 * the request, not the worker. */
static void handle_uncaught(void)
{
	if (!zend_is_unwind_exit(EG(exception)) && Z_TYPE(EG(user_exception_handler)) != IS_UNDEF) {
		zend_user_exception_handler();
	}
	if (!EG(exception)) {
		return;
	}
	if (zend_is_unwind_exit(EG(exception))) {
		zend_clear_exception();
		return;
	}
	if (!SG(headers_sent) && SG(sapi_headers).http_response_code == 200) {
		SG(sapi_headers).http_response_code = 500;
	}
	zend_object *exception = EG(exception);
	zend_exception_error(exception, E_ERROR);
	zend_clear_exception();
}

/* An output callback or a session handler may have thrown. */
void rr_worker_settle(void)
{
	if (EG(exception)) {
		handle_uncaught();
	}
}

/* As php_call_shutdown_functions(), which expects to be the last thing that a script does: there an exception is a bailout. */
static void call_each_shutdown_function(HashTable *functions)
{
	bool go_on = true;
	/* One may register another. */
	for (uint32_t i = 0; go_on && i < functions->nNumUsed; i++) {
		php_shutdown_function_entry *entry = HT_IS_PACKED(functions) ? Z_PTR(functions->arPacked[i]) : Z_PTR(functions->arData[i].val);
		zval result;
		ZVAL_UNDEF(&result);
		entry->fci.retval = &result;
		zend_call_function(&entry->fci, &entry->fci_cache);
		zval_ptr_dtor(&result);
		if (EG(exception)) {
			/* After exit() no further one runs. */
			go_on = !zend_is_unwind_exit(EG(exception));
			handle_uncaught();
		}
	}
}

static void call_shutdown_functions(void)
{
	if (!BG(user_shutdown_function_names)) {
		return;
	}
	/* After a fatal error the script ends, and its end would call them again. */
	zend_try {
		call_each_shutdown_function(BG(user_shutdown_function_names));
	} zend_end_try();
	php_free_shutdown_functions();
}

/* The client's part of a request ends; false if its own clean-up raised a fatal error. */
static bool end_request(void)
{
	state.ending = true;
	if (state.remembered && state.reset == RR_RESET_STRICT) {
		call_shutdown_functions();
	}
	zend_try {
		php_output_end_all();
	} zend_end_try();
	rr_worker_settle();
	end_module("zlib");
	if (state.booted) {
		end_module("filter");
		end_module("session");
		rr_worker_settle();
		zend_hash_str_del(&EG(symbol_table), ZEND_STRL("_SESSION"));
	}
	zend_try {
		php_output_deactivate();
	} zend_end_try();
	if (CG(unclean_shutdown)) {
		return false;
	}
	if (state.booted) {
		rr_on_done(SG(server_context));
	}
	close_body();
	sapi_deactivate();
	memset(&SG(request_info), 0, sizeof(SG(request_info)));
	state.in_request = state.pulled = state.ending = false;
	return true;
}

/* Between requests what is printed goes to the log, and there are no headers to set. */
static void rest(void)
{
	php_output_activate();
	spell_errors(false);
	SG(headers_sent) = 1;
	SG(request_info).no_headers = 1;
	PG(connection_status) = PHP_CONNECTION_NORMAL;
	zend_set_memory_limit(PG(memory_limit));
	zend_memory_reset_peak_usage();
}

static void remember(void)
{
	rr_reset_remember(state.reset);
	state.remembered = true;
}

static void finish_boot(void)
{
	if (!end_request()) {
		zend_bailout();
	}
	rest();
#ifdef RR_SESSION
	remember_session_handlers();
#endif
	if (!state.boots_late) {
		remember();
	}
	state.booted = true;
}

static void finish_request(void)
{
	if (!end_request()) {
		/* The engine has unwound its frames: the script cannot go on. */
		zend_bailout();
	}
	SG(headers_sent) = 0;
#ifdef RR_SESSION
	restore_session_handlers();
#endif
	rr_reset_between();
	if (!state.remembered) {
#ifdef RR_SESSION
		/* Sessions are the client's, also in a request that belongs to the boot. */
		zend_string *name = zend_string_init(ZEND_STRL("session.save_handler"), false);
		zend_alter_ini_entry(name, state.session_save_handler, ZEND_INI_USER, ZEND_INI_STAGE_RUNTIME);
		zend_string_release(name);
#endif
		remember();
	}
#ifdef RR_SESSION
	PS(set_handler) = false;
#endif
	rest();
	if (rr_leaks_wanted()) {
		rr_leaks_look();
	}
}

/* Waits for a request and begins it; false if the script is to leave its loop. */
static bool next_request(bool pull)
{
	if (state.pulled) {
		rr_pull_close();
		finish_request();
	}
	if (!state.booted) {
		finish_boot();
	}
	rr_request *request = rr_on_next(SG(server_context), pull);
	if (request) {
		begin_request(request, pull);
		return true;
	}
	if (++state.refused > PATIENCE && !EG(exception)) {
		rr_on_log(SG(server_context), 4, ZEND_STRL("the worker script does not leave its loop when told to; it is ended"));
		zend_throw_unwind_exit();
	}
	return false;
}

/* False, with an error thrown, where the script cannot ask for a request. */
static bool may_ask(const char *function, bool task)
{
	if (!state.worker) {
		zend_throw_error(NULL, "%s() can only be called from a worker script: set http.worker", function);
	} else if (state.tasks != task) {
		zend_throw_error(NULL, "%s(): this worker is given %s: call %s", function, task ? "requests, not tasks" : "tasks, not requests",
			task ? "RR\\Worker::waitRequest()" : "RR\\Worker::waitTask()");
	} else if (state.ending || rr_pull_is_answering() || (state.in_request && !state.pulled)) {
		zend_throw_error(NULL, "%s() was called while a request is being handled", function);
	}
	return !EG(exception);
}

bool rr_worker_pull(bool task)
{
	return may_ask(task ? "RR\\Worker::waitTask" : "RR\\Worker::waitRequest", task) && next_request(true);
}

void rr_worker_end(void)
{
	if (state.pulled) {
		rr_pull_close();
	}
	if (state.booted) {
		rr_reset_forget();
	}
	rr_leaks_forget();
#ifdef RR_SESSION
	if (!CG(unclean_shutdown)) {
		forget_session_handlers();
	}
#endif
	if (state.in_request && CG(unclean_shutdown) && !SG(headers_sent) && SG(sapi_headers).http_response_code == 200) {
		SG(sapi_headers).http_response_code = 500;
	}
	if (!state.in_request && state.booted) {
		/* What is printed from here on has no client. */
		SG(headers_sent) = 1;
		SG(request_info).no_headers = 1;
	}
	memset(&state, 0, sizeof(state));
}

/* --- functions ------------------------------------------------------------------------------------------------------------- */

static void handle_request(zend_fcall_info *handler, zend_fcall_info_cache *cache, zval *return_value)
{
	const char *name = get_active_function_name();
	if (!may_ask(name, false)) {
		return;
	}
	if (!state.booted) {
		state.boots_late = strncmp(name, "franken", strlen("franken")) == 0;
	}
	if (!next_request(false)) {
		RETURN_FALSE;
	}
	zval result;
	ZVAL_UNDEF(&result);
	handler->retval = &result;
	state.in_callback = true;
	zend_call_function(handler, cache);
	state.in_callback = false;
	zval_ptr_dtor(&result);
	if (EG(exception)) {
		handle_uncaught();
	}
	finish_request();
	RETURN_TRUE;
}

PHP_FUNCTION(rr_handle_request)
{
	zend_fcall_info handler;
	zend_fcall_info_cache cache;
	ZEND_PARSE_PARAMETERS_START(1, 1)
		Z_PARAM_FUNC(handler, cache)
	ZEND_PARSE_PARAMETERS_END();
	handle_request(&handler, &cache, return_value);
}

PHP_FUNCTION(frankenphp_log)
{
	zend_string *message;
	zend_long level = 0;
	zval *context = NULL;
	ZEND_PARSE_PARAMETERS_START(1, 3)
		Z_PARAM_STR(message)
		Z_PARAM_OPTIONAL
		Z_PARAM_LONG(level)
		Z_PARAM_ARRAY(context)
	ZEND_PARSE_PARAMETERS_END();
	/* From slog's levels to syslog's. */
	int syslog = level >= 8 ? 3 : level >= 4 ? 4 : level >= 0 ? 6 : 7;
	smart_str line = {0};
	smart_str_append(&line, message);
	if (context && zend_hash_num_elements(Z_ARRVAL_P(context)) > 0) {
		smart_str_appendc(&line, ' ');
		php_json_encode(&line, context, PHP_JSON_PARTIAL_OUTPUT_ON_ERROR | PHP_JSON_UNESCAPED_SLASHES | PHP_JSON_UNESCAPED_UNICODE);
	}
	smart_str_0(&line);
	rr_on_log(SG(server_context), syslog, ZSTR_VAL(line.s), ZSTR_LEN(line.s));
	smart_str_free(&line);
}

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_handle_request, 0, 1, _IS_BOOL, 0)
	ZEND_ARG_TYPE_INFO(0, handler, IS_CALLABLE, 0)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_frankenphp_log, 0, 1, IS_VOID, 0)
	ZEND_ARG_TYPE_INFO(0, message, IS_STRING, 0)
	ZEND_ARG_TYPE_INFO_WITH_DEFAULT_VALUE(0, level, IS_LONG, 0, "FRANKENPHP_LOG_LEVEL_INFO")
	ZEND_ARG_TYPE_INFO_WITH_DEFAULT_VALUE(0, context, IS_ARRAY, 0, "[]")
ZEND_END_ARG_INFO()

static const zend_function_entry functions[] = {
	PHP_FE(rr_handle_request, arginfo_handle_request)
	PHP_FALIAS(frankenphp_handle_request, rr_handle_request, arginfo_handle_request)
	PHP_FE(frankenphp_log, arginfo_frankenphp_log)
	PHP_FE_END
};

/* While the module starts. */
void rr_worker_install(void)
{
	zend_register_functions(NULL, functions, NULL, MODULE_PERSISTENT);
	rr_request_install();
	rr_task_install();
	rr_response_install();
	rr_pull_install();
	/* slog's levels, which FrankenPHP's are. */
	int module_number = EG(current_module)->module_number;
	zend_register_long_constant(ZEND_STRL("FRANKENPHP_LOG_LEVEL_DEBUG"), -4, CONST_PERSISTENT, module_number);
	zend_register_long_constant(ZEND_STRL("FRANKENPHP_LOG_LEVEL_INFO"), 0, CONST_PERSISTENT, module_number);
	zend_register_long_constant(ZEND_STRL("FRANKENPHP_LOG_LEVEL_WARN"), 4, CONST_PERSISTENT, module_number);
	zend_register_long_constant(ZEND_STRL("FRANKENPHP_LOG_LEVEL_ERROR"), 8, CONST_PERSISTENT, module_number);
}

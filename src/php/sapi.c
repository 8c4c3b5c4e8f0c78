/* The SAPI: what the engine asks of its server, and the functions that php-fpm and mod_php give a script. */
#include "php.h"
#include "php_ini.h"
#include "php_main.h"
#include "php_output.h"
#include "php_variables.h"
#include "SAPI.h"
#include "zend_exceptions.h"
#include "zend_ini.h"
#include "ext/standard/head.h"
#include "ext/json/php_json.h"

#include <pthread.h>

#include "shim.h"

ZEND_TSRMLS_CACHE_EXTERN()

static __thread const rr_request *current;

void rr_sapi_begin(const rr_request *request)
{
	current = request;
}

static void obey(rr_verdict verdict)
{
	if (verdict == RR_ABORTED && rr_in_worker()) {
		/* The stock reaction is a bailout, and that would end the worker; leaving the handler ends the request. */
		PG(connection_status) = PHP_CONNECTION_ABORTED;
		php_output_set_status(PHP_OUTPUT_DISABLED);
		if (!PG(ignore_user_abort) && rr_in_callback() && EG(current_execute_data) && !EG(exception)) {
			zend_throw_unwind_exit();
		}
	} else if (verdict == RR_ABORTED) {
		php_handle_aborted_connection();
	} else if (verdict == RR_FATAL) {
		zend_error_noreturn(E_ERROR, "The server failed internally while it handled this request");
	}
}

static size_t rr_write(const char *bytes, size_t length)
{
	if (SG(server_context)) {
		obey(rr_on_write(SG(server_context), bytes, length));
	}
	return length;
}

static void rr_flush(void *context)
{
	if (!context) {
		return;
	}
	if (!SG(headers_sent)) {
		sapi_send_headers();
	}
	obey(rr_on_flush(context));
}

/* Fills `lines` with the header lines; returns how many. `lines` holds at least as many as the list has. */
size_t rr_header_lines(sapi_headers_struct *headers, rr_bytes *lines)
{
	zend_llist_position position;
	size_t count = 0;
	for (sapi_header_struct *header = zend_llist_get_first_ex(&headers->headers, &position); header;
		 header = zend_llist_get_next_ex(&headers->headers, &position)) {
		if (header->header_len > 0) {
			lines[count++] = (rr_bytes) {header->header, header->header_len};
		}
	}
	return count;
}

static int rr_send_headers(sapi_headers_struct *headers)
{
	if (!SG(server_context) || SG(request_info).no_headers) {
		return SAPI_HEADER_SENT_SUCCESSFULLY;
	}
	ALLOCA_FLAG(use_heap)
	rr_bytes *lines = do_alloca(sizeof(rr_bytes) * (zend_llist_count(&headers->headers) + 1), use_heap);
	size_t count = rr_header_lines(headers, lines);
	rr_verdict verdict = rr_on_headers(SG(server_context), headers->http_response_code, headers->http_status_line, lines, count);
	free_alloca(lines, use_heap);
	return verdict == RR_GO_ON ? SAPI_HEADER_SENT_SUCCESSFULLY : SAPI_HEADER_SEND_FAILED;
}

/* None are kept where nobody gets them, or they would pile up in a script that runs for days. */
static int rr_header(sapi_header_struct *header, sapi_header_op_enum op, sapi_headers_struct *headers)
{
	return rr_has_stdio() ? 0 : SAPI_HEADER_ADD;
}

static size_t rr_read_post(char *buffer, size_t length)
{
	return SG(server_context) ? rr_on_read(SG(server_context), buffer, length) : 0;
}

static char *rr_read_cookies(void)
{
	return current ? current->cookies : NULL;
}

static void register_variable(const char *name, size_t name_length, const char *bytes, size_t length, zval *into)
{
	/* ext/filter keeps its own copy of what it is shown, for filter_input(INPUT_SERVER). */
	char *value = estrndup(bytes, length);
	size_t filtered;
	if (sapi_module.input_filter(PARSE_SERVER, name, &value, length, &filtered)) {
		zval entry;
		ZVAL_STRINGL_FAST(&entry, value, filtered);
		zend_symtable_str_update(Z_ARRVAL_P(into), name, name_length, &entry);
	}
	efree(value);
}

static void rr_register_server_variables(zval *into)
{
	if (!SG(server_context)) {
		return;
	}
	rr_import_environment(into);
	const rr_pair *pairs;
	size_t count = rr_on_variables(SG(server_context), RR_SERVER, &pairs);
	for (size_t i = 0; i < count; i++) {
		char name[256];
		if (pairs[i].name.len >= sizeof(name)) {
			continue;
		}
		memcpy(name, pairs[i].name.ptr, pairs[i].name.len);
		name[pairs[i].name.len] = 0;
		register_variable(name, pairs[i].name.len, pairs[i].value.ptr, pairs[i].value.len, into);
	}
	char *self;
	size_t length = spprintf(&self, 0, "%s%s", current->uri, current->path_info);
	register_variable(ZEND_STRL("PHP_SELF"), self, length, into);
	efree(self);
}

static void rr_log(const char *message, int level)
{
	rr_on_log(SG(server_context), level, message, strlen(message));
}

static zend_result rr_request_time(double *time)
{
	if (!current) {
		return FAILURE;
	}
	*time = current->received;
	return SUCCESS;
}

/* --- .user.ini, per-directory and per-host values, in php-fpm's order --------------------------------------------------- */

typedef struct {
	time_t expires;
	HashTable values;
} user_ini;

static __thread HashTable *user_inis;

static void free_value(zval *value)
{
	if (Z_TYPE_P(value) == IS_ARRAY) {
		zend_hash_destroy(Z_ARRVAL_P(value));
		free(Z_ARR_P(value));
	} else if (Z_TYPE_P(value) == IS_STRING) {
		zend_string_release_ex(Z_STR_P(value), 1);
	}
}

static void free_user_ini(zval *entry)
{
	user_ini *ini = Z_PTR_P(entry);
	zend_hash_destroy(&ini->values);
	free(ini);
}

void rr_user_ini_free(void)
{
	if (user_inis) {
		zend_hash_destroy(user_inis);
		free(user_inis);
		user_inis = NULL;
	}
}

/* The parser keeps its state in process-wide variables, and these files are the scripts' own: sections and arrays, which no
 * directory has, are dropped. The lock is not held over a bailout. */
static pthread_mutex_t parser = PTHREAD_MUTEX_INITIALIZER;

static int is_not_text(zval *value)
{
	return Z_TYPE_P(value) == IS_STRING ? ZEND_HASH_APPLY_KEEP : ZEND_HASH_APPLY_REMOVE;
}

static void parse_user_ini(const char *directory, HashTable *into)
{
	volatile bool bailed_out = false;
	pthread_mutex_lock(&parser);
	zend_try {
		php_parse_user_ini_file(directory, PG(user_ini_filename), into);
	} zend_catch {
		bailed_out = true;
	} zend_end_try();
	pthread_mutex_unlock(&parser);
	if (bailed_out) {
		zend_bailout();
	}
	zend_hash_apply(into, is_not_text);
}

/* Reads the files from the document root down to `directory` (which ends with a slash), later ones winning. */
static void read_user_inis(const char *root, size_t root_length, char *directory, size_t length, HashTable *into)
{
	bool beneath = length > root_length && strncmp(root, directory, root_length) == 0 && directory[root_length] == '/';
	if (!beneath) {
		parse_user_ini(directory, into);
		return;
	}
	for (char *slash = directory + root_length; (slash = strchr(slash, '/')) != NULL; slash++) {
		*slash = 0;
		parse_user_ini(directory, into);
		*slash = '/';
	}
}

static void activate_user_ini(char *directory, size_t length)
{
	if (!user_inis) {
		user_inis = malloc(sizeof(HashTable));
		zend_hash_init(user_inis, 8, NULL, free_user_ini, 1);
	}
	user_ini *ini = zend_hash_str_find_ptr(user_inis, directory, length);
	if (!ini) {
		ini = malloc(sizeof(user_ini));
		ini->expires = 0;
		zend_hash_init(&ini->values, 0, NULL, free_value, 1);
		zend_hash_str_update_ptr(user_inis, directory, length, ini);
	}
	time_t now = (time_t) current->received;
	if (now > ini->expires) {
		zend_hash_clean(&ini->values);
		size_t root_length = strlen(current->document_root);
		while (root_length > 0 && current->document_root[root_length - 1] == '/') {
			root_length--;
		}
		read_user_inis(current->document_root, root_length, directory, length, &ini->values);
		ini->expires = now + PG(user_ini_cache_ttl);
	}
	php_ini_activate_config(&ini->values, PHP_INI_PERDIR, PHP_INI_STAGE_HTACCESS);
}

static int rr_activate(void)
{
#ifdef ZEND_MAX_EXECUTION_TIMERS
	EG(pid) = 0;
#endif
	/* Commands have no host, and their folder is whosever. */
	if (!current || current->kind == RR_ROADRUNNER) {
		return SUCCESS;
	}
	if (php_ini_has_per_host_config()) {
		size_t length = strlen(current->server_name);
		char *host = estrndup(current->server_name, length);
		zend_str_tolower(host, length);
		php_ini_activate_per_host_config(host, length);
		efree(host);
	}
	bool user_files = PG(user_ini_filename) && *PG(user_ini_filename);
	if (!user_files && !php_ini_has_per_dir_config()) {
		return SUCCESS;
	}
	char *directory = estrdup(current->script);
	char *slash = strrchr(directory, '/');
	if (slash) {
		slash[1] = 0;
		size_t length = slash + 1 - directory;
		php_ini_activate_per_dir_config(directory, length);
		if (user_files) {
			activate_user_ini(directory, length);
		}
	}
	efree(directory);
	return SUCCESS;
}

static int rr_deactivate(void)
{
	rr_memory_peak = zend_memory_peak_usage(true);
	current = NULL;
	return SUCCESS;
}

static void rr_ini_defaults(HashTable *configuration)
{
	zval value;
	/* As php-fpm, so that a server without php.ini behaves alike. */
	ZVAL_NEW_STR(&value, zend_string_init(ZEND_STRL("1"), 1));
	zend_hash_str_update(configuration, ZEND_STRL("display_errors"), &value);
	if (strcmp(sapi_module.name, "cli") == 0) {
		/* Off for commands, for most end before it pays. Workers do not. */
		ZVAL_NEW_STR(&value, zend_string_init(ZEND_STRL("1"), 1));
		zend_hash_str_update(configuration, ZEND_STRL("opcache.enable_cli"), &value);
	}
}

sapi_module_struct rr_sapi = {
	.name = "fpm-fcgi",
	.pretty_name = "rr",
	.shutdown = php_module_shutdown_wrapper,
	.activate = rr_activate,
	.deactivate = rr_deactivate,
	.ub_write = rr_write,
	.flush = rr_flush,
	.sapi_error = php_error,
	.header_handler = rr_header,
	.send_headers = rr_send_headers,
	.read_post = rr_read_post,
	.read_cookies = rr_read_cookies,
	.getenv = rr_environment_value,
	.register_server_variables = rr_register_server_variables,
	.log_message = rr_log,
	.get_request_time = rr_request_time,
	.ini_defaults = rr_ini_defaults,
};

/* --- functions -------------------------------------------------------------------------------------------------------- */

PHP_FUNCTION(fastcgi_finish_request)
{
	ZEND_PARSE_PARAMETERS_NONE();
	if (rr_pull_serial()) {
		/* RR\Worker::respond() does that. */
		RETURN_FALSE;
	}
	php_output_end_all();
	php_header();
	RETURN_BOOL(SG(server_context) && rr_on_finish(SG(server_context)));
}

PHP_FUNCTION(apache_request_headers)
{
	ZEND_PARSE_PARAMETERS_NONE();
	array_init(return_value);
	if (!SG(server_context)) {
		return;
	}
	const rr_pair *pairs;
	size_t count = rr_on_variables(SG(server_context), RR_HEADERS, &pairs);
	for (size_t i = 0; i < count; i++) {
		zval value;
		ZVAL_STRINGL_FAST(&value, pairs[i].value.ptr, pairs[i].value.len);
		zend_symtable_str_update(Z_ARRVAL_P(return_value), pairs[i].name.ptr, pairs[i].name.len, &value);
	}
}

PHP_FUNCTION(apache_response_headers)
{
	ZEND_PARSE_PARAMETERS_NONE();
	array_init(return_value);
	zend_llist_position position;
	for (sapi_header_struct *header = zend_llist_get_first_ex(&SG(sapi_headers).headers, &position); header;
		 header = zend_llist_get_next_ex(&SG(sapi_headers).headers, &position)) {
		const char *colon = memchr(header->header, ':', header->header_len);
		if (!colon || colon == header->header) {
			continue;
		}
		const char *value = colon + 1, *end = header->header + header->header_len;
		while (value < end && (*value == ' ' || *value == '\t')) {
			value++;
		}
		add_assoc_stringl_ex(return_value, header->header, colon - header->header, value, end - value);
	}
}

/* Sends the headers set so far as an interim response (103 by default), which may be done several times. */
PHP_FUNCTION(headers_send)
{
	zend_long status = 200;
	ZEND_PARSE_PARAMETERS_START(0, 1)
		Z_PARAM_OPTIONAL
		Z_PARAM_LONG(status)
	ZEND_PARSE_PARAMETERS_END();
	if (!SG(server_context) || SG(headers_sent)) {
		RETURN_LONG(0);
	}
	if (status < 100 || status > 199) {
		if (SG(request_info).no_headers) {
			RETURN_LONG(0);
		}
		SG(sapi_headers).http_response_code = (int) status;
		RETURN_LONG(sapi_send_headers() == SUCCESS ? status : 0);
	}
	ALLOCA_FLAG(use_heap)
	rr_bytes *lines = do_alloca(sizeof(rr_bytes) * (zend_llist_count(&SG(sapi_headers).headers) + 1), use_heap);
	size_t count = rr_header_lines(&SG(sapi_headers), lines);
	bool sent = rr_on_interim(SG(server_context), (int) status, lines, count);
	free_alloca(lines, use_heap);
	RETURN_LONG(sent ? status : 0);
}

PHP_FUNCTION(fpm_get_status)
{
	ZEND_PARSE_PARAMETERS_NONE();
	size_t length = rr_on_status(NULL, 0);
	if (length == 0) {
		RETURN_FALSE;
	}
	/* The figures may grow by some digits between the two calls. */
	size_t room = length + 256;
	char *json = emalloc(room + 1);
	length = rr_on_status(json, room);
	json[length <= room ? length : 0] = 0;
	if (length == 0 || length > room || php_json_decode_ex(return_value, json, length, PHP_JSON_OBJECT_AS_ARRAY, 16) == FAILURE) {
		ZVAL_FALSE(return_value);
	}
	efree(json);
}

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_bool, 0, 0, _IS_BOOL, 0)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_array, 0, 0, IS_ARRAY, 0)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_MASK_EX(arginfo_status, 0, 0, MAY_BE_ARRAY | MAY_BE_FALSE)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_headers_send, 0, 0, IS_LONG, 0)
	ZEND_ARG_TYPE_INFO_WITH_DEFAULT_VALUE(0, status, IS_LONG, 0, "200")
ZEND_END_ARG_INFO()

const zend_function_entry rr_sapi_functions[] = {
	PHP_FE(fastcgi_finish_request, arginfo_bool)
	PHP_FALIAS(frankenphp_finish_request, fastcgi_finish_request, arginfo_bool)
	PHP_FE(apache_request_headers, arginfo_array)
	PHP_FALIAS(frankenphp_request_headers, apache_request_headers, arginfo_array)
	PHP_FALIAS(getallheaders, apache_request_headers, arginfo_array)
	PHP_FE(apache_response_headers, arginfo_array)
	PHP_FALIAS(frankenphp_response_headers, apache_response_headers, arginfo_array)
	PHP_FE(headers_send, arginfo_headers_send)
	PHP_FE(fpm_get_status, arginfo_status)
	PHP_FE_END
};

/* OPcache, as an operator sees it. */
#include "php.h"
#include "php_main.h"
#include "ext/json/php_json.h"
#include "SAPI.h"
#include "zend_exceptions.h"
#include "zend_smart_str.h"

#include "shim.h"

bool rr_php_opcache_enabled(void)
{
	/* The extension registers its functions only if it has started; its ini switch alone would not tell. */
	return zend_hash_str_exists(CG(function_table), ZEND_STRL("opcache_get_status"))
		&& zend_ini_long(ZEND_STRL("opcache.enable"), 0);
}

int64_t rr_php_opcache_patience(void)
{
	return zend_ini_long(ZEND_STRL("opcache.force_restart_timeout"), 0);
}

/* False if there is no such function, or it has returned false. */
static bool call(const char *name, uint32_t count, zval *arguments, zval *result)
{
	zval function;
	ZVAL_STRING(&function, name);
	bool exists = zend_hash_exists(CG(function_table), Z_STR(function));
	bool done = exists && call_user_function(NULL, NULL, &function, result, count, arguments) == SUCCESS;
	zval_ptr_dtor(&function);
	return done && Z_TYPE_P(result) != IS_FALSE;
}

/* What opcache_get_status() returns; false if it returns nothing. */
static bool get_status(bool with_scripts, zval *status)
{
	zval argument;
	ZVAL_BOOL(&argument, with_scripts);
	ZVAL_UNDEF(status);
	if (call("opcache_get_status", 1, &argument, status) && Z_TYPE_P(status) == IS_ARRAY) {
		return true;
	}
	zval_ptr_dtor(status);
	return false;
}

static rr_opcache tell(void *context)
{
	zval status;
	if (!get_status(false, &status)) {
		return RR_OPCACHE_OFF;
	}
	zval *pending = zend_hash_str_find(Z_ARRVAL(status), ZEND_STRL("restart_pending"));
	rr_opcache state = pending && Z_TYPE_P(pending) == IS_TRUE ? RR_OPCACHE_PENDING : RR_OPCACHE_DONE;
	smart_str json = {0};
	if (php_json_encode(&json, &status, PHP_JSON_PARTIAL_OUTPUT_ON_ERROR) == SUCCESS && json.s) {
		rr_on_opcache_status(context, ZSTR_VAL(json.s), ZSTR_LEN(json.s));
	}
	smart_str_free(&json);
	zval_ptr_dtor(&status);
	return state;
}

static rr_opcache tell_scripts(void *context)
{
	zval status, *script;
	zend_string *path;
	if (!get_status(true, &status)) {
		return RR_OPCACHE_OFF;
	}
	zval *scripts = zend_hash_str_find(Z_ARRVAL(status), ZEND_STRL("scripts"));
	if (scripts && Z_TYPE_P(scripts) == IS_ARRAY) {
		ZEND_HASH_FOREACH_STR_KEY_VAL(Z_ARRVAL_P(scripts), path, script) {
			zval *hits = Z_TYPE_P(script) == IS_ARRAY ? zend_hash_str_find(Z_ARRVAL_P(script), ZEND_STRL("hits")) : NULL;
			if (path && hits) {
				rr_on_opcache_script(context, ZSTR_VAL(path), ZSTR_LEN(path), zval_get_long(hits));
			}
		} ZEND_HASH_FOREACH_END();
	}
	zval_ptr_dtor(&status);
	return RR_OPCACHE_DONE;
}

static rr_opcache compile(void *context)
{
	rr_bytes path;
	/* What cannot be compiled, or is not there any more, is for the request to complain about that needs it. */
	EG(error_reporting) = 0;
	while (rr_on_opcache_next(context, &path)) {
		zval file, done;
		ZVAL_STRINGL(&file, path.ptr, path.len);
		ZVAL_UNDEF(&done);
		if (call("opcache_compile_file", 1, &file, &done)) {
			rr_on_opcache_compiled(context);
		}
		zend_clear_exception();
		zval_ptr_dtor(&done);
		zval_ptr_dtor(&file);
	}
	return RR_OPCACHE_DONE;
}

static rr_opcache reset(void *context)
{
	zval done;
	ZVAL_UNDEF(&done);
	/* False while a restart is pending, and that is as good. */
	(void) call("opcache_reset", 0, NULL, &done);
	zval_ptr_dtor(&done);
	return tell(context);
}

rr_opcache rr_php_opcache(rr_opcache_wish wish, void *context)
{
	static rr_opcache (*const wishes[])(void *) = {tell, reset, tell_scripts, compile};
	volatile rr_opcache state = RR_OPCACHE_FAILED;

	memset(&SG(request_info), 0, sizeof(SG(request_info)));
	/* Names the scripts that may ask; an operator may, too. */
	SG(request_info).path_translated = zend_ini_string(ZEND_STRL("opcache.restrict_api"), 0);
#ifdef ZEND_MAX_EXECUTION_TIMERS
	EG(pid) = getpid();
#endif
	zend_first_try {
		if (php_request_startup() == SUCCESS) {
			state = wishes[wish](context);
		}
	} zend_catch {
		state = RR_OPCACHE_FAILED;
	} zend_end_try();

	/* After a bailout too: the next request would start on top of this one. */
	zend_first_try {
		SG(request_info).path_translated = NULL;
		php_request_shutdown(NULL);
	} zend_catch {
		state = RR_OPCACHE_FAILED;
	} zend_end_try();
	return state;
}

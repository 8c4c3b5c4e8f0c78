/*
 * Xdebug looks for its client, and at what asks for one, when the outermost script starts. To it a worker script is one endless
 * run, so it would do so at boot alone; here each request asks it to, where it would have for a request of its own.
 */
#include "php.h"
#include "zend_ini.h"

#include "shim.h"

ZEND_TSRMLS_CACHE_EXTERN()

/* Valid until the request ends; NULL without one. */
static const char *sent(const char *name)
{
	static const int tracks[] = {TRACK_VARS_GET, TRACK_VARS_POST, TRACK_VARS_COOKIE};
	for (size_t i = 0; i < sizeof(tracks) / sizeof(*tracks); i++) {
		zval *track = &PG(http_globals)[tracks[i]];
		zval *value = Z_TYPE_P(track) == IS_ARRAY ? zend_hash_str_find(Z_ARRVAL_P(track), name, strlen(name)) : NULL;
		if (value && Z_TYPE_P(value) == IS_STRING) {
			return Z_STRVAL_P(value);
		}
	}
	return rr_environment_value(name, strlen(name));
}

static const char *trim(const char *text, size_t *length)
{
	while (*length && isspace((unsigned char) *text)) {
		text++;
		--*length;
	}
	while (*length && isspace((unsigned char) text[*length - 1])) {
		--*length;
	}
	return text;
}

/* Whether a comma-separated list of secrets has this one; an empty list asks for none. */
static bool is_secret(const char *list, const char *value)
{
	if (!list || !*list) {
		return true;
	}
	size_t value_length = strlen(value);
	value = trim(value, &value_length);
	for (;;) {
		size_t item_length = strcspn(list, ",");
		const char *next = list + item_length;
		const char *item = trim(list, &item_length);
		if (item_length == value_length && memcmp(item, value, value_length) == 0) {
			return true;
		}
		if (!*next) {
			return false;
		}
		list = next + 1;
	}
}

static bool is_asked_for(void)
{
	const char *start = zend_ini_string(ZEND_STRL("xdebug.start_with_request"), false);
	if (!start || !*start || strcmp(start, "no") == 0) {
		return false;
	}
	if (strcmp(start, "yes") == 0 || strcmp(start, "1") == 0) {
		return true;
	}
	static const char *const triggers[] = {"XDEBUG_TRIGGER", "XDEBUG_SESSION", "XDEBUG_SESSION_START"};
	for (size_t i = 0; i < sizeof(triggers) / sizeof(*triggers); i++) {
		const char *value = sent(triggers[i]);
		if (value) {
			return is_secret(zend_ini_string(ZEND_STRL("xdebug.trigger_value"), false), value);
		}
	}
	return false;
}

void rr_debugger_begin(void)
{
	zend_function *connect = zend_hash_str_find_ptr(CG(function_table), ZEND_STRL("xdebug_connect_to_client"));
	if (!connect || !is_asked_for()) {
		return;
	}
	/* Only notes that the next line is to do so; nothing where the session still lasts. */
	zval result;
	zend_call_known_function(connect, NULL, NULL, &result, 0, NULL, NULL);
	zval_ptr_dtor(&result);
}

/*
 * What a worker's request may change and the next one must not see.
 *
 * The state is noted once, when the script has booted, and compared after every request: only what differs is put back, so a
 * request that changes nothing pays for comparisons alone. What is undone is listed in the documentation of `php.reset`.
 */
#include "php.h"
#include "php_ini.h"
#include "SAPI.h"
#include "ext/date/php_date.h"
#include "ext/standard/basic_functions.h"
#include "ext/standard/php_string.h"
#include "zend_ini.h"
#include "zend_smart_str.h"

#include <locale.h>
#include <sys/stat.h>

#include "shim.h"

ZEND_TSRMLS_CACHE_EXTERN()

typedef struct {
	zval now;
	int depth; /* of those pushed aside by set_*_handler() */
} handlers;

static __thread struct {
	rr_reset level;
	HashTable *ini; /* entry → its value, of the entries that the boot changed */
	HashTable *shutdown_functions;
	handlers error, exception;
	int error_reporting;
	char *directory;
	char *timezone;
	char *locale;
	bool locale_changed;
	int umask, first_umask;
} boot;

/* The time zone that date_default_timezone_set() chose. A shared libphp does not export where these globals are. */
static char **timezone_of_script(void)
{
	zend_module_entry *date = zend_hash_str_find_ptr(&module_registry, ZEND_STRL("date"));
	return &TSRMG_BULK(*date->globals_id_ptr, zend_date_globals *)->timezone;
}

/* --- ini values --------------------------------------------------------------------------------------------------------- */

static void release_value(zval *value)
{
	zend_string_release(Z_STR_P(value));
}

static void remember_ini(void)
{
	boot.ini = emalloc(sizeof(HashTable));
	zend_hash_init(boot.ini, 8, NULL, release_value, 0);
	if (!EG(modified_ini_directives)) {
		return;
	}
	zend_ini_entry *entry;
	ZEND_HASH_MAP_FOREACH_PTR(EG(modified_ini_directives), entry) {
		if (entry->value) {
			zval value;
			ZVAL_STR_COPY(&value, entry->value);
			zend_hash_index_update(boot.ini, (zend_ulong) (uintptr_t) entry, &value);
		}
	} ZEND_HASH_FOREACH_END();
}

static void restore_ini(void)
{
	if (!EG(modified_ini_directives)) {
		return;
	}
	zend_string *changed[64];
	size_t count;
	/* Collected first, for restoring takes an entry out of the table. A full round means that there may be more. */
	do {
		count = 0;
		zend_ini_entry *entry;
		ZEND_HASH_MAP_FOREACH_PTR(EG(modified_ini_directives), entry) {
			zval *value = zend_hash_index_find(boot.ini, (zend_ulong) (uintptr_t) entry);
			bool same = value && entry->value && (Z_STR_P(value) == entry->value || zend_string_equals(Z_STR_P(value), entry->value));
			if (!same && count < 64) {
				changed[count++] = entry->name;
			}
		} ZEND_HASH_FOREACH_END();
		size_t done = 0;
		for (size_t i = 0; i < count; i++) {
			zend_ini_entry *entry = zend_hash_find_ptr(EG(ini_directives), changed[i]);
			zval *value = zend_hash_index_find(boot.ini, (zend_ulong) (uintptr_t) entry);
			if (value) {
				done += zend_alter_ini_entry_ex(changed[i], Z_STR_P(value), ZEND_INI_ALL, ZEND_INI_STAGE_RUNTIME, true) == SUCCESS;
			} else {
				done += zend_restore_ini_entry(changed[i], ZEND_INI_STAGE_DEACTIVATE) == SUCCESS;
			}
		}
		if (done == 0) {
			return;
		}
	} while (count == 64);
}

/* --- error and exception handlers ------------------------------------------------------------------------------------------ */

static void remember_handlers(handlers *kept, zval *now, zend_stack *stack)
{
	ZVAL_COPY(&kept->now, now);
	kept->depth = zend_stack_count(stack);
}

/* Handlers that the request has set are dropped, with those that it has pushed aside on top of the boot's. */
static void restore_handlers(handlers *kept, zval *now, zend_stack *stack, zend_stack *levels)
{
	bool same = Z_TYPE(kept->now) == Z_TYPE_P(now) && (Z_TYPE_P(now) == IS_UNDEF || zend_is_identical(&kept->now, now));
	if (same && zend_stack_count(stack) == kept->depth) {
		return;
	}
	while (zend_stack_count(stack) > kept->depth) {
		zval *top = zend_stack_top(stack);
		zval_ptr_dtor(top);
		zend_stack_del_top(stack);
		if (levels && !zend_stack_is_empty(levels)) {
			zend_stack_del_top(levels);
		}
	}
	zval old;
	ZVAL_COPY_VALUE(&old, now);
	ZVAL_COPY(now, &kept->now);
	zval_ptr_dtor(&old);
}

/* --- all of it ------------------------------------------------------------------------------------------------------------- */

static bool equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

void rr_reset_remember(rr_reset level)
{
	boot.level = level;
	if (level < RR_RESET_STRICT) {
		return;
	}
	remember_ini();
	/* The boot's own run when the worker ends. */
	boot.shutdown_functions = BG(user_shutdown_function_names);
	BG(user_shutdown_function_names) = NULL;
	remember_handlers(&boot.error, &EG(user_error_handler), &EG(user_error_handlers));
	boot.error_reporting = EG(user_error_handler_error_reporting);
	remember_handlers(&boot.exception, &EG(user_exception_handler), &EG(user_exception_handlers));
	char directory[MAXPATHLEN];
	boot.directory = copy(VCWD_GETCWD(directory, sizeof(directory)));
	boot.timezone = copy(*timezone_of_script());
	boot.locale = copy(setlocale(LC_ALL, NULL));
	boot.locale_changed = BG(locale_changed);
	BG(locale_changed) = false;
	boot.first_umask = BG(umask);
	boot.umask = umask(0);
	umask(boot.umask);
	/* From here on -1 means that the request has not touched it. */
	BG(umask) = -1;
	rr_environment_remember();
}

static void restore_locale(void)
{
	setlocale(LC_ALL, boot.locale);
	zend_update_current_locale();
	if (BG(ctype_string)) {
		zend_string_release_ex(BG(ctype_string), 0);
		BG(ctype_string) = NULL;
	}
	BG(locale_changed) = false;
}

static void forget_last_error(void)
{
	if (PG(last_error_message)) {
		zend_string_release(PG(last_error_message));
		PG(last_error_message) = NULL;
	}
	if (PG(last_error_file)) {
		zend_string_release(PG(last_error_file));
		PG(last_error_file) = NULL;
	}
	PG(last_error_type) = 0;
	PG(last_error_lineno) = 0;
}

/* output_add_rewrite_var(), and session ids in links. The handler that rewrites went with the request's output. */
static void stop_rewriting(url_adapt_state_ex_t *rewriter)
{
	if (rewriter->active) {
		smart_str_free(&rewriter->result);
		smart_str_free(&rewriter->buf);
		smart_str_free(&rewriter->tag);
		smart_str_free(&rewriter->arg);
		smart_str_free(&rewriter->attr_val);
		rewriter->active = 0;
		rewriter->tag_type = 0;
		rewriter->attr_type = 0;
	}
	smart_str_free(&rewriter->form_app);
	smart_str_free(&rewriter->url_app);
}

void rr_reset_between(void)
{
	forget_last_error();
	stop_rewriting(&BG(url_adapt_output_ex));
	stop_rewriting(&BG(url_adapt_session_ex));
	if (boot.level < RR_RESET_STRICT) {
		return;
	}
	restore_handlers(&boot.error, &EG(user_error_handler), &EG(user_error_handlers), &EG(user_error_handlers_error_reporting));
	EG(user_error_handler_error_reporting) = boot.error_reporting;
	restore_handlers(&boot.exception, &EG(user_exception_handler), &EG(user_exception_handlers), NULL);
	restore_ini();
	if (BG(locale_changed)) {
		restore_locale();
	}
	if (BG(umask) != -1) {
		umask(BG(umask));
		BG(umask) = -1;
	}
	char directory[MAXPATHLEN];
	if (boot.directory && !equal(boot.directory, VCWD_GETCWD(directory, sizeof(directory)))) {
		rr_set_directory(boot.directory);
	}
	char **timezone = timezone_of_script();
	if (!equal(boot.timezone, *timezone)) {
		if (*timezone) {
			efree(*timezone);
		}
		*timezone = boot.timezone ? estrdup(boot.timezone) : NULL;
	}
	rr_environment_restore();
}

/* Those of a request that a fatal error cut off run first, then the boot's. */
static void hand_back_shutdown_functions(void)
{
	HashTable *boots = boot.shutdown_functions;
	boot.shutdown_functions = NULL;
	if (!boots) {
		return;
	}
	if (!BG(user_shutdown_function_names)) {
		BG(user_shutdown_function_names) = boots;
		return;
	}
	zval *entry;
	ZEND_HASH_FOREACH_VAL(boots, entry) {
		zend_hash_next_index_insert(BG(user_shutdown_function_names), entry);
	} ZEND_HASH_FOREACH_END();
	/* They have moved: the table goes, and they stay. */
	boots->pDestructor = NULL;
	zend_hash_destroy(boots);
	FREE_HASHTABLE(boots);
}

/* Gives back what the engine's own request shutdown expects to find. */
void rr_reset_forget(void)
{
	if (boot.level < RR_RESET_STRICT) {
		return;
	}
	hand_back_shutdown_functions();
	BG(locale_changed) |= boot.locale_changed;
	if (boot.first_umask != -1) {
		BG(umask) = boot.first_umask;
	}
	free(boot.directory);
	free(boot.timezone);
	free(boot.locale);
	boot.directory = boot.timezone = boot.locale = NULL;
	if (!CG(unclean_shutdown)) {
		/* After a bailout the whole heap goes, and nothing on it is fit to be destroyed one by one. */
		zval_ptr_dtor(&boot.error.now);
		zval_ptr_dtor(&boot.exception.now);
		zend_hash_destroy(boot.ini);
		efree(boot.ini);
	}
	boot.level = RR_RESET_BASIC;
}

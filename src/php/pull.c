/* RR\Worker: a worker script that takes its requests, or tasks, and answers them, itself. */
#include "php.h"
#include "SAPI.h"
#include "zend_exceptions.h"
#include "zend_interfaces.h"

#include "shim.h"

ZEND_TSRMLS_CACHE_EXTERN()

static __thread struct {
	uint64_t serial;
	bool open;
	bool task; /* what was taken is a task, not a request */
	bool answering; /* code of the script's that makes the answer may run */
	bool answered;
} pull;

uint64_t rr_pull_serial(void)
{
	return pull.open ? pull.serial : 0;
}

bool rr_pull_is_answering(void)
{
	return pull.answering;
}

void rr_pull_close(void)
{
	if (pull.open && !pull.answered) {
		rr_on_answer_fail(SG(server_context), false);
	}
	pull.open = pull.answering = false;
}

/* False, with an error thrown, if there is nothing to answer. */
static bool begin_answer(void)
{
	if (!pull.open) {
		zend_throw_error(NULL, "RR\\Worker::%s() has no %s to answer", get_active_function_name(), pull.task ? "task" : "request");
		return false;
	}
	if (pull.answered || pull.answering) {
		zend_throw_error(NULL, "RR\\Worker::%s(): the %s %s", get_active_function_name(), pull.task ? "task" : "request",
			pull.answered ? "has been answered" : "is being answered");
		return false;
	}
	pull.answering = true;
	return true;
}

static void end_answer(bool complete)
{
	pull.answering = false;
	pull.answered = complete;
	if (complete) {
		/* header() and the like are too late from here on. */
		SG(headers_sent) = 1;
		SG(request_info).no_headers = 0;
	}
}

PHP_METHOD(RR_Worker, __construct)
{
	ZEND_PARSE_PARAMETERS_NONE();
	if (!rr_in_worker()) {
		zend_throw_error(NULL, "RR\\Worker can only be used in a worker script: set http.worker");
	}
}

static bool take(bool task)
{
	if (!rr_worker_pull(task)) {
		return false;
	}
	pull.serial++;
	pull.open = true;
	pull.task = task;
	pull.answered = false;
	return true;
}

PHP_METHOD(RR_Worker, waitRequest)
{
	ZEND_PARSE_PARAMETERS_NONE();
	if (take(false)) {
		rr_request_make(return_value, pull.serial);
	}
}

PHP_METHOD(RR_Worker, waitTask)
{
	ZEND_PARSE_PARAMETERS_NONE();
	if (take(true)) {
		rr_task_make(return_value);
	}
}

PHP_METHOD(RR_Worker, respond)
{
	zend_object *response;
	zend_string *text, *context = ZSTR_EMPTY_ALLOC();
	ZEND_PARSE_PARAMETERS_START(1, 2)
		Z_PARAM_OBJ_OF_CLASS_OR_STR(response, rr_response_class, text)
		Z_PARAM_OPTIONAL
		Z_PARAM_STR(context)
	ZEND_PARSE_PARAMETERS_END();
	if (!begin_answer()) {
		return;
	}
	rr_verdict verdict = RR_GO_ON;
	if (pull.task) {
		verdict = rr_respond_task(response, text, context);
	} else if (ZSTR_LEN(context) > 0) {
		zend_argument_value_error(2, "must be empty: the answer to a request has no context");
	} else {
		verdict = response ? rr_respond(response) : rr_respond_text(text);
	}
	/* An exception leaves the request without an answer, or with a part of one. */
	end_answer(!EG(exception));
	RETURN_BOOL(verdict == RR_GO_ON);
}

PHP_METHOD(RR_Worker, error)
{
	zend_object *throwable;
	zend_string *text;
	ZEND_PARSE_PARAMETERS_START(1, 1)
		Z_PARAM_OBJ_OF_CLASS_OR_STR(throwable, zend_ce_throwable, text)
	ZEND_PARSE_PARAMETERS_END();
	if (!begin_answer()) {
		return;
	}
	if (throwable) {
		zval object;
		ZVAL_OBJ(&object, throwable);
		text = zval_try_get_string(&object);
	} else {
		zend_string_addref(text);
	}
	if (text) {
		rr_on_log(SG(server_context), 3, ZSTR_VAL(text), ZSTR_LEN(text));
		rr_pair type = {{ZEND_STRL("Content-Type")}, {ZEND_STRL("text/plain; charset=utf-8")}};
		if (pull.task) {
			rr_on_answer_task_error(SG(server_context), ZSTR_VAL(text), ZSTR_LEN(text));
		} else if (PG(display_errors) && rr_on_answer(SG(server_context), 500, (rr_bytes) {"", 0}, &type, 1, NULL, 0)) {
			rr_on_answer_whole(SG(server_context), ZSTR_VAL(text), ZSTR_LEN(text));
		} else {
			rr_on_answer_fail(SG(server_context), true);
		}
		zend_string_release(text);
	}
	end_answer(text != NULL);
}

PHP_METHOD(RR_Worker, earlyHints)
{
	HashTable *headers;
	ZEND_PARSE_PARAMETERS_START(1, 1)
		Z_PARAM_ARRAY_HT(headers)
	ZEND_PARSE_PARAMETERS_END();
	if (begin_answer()) {
		RETVAL_BOOL(rr_early_hints(headers));
		end_answer(false);
	}
}

ZEND_BEGIN_ARG_INFO_EX(arginfo_construct, 0, 0, 0)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_OBJ_INFO_EX(arginfo_wait_request, 0, 0, RR\\Request, 1)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_OBJ_INFO_EX(arginfo_wait_task, 0, 0, RR\\Task, 1)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_respond, 0, 1, _IS_BOOL, 0)
	ZEND_ARG_OBJ_TYPE_MASK(0, response, RR\\Response, MAY_BE_STRING, NULL)
	ZEND_ARG_TYPE_INFO_WITH_DEFAULT_VALUE(0, context, IS_STRING, 0, "''")
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_error, 0, 1, IS_VOID, 0)
	ZEND_ARG_OBJ_TYPE_MASK(0, error, Throwable, MAY_BE_STRING, NULL)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_early_hints, 0, 1, _IS_BOOL, 0)
	ZEND_ARG_TYPE_INFO(0, headers, IS_ARRAY, 0)
ZEND_END_ARG_INFO()

static const zend_function_entry methods[] = {
	PHP_ME(RR_Worker, __construct, arginfo_construct, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Worker, waitRequest, arginfo_wait_request, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Worker, waitTask, arginfo_wait_task, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Worker, respond, arginfo_respond, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Worker, error, arginfo_error, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Worker, earlyHints, arginfo_early_hints, ZEND_ACC_PUBLIC)
	PHP_FE_END
};

/* While the module starts. */
void rr_pull_install(void)
{
	zend_class_entry class;
	INIT_NS_CLASS_ENTRY(class, "RR", "Worker", methods);
	zend_class_entry *worker = zend_register_internal_class(&class);
	worker->ce_flags |= ZEND_ACC_FINAL | ZEND_ACC_NO_DYNAMIC_PROPERTIES | ZEND_ACC_NOT_SERIALIZABLE;
}

/*
 * RR\Response, and its way to the client: past PHP's output layer, with no copy but the one that outlives the script.
 */
#include "php.h"
#include "php_streams.h"
#include "SAPI.h"
#include "zend_exceptions.h"
#include "zend_interfaces.h"
#include "ext/spl/spl_iterators.h"

#include <sys/stat.h>

#include "shim.h"

ZEND_TSRMLS_CACHE_EXTERN()

/* Bytes of a stream that are read at once. */
#define CHUNK (32 * 1024)

zend_class_entry *rr_response_class;

/* Its properties, in the order of their declaration. */
enum {
	BODY,
	STATUS,
	HEADERS,
	TRAILERS,
	REASON,
};

/* --- header fields ----------------------------------------------------------------------------------------------------------- */

typedef struct {
	rr_pair *pairs;
	zend_string **values; /* what the pairs point into */
	size_t count, room;
} fields;

static void free_fields(fields *list)
{
	for (size_t i = 0; i < list->count; i++) {
		zend_string_release(list->values[i]);
	}
	if (list->pairs) {
		efree(list->pairs);
		efree(list->values);
	}
}

static bool has_field(const fields *list, const char *name)
{
	size_t length = strlen(name);
	for (size_t i = 0; i < list->count; i++) {
		if (list->pairs[i].name.len == length && strncasecmp(list->pairs[i].name.ptr, name, length) == 0) {
			return true;
		}
	}
	return false;
}

/* Takes over `value`. */
static void add_field(fields *list, const char *name, size_t length, zend_string *value)
{
	if (list->count == list->room) {
		list->room = list->room ? list->room * 2 : 8;
		list->pairs = safe_erealloc(list->pairs, list->room, sizeof(rr_pair), 0);
		list->values = safe_erealloc(list->values, list->room, sizeof(zend_string *), 0);
	}
	list->values[list->count] = value;
	list->pairs[list->count++] = (rr_pair) {{name, length}, {ZSTR_VAL(value), ZSTR_LEN(value)}};
}

/* RFC 9110's token. */
static bool is_name(const zend_string *name)
{
	for (size_t i = 0; i < ZSTR_LEN(name); i++) {
		unsigned char byte = ZSTR_VAL(name)[i];
		if (byte <= ' ' || byte >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", byte)) {
			return false;
		}
	}
	return ZSTR_LEN(name) > 0;
}

static bool add_value(fields *list, zend_string *name, zval *value)
{
	if (Z_TYPE_P(value) != IS_STRING && Z_TYPE_P(value) != IS_LONG && Z_TYPE_P(value) != IS_DOUBLE && Z_TYPE_P(value) != IS_OBJECT) {
		zend_type_error("header field %s must be a string or a list of strings, %s given", ZSTR_VAL(name), zend_zval_value_name(value));
		return false;
	}
	zend_string *text = zval_try_get_string(value);
	if (!text) {
		return false;
	}
	for (size_t i = 0; i < ZSTR_LEN(text); i++) {
		if (ZSTR_VAL(text)[i] == '\r' || ZSTR_VAL(text)[i] == '\n' || !ZSTR_VAL(text)[i]) {
			zend_value_error("header field %s must not contain a line break or NUL", ZSTR_VAL(name));
			zend_string_release(text);
			return false;
		}
	}
	add_field(list, ZSTR_VAL(name), ZSTR_LEN(name), text);
	return true;
}

/* False, with an error thrown, if they are no header fields. */
static bool add_fields(fields *list, HashTable *table)
{
	zend_string *name;
	zval *value;
	ZEND_HASH_FOREACH_STR_KEY_VAL(table, name, value) {
		if (!name || !is_name(name)) {
			zend_value_error("header fields must have their names as keys, \"%s\" is none", name ? ZSTR_VAL(name) : "a number");
			return false;
		}
		ZVAL_DEREF(value);
		if (Z_TYPE_P(value) != IS_ARRAY) {
			if (!add_value(list, name, value)) {
				return false;
			}
			continue;
		}
		zval *line;
		ZEND_HASH_FOREACH_VAL(Z_ARRVAL_P(value), line) {
			ZVAL_DEREF(line);
			if (!add_value(list, name, line)) {
				return false;
			}
		} ZEND_HASH_FOREACH_END();
	} ZEND_HASH_FOREACH_END();
	return true;
}

/* --- bodies ------------------------------------------------------------------------------------------------------------------ */

typedef struct {
	enum {
		WHOLE,
		PARTS,
		STREAM,
		PIECES,
	} kind;
	zval value; /* held */
	php_stream *stream;
	bool live; /* a stream that comes as it is made: what was read is not kept back */
	int64_t length; /* of a stream, -1 if not known */
} body;

static void look_at_stream(body *body)
{
	php_stream *stream = body->stream;
	body->length = -1;
	body->live = true;
	bool local = stream->ops == &php_stream_stdio_ops || stream->ops == &php_stream_memory_ops || stream->ops == &php_stream_temp_ops;
	php_stream_statbuf status;
	if (strcmp(stream->ops->label, "Input") == 0) {
		body->live = false;
	} else if (local && php_stream_stat(stream, &status) == 0 && S_ISREG(status.sb.st_mode)) {
		body->live = false;
		if (!stream->readfilters.head && status.sb.st_size >= php_stream_tell(stream)) {
			body->length = status.sb.st_size - php_stream_tell(stream);
		}
	}
}

/* False, with an error thrown, if this is no body. */
static bool take_body(body *body, zval *value)
{
	ZVAL_UNDEF(&body->value);
	switch (Z_TYPE_P(value)) {
		case IS_UNDEF:
		case IS_NULL:
			body->kind = WHOLE;
			ZVAL_EMPTY_STRING(&body->value);
			return true;
		case IS_RESOURCE:
			php_stream_from_zval_no_verify(body->stream, value);
			if (!body->stream) {
				break;
			}
			body->kind = STREAM;
			ZVAL_COPY(&body->value, value);
			look_at_stream(body);
			return !EG(exception);
		case IS_ARRAY:
			body->kind = PARTS;
			ZVAL_COPY(&body->value, value);
			return true;
		case IS_OBJECT:
			if (instanceof_function(Z_OBJCE_P(value), zend_ce_traversable)) {
				/* It can be gone through once, and is let go of when it has been. */
				body->kind = PIECES;
				ZVAL_COPY_VALUE(&body->value, value);
				ZVAL_NULL(value);
				return true;
			}
			if (!instanceof_function(Z_OBJCE_P(value), zend_ce_stringable)) {
				break;
			}
			ZEND_FALLTHROUGH;
		case IS_STRING:
		case IS_LONG:
		case IS_DOUBLE: {
			zend_string *text = zval_try_get_string(value);
			if (text) {
				body->kind = WHOLE;
				ZVAL_STR(&body->value, text);
			}
			return text;
		}
		default:
			break;
	}
	zend_type_error("RR\\Response::$body must be a string, a stream or iterable, %s given", zend_zval_value_name(value));
	return false;
}

/* Sends one part; false if there is no sense in a next one. */
static bool send_part(zval *value, bool flush, rr_verdict *verdict)
{
	zend_string *temporary, *text = zval_try_get_tmp_string(value, &temporary);
	if (!text) {
		return false;
	}
	*verdict = rr_on_answer_part(SG(server_context), ZSTR_VAL(text), ZSTR_LEN(text), flush);
	zend_tmp_string_release(temporary);
	return *verdict == RR_GO_ON;
}

static int send_piece(zend_object_iterator *iterator, void *verdict)
{
	zval *value = iterator->funcs->get_current_data(iterator);
	return value && !EG(exception) && send_part(value, true, verdict) ? ZEND_HASH_APPLY_KEEP : ZEND_HASH_APPLY_STOP;
}

static rr_verdict send_stream(body *body)
{
	rr_verdict verdict = RR_GO_ON;
	char *chunk = emalloc(CHUNK);
	while (verdict == RR_GO_ON && !EG(exception)) {
		ssize_t length = php_stream_read(body->stream, chunk, CHUNK);
		if (length <= 0) {
			break;
		}
		verdict = rr_on_answer_part(SG(server_context), chunk, length, body->live);
	}
	efree(chunk);
	return verdict;
}

/* An exception is left for the caller. */
static rr_verdict send_parts(body *body)
{
	rr_verdict verdict = RR_GO_ON;
	zval *value;
	switch (body->kind) {
		case WHOLE:
			send_part(&body->value, false, &verdict);
			break;
		case PARTS:
			ZEND_HASH_FOREACH_VAL(Z_ARRVAL(body->value), value) {
				if (!send_part(value, false, &verdict)) {
					break;
				}
			} ZEND_HASH_FOREACH_END();
			break;
		case STREAM:
			verdict = send_stream(body);
			break;
		case PIECES:
			spl_iterator_apply(&body->value, send_piece, &verdict);
			break;
	}
	return verdict;
}

/* --- the answer -------------------------------------------------------------------------------------------------------------- */

typedef struct {
	zend_long status;
	zend_string *reason;
	HashTable *headers;
	zend_object *response; /* NULL for a text alone */
	body body;
} answer;

static zval *property(zend_object *response, int number)
{
	zval *value = OBJ_PROP_NUM(response, number);
	ZVAL_DEREF(value);
	return value;
}

/* Asked for again when the body is out: what makes the body may set them. */
static HashTable *trailers(const answer *answer)
{
	zval *trailers = answer->response ? property(answer->response, TRAILERS) : NULL;
	return trailers && Z_TYPE_P(trailers) == IS_ARRAY && zend_hash_num_elements(Z_ARRVAL_P(trailers)) > 0 ? Z_ARRVAL_P(trailers) : NULL;
}

static bool allows_body(const answer *answer)
{
	return answer->status != 204 && answer->status != 304;
}

/* As for a script: what has no type is what default_mimetype says. */
static void add_implied_fields(fields *list, const answer *answer)
{
	if (SG(sapi_headers).send_default_content_type && !has_field(list, "Content-Type")) {
		char *type = sapi_get_default_content_type();
		if (*type) {
			add_field(list, ZEND_STRL("Content-Type"), zend_string_init(type, strlen(type), 0));
		}
		efree(type);
	}
	HashTable *announced = trailers(answer);
	if (announced && !has_field(list, "Trailer")) {
		zend_string *name;
		ZEND_HASH_FOREACH_STR_KEY(announced, name) {
			if (name && is_name(name)) {
				add_field(list, ZEND_STRL("Trailer"), zend_string_copy(name));
			}
		} ZEND_HASH_FOREACH_END();
	} else if (!announced && answer->body.kind == STREAM && answer->body.length >= 0 && !has_field(list, "Content-Length")) {
		add_field(list, ZEND_STRL("Content-Length"), zend_long_to_str(answer->body.length));
	}
}

static void send_head(const answer *answer)
{
	fields list = {0};
	if (!answer->headers || add_fields(&list, answer->headers)) {
		if (allows_body(answer)) {
			add_implied_fields(&list, answer);
		}
		ALLOCA_FLAG(use_heap)
		rr_bytes *lines = do_alloca(sizeof(rr_bytes) * (zend_llist_count(&SG(sapi_headers).headers) + 1), use_heap);
		size_t count = rr_header_lines(&SG(sapi_headers), lines);
		rr_bytes reason = {answer->reason ? ZSTR_VAL(answer->reason) : "", answer->reason ? ZSTR_LEN(answer->reason) : 0};
		if (!rr_on_answer(SG(server_context), (int) answer->status, reason, list.pairs, list.count, lines, count)) {
			zend_throw_error(NULL, "RR\\Worker::respond(): a part of another answer is out");
		}
		free_alloca(lines, use_heap);
	}
	free_fields(&list);
}

static void send_trailers(const answer *answer)
{
	fields list = {0};
	HashTable *table = trailers(answer);
	if (!table || add_fields(&list, table)) {
		rr_on_answer_end(SG(server_context), list.pairs, list.count);
	}
	free_fields(&list);
}

/* Lets go of a body that was sent, as far as it was. */
static rr_verdict end_body(body *body, rr_verdict verdict)
{
	zval_ptr_dtor(&body->value);
	if (verdict == RR_FATAL) {
		zend_error_noreturn(E_ERROR, "The server failed internally while it handled this request");
	}
	if (verdict == RR_ABORTED) {
		PG(connection_status) = PHP_CONNECTION_ABORTED;
	}
	return verdict;
}

/* Takes over the body. */
static rr_verdict send_answer(answer *answer)
{
	rr_verdict verdict = RR_GO_ON;
	send_head(answer);
	if (!EG(exception) && answer->body.kind == WHOLE && !trailers(answer)) {
		verdict = rr_on_answer_whole(SG(server_context), Z_STRVAL(answer->body.value), Z_STRLEN(answer->body.value));
	} else if (!EG(exception)) {
		if (allows_body(answer) && !SG(request_info).headers_only) {
			verdict = send_parts(&answer->body);
		}
		if (!EG(exception)) {
			send_trailers(answer);
		}
	}
	return end_body(&answer->body, verdict);
}

rr_verdict rr_respond_text(zend_string *text)
{
	answer answer = {.status = 200, .body = {.kind = WHOLE}};
	ZVAL_STR_COPY(&answer.body.value, text);
	return send_answer(&answer);
}

rr_verdict rr_respond(zend_object *response)
{
	zval *status = property(response, STATUS);
	answer answer = {.status = Z_TYPE_P(status) == IS_LONG ? Z_LVAL_P(status) : 200, .response = response};
	if (answer.status < 200 || answer.status > 999) {
		zend_value_error("RR\\Response::$status must be from 200 to 999, " ZEND_LONG_FMT " given", answer.status);
		return RR_GO_ON;
	}
	if (!take_body(&answer.body, property(response, BODY))) {
		return RR_GO_ON;
	}
	/* Held, for the conversion of a value to a string may run code that changes the response. */
	zval headers, reason;
	ZVAL_COPY(&headers, property(response, HEADERS));
	ZVAL_COPY(&reason, property(response, REASON));
	answer.headers = Z_TYPE(headers) == IS_ARRAY ? Z_ARRVAL(headers) : NULL;
	answer.reason = Z_TYPE(reason) == IS_STRING ? Z_STR(reason) : NULL;
	rr_verdict verdict = send_answer(&answer);
	zval_ptr_dtor(&headers);
	zval_ptr_dtor(&reason);
	return verdict;
}

rr_verdict rr_respond_task(zend_object *response, zend_string *text, zend_string *context)
{
	body body = {.kind = WHOLE};
	if (!response) {
		ZVAL_STR_COPY(&body.value, text);
	} else if (!take_body(&body, property(response, BODY))) {
		return RR_GO_ON;
	}
	rr_verdict verdict = RR_GO_ON;
	bool in_parts = body.kind == STREAM || body.kind == PIECES;
	if (in_parts && !rr_on_task_streams(SG(server_context))) {
		zend_throw_error(NULL, "RR\\Worker::respond(): streaming is not supported");
	} else if (!rr_on_answer_task(SG(server_context), ZSTR_VAL(context), ZSTR_LEN(context))) {
		zend_throw_error(NULL, "RR\\Worker::respond(): a part of another answer is out");
	} else if (body.kind == WHOLE) {
		verdict = rr_on_answer_whole(SG(server_context), Z_STRVAL(body.value), Z_STRLEN(body.value));
	} else {
		verdict = send_parts(&body);
		if (!EG(exception)) {
			rr_on_answer_end(SG(server_context), NULL, 0);
		}
	}
	return end_body(&body, verdict);
}

bool rr_early_hints(HashTable *headers)
{
	fields list = {0};
	bool sent = add_fields(&list, headers) && rr_on_answer_interim(SG(server_context), 103, list.pairs, list.count);
	free_fields(&list);
	return sent;
}

/* --- the class ------------------------------------------------------------------------------------------------------------------ */

static void set(zval *object, int property, zval *value)
{
	zval *slot = OBJ_PROP_NUM(Z_OBJ_P(object), property);
	zval old;
	ZVAL_COPY_VALUE(&old, slot);
	ZVAL_COPY(slot, value);
	zval_ptr_dtor(&old);
}

PHP_METHOD(RR_Response, __construct)
{
	zval *body = NULL, *headers = NULL;
	zend_long status = 200;
	ZEND_PARSE_PARAMETERS_START(0, 3)
		Z_PARAM_OPTIONAL
		Z_PARAM_ZVAL(body)
		Z_PARAM_LONG(status)
		Z_PARAM_ARRAY(headers)
	ZEND_PARSE_PARAMETERS_END();
	zval number;
	ZVAL_LONG(&number, status);
	set(ZEND_THIS, STATUS, &number);
	if (body) {
		set(ZEND_THIS, BODY, body);
	}
	if (headers) {
		set(ZEND_THIS, HEADERS, headers);
	}
}

ZEND_BEGIN_ARG_INFO_EX(arginfo_construct, 0, 0, 0)
	ZEND_ARG_TYPE_INFO_WITH_DEFAULT_VALUE(0, body, IS_MIXED, 0, "\'\'")
	ZEND_ARG_TYPE_INFO_WITH_DEFAULT_VALUE(0, status, IS_LONG, 0, "200")
	ZEND_ARG_TYPE_INFO_WITH_DEFAULT_VALUE(0, headers, IS_ARRAY, 0, "[]")
ZEND_END_ARG_INFO()

static const zend_function_entry methods[] = {
	PHP_ME(RR_Response, __construct, arginfo_construct, ZEND_ACC_PUBLIC)
	PHP_FE_END
};

static void declare(const char *name, zval *value, uint32_t type)
{
	zend_string *interned = zend_string_init_interned(name, strlen(name), 1);
	zend_declare_typed_property(rr_response_class, interned, value, ZEND_ACC_PUBLIC, NULL, (zend_type) ZEND_TYPE_INIT_MASK(type));
}

/* While the module starts. */
void rr_response_install(void)
{
	zend_class_entry class;
	INIT_NS_CLASS_ENTRY(class, "RR", "Response", methods);
	rr_response_class = zend_register_internal_class(&class);
	rr_response_class->ce_flags |= ZEND_ACC_FINAL | ZEND_ACC_NO_DYNAMIC_PROPERTIES;
	zval value;
	ZVAL_EMPTY_STRING(&value);
	declare("body", &value, MAY_BE_ANY);
	ZVAL_LONG(&value, 200);
	declare("status", &value, MAY_BE_LONG);
	ZVAL_EMPTY_ARRAY(&value);
	declare("headers", &value, MAY_BE_ARRAY);
	declare("trailers", &value, MAY_BE_ARRAY);
	ZVAL_NULL(&value);
	declare("reason", &value, MAY_BE_STRING | MAY_BE_NULL);
}

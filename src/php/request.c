/*
 * RR\Request: the request that a worker script has pulled, each part of it made when first asked for.
 *
 * A part that was read stays readable for as long as the object lives; what was not read goes with the request.
 */
#include "php.h"
#include "php_streams.h"
#include "php_variables.h"
#include "SAPI.h"
#include "zend_exceptions.h"
#include "zend_smart_str.h"
#include "ext/standard/php_string.h"

#include "shim.h"

ZEND_TSRMLS_CACHE_EXTERN()

typedef enum {
	METHOD,
	URI,
	PATH,
	PROTOCOL,
	REMOTE_ADDRESS,
	HEADERS,
	COOKIES,
	QUERY,
	PARSED_BODY,
	UPLOADS,
	BODY,
	SERVER,
	PARTS,
} part;

typedef struct {
	uint64_t serial;
	zval parts[PARTS];
	zend_object std;
} request_object;

static zend_class_entry *request_class;
static zend_object_handlers handlers;

static request_object *from(zend_object *object)
{
	return (request_object *) ((char *) object - XtOffsetOf(request_object, std));
}

static zend_object *create(zend_class_entry *class)
{
	request_object *request = zend_object_alloc(sizeof(request_object), class);
	request->serial = 0;
	for (size_t i = 0; i < PARTS; i++) {
		ZVAL_UNDEF(&request->parts[i]);
	}
	zend_object_std_init(&request->std, class);
	object_properties_init(&request->std, class);
	return &request->std;
}

static void release(zend_object *object)
{
	request_object *request = from(object);
	for (size_t i = 0; i < PARTS; i++) {
		zval_ptr_dtor(&request->parts[i]);
	}
	zend_object_std_dtor(object);
}

void rr_request_make(zval *into, uint64_t serial)
{
	object_init_ex(into, request_class);
	from(Z_OBJ_P(into))->serial = serial;
}

/* --- the parts ------------------------------------------------------------------------------------------------------------- */

static rr_bytes variable(const rr_pair *pairs, size_t count, const char *name)
{
	size_t length = strlen(name);
	for (size_t i = 0; i < count; i++) {
		if (pairs[i].name.len == length && memcmp(pairs[i].name.ptr, name, length) == 0) {
			return pairs[i].value;
		}
	}
	return (rr_bytes) {"", 0};
}

static void append_host(smart_str *uri, const rr_pair *pairs, size_t count, bool secure)
{
	rr_bytes host = variable(pairs, count, "HTTP_HOST");
	if (host.len > 0) {
		smart_str_appendl(uri, host.ptr, host.len);
		return;
	}
	rr_bytes name = variable(pairs, count, "SERVER_NAME"), port = variable(pairs, count, "SERVER_PORT");
	smart_str_appendl(uri, name.ptr, name.len);
	const char *usual = secure ? "443" : "80";
	if (port.len > 0 && (port.len != strlen(usual) || memcmp(port.ptr, usual, port.len) != 0)) {
		smart_str_appendc(uri, ':');
		smart_str_appendl(uri, port.ptr, port.len);
	}
}

/* What the request line and the connection say, all of it at once: it comes from one table. */
static void read_line(zval *parts)
{
	const rr_pair *pairs;
	size_t count = rr_on_variables(SG(server_context), RR_SERVER, &pairs);
	rr_bytes target = variable(pairs, count, "REQUEST_URI");
	rr_bytes https = variable(pairs, count, "HTTPS");
	bool secure = https.len > 0 && !(https.len == 3 && strncasecmp(https.ptr, "off", 3) == 0);
	/* The target of OPTIONS * is no path. */
	bool is_path = target.len > 0 && target.ptr[0] == '/';
	smart_str uri = {0};
	smart_str_appends(&uri, secure ? "https://" : "http://");
	append_host(&uri, pairs, count, secure);
	if (is_path) {
		smart_str_appendl(&uri, target.ptr, target.len);
	}
	ZVAL_STR(&parts[URI], smart_str_extract(&uri));
	const char *question = memchr(target.ptr, '?', target.len);
	ZVAL_STRINGL(&parts[PATH], target.ptr, question ? (size_t) (question - target.ptr) : target.len);
	rr_bytes protocol = variable(pairs, count, "SERVER_PROTOCOL"), address = variable(pairs, count, "REMOTE_ADDR");
	ZVAL_STRINGL(&parts[PROTOCOL], protocol.ptr, protocol.len);
	ZVAL_STRINGL(&parts[REMOTE_ADDRESS], address.ptr, address.len);
}

static void read_headers(zval *into)
{
	const rr_pair *pairs;
	size_t count = rr_on_variables(SG(server_context), RR_HEADER_LINES, &pairs);
	array_init_size(into, count);
	zval *lines = NULL;
	for (size_t i = 0; i < count; i++) {
		const rr_bytes *name = &pairs[i].name;
		bool same = lines && pairs[i - 1].name.len == name->len && memcmp(pairs[i - 1].name.ptr, name->ptr, name->len) == 0;
		if (!same) {
			zval list;
			array_init_size(&list, 1);
			lines = zend_symtable_str_update(Z_ARRVAL_P(into), name->ptr, name->len, &list);
		}
		add_next_index_stringl(lines, pairs[i].value.ptr, pairs[i].value.len);
	}
}

/* What the engine has parsed, which a script that writes to its superglobals does not change. */
static void copy_global(zval *into, int which)
{
	zval *global = &PG(http_globals)[which];
	if (Z_TYPE_P(global) == IS_ARRAY) {
		ZVAL_COPY(into, global);
	} else {
		ZVAL_EMPTY_ARRAY(into);
	}
}

static php_stream *open_body(void)
{
	return php_stream_open_wrapper("php://input", "rb", REPORT_ERRORS, NULL);
}

static void read_body(zval *into)
{
	php_stream *stream = SG(request_info).content_length > 0 ? open_body() : NULL;
	zend_string *text = stream ? php_stream_copy_to_mem(stream, PHP_STREAM_COPY_ALL, 0) : NULL;
	if (stream) {
		php_stream_close(stream);
	}
	ZVAL_STR(into, text ? text : ZSTR_EMPTY_ALLOC());
}

static void read_part(zval *parts, part which)
{
	switch (which) {
		case METHOD:
			ZVAL_STRING(&parts[METHOD], SG(request_info).request_method);
			break;
		case HEADERS:
			read_headers(&parts[HEADERS]);
			break;
		case COOKIES:
			copy_global(&parts[COOKIES], TRACK_VARS_COOKIE);
			break;
		case QUERY:
			copy_global(&parts[QUERY], TRACK_VARS_GET);
			break;
		case PARSED_BODY:
			copy_global(&parts[PARSED_BODY], TRACK_VARS_POST);
			break;
		case UPLOADS:
			copy_global(&parts[UPLOADS], TRACK_VARS_FILES);
			break;
		case BODY:
			read_body(&parts[BODY]);
			break;
		case SERVER:
			/* Makes it, if no script has named $_SERVER yet. */
			zend_is_auto_global(ZSTR_KNOWN(ZEND_STR_AUTOGLOBAL_SERVER));
			copy_global(&parts[SERVER], TRACK_VARS_SERVER);
			break;
		default:
			read_line(parts);
	}
}

/* NULL, with an error thrown, if the request went before this was read. */
static zval *part_of(zval *object, part which)
{
	request_object *request = from(Z_OBJ_P(object));
	zval *part = &request->parts[which];
	if (Z_TYPE_P(part) != IS_UNDEF) {
		return part;
	}
	if (request->serial != rr_pull_serial()) {
		zend_throw_error(NULL, "RR\\Request::%s() was not read while the request was at hand; now it is over",
			get_active_function_name());
		return NULL;
	}
	read_part(request->parts, which);
	return EG(exception) ? NULL : part;
}

/* --- methods ----------------------------------------------------------------------------------------------------------------- */

ZEND_BEGIN_ARG_INFO_EX(arginfo_construct, 0, 0, 0)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_string, 0, 0, IS_STRING, 0)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_array, 0, 0, IS_ARRAY, 0)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_header, 0, 1, IS_STRING, 1)
	ZEND_ARG_TYPE_INFO(0, name, IS_STRING, 0)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_INFO_EX(arginfo_stream, 0, 0, 0)
ZEND_END_ARG_INFO()

/* Private: requests come from RR\Worker alone. */
PHP_METHOD(RR_Request, __construct)
{
	ZEND_PARSE_PARAMETERS_NONE();
}

#define GIVES(method, which) \
	PHP_METHOD(RR_Request, method) \
	{ \
		ZEND_PARSE_PARAMETERS_NONE(); \
		zval *part = part_of(ZEND_THIS, which); \
		if (part) { \
			RETURN_COPY(part); \
		} \
	}

GIVES(method, METHOD)
GIVES(uri, URI)
GIVES(path, PATH)
GIVES(protocol, PROTOCOL)
GIVES(remoteAddress, REMOTE_ADDRESS)
GIVES(headers, HEADERS)
GIVES(cookies, COOKIES)
GIVES(query, QUERY)
GIVES(parsedBody, PARSED_BODY)
GIVES(uploads, UPLOADS)
GIVES(body, BODY)
GIVES(server, SERVER)

/* As the names in headers() are spelled. */
static zend_string *title_case(const zend_string *name)
{
	zend_string *title = zend_string_alloc(ZSTR_LEN(name), 0);
	bool start = true;
	for (size_t i = 0; i < ZSTR_LEN(name); i++) {
		char byte = ZSTR_VAL(name)[i];
		ZSTR_VAL(title)[i] = start ? zend_toupper_ascii(byte) : zend_tolower_ascii(byte);
		start = byte == '-';
	}
	ZSTR_VAL(title)[ZSTR_LEN(name)] = 0;
	return title;
}

PHP_METHOD(RR_Request, header)
{
	zend_string *name;
	ZEND_PARSE_PARAMETERS_START(1, 1)
		Z_PARAM_STR(name)
	ZEND_PARSE_PARAMETERS_END();
	zval *headers = part_of(ZEND_THIS, HEADERS);
	if (!headers) {
		return;
	}
	zend_string *title = title_case(name);
	zval *lines = zend_symtable_find(Z_ARRVAL_P(headers), title);
	if (lines) {
		bool cookie = zend_string_equals_literal(title, "Cookie");
		zend_string *glue = zend_string_init(cookie ? "; " : ", ", 2, 0);
		php_implode(glue, Z_ARRVAL_P(lines), return_value);
		zend_string_release(glue);
	}
	zend_string_release(title);
}

PHP_METHOD(RR_Request, bodyStream)
{
	ZEND_PARSE_PARAMETERS_NONE();
	if (from(Z_OBJ_P(ZEND_THIS))->serial != rr_pull_serial()) {
		zend_throw_error(NULL, "RR\\Request::bodyStream() cannot be opened: the request is over");
		return;
	}
	php_stream *stream = open_body();
	if (stream) {
		php_stream_to_zval(stream, return_value);
	}
}

static const zend_function_entry methods[] = {
	PHP_ME(RR_Request, __construct, arginfo_construct, ZEND_ACC_PRIVATE)
	PHP_ME(RR_Request, method, arginfo_string, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Request, uri, arginfo_string, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Request, path, arginfo_string, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Request, protocol, arginfo_string, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Request, remoteAddress, arginfo_string, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Request, headers, arginfo_array, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Request, header, arginfo_header, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Request, cookies, arginfo_array, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Request, query, arginfo_array, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Request, parsedBody, arginfo_array, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Request, uploads, arginfo_array, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Request, body, arginfo_string, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Request, bodyStream, arginfo_stream, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Request, server, arginfo_array, ZEND_ACC_PUBLIC)
	PHP_FE_END
};

/* While the module starts. */
void rr_request_install(void)
{
	zend_class_entry class;
	INIT_NS_CLASS_ENTRY(class, "RR", "Request", methods);
	request_class = zend_register_internal_class(&class);
	request_class->ce_flags |= ZEND_ACC_FINAL | ZEND_ACC_NO_DYNAMIC_PROPERTIES | ZEND_ACC_NOT_SERIALIZABLE;
	request_class->create_object = create;
	memcpy(&handlers, zend_get_std_object_handlers(), sizeof(handlers));
	handlers.offset = XtOffsetOf(request_object, std);
	handlers.free_obj = release;
	handlers.clone_obj = NULL;
	request_class->default_object_handlers = &handlers;

	zval none;
	ZVAL_EMPTY_ARRAY(&none);
	zend_string *name = zend_string_init_interned(ZEND_STRL("attributes"), 1);
	zend_declare_typed_property(request_class, name, &none, ZEND_ACC_PUBLIC, NULL, (zend_type) ZEND_TYPE_INIT_MASK(MAY_BE_ARRAY));
}

/* RR\Task: what a worker script has pulled where its works are no requests. Both parts are the object's own. */
#include "php.h"
#include "SAPI.h"

#include "shim.h"

ZEND_TSRMLS_CACHE_EXTERN()

typedef struct {
	zend_string *context;
	zend_string *body;
	zend_object std;
} task_object;

static zend_class_entry *task_class;
static zend_object_handlers handlers;

static task_object *from(zend_object *object)
{
	return (task_object *) ((char *) object - XtOffsetOf(task_object, std));
}

static zend_object *create(zend_class_entry *class)
{
	task_object *task = zend_object_alloc(sizeof(task_object), class);
	task->context = task->body = ZSTR_EMPTY_ALLOC();
	zend_object_std_init(&task->std, class);
	object_properties_init(&task->std, class);
	return &task->std;
}

static void release(zend_object *object)
{
	task_object *task = from(object);
	zend_string_release(task->context);
	zend_string_release(task->body);
	zend_object_std_dtor(object);
}

static zend_string *read_body(void)
{
	size_t length = SG(request_info).content_length > 0 ? (size_t) SG(request_info).content_length : 0;
	zend_string *body = zend_string_alloc(length, false);
	ZSTR_LEN(body) = rr_on_read(SG(server_context), ZSTR_VAL(body), length);
	ZSTR_VAL(body)[ZSTR_LEN(body)] = 0;
	return body;
}

void rr_task_make(zval *into)
{
	object_init_ex(into, task_class);
	task_object *task = from(Z_OBJ_P(into));
	rr_bytes context = rr_on_task(SG(server_context));
	task->context = zend_string_init(context.ptr, context.len, false);
	task->body = read_body();
}

PHP_METHOD(RR_Task, __construct)
{
	ZEND_PARSE_PARAMETERS_NONE();
}

PHP_METHOD(RR_Task, context)
{
	ZEND_PARSE_PARAMETERS_NONE();
	RETURN_STR_COPY(from(Z_OBJ_P(ZEND_THIS))->context);
}

PHP_METHOD(RR_Task, body)
{
	ZEND_PARSE_PARAMETERS_NONE();
	RETURN_STR_COPY(from(Z_OBJ_P(ZEND_THIS))->body);
}

ZEND_BEGIN_ARG_INFO_EX(arginfo_construct, 0, 0, 0)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_text, 0, 0, IS_STRING, 0)
ZEND_END_ARG_INFO()

static const zend_function_entry methods[] = {
	PHP_ME(RR_Task, __construct, arginfo_construct, ZEND_ACC_PRIVATE)
	PHP_ME(RR_Task, context, arginfo_text, ZEND_ACC_PUBLIC)
	PHP_ME(RR_Task, body, arginfo_text, ZEND_ACC_PUBLIC)
	PHP_FE_END
};

/* While the module starts. */
void rr_task_install(void)
{
	zend_class_entry class;
	INIT_NS_CLASS_ENTRY(class, "RR", "Task", methods);
	task_class = zend_register_internal_class(&class);
	task_class->ce_flags |= ZEND_ACC_FINAL | ZEND_ACC_NO_DYNAMIC_PROPERTIES | ZEND_ACC_NOT_SERIALIZABLE;
	task_class->create_object = create;
	memcpy(&handlers, zend_get_std_object_handlers(), sizeof(handlers));
	handlers.offset = XtOffsetOf(task_object, std);
	handlers.free_obj = release;
	handlers.clone_obj = NULL;
	task_class->default_object_handlers = &handlers;
}

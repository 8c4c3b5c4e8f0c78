/*
 * What a worker script keeps from request to request, measured after each: how many elements, bytes, objects.
 *
 * It is only looked at, never through handlers, so no code of the script's runs but the destructors of what is garbage already;
 * what is not initialised yet is passed over.
 * Measures are kept outside the engine's heap, for its limit would end the script. All of it is bounded. What grows is judged in
 * leaks.rs.
 */
#include "php.h"
#include "SAPI.h"
#include "zend_closures.h"
#include "zend_objects_API.h"

#include "shim.h"

ZEND_TSRMLS_CACHE_EXTERN()

#define MOST_MEASURES 50000
#define MOST_OBJECTS 500000
#define MOST_CLASSES 8192
/* Of an array's own elements, those that are looked into. */
#define MOST_NESTED 512
/* Elements looked at in all, per look. */
#define BUDGET 2000000

typedef struct {
	zend_class_entry *class;
	uint64_t objects;
	uint32_t properties; /* the first of its sums */
} class_sum;

static bool enabled;

static __thread struct {
	rr_measure *list;
	size_t count, room;
	class_sum *classes; /* open addressing, by the class's address */
	uint64_t *sums;     /* elements in the arrays of each property, of all objects of a class */
	size_t sums_count, sums_room;
	uint32_t class_count;
	int64_t budget;
} look;

void rr_leaks_enable(bool wanted)
{
	enabled = wanted;
}

bool rr_leaks_wanted(void)
{
	return enabled;
}

static rr_bytes bytes_of(const zend_string *text)
{
	if (!text) {
		return (rr_bytes) {"", 0};
	}
	/* Names of anonymous classes go on after a NUL with where they are from; a private property's name begins with one. */
	const char *start = ZSTR_VAL(text);
	size_t length = ZSTR_LEN(text);
	if (length && !start[0]) {
		const char *name = memrchr(start, 0, length);
		return (rr_bytes) {name + 1, (size_t) (start + length - name - 1)};
	}
	return (rr_bytes) {start, strnlen(start, length)};
}

static uint64_t hash_of(zend_string *text)
{
	return text ? zend_string_hash_val(text) : 0;
}

static void add(rr_measured what, zend_string *class, zend_string *function, zend_string *name, uint64_t value)
{
	if (look.count == look.room) {
		size_t room = look.room ? look.room * 2 : 1024;
		rr_measure *list = room > MOST_MEASURES ? NULL : realloc(look.list, room * sizeof(*list));
		if (!list) {
			return;
		}
		look.list = list;
		look.room = room;
	}
	uint64_t id = what;
	id = id * 0x9E3779B97F4A7C15u + hash_of(class);
	id = id * 0x9E3779B97F4A7C15u + hash_of(function);
	id = id * 0x9E3779B97F4A7C15u + hash_of(name);
	look.list[look.count++] = (rr_measure) {
		.what = what, .id = id, .value = value, .scope = bytes_of(class), .function = bytes_of(function), .name = bytes_of(name)};
}

/* Its elements, and those of the arrays in it, unless it is large. */
static uint64_t elements(HashTable *table)
{
	uint64_t count = zend_hash_num_elements(table);
	look.budget--;
	if (count > MOST_NESTED || look.budget < 0) {
		return count;
	}
	zval *value;
	ZEND_HASH_FOREACH_VAL(table, value) {
		look.budget--;
		ZVAL_DEREF(value);
		if (Z_TYPE_P(value) == IS_ARRAY) {
			count += zend_hash_num_elements(Z_ARRVAL_P(value));
		}
	} ZEND_HASH_FOREACH_END();
	return count;
}

/* A variable's size, under what says it in elements or, one further, in bytes. */
static void add_value(rr_measured what, zend_string *class, zend_string *function, zend_string *name, zval *value)
{
	ZVAL_DEINDIRECT(value);
	ZVAL_DEREF(value);
	if (Z_TYPE_P(value) == IS_ARRAY) {
		add(what, class, function, name, elements(Z_ARRVAL_P(value)));
	} else if (Z_TYPE_P(value) == IS_STRING) {
		add(what + 1, class, function, name, Z_STRLEN_P(value));
	}
}

static void look_at_globals(void)
{
	uint64_t count = 0;
	zend_string *name;
	zval *value;
	ZEND_HASH_MAP_FOREACH_STR_KEY_VAL(&EG(symbol_table), name, value) {
		if (!name || zend_hash_exists(CG(auto_globals), name)) {
			continue;
		}
		count++;
		add_value(RR_GLOBAL, NULL, NULL, name, value);
	} ZEND_HASH_FOREACH_END();
	add(RR_GLOBALS, NULL, NULL, NULL, count);
	add(RR_RESOURCES, NULL, NULL, NULL, zend_hash_num_elements(&EG(regular_list)));
}

static void look_at_function(zend_function *function, zend_class_entry *class)
{
	if (function->type != ZEND_USER_FUNCTION || !function->op_array.static_variables) {
		return;
	}
	/* Made when the function is first called. */
	HashTable *variables = ZEND_MAP_PTR_GET(function->op_array.static_variables_ptr);
	if (!variables) {
		return;
	}
	zend_string *name;
	zval *value;
	ZEND_HASH_MAP_FOREACH_STR_KEY_VAL(variables, name, value) {
		add_value(RR_STATIC_VARIABLE, class ? class->name : NULL, function->common.function_name, name, value);
	} ZEND_HASH_FOREACH_END();
}

static void look_at_class(zend_class_entry *class)
{
	zend_function *method;
	ZEND_HASH_MAP_FOREACH_PTR(&class->function_table, method) {
		if (method->common.scope == class) {
			look_at_function(method, class);
		}
	} ZEND_HASH_FOREACH_END();
	if (class->default_static_members_count == 0) {
		return;
	}
	/* Made when the first of them is used. */
	zval *members = CE_STATIC_MEMBERS(class);
	if (!members) {
		return;
	}
	zend_property_info *property;
	zend_string *name;
	ZEND_HASH_MAP_FOREACH_STR_KEY_PTR(&class->properties_info, name, property) {
		if ((property->flags & ZEND_ACC_STATIC) && property->ce == class
			&& property->offset < (uint32_t) class->default_static_members_count) {
			add_value(RR_STATIC_PROPERTY, class->name, NULL, name, &members[property->offset]);
		}
	} ZEND_HASH_FOREACH_END();
}

static void look_at_code(void)
{
	zend_string *key;
	zend_function *function;
	ZEND_HASH_MAP_FOREACH_STR_KEY_PTR(EG(function_table), key, function) {
		/* Others are declared when their line is reached. */
		if (key && ZSTR_LEN(key) && ZSTR_VAL(key)[0]) {
			look_at_function(function, NULL);
		}
	} ZEND_HASH_FOREACH_END();
	zval *entry;
	ZEND_HASH_MAP_FOREACH_STR_KEY_VAL(EG(class_table), key, entry) {
		if (!key || !ZSTR_LEN(key) || !ZSTR_VAL(key)[0] || Z_TYPE_P(entry) == IS_ALIAS_PTR) {
			continue;
		}
		zend_class_entry *class = Z_PTR_P(entry);
		if (class->type == ZEND_USER_CLASS && (class->ce_flags & ZEND_ACC_LINKED)) {
			look_at_class(class);
		}
	} ZEND_HASH_FOREACH_END();
}

/* The sums of a class, made if they are new; NULL if there are too many. */
static class_sum *sum_of(zend_class_entry *class)
{
	size_t at = ((uintptr_t) class >> 4) & (2 * MOST_CLASSES - 1);
	while (look.classes[at].class && look.classes[at].class != class) {
		at = (at + 1) & (2 * MOST_CLASSES - 1);
	}
	class_sum *sum = &look.classes[at];
	if (sum->class) {
		return sum;
	}
	size_t properties = class->properties_info_table ? (size_t) class->default_properties_count : 0;
	if (look.class_count == MOST_CLASSES || properties > 10000) {
		return NULL;
	}
	if (look.sums_count + properties > look.sums_room) {
		size_t room = (look.sums_room + properties) * 2 + 1024;
		uint64_t *sums = realloc(look.sums, room * sizeof(*sums));
		if (!sums) {
			return NULL;
		}
		look.sums = sums;
		look.sums_room = room;
	}
	look.class_count++;
	memset(look.sums + look.sums_count, 0, properties * sizeof(*look.sums));
	*sum = (class_sum) {.class = class, .properties = (uint32_t) look.sums_count};
	look.sums_count += properties;
	return sum;
}

static void look_at_objects(void)
{
	zend_objects_store *store = &EG(objects_store);
	for (uint32_t i = 1; i < store->top && i < MOST_OBJECTS; i++) {
		zend_object *object = store->object_buckets[i];
		if (!IS_OBJ_VALID(object) || (OBJ_FLAGS(object) & IS_OBJ_FREE_CALLED)) {
			continue;
		}
		class_sum *sum = sum_of(object->ce);
		if (!sum) {
			continue;
		}
		sum->objects++;
		for (int slot = 0; object->ce->properties_info_table && slot < object->ce->default_properties_count; slot++) {
			zval *value = &object->properties_table[slot];
			ZVAL_DEREF(value);
			if (Z_TYPE_P(value) == IS_ARRAY) {
				look.sums[sum->properties + slot] += elements(Z_ARRVAL_P(value));
			}
		}
	}
	for (size_t at = 0; at < 2 * MOST_CLASSES; at++) {
		class_sum *sum = &look.classes[at];
		if (!sum->class) {
			continue;
		}
		/* First the objects: more of them explain more in their properties. */
		add(RR_OBJECTS, sum->class->name, NULL, NULL, sum->objects);
		for (int slot = 0; sum->class->properties_info_table && slot < sum->class->default_properties_count; slot++) {
			zend_property_info *property = sum->class->properties_info_table[slot];
			if (property && look.sums[sum->properties + slot]) {
				add(RR_PROPERTY, sum->class->name, NULL, property->name, look.sums[sum->properties + slot]);
			}
		}
	}
}

void rr_leaks_look(void)
{
	/* What only refers to itself is no leak. Its destructors may throw. */
	zend_gc_collect_cycles();
	rr_worker_settle();
	look.count = look.sums_count = look.class_count = 0;
	look.budget = BUDGET;
	if (!look.classes) {
		look.classes = malloc(2 * MOST_CLASSES * sizeof(*look.classes));
		if (!look.classes) {
			return;
		}
	}
	memset(look.classes, 0, 2 * MOST_CLASSES * sizeof(*look.classes));
	look_at_globals();
	look_at_code();
	look_at_objects();
	rr_on_measures(SG(server_context), look.list, look.count);
}

void rr_leaks_forget(void)
{
	free(look.list);
	free(look.classes);
	free(look.sums);
	memset(&look, 0, sizeof(look));
}

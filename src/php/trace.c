/*
 * Where a PHP thread is: its calls, innermost first, one a line.
 *
 * A thread that runs PHP code writes its own at its next interrupt, which is exact. One that is inside a C function reaches none
 * for as long as that takes: then another thread reads its frames. Those are at rest meanwhile, and should it go on all the same,
 * what is read is nonsense but no fault, for the kernel does the reading; two readings that differ are not believed.
 */
#define _GNU_SOURCE
#include "php.h"
#include "SAPI.h"
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "shim.h"

ZEND_TSRMLS_CACHE_EXTERN()

static __thread atomic_bool wanted;
static void (*next_interrupt)(zend_execute_data *);

typedef struct {
	char *at;
	size_t room;
} text;

__attribute__((format(printf, 2, 3))) static void append(text *into, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(into->at, into->room, format, arguments);
	va_end(arguments);
	if (length > 0) {
		size_t taken = (size_t) length < into->room ? (size_t) length : into->room - 1;
		into->at += taken;
		into->room -= taken;
	}
}

/* The thread reads its own frames. */
static __thread bool own;

/* False if there is no such memory. */
static bool peek(const void *from, void *into, size_t length)
{
	if (own) {
		memcpy(into, from, length);
		return true;
	}
	struct iovec local = {into, length}, remote = {(void *) from, length};
	return from && process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t) length;
}

static void append_string(text *into, const zend_string *string)
{
	char value[512];
	size_t length;
	if (!string || !peek(&string->len, &length, sizeof(length))) {
		return;
	}
	length = length < sizeof(value) ? length : sizeof(value) - 1;
	if (peek(string->val, value, length)) {
		append(into, "%.*s", (int) length, value);
	}
}

static void append_name(text *into, const zend_function *function, bool outermost)
{
	zend_string *name;
	zend_class_entry *scope = NULL;
	if (!peek(&function->common.function_name, &name, sizeof(name)) || !name) {
		append(into, outermost ? "{main}" : "include");
		return;
	}
	zend_string *class = NULL;
	if (peek(&function->common.scope, &scope, sizeof(scope)) && scope && peek(&scope->name, &class, sizeof(class)) && class) {
		append_string(into, class);
		append(into, "::");
	}
	append_string(into, name);
	append(into, "()");
}

static void append_place(text *into, const zend_execute_data *frame, const zend_function *function)
{
	zend_string *file;
	uint32_t line;
	if (peek(&function->op_array.filename, &file, sizeof(file)) && file) {
		append(into, " ");
		append_string(into, file);
		if (peek(&frame->opline->lineno, &line, sizeof(line))) {
			append(into, ":%u", line);
		}
	}
}

/* A call that has no frame: only its caller's instruction tells of it, and is not at rest in a thread that looks at itself. */
static void append_frameless(text *into, const zend_execute_data *frame, int *number)
{
#if PHP_VERSION_ID >= 80400
	zend_op op;
	zend_function *function;
	if (own || !peek(frame->opline, &op, sizeof(op)) || op.opcode < ZEND_FRAMELESS_ICALL_0 || op.opcode > ZEND_FRAMELESS_ICALL_3
		|| !peek(&zend_flf_functions[op.extended_value], &function, sizeof(function))) {
		return;
	}
	append(into, "#%d ", (*number)++);
	append_name(into, function, false);
	append(into, "\n");
#endif
}

static size_t walk(const zend_execute_data *first, char *buffer, size_t room, int depth)
{
	text into = {buffer, room};
	zend_execute_data frame;
	int number = 0;
	/* Frames of a thread that runs on may be read as a circle. */
	int steps = 4 * depth;
	for (; first && number < depth && steps-- > 0 && peek(first, &frame, sizeof(frame)); first = frame.prev_execute_data) {
		uint8_t type;
		/* Some frames stand for no call. */
		if (!frame.func || !peek(&frame.func->type, &type, sizeof(type))) {
			continue;
		}
		if (number == 0 && type == ZEND_USER_FUNCTION) {
			append_frameless(&into, &frame, &number);
		}
		append(&into, "#%d ", number++);
		append_name(&into, frame.func, !frame.prev_execute_data);
		if (type != ZEND_INTERNAL_FUNCTION) {
			append_place(&into, &frame, frame.func);
		}
		append(&into, "\n");
	}
	return into.at - buffer;
}

static void interrupt(zend_execute_data *frame)
{
	if (atomic_exchange(&wanted, false) && SG(server_context)) {
		char buffer[RR_TRACE_ROOM];
		own = true;
		size_t length = walk(EG(current_execute_data), buffer, sizeof(buffer), RR_TRACE_DEPTH);
		own = false;
		rr_on_trace(SG(server_context), buffer, length);
	}
	if (next_interrupt) {
		next_interrupt(frame);
	}
}

void rr_trace_install(void)
{
	next_interrupt = zend_interrupt_function;
	zend_interrupt_function = interrupt;
}

void *rr_trace_wanted(void)
{
	return &wanted;
}

size_t rr_php_trace(void *const *place, char *buffer, size_t room)
{
	char again[RR_TRACE_ROOM];
	const zend_execute_data *frame;
	for (int attempt = 0; attempt < 3; attempt++) {
		if (!peek(place, &frame, sizeof(frame)) || !frame) {
			return 0;
		}
		size_t length = walk(frame, buffer, room, RR_TRACE_DEPTH);
		if (peek(place, &frame, sizeof(frame)) && walk(frame, again, sizeof(again), RR_TRACE_DEPTH) == length
			&& memcmp(buffer, again, length) == 0) {
			return length;
		}
	}
	return 0;
}

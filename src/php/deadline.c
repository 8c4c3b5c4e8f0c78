/*
 * Ending a script that has used up the time that the server gives it.
 *
 * PHP's own flag for that, EG(timed_out), is cleared by set_time_limit() and ini_set(): a loop around them would never be seen to
 * be late. This one is the server's: no script clears it.
 */
#include "php.h"
#include <stdatomic.h>

#include "shim.h"

ZEND_TSRMLS_CACHE_EXTERN()

static void (*next_interrupt)(zend_execute_data *);

static void interrupt(zend_execute_data *frame)
{
	const char *text = atomic_exchange(&rr_overdue, NULL);
	if (text) {
		zend_error_noreturn(E_ERROR, "%s", text);
	}
	if (next_interrupt) {
		next_interrupt(frame);
	}
}

void rr_php_spare(void)
{
	rr_overdue = NULL;
}

void rr_deadline_install(void)
{
	next_interrupt = zend_interrupt_function;
	zend_interrupt_function = interrupt;
}

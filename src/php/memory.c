/* What the engine keeps, given back. */
#include "php.h"
#include "zend_alloc.h"
#include <sys/mman.h>

#include "shim.h"

/* The first page of a heap's first chunk holds the heap itself; all the rest is free between requests. */
#define CHUNK ((size_t) 2 << 20)
#define FIRST_PAGE ((size_t) 4096)

void rr_php_trim(void)
{
	if (!is_zend_mm()) {
		return;
	}
	/* What ends a request's use of the heap also unmaps chunks beyond an average of what requests needed. Each such end
	 * without a request halves the average; 64 of them would suffice for any. */
	for (int i = 0; i < 64 && zend_memory_usage(true) > CHUNK; i++) {
		shutdown_memory_manager(true, false);
	}
	char *chunk = (char *) ((uintptr_t) zend_mm_get_heap() & ~(CHUNK - 1));
	madvise(chunk + FIRST_PAGE, CHUNK - FIRST_PAGE, MADV_DONTNEED);
}

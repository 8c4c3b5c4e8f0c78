/* The extension `rr`: what is the same in our own server and in a stock php that loads rr.so. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "php.h"
#include "SAPI.h"
#include "ext/standard/info.h"

extern const char *rr_on_version(void);

/* What our own server does at this moment; NULL in a stock php. */
void (*rr_on_module_start)(void);

static PHP_MINIT_FUNCTION(rr)
{
	if (rr_on_module_start) {
		rr_on_module_start();
	}
	REGISTER_NS_STRING_CONSTANT("RR", "VERSION", rr_on_version(), CONST_CS | CONST_PERSISTENT);
	return SUCCESS;
}

static PHP_MINFO_FUNCTION(rr)
{
	php_info_print_table_start();
	php_info_print_table_row(2, "rr", "enabled");
	php_info_print_table_row(2, "version", rr_on_version());
	php_info_print_table_row(2, "SAPI", sapi_module.name);
	php_info_print_table_end();
}

zend_module_entry rr_module_entry = {
	STANDARD_MODULE_HEADER,
	"rr",
	NULL,
	PHP_MINIT(rr),
	NULL,
	NULL,
	NULL,
	PHP_MINFO(rr),
	NULL,
	STANDARD_MODULE_PROPERTIES
};

void *rr_php_module(void)
{
	/* A zend_module_entry has no room for a Rust constant, so the version is filled in here. */
	rr_module_entry.version = rr_on_version();
	return &rr_module_entry;
}

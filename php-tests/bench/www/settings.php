<?php
// The settings the results depend on, as this server's PHP has them.
$keys = [
    'opcache.enable', 'opcache.validate_timestamps', 'opcache.revalidate_freq', 'opcache.jit', 'opcache.jit_buffer_size',
    'opcache.memory_consumption', 'opcache.interned_strings_buffer', 'opcache.max_accelerated_files', 'opcache.file_cache',
    'opcache.preload', 'opcache.huge_code_pages', 'opcache.enable_file_override', 'opcache.save_comments',
    'opcache.optimization_level', 'realpath_cache_size', 'realpath_cache_ttl', 'memory_limit', 'max_execution_time',
    'post_max_size', 'output_buffering', 'implicit_flush', 'zlib.output_compression', 'display_errors', 'log_errors',
    'error_reporting', 'variables_order', 'request_order', 'auto_globals_jit', 'enable_post_data_reading', 'expose_php',
    'auto_prepend_file', 'user_ini.filename', 'user_ini.cache_ttl', 'zend.assertions', 'zend.enable_gc', 'session.auto_start',
    'disable_functions', 'open_basedir',
];
header('Content-Type: text/plain');
echo 'PHP = ', PHP_VERSION, "\n";
echo 'opcache running = ', (int) (function_exists('opcache_get_status') && (opcache_get_status(false)['opcache_enabled'] ?? false)), "\n";
foreach ($keys as $key) {
    echo $key, ' = ', var_export(ini_get($key), true), "\n";
}
echo 'extensions = ', implode(' ', array_udiff(get_loaded_extensions(), ['rr', 'frankenphp', 'cgi-fcgi'], 'strcasecmp')), "\n";

<?php
// As symfony/runtime has it: the same file under php-fpm and in a worker.
require_once dirname(__DIR__) . '/vendor/autoload_runtime.php';

return fn (array $context) => new Kernel($context['APP_ENV'], (bool) $context['APP_DEBUG']);

<?php
// A boot that makes its own choices, to which every request is brought back.
ini_set('precision', '9');
set_include_path('/boot');
error_reporting(E_ALL & ~E_DEPRECATED);
set_time_limit(55);
chdir('/tmp');
umask(0027);
setlocale(LC_ALL, 'C');
date_default_timezone_set('Europe/Paris');
putenv('RR_TEST_PUT=boot');
set_error_handler('Reset::bootError');
set_exception_handler('Reset::bootException');

<?php
// One change for each row of the reset table, and a look at all of them.
const CHANGES = [
    'ini' => ['ini_set', ['precision', '5']],
    'ini twice' => ['ini_set', ['precision', '7']],
    'include path' => ['set_include_path', ['/nowhere']],
    'error level' => ['error_reporting', [E_ERROR]],
    'time limit' => ['set_time_limit', [77]],
    'abort' => ['ignore_user_abort', [true]],
    'directory' => ['chdir', ['/']],
    'umask' => ['umask', [0077]],
    'locale' => ['setlocale', [LC_ALL, 'C.UTF-8']],
    'timezone' => ['date_default_timezone_set', ['Asia/Tokyo']],
    'environment' => ['putenv', ['RR_TEST_PUT=request']],
    'removed from the environment' => ['putenv', ['RR_TEST_REMOVED']],
    'global' => ['Reset::global', []],
    'static' => ['Reset::remember', []],
    'constant' => ['Reset::constant', []],
    '$_ENV' => ['Reset::env', []],
    'stream wrapper' => ['Reset::wrapper', []],
    'autoloader' => ['spl_autoload_register', ['Reset::autoload']],
    'error handler' => ['set_error_handler', ['Reset::requestError']],
    'exception handler' => ['set_exception_handler', ['Reset::requestException']],
    'last error' => ['Reset::warn', []],
    'buffer' => ['ob_start', []],
    'buffer callback' => ['ob_start', ['Reset::wrap']],
    'output rewrite' => ['output_add_rewrite_var', ['token', '1']],
    'header' => ['header', ['X-Left: 1']],
    'status' => ['http_response_code', [418]],
    'superglobal' => ['Reset::superglobals', []],
    'session' => ['Reset::session', []],
    'encoding' => ['mb_internal_encoding', ['ISO-8859-1']],
];

class Reset
{
    public static ?string $kept = null;
    public $context;

    public static function global(): void { $GLOBALS['left'] = 'left'; }
    public static function remember(): void { self::$kept = 'left'; }
    public static function constant(): void { defined('LEFT') || define('LEFT', 'left'); }
    public static function env(): void { $_ENV['LEFT'] = 'left'; }
    public static function wrapper(): void { in_array('left', stream_get_wrappers()) || stream_wrapper_register('left', self::class); }
    public static function autoload(): void {}
    public static function warn(): void { @trigger_error('left'); }
    public static function wrap(string $text): string { return "[$text]"; }
    public static function superglobals(): void { $_GET['left'] = $_POST['left'] = $_COOKIE['left'] = $_REQUEST['left'] = $_SERVER['LEFT'] = $_FILES['left'] = 'left'; }
    public static function session(): void { session_id('left'); session_start(); $_SESSION['left'] = 'left'; }
    public static function requestError(): bool { return true; }
    public static function requestException(Throwable $exception): void { http_response_code(510); echo 'request handler'; }
    public static function bootError(): bool { return true; }
    public static function bootException(Throwable $exception): void { http_response_code(511); echo 'boot handler'; }

    public static function look(): array
    {
        $error = set_error_handler(null);
        restore_error_handler();
        $exception = set_exception_handler(null);
        restore_exception_handler();
        return [
            'ini' => ini_get('precision'),
            'ini twice' => ini_get('precision'),
            'include path' => get_include_path(),
            'error level' => error_reporting(),
            'time limit' => ini_get('max_execution_time'),
            'abort' => ignore_user_abort(),
            'directory' => [getcwd(), realpath('.')],
            'umask' => umask(),
            'locale' => [setlocale(LC_ALL, '0'), ctype_alpha("\xe9")],
            'timezone' => [date_default_timezone_get(), date('T', 0)],
            'environment' => [getenv('RR_TEST_PUT'), trim((string) shell_exec('echo "$RR_TEST_PUT"'))],
            'removed from the environment' => getenv('RR_TEST_REMOVED'),
            'global' => $GLOBALS['left'] ?? null,
            'static' => self::$kept,
            'constant' => defined('LEFT'),
            '$_ENV' => $_ENV['LEFT'] ?? null,
            'stream wrapper' => in_array('left', stream_get_wrappers()),
            'autoloader' => in_array('Reset::autoload', array_map(fn ($f) => is_array($f) ? implode('::', $f) : $f, array_filter(spl_autoload_functions(), fn ($f) => !is_object($f)))),
            'error handler' => $error,
            'exception handler' => $exception,
            'last error' => error_get_last(),
            'buffer' => ob_get_level(),
            'buffer callback' => ob_list_handlers(),
            'output rewrite' => ob_list_handlers(),
            'header' => array_values(preg_grep('/^X-Left/', headers_list())),
            'status' => http_response_code(),
            'superglobal' => [$_GET, $_POST, $_COOKIE, $_REQUEST, $_SERVER['LEFT'] ?? null, $_FILES],
            'session' => [session_status(), session_id(), $_SESSION ?? null],
            'encoding' => mb_internal_encoding(),
        ];
    }
}

return [
    'look' => function () {
        $look = Reset::look();
        header('Content-Type: application/json');
        echo json_encode($look);
    },
    'changes' => function () {
        echo json_encode(array_keys(CHANGES));
    },
    'change' => function () {
        [$function, $arguments] = CHANGES[$_GET['what']];
        $function(...$arguments);
        echo json_encode(Reset::look()[$_GET['what']]);
    },
    'change-all' => function () {
        foreach (CHANGES as [$function, $arguments]) {
            $function(...$arguments);
        }
        throw new Exception('left by all');
    },
    'seeded' => function () {
        isset($_GET['seed']) && mt_srand(1);
        echo mt_rand(), ' ', rand();
    },
    'mkfile' => function () {
        touch($_GET['to']);
        clearstatcache();
        echo decoct(fileperms($_GET['to']) & 0777);
    },
    'peak' => function () {
        isset($_GET['use']) && str_repeat('x', (int) $_GET['use']);
        echo memory_get_peak_usage();
    },
    'shutdown-to' => function () {
        $to = $_GET['to'];
        register_shutdown_function(function () use ($to) {
            file_put_contents($to, 'request ', FILE_APPEND);
        });
        echo 'registered';
    },
    'pid' => function () {
        echo getmypid();
    },
    'memory-used' => function () {
        echo memory_get_usage();
    },
];

<?php
// One application for every kind of script; RR_TEST_KIND says which one this is. A handler is ordinary PHP: it reads superglobals
// and echoes. One that returns a generator streams it.

final class App
{
    /** Tells this boot from any other. */
    public static string $boot;
    public static int $served = 0;
    /** What handlers keep from one request to the next. */
    public static array $kept = [];
    private static array $handlers = [];

    public static function boot(): void
    {
        self::$boot = bin2hex(random_bytes(6));
        foreach (glob(dirname(__DIR__) . '/handlers/*.php') as $file) {
            self::$handlers += require $file;
        }
    }

    public static function handle(): ?Generator
    {
        self::$served++;
        $name = substr(strstr($_SERVER['REQUEST_URI'] . '?', '?', true), 1);
        if (!isset(self::$handlers[$name])) {
            http_response_code(404);
            return null;
        }
        $result = self::$handlers[$name]();
        return $result instanceof Generator ? $result : null;
    }

    /** For scripts whose output is the answer. */
    public static function run(): void
    {
        foreach (self::handle() ?? [] as $part) {
            echo $part;
            flush();
        }
    }

    public static function pull(RR\Worker $worker): void
    {
        ob_start();
        $level = ob_get_level();
        try {
            $parts = self::handle();
            while (ob_get_level() > $level) {
                ob_end_flush();
            }
            $worker->respond(new RR\Response($parts ?? ob_get_contents(), http_response_code()));
        } catch (Throwable $exception) {
            $worker->error($exception);
        } finally {
            while (ob_get_level() >= $level) {
                ob_end_clean();
            }
        }
    }
}

App::boot();
(getenv('RR_TEST_AT_BOOT') ?: null) && require dirname(__DIR__) . '/boot/' . getenv('RR_TEST_AT_BOOT') . '.php';
switch (getenv('RR_TEST_KIND')) {
    case 'classic':
        App::run();
        break;
    case 'callback':
        while (rr_handle_request(App::run(...)));
        break;
    case 'frankenphp':
        while (frankenphp_handle_request(App::run(...)));
        break;
    case 'pull':
        $worker = new RR\Worker();
        while ($worker->waitRequest()) {
            App::pull($worker);
        }
        break;
}

<?php

/**
 * What PHP scripts get from rr beyond PHP itself. A test compares this file with reflection.
 */

namespace RR {
    /** The version of rr, such as "2026.1.0". Also in a stock php that loads rr.so. */
    const VERSION = UNKNOWN;

    /**
     * A worker script that takes its requests, and answers them, itself. It boots once, and then:
     *
     *     $worker = new RR\Worker();
     *     while ($request = $worker->waitRequest()) {
     *         $worker->respond("Hello, {$request->path()}\n");
     *     }
     *
     * Where works are no requests (`tcp.worker`), it takes tasks in the same way:
     *
     *     while ($task = $worker->waitTask()) {
     *         $worker->respond("You said {$task->body()}", 'WRITE');
     *     }
     *
     * The superglobals are the request's, sessions work, and the fields that header() and setcookie() set leave with the answer.
     * What the script prints goes to the log. exit(), an uncaught exception or a fatal error end the script, which boots again;
     * a request without an answer then gets a 500 (`http.internal_error_code`). Between two requests the same is reset as for
     * rr_handle_request(): see `php.reset`.
     */
    final class Worker
    {
        /** @throws \Error in a script that is no worker (`http.worker`) */
        public function __construct() {}

        /**
         * Waits for a request. The one before is over then: if it has no answer, its client gets a 500 and the log a line.
         *
         * @return Request|null null when the script is to leave its loop: the server stops, or wants the script to boot again
         * @throws \Error while a request is being handled in another way, and in a script that is given tasks
         */
        public function waitRequest(): ?Request {}

        /**
         * Waits for a task. The one before is over then: if it has no answer, whoever asked is told so and the log has a line.
         *
         * @return Task|null null when the script is to leave its loop
         * @throws \Error in a script that is given requests
         */
        public function waitTask(): ?Task {}

        /**
         * Answers the request; a text alone is a body with status 200. The script may go on afterwards: the client does not wait.
         *
         * A body that is a stream or a generator is sent while it is made, for as long as the client is there. When the client
         * has left, or takes nothing for `http.output.write_timeout`, no more is asked of it: a generator is let go of, so that
         * its `finally` blocks run. What a generator throws comes out here; as long as nothing of the answer has left, there may
         * be another one. For HEAD, 204 and 304 neither is touched.
         *
         * A task is answered with a body and `$context`, which only tasks have; of a Response it gets the body alone. A stream or a
         * generator is for those who take an answer in parts: "streaming is not supported" by `tcp`.
         *
         * @return bool false if the client has left before it had all
         * @throws \Error if there is nothing to answer, or it has been answered
         * @throws \ValueError|\TypeError if status, headers, body or context are none; nothing is sent then
         */
        public function respond(Response|string $response, string $context = ''): bool {}

        /**
         * Answers with a 500 (`http.internal_error_code`), and writes the error to the log. With `display_errors` the client sees
         * it too. Whoever asked for a task is told the error.
         */
        public function error(\Throwable|string $error): void {}

        /**
         * Sends fields ahead of the answer (103), such as `['Link' => '</a.css>; rel=preload; as=style']`. Once or several times.
         *
         * @param array<string, string|list<string>> $headers
         * @return bool false if the client cannot have them: only those of rr's own front can, and not over HTTP/2
         */
        public function earlyHints(array $headers): bool {}
    }

    /**
     * A request, each part of it made when first asked for. What was read stays; the rest goes when the request is over, and
     * then throws an Error.
     */
    final class Request
    {
        /** For the application's own use. */
        public array $attributes = [];

        private function __construct() {}

        /** Upper case, as sent. */
        public function method(): string {}

        /** As the client asked for it, undecoded: `http://example.com:8080/a%20b?c=d`. */
        public function uri(): string {}

        /** Its path, undecoded: `/a%20b`. */
        public function path(): string {}

        /** `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`. */
        public function protocol(): string {}

        /** The client's IP address without its port; `unix:` on a unix socket. */
        public function remoteAddress(): string {}

        /**
         * In the client's order, names spelled `Content-Type`; without names that contain `_`, and without `Proxy`.
         *
         * @return array<string, list<string>>
         */
        public function headers(): array {}

        /** One field, the name in any case; several lines are joined by `, `. Null if there is none. */
        public function header(string $name): ?string {}

        /** As `$_COOKIE`. */
        public function cookies(): array {}

        /** As `$_GET`. */
        public function query(): array {}

        /** As `$_POST`: the fields of a form, empty for any other body. */
        public function parsedBody(): array {}

        /** As `$_FILES`. The files go when the request is over, unless they were moved. */
        public function uploads(): array {}

        /** As `php://input`: empty for `multipart/form-data`, which has been parsed. */
        public function body(): string {}

        /**
         * The same to be read in pieces; it may be opened more than once, and is closed when the request is over.
         *
         * @return resource
         */
        public function bodyStream() {}

        /** As `$_SERVER`. */
        public function server(): array {}
    }

    /** Work that is no request: what it says is between the plugin that gives it and the script. */
    final class Task
    {
        private function __construct() {}

        /** What is said about the body: for `tcp` JSON of `remote_addr`, `server`, `uuid` and `event`. */
        public function context(): string {}

        /** The data. */
        public function body(): string {}
    }

    /** What RR\Worker::respond() sends. */
    final class Response
    {
        /**
         * - a string, number or Stringable: sent whole
         * - an array: its values, one after the other
         * - a stream: from where it stands to its end; an ordinary file with its length, others as their data come
         * - a generator or another Traversable: each value leaves at once; it is let go of, and this is null, after respond()
         *
         * @var string|int|float|\Stringable|resource|iterable<string>|null
         */
        public mixed $body = '';

        /** From 200 to 999. */
        public int $status = 200;

        /**
         * They replace those of the same name that header() has set, but for Set-Cookie. Without a Content-Type the answer has
         * that of `default_mimetype`. Those that describe the connection (`Connection`, `Transfer-Encoding`) are left out.
         *
         * @var array<string, string|list<string>>
         */
        public array $headers = [];

        /**
         * Fields that follow the body; what makes the body may still set those whose names are here before. They reach clients of
         * HTTP/2, and of HTTP/1.1 that send `TE: trailers`; for all others they are dropped.
         *
         * @var array<string, string|list<string>>
         */
        public array $trailers = [];

        /** A reason phrase of one's own, for HTTP/1. */
        public ?string $reason = null;

        /** @param array<string, string|list<string>> $headers */
        public function __construct(mixed $body = '', int $status = 200, array $headers = []) {}
    }
}

namespace {
    /** Levels of frankenphp_log(): those of Go's slog. */
    const FRANKENPHP_LOG_LEVEL_DEBUG = -4;
    const FRANKENPHP_LOG_LEVEL_INFO = 0;
    const FRANKENPHP_LOG_LEVEL_WARN = 4;
    const FRANKENPHP_LOG_LEVEL_ERROR = 8;

    /**
     * Waits for a request and handles it with `$handler`: superglobals, output and headers are the request's meanwhile, and
     * exit() ends the request alone. An exception that nobody catches makes the answer a 500. Only in a worker script
     * (`http.worker`).
     *
     * @return bool false when the script is to leave its loop: the server stops, or wants the script to boot again
     * @throws Error in a script that is no worker, or while a request is being handled
     */
    function rr_handle_request(callable $handler): bool {}

    /**
     * As rr_handle_request(), for applications written for FrankenPHP, and like these it takes the first request for a part of the
     * boot: they set themselves up when it is there. What that one changes for its own use (handlers, ini values, time zone; see
     * `php.reset`) stays, and is what later requests are brought back to.
     */
    function frankenphp_handle_request(callable $handler): bool {}

    /** Writes to the server's log; `$context` is added as JSON. */
    function frankenphp_log(string $message, int $level = FRANKENPHP_LOG_LEVEL_INFO, array $context = []): void {}

    /**
     * Completes the answer and lets the script go on; later output is discarded. As php-fpm's.
     *
     * @return bool false if the answer was complete already
     */
    function fastcgi_finish_request(): bool {}

    /** @alias fastcgi_finish_request */
    function frankenphp_finish_request(): bool {}

    /** The request's header fields, in the client's order. As php-fpm's; without names that contain `_`, and without `Proxy`. */
    function apache_request_headers(): array {}

    /** @alias apache_request_headers */
    function getallheaders(): array {}

    /** @alias apache_request_headers */
    function frankenphp_request_headers(): array {}

    /** The header fields set so far. As mod_php's. */
    function apache_response_headers(): array {}

    /** @alias apache_response_headers */
    function frankenphp_response_headers(): array {}

    /**
     * Sends the header fields set so far: as an interim response for a status of 100 to 199 (103 is Early Hints, which may be sent
     * several times), else as the head of the answer with that status.
     *
     * @return int the status, or 0 if nothing was sent: interim responses are for clients of rr's own front, not over HTTP/2
     */
    function headers_send(int $status = 200): int {}

    /** The figures of php-fpm's status page with `full`. */
    function fpm_get_status(): array|false {}
}

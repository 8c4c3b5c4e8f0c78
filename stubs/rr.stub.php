<?php

/**
 * What PHP scripts get from rr beyond PHP itself. A test compares this file with reflection.
 */

namespace RR {
    /** The version of rr, such as "2026.1.0". Also in a stock php that loads rr.so. */
    const VERSION = UNKNOWN;
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

    /** @alias rr_handle_request */
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
     * @return int the status, or 0 if nothing was sent: only HTTP/1.1 clients of rr's own front can have interim responses
     */
    function headers_send(int $status = 200): int {}

    /** The figures of php-fpm's status page with `full`. */
    function fpm_get_status(): array|false {}
}

<?php

/**
 * What PHP scripts get from rr beyond PHP itself. A test compares this file with reflection.
 */

namespace RR {
    /** The version of rr, such as "2026.1.0". Also in a stock php that loads rr.so. */
    const VERSION = UNKNOWN;
}

namespace {
    /**
     * Completes the answer and lets the script go on; later output is discarded. As php-fpm's.
     *
     * @return bool false if the answer was complete already
     */
    function fastcgi_finish_request(): bool {}

    /** The request's header fields, in the client's order. As php-fpm's; without names that contain `_`, and without `Proxy`. */
    function apache_request_headers(): array {}

    /** @alias apache_request_headers */
    function getallheaders(): array {}

    /** The header fields set so far. As mod_php's. */
    function apache_response_headers(): array {}

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

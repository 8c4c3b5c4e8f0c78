<?php
// What RoadRunner's workers answer: the bench's scripts, and `/` for a worker that does nothing else.
require __DIR__ . '/goridge.php';

serve(function (string $context, string $body): array {
    switch (parse_url(fields($context)[4] ?? '/', PHP_URL_PATH)) {
        case '/':
        case '/hello.php':
            return [200, 'Hello, World!'];
        case '/echo.php':
            return [200, strlen($body) . ' ' . md5($body)];
        case '/server.php':
            $request = fields($context);
            return [200, json_encode($_SERVER + [
                'REMOTE_ADDR' => $request[1] ?? '', 'SERVER_PROTOCOL' => $request[2] ?? '', 'REQUEST_METHOD' => $request[3] ?? '',
                'REQUEST_URI' => $request[4] ?? '', 'QUERY_STRING' => $request[7] ?? '',
            ] + ($request['headers'] ?? []))];
    }
    return [404, ''];
});

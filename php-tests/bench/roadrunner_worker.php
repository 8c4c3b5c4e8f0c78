<?php
// RoadRunner's HTTP worker without its SDK: the Goridge frames by hand, so that the comparison is with RoadRunner at its fastest.

[$in, $out] = [fopen('php://stdin', 'rb'), fopen('php://stdout', 'wb')];

while (($frame = receive($in)) !== null) {
    [$flags, $context, $body] = $frame;
    if ($flags & 0x01) {
        $control = json_decode($body, true);
        if (isset($control['stop'])) {
            break;
        }
        send($out, 0x01, null, json_encode(['pid' => getmypid()]));
        continue;
    }
    [$status, $answer] = answer(parse_url(fields($context)[4] ?? '/', PHP_URL_PATH), $context, $body);
    send($out, 0x80, "\x08" . varint($status), $answer);
}

function answer(string $path, string $context, string $body): array
{
    switch ($path) {
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
}

// The protobuf fields of http.v1.Request that scripts see: strings by number, and the headers.
function fields(string $context): array
{
    $fields = [];
    for ($at = 0, $end = strlen($context); $at < $end;) {
        $tag = number($context, $at);
        if (($tag & 7) !== 2) {
            number($context, $at);
            continue;
        }
        $size = number($context, $at);
        $value = substr($context, $at, $size);
        $at += $size;
        if ($tag >> 3 !== 5) {
            $fields[$tag >> 3] = $value;
            continue;
        }
        $pair = fields($value);
        $values = fields($pair[2] ?? '');
        $fields['headers']['HTTP_' . strtoupper(strtr($pair[1] ?? '', '-', '_'))] = $values[1] ?? '';
    }
    return $fields;
}

function number(string $bytes, int &$at): int
{
    for ($value = $shift = 0;; $shift += 7) {
        $byte = ord($bytes[$at++]);
        $value |= ($byte & 0x7f) << $shift;
        if ($byte < 0x80) {
            return $value;
        }
    }
}

function varint(int $value): string
{
    for ($bytes = ''; $value >= 0x80; $value >>= 7) {
        $bytes .= chr($value & 0x7f | 0x80);
    }
    return $bytes . chr($value);
}

function receive($in): ?array
{
    $head = exactly($in, 12);
    if ($head === null) {
        return null;
    }
    $options = ((ord($head[0]) & 0x0f) - 3);
    $context = $options > 0 ? unpack('V', exactly($in, 4 * $options))[1] : 0;
    $payload = (string) exactly($in, unpack('V', $head, 2)[1]);
    return [ord($head[1]), substr($payload, 0, $context), substr($payload, $context)];
}

function exactly($in, int $size): ?string
{
    for ($bytes = ''; strlen($bytes) < $size;) {
        $more = fread($in, $size - strlen($bytes));
        if ($more === false || $more === '') {
            return null;
        }
        $bytes .= $more;
    }
    return $bytes;
}

function send($out, int $flags, ?string $context, string $body): void
{
    $options = $context === null ? '' : pack('V', strlen($context));
    $head = chr(0x10 | 3 + strlen($options) / 4) . chr($flags) . pack('V', strlen($context ?? '') + strlen($body));
    fwrite($out, $head . pack('V', crc32($head)) . "\0\0" . $options . $context . $body);
    fflush($out);
}

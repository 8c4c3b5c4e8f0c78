<?php
// RoadRunner's HTTP worker without its SDK: the Goridge frames by hand, so that the comparison is with RoadRunner at its fastest.

// Answers requests with what $answer makes of a context and a body: status, body, and headers if there are any (name => values).
function serve(callable $answer): void
{
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
        [$status, $text, $headers] = $answer($context, $body) + [2 => []];
        $head = "\x08" . varint($status);
        foreach ($headers as $name => $values) {
            $lines = '';
            foreach ((array) $values as $value) {
                $lines .= field(1, $value);
            }
            $head .= field(2, field(1, $name) . field(2, $lines));
        }
        send($out, 0x80, $head, $text);
    }
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

// What such a request is in $_SERVER, for a front controller.
function server(string $context): array
{
    $request = fields($context);
    $uri = parse_url($request[4] ?? '/');
    $query = $request[7] ?? '';
    return ($request['headers'] ?? []) + [
        'REMOTE_ADDR' => $request[1] ?? '', 'SERVER_PROTOCOL' => $request[2] ?? '', 'REQUEST_METHOD' => $request[3] ?? '',
        'REQUEST_URI' => ($uri['path'] ?? '/') . ($query === '' ? '' : "?$query"), 'QUERY_STRING' => $query,
        'HTTP_HOST' => ($uri['host'] ?? '') . (isset($uri['port']) ? ":{$uri['port']}" : ''),
        'SCRIPT_NAME' => '/index.php', 'SCRIPT_FILENAME' => '/index.php', 'REQUEST_TIME' => time(),
    ];
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

function field(int $number, string $bytes): string
{
    return chr($number << 3 | 2) . varint(strlen($bytes)) . $bytes;
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

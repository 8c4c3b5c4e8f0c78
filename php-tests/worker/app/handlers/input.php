<?php
// What a request brings.

/** As it came, but for what differs from one request, or one kind of script, to the next. */
function server_table(): array
{
    $table = $_SERVER;
    foreach (['REMOTE_PORT', 'REQUEST_TIME', 'REQUEST_TIME_FLOAT', 'SERVER_PORT', 'HTTP_HOST', 'RR_TEST_KIND', 'FRANKENPHP_WORKER'] as $name) {
        unset($table[$name]);
    }
    return $table;
}

return [
    'hello' => function () {
        echo 'hello ', $_GET['tag'] ?? '';
    },
    'server' => function () {
        header('Content-Type: application/json');
        echo json_encode(['table' => server_table(), 'order' => array_keys(server_table()), 'time' => is_float($_SERVER['REQUEST_TIME_FLOAT']) && abs(microtime(true) - $_SERVER['REQUEST_TIME_FLOAT']) < 20, 'headers' => getallheaders()]);
    },
    'input' => function () {
        echo json_encode(['get' => $_GET, 'post' => $_POST, 'cookie' => $_COOKIE, 'request' => $_REQUEST, 'files' => array_map(fn ($file) => $file['name'], $_FILES), 'body' => file_get_contents('php://input')]);
    },
    // Names $_REQUEST and $_ENV only when asked to: the engine makes them late.
    'conditional' => function () {
        echo isset($_GET['ask']) ? json_encode([${'_REQUEST'}['tag'] ?? null, isset(${'_ENV'})]) : 'not asked';
    },
    'echo' => function () {
        header('Content-Type: ' . ($_SERVER['CONTENT_TYPE'] ?: 'text/plain'));
        header('X-Tag: ' . ($_GET['tag'] ?? ''));
        echo file_get_contents('php://input');
    },
    'md5' => function () {
        $input = fopen('php://input', 'r');
        $hash = hash_init('md5');
        hash_update_stream($hash, $input);
        rewind($input);
        echo hash_final($hash), ' ', strlen(stream_get_contents($input)), ' ', memory_get_peak_usage() < 64 << 20 ? 'small' : 'large';
    },
    'upload' => function () {
        $seen = [];
        foreach ($_FILES as $name => $file) {
            $seen[$name] = [$file['name'], $file['size'], $file['error'], md5_file($file['tmp_name']), is_uploaded_file($file['tmp_name']), $file['tmp_name']];
        }
        if (isset($_GET['move'])) {
            $seen['moved'] = move_uploaded_file($_FILES['one']['tmp_name'], $_GET['move']);
        }
        echo json_encode([$_POST, $seen]);
    },
    'form' => function () {
        echo json_encode([$_POST, request_parse_body()[0]]);
    },
    // Keeps what belongs to its request, and asks for it in the next one.
    'keep-input' => function () {
        App::$kept['input'] = fopen('php://input', 'r');
        App::$kept['text'] = fread(App::$kept['input'], 4);
        echo App::$kept['text'];
    },
    'use-kept-input' => function () {
        $kept = App::$kept['input'] ?? null;
        try {
            echo json_encode([gettype($kept), is_resource($kept) ? fread($kept, 100) : null, file_get_contents('php://input')]);
        } catch (TypeError $error) {
            echo $error->getMessage();
        }
    },
    'keep-file' => function () {
        App::$kept['file'] ??= fopen(__FILE__, 'r');
        echo json_encode([ftell(App::$kept['file']), strlen(fread(App::$kept['file'], 10))]);
    },
];

<?php
// What a request is answered.
return [
    'headers' => function () {
        header('X-One: 1');
        header('X-One: 2');
        header('X-Many: a');
        header('X-Many: b', false);
        header('X-Gone: 1');
        header_remove('X-Gone');
        header('X-Tag: ' . ($_GET['tag'] ?? ''));
        setcookie('one', 'a b', ['path' => '/', 'httponly' => true]);
        setcookie('two', '2');
        echo json_encode(array_values(preg_grep('/^X-Powered/', headers_list(), PREG_GREP_INVERT)));
    },
    'late-header' => function () {
        echo str_repeat('x', 100);
        header('X-Late: 1');
        echo json_encode(headers_sent());
    },
    'status' => function () {
        http_response_code((int) $_GET['code']);
        echo http_response_code();
    },
    'reason' => function () {
        header('HTTP/1.1 404 Gone Fishing');
        echo 'reason';
    },
    'status-line' => function () {
        header($_GET['line']);
        echo 'line';
    },
    'redirect' => function () {
        header('Location: /there');
    },
    'type' => function () {
        isset($_GET['type']) && header('Content-Type: ' . $_GET['type']);
        echo '{}';
    },
    'odd-headers' => function () {
        foreach (['No colon', 'X Y: 1', "X-Latin: \xe9", 'X-Empty:', ': v', 'X-Ok: 1'] as $line) {
            header($line);
        }
        foreach (["X-A: 1\r\nX-B: 2", "X-C: a\0b"] as $line) {
            @header($line);
        }
        echo 'ok';
    },
    'large' => function () {
        for ($i = 0; $i < 2048; $i++) {
            echo str_repeat(chr(65 + $i % 26), 4096);
        }
    },
    'buffers' => function () {
        ob_start(fn (string $text) => strtoupper($text));
        echo 'outer ';
        ob_start();
        echo 'inner ';
        ob_start(fn (string $text) => strrev($text));
        echo 'abc';
    },
    'stream' => function () {
        header('Content-Type: text/event-stream');
        return (function () {
            foreach ([1, 2, 3] as $part) {
                yield "data: {$_GET['tag']} $part\n\n";
                for ($i = 0; isset($_GET['go']) && $part === 1 && $i < 2000 && !file_exists($_GET['go']); $i++) {
                    clearstatcache();
                    usleep(5000);
                }
            }
        })();
    },
    // Until the client has gone; what the end was is written to a file.
    'endless' => function () {
        isset($_GET['ignore']) && ignore_user_abort(true);
        return (function () {
            $noted = false;
            try {
                for ($i = 0; $i < 4000; $i++) {
                    yield str_repeat('x', 1000);
                    usleep(2000);
                    if ($i > 20 && connection_aborted() && isset($_GET['ignore'])) {
                        file_put_contents($_GET['to'], 'ignored');
                        $noted = true;
                        return;
                    }
                }
            } finally {
                $noted || file_put_contents($_GET['to'], 'finally');
            }
        })();
    },
    'rewrite' => function () {
        output_add_rewrite_var('token', $_GET['tag']);
        echo '<a href="there.php">x</a>';
    },
    'hints' => function () {
        header('Link: </a.css>; rel=preload');
        $sent = headers_send(103);
        header_remove('Link');
        header('X-Final: 1');
        echo $sent;
    },
    'finish' => function () {
        echo 'before';
        $first = fastcgi_finish_request();
        echo 'after';
        $again = fastcgi_finish_request();
        // The body may still be read.
        file_put_contents($_GET['to'], json_encode([$first, $again, file_get_contents('php://input'), connection_status()]));
    },
    'fiber' => function () {
        $fiber = new Fiber(function () {
            header('X-Fiber: ' . Fiber::suspend('out '));
            echo 'in ';
        });
        $out = $fiber->start();
        $fiber->resume('yes');
        echo $out;
        App::$kept['fiber'] = new Fiber(function () {
            echo 'left';
            Fiber::suspend();
            echo 'never';
        });
        App::$kept['fiber']->start();
    },
    'log' => function () {
        error_log('said by error_log ' . $_GET['tag']);
        frankenphp_log('said by frankenphp_log', FRANKENPHP_LOG_LEVEL_WARN, ['tag' => $_GET['tag']]);
        file_put_contents('php://stderr', "said on stderr {$_GET['tag']}\n");
        echo 'logged';
    },
];

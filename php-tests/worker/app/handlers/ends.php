<?php
// Every way a request can end.
class Loud
{
    public function __construct(private string $text)
    {
    }

    public function __destruct()
    {
        echo $this->text;
    }
}

return [
    'boot' => function () {
        echo App::$boot, ' ', App::$served;
    },
    'exit' => function () {
        echo 'before ';
        (fn () => exit($_GET['with'] ?? 0))();
        echo 'never';
    },
    'exit-in-buffer' => function () {
        ob_start(fn (string $text) => strtoupper($text));
        echo 'buffered';
        exit;
    },
    'exit-in-fiber' => function () {
        echo 'before';
        (new Fiber(fn () => exit))->start();
        echo 'never';
    },
    'exit-in-finally' => function () {
        try {
            throw new RuntimeException('swallowed');
        } finally {
            exit('from finally');
        }
    },
    'exit-in-destructor' => function () {
        $object = new class {
            public function __destruct()
            {
                echo 'destructor';
                exit;
            }
        };
        unset($object);
        echo 'never';
    },
    'destructor' => function () {
        $local = new Loud('local gone');
        echo 'body ';
    },
    'exception' => function () {
        throw new RuntimeException('nobody catches this');
    },
    'exception-at-end' => function () {
        register_shutdown_function(fn () => throw new RuntimeException('thrown at the end'));
        echo 'body';
    },
    'handled-exception' => function () {
        set_exception_handler(function (Throwable $exception) {
            http_response_code(418);
            echo 'handled ', $exception->getMessage();
        });
        throw new RuntimeException('this');
    },
    'error' => function () {
        undefined_function();
    },
    'fatal' => function () {
        eval('class Twice {} class Twice {}');
    },
    'fatal-at-end' => function () {
        $to = $_GET['to'];
        register_shutdown_function(function () use ($to) {
            file_put_contents($to, 'ran ', FILE_APPEND);
            eval('class Twice {} class Twice {}');
        });
        echo 'body';
    },
    'memory' => function () {
        ini_set('memory_limit', '16M');
        $kept = [];
        while (true) {
            $kept[] = str_repeat('x', 1 << 16);
        }
    },
    'recursion' => function () {
        ini_set('memory_limit', '32M');
        $f = function () use (&$f) {
            return 1 + $f();
        };
        $f();
    },
    'time' => function () {
        set_time_limit(1);
        while (true);
    },
    'time-left' => function () {
        echo ini_get('max_execution_time');
    },
    'shutdown' => function () {
        register_shutdown_function(function () {
            echo ' shutdown';
            register_shutdown_function(function () {
                echo ' and another';
            });
        });
        echo 'body';
    },
    'sleep' => function () {
        usleep(1000 * (int) $_GET['ms']);
        echo 'slept ', $_GET['tag'] ?? '';
    },
];

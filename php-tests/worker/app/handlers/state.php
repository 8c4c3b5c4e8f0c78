<?php
// What requests share, and what they must not.
return [
    'count' => function () {
        static $count = 0;
        echo ++$count;
    },
    'session' => function () {
        session_start();
        $_SESSION['count'] = ($_SESSION['count'] ?? 0) + 1;
        $_SESSION['tag'] ??= $_GET['tag'] ?? null;
        echo $_SESSION['count'], ' ', $_SESSION['tag'];
    },
    'no-session' => function () {
        echo json_encode([session_status() === PHP_SESSION_NONE, isset($_SESSION), session_id()]);
    },
    // Holds its session's lock until the client has gone.
    'session-endless' => function () {
        session_start();
        return (function () {
            for ($i = 0; $i < 4000; $i++) {
                yield str_repeat('x', 1000);
                usleep(2000);
            }
        })();
    },
    'session-exit' => function () {
        session_start();
        $_SESSION['secret'] = $_GET['tag'];
        exit('left');
    },
    'session-handler' => function () {
        session_set_save_handler(new class implements SessionHandlerInterface {
            public function open(string $path, string $name): bool { return true; }
            public function close(): bool { return true; }
            public function read(string $id): string { return 'from|s:7:"request";'; }
            public function write(string $id, string $data): bool { return true; }
            public function destroy(string $id): bool { return true; }
            public function gc(int $age): int { return 0; }
        }, true);
        session_start();
        echo $_SESSION['from'] ?? 'nowhere';
    },
    'session-from' => function () {
        session_start();
        echo $_SESSION['from'] ?? 'nowhere';
        session_write_close();
    },
    'autoload' => function () {
        spl_autoload_register(function (string $class) {
            $class === 'Late' && require_once dirname(__DIR__) . '/late.php';
        });
        echo (new Late())->say();
    },
    'opcache-reset' => function () {
        echo opcache_reset() ? 'reset' : 'refused';
    },
];

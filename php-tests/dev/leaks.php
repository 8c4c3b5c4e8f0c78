<?php

// A worker that leaks what its client asks for, and one way to do without.

enum Kind: string
{
    case One = 'one';
}

trait Counted
{
    private static array $counts = [];

    public static function count(): int
    {
        static $calls = 0;
        self::$counts['calls'] = ++$calls;
        return $calls;
    }
}

abstract class Base
{
    public static array $items = [];
    protected static array $shared = ['a' => [], 'b' => []];
    public static int $never;
    public static ?self $lazy = null;
}

final class Cache extends Base
{
    use Counted;

    public static array $tree = ['a' => [], 'b' => []];
    public static string $text = '';
    private static array $ring = [];

    public static function ring(int $value): void
    {
        self::$ring[$value % 5] = str_repeat('x', $value % 7);
        self::$shared['a'] = range(0, $value % 3);
    }

    public function seen(): void
    {
        static $seen = [];
        $seen[] = true;
    }
}

final class Container
{
    private array $log = [];
    public ?Node $chain = null;
    protected readonly array $once;

    public function log(string $line): void
    {
        $this->log[] = $line;
    }

    public function once(): void
    {
        $this->once ??= ['made', 'once'];
    }
}

final class Node
{
    public function __construct(public ?self $next = null)
    {
    }

    public function __destruct()
    {
        // What is garbage may be destroyed at any time, whatever it does.
        if (isset($this->next->next) && $this->next->next === $this && ($GLOBALS['throws'] ?? false)) {
            throw new LogicException('thrown by garbage');
        }
    }
}

function remember(): void
{
    static $remembered = [];
    $remembered[] = [1, 2, 3];
}

function clean(int $number): void
{
    Cache::ring($number);
    Cache::count();
    Cache::$lazy ??= new Cache;
    $GLOBALS['container']->once();
    $GLOBALS['last'] = str_repeat('y', $number * 37 % 101);
    // Garbage that refers to itself.
    $node = new Node;
    $node->next = new Node($node);
    $closure = function () use (&$closure, $node) { yield $node; };
    foreach ($closure() as $yielded) {
        $object = new class($yielded) { public function __construct(public Node $node) {} };
    }
    $list = [&$list];
    try {
        throw new RuntimeException(Kind::One->value, 0, new Exception);
    } catch (RuntimeException $exception) {
        $trace = $exception->getTrace();
    }
    if (getenv('RR_TEST_KIND') === 'callback') {
        session_id('leaks');
        session_start();
        $_SESSION['number'] = $number;
    }
    ob_start();
    echo count($trace), $object::class;
    ob_end_clean();
}

$container = new Container;
$storage = new SplObjectStorage;
$queue = new SplQueue;
$ghost = (new ReflectionClass(Container::class))->newLazyGhost(fn () => null);
class_alias(Cache::class, 'Alias');
$fixed = array_fill(0, 1000, 'x');

function handle(string $path, int $number): void
{
    global $container, $storage, $queue;
    match ($path) {
        '/static' => Cache::$items[] = 1,
        '/nested' => Cache::$tree['a'][] = 1,
        '/text' => Cache::$text .= str_repeat('x', 10),
        '/global' => $GLOBALS['list'][] = 1,
        '/globals' => $GLOBALS["global$number"] = 1,
        '/variable' => remember(),
        '/method' => (new Cache)->seen(),
        '/service' => $container->log('line'),
        '/objects' => $storage->attach(new Node),
        '/chain' => $container->chain = new Node($container->chain),
        '/stream' => $queue->enqueue(fopen('php://memory', 'r')),
        '/throws' => $GLOBALS['throws'] = true,
        default => clean($number),
    };
}

$number = 0;
switch (getenv('RR_TEST_KIND')) {
    case 'callback':
        while (rr_handle_request(function () use (&$number) {
            handle(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), $number++);
            echo 'done';
        })) {
        }
        break;
    case 'pull':
        $worker = new RR\Worker;
        while ($request = $worker->waitRequest()) {
            handle($request->path(), $number++);
            $worker->respond('done');
        }
        break;
    case 'frames':
        require getenv('RR_TEST_FIXTURES') . '/roadrunner/goridge.php';
        $relay = Relay::fromEnvironment();
        while ($frame = $relay->wait()) {
            $request = json_decode($frame->context(), true);
            handle(parse_url($request['uri'], PHP_URL_PATH), $number++);
            $relay->answer('done');
        }
        break;
}

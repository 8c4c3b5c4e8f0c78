<?php
// Laravel booted once, in RoadRunner's worker. SHARE is where the packages were put, PROJECT the application.
use Illuminate\Contracts\Http\Kernel;
use Illuminate\Http\Request;
use Symfony\Component\HttpFoundation\Request as Message;

require dirname(__DIR__) . '/goridge.php';

$kernel = (require getenv('PROJECT') . '/bootstrap/app.php')->make(Kernel::class);
$kernel->bootstrap();
serve(function (string $context, string $body) use ($kernel): array {
    $server = server($context);
    parse_str($server['QUERY_STRING'], $query);
    $request = Request::createFromBase(new Message($query, [], [], [], [], $server, $body));
    $response = $kernel->handle($request);
    $answer = [$response->getStatusCode(), $response->getContent(), $response->headers->allPreserveCase()];
    $kernel->terminate($request, $response);
    return $answer;
});

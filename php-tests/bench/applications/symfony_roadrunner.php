<?php
// Symfony booted once, in RoadRunner's worker. SHARE is where the packages were put, PROJECT the application.
use Symfony\Component\HttpFoundation\Request;

require dirname(__DIR__) . '/goridge.php';
require getenv('PROJECT') . '/vendor/autoload.php';

$kernel = new Kernel(getenv('APP_ENV'), (bool) getenv('APP_DEBUG'));
serve(function (string $context, string $body) use ($kernel): array {
    $server = server($context);
    parse_str($server['QUERY_STRING'], $query);
    $request = new Request($query, [], [], [], [], $server, $body);
    $response = $kernel->handle($request);
    $answer = [$response->getStatusCode(), $response->getContent(), $response->headers->allPreserveCase()];
    $kernel->terminate($request, $response);
    // As Symfony's runner for workers does.
    gc_collect_cycles();
    return $answer;
});

<?php
// Laravel booted once, its kernel asked for each request: what Octane does, without its clean-up between requests.
use Illuminate\Contracts\Http\Kernel;
use Illuminate\Http\Request;

$kernel = (require dirname(__DIR__) . '/bootstrap/app.php')->make(Kernel::class);
$kernel->bootstrap();
$handle = function () use ($kernel): void {
    $request = Request::capture();
    $response = $kernel->handle($request);
    $response->send();
    $kernel->terminate($request, $response);
};
while (frankenphp_handle_request($handle));

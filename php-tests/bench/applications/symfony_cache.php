<?php
// Compiles container and routes, as `console cache:warmup` does, by asking for the route that is measured.
use Symfony\Component\HttpFoundation\Request;

require getenv('PROJECT') . '/vendor/autoload.php';

$response = (new Kernel(getenv('APP_ENV'), (bool) getenv('APP_DEBUG')))->handle(Request::create('/hello/world'));
echo $response->getContent();
exit($response->getStatusCode() === 200 ? 0 : 1);

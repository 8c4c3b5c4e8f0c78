<?php
$worker = new RR\Worker();
while ($worker->waitRequest()) {
    $worker->respond('Hello, World!');
}

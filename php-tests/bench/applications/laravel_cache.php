<?php
// What `artisan config:cache` and its like do before an application is put into production.
use Illuminate\Contracts\Console\Kernel;

$artisan = (require getenv('PROJECT') . '/bootstrap/app.php')->make(Kernel::class);
foreach (['config:cache', 'event:cache', 'route:cache'] as $command) {
    $status = $artisan->call($command);
    echo $artisan->output();
    if ($status !== 0) {
        exit($status);
    }
}

<?php
// An application as `laravel new` lays it out, its routes in the same file; SHARE is where the packages were put.
$share = getenv('SHARE');
set_include_path("$share/php");
require_once "$share/php/Composer/InstalledVersions.php";
Composer\InstalledVersions::reload([
    'root' => ['name' => 'rr/tested', 'pretty_version' => '1', 'version' => '1.0.0.0', 'reference' => null, 'type' => 'project', 'install_path' => __DIR__, 'aliases' => [], 'dev' => false],
    'versions' => [],
]);
require_once "$share/php/Illuminate/autoload.php";

use Illuminate\Foundation\Application;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Route;

return Application::configure(basePath: dirname(__DIR__))->withRouting(using: function () {
    Route::middleware('web')->group(function () {
        Route::get('/count', fn () => (string) session()->increment('count'));
        Route::get('/token', fn () => csrf_token());
        Route::post('/form', fn (Request $request) => ['name' => $request->input('name'), 'file' => $request->file('file')?->getSize()]);
        Route::get('/view', fn () => view('page', ['name' => '<b>']));
        Route::get('/leave', fn () => redirect('/hello/again'));
    });
    Route::get('/hello/{name}', fn (Request $request, string $name) => response()->json(['hello' => $name, 'url' => $request->fullUrl(), 'path' => $request->path(), 'env' => env('TESTED'), 'console' => app()->runningInConsole()]));
    Route::post('/json', fn (Request $request) => ['sum' => array_sum($request->json('numbers'))]);
    Route::get('/stream', fn () => response()->stream(function () {
        foreach (range(1, 3) as $part) {
            echo "part $part\n";
            flush();
        }
    }));
    Route::get('/fail', fn () => throw new RuntimeException('on purpose'));
    Route::get('/down', fn () => abort(503, 'resting', ['Retry-After' => '7']));
    Route::get('/late', function () {
        app()->terminating(function () {
            usleep(300000);
            file_put_contents(storage_path('late'), 'done');
        });
        return 'sent';
    });
})->withMiddleware()->withExceptions()->create();

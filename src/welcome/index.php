<?php
// The page that `rr serve` shows when it is given nothing to serve.
$modules = get_loaded_extensions();
natcasesort($modules);
$opcache = function_exists('opcache_get_status') ? (opcache_get_status(false)['opcache_enabled'] ?? false) : false;
$e = fn ($text) => htmlspecialchars((string) $text);
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>rr is running</title>
<style>
  :root { color-scheme: light dark; font: 16px/1.6 system-ui, sans-serif; }
  body { max-width: 46rem; margin: 4rem auto; padding: 0 1.25rem; }
  h1 { font-size: 2rem; margin: 0 0 .25rem; }
  dl { display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1.5rem; }
  dt { opacity: .65; } dd { margin: 0; }
  code, pre { font: .9em/1.5 ui-monospace, monospace; }
  pre { padding: .9rem 1.1rem; border: 1px solid #8884; border-radius: .5rem; overflow-x: auto; }
  .modules { font-size: .9rem; opacity: .85; }
</style>
<h1>rr is running</h1>
<p>PHP answered this request inside the server's own process.</p>
<dl>
  <dt>rr</dt><dd><?= $e(RR\VERSION) ?></dd>
  <dt>PHP</dt><dd><?= $e(PHP_VERSION) ?> (<?= PHP_ZTS ? 'thread-safe' : 'not thread-safe' ?>, <?= $e(PHP_SAPI) ?>)</dd>
  <dt>Mode</dt><dd>classic: each request runs its script from the start</dd>
  <dt>OPcache</dt><dd><?= $opcache ? 'on' : 'off' ?></dd>
  <dt>php.ini</dt><dd><?= $e(php_ini_loaded_file() ?: 'none') ?></dd>
  <dt>Protocol</dt><dd><?= $e($_SERVER['SERVER_PROTOCOL']) ?></dd>
</dl>
<h2>Serve something</h2>
<pre>./x serve /path/to/wordpress      # or Drupal, Laravel, Symfony, any folder with PHP
./x rr check                      # is my configuration right?
./x rr config                     # what does rr make of it?</pre>
<p>All keys with their defaults are in <code>config.php.dist</code>; recipes are in the README.</p>
<h2>Extensions</h2>
<p class="modules"><?= $e(implode(' · ', $modules)) ?></p>
</html>

<?php
// In Composer's place; SHARE is where the packages were put.
$share = getenv('SHARE');
set_include_path("$share/php");
require_once "$share/php/Composer/InstalledVersions.php";
Composer\InstalledVersions::reload([
    'root' => ['name' => 'rr/tested', 'pretty_version' => '1', 'version' => '1.0.0.0', 'reference' => null, 'type' => 'project', 'install_path' => dirname(__DIR__), 'aliases' => [], 'dev' => false],
    'versions' => [],
]);
require_once "$share/php/Symfony/Bundle/FrameworkBundle/autoload.php";
require_once "$share/php/Symfony/Component/Runtime/autoload.php";
require_once dirname(__DIR__) . '/src/Kernel.php';
return new stdClass();

<?php
$handle = function () {
    echo 'Hello, World!';
};
while (frankenphp_handle_request($handle));

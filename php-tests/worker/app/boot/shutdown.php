<?php
register_shutdown_function(function () {
    file_put_contents(getenv('RR_TEST_TO'), 'boot ', FILE_APPEND);
});

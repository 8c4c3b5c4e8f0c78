<?php
while (rr_handle_request(function () {
    echo 'Hello, World!';
}));

<?php readfile(__DIR__ . '/static/page.html');

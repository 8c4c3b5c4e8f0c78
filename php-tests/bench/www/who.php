<?php
// Long enough that requests sent at once are served at once, each by a thread or process of its own, which it names.
usleep(20000);
echo basename(readlink('/proc/thread-self')), "\n";

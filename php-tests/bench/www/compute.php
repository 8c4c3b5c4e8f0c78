<?php
// A tenth of a millisecond of PHP: arrays, strings and calls, and nothing that waits.
function mix(array $words): string
{
    $seen = [];
    foreach ($words as $at => $word) {
        $seen[strrev($word) . $at % 7][] = strlen($word);
    }
    ksort($seen);
    return implode(',', array_map('array_sum', $seen));
}

for ($round = 0; $round < 4; $round++) {
    $text = mix(explode(' ', str_repeat("the quick brown fox jumps over the lazy dog $round ", 8)));
}
echo md5($text);

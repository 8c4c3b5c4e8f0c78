<?php class Late { function say() { return "late"; } }

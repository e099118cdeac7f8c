use strict;
use warnings;
use Test::More tests => 4;

is 2 + 3, 5, 'adds prices';
subtest 'discounts' => sub {
    plan tests => 2;
    is 10 * 0.9, 9, 'ten per cent';
    is 10 - 1, 9, 'one less';
};
TODO: {
    local $TODO = 'nobody has decided how';
    is 0.1 + 0.2, '0.30', 'rounds';
}
SKIP: {
    skip 'there is no printer', 1;
    fail 'prints';
}

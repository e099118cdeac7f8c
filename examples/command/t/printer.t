use Test::More skip_all => 'there is no printer';

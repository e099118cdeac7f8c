// Package names has the name of another package, and a test of the same name.
package names

import "testing"

func TestReverse(t *testing.T) {}

// Package setup has a TestMain that prints, and sets something up.
package setup

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

var ready bool

func TestMain(m *testing.M) {
	flag.Parse()
	fmt.Println("TestNothing\nTest set-up is done")
	ready = true
	code := m.Run()
	fmt.Println("torn down")
	os.Exit(code)
}

func TestIsReady(t *testing.T) {
	if !ready {
		t.Fatal("TestMain did not run")
	}
}

func TestRunsInItsFolder(t *testing.T) {
	if _, err := os.Stat("setup_test.go"); err != nil {
		t.Fatal(err)
	}
}

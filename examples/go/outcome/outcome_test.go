// Package outcome shows every way in which a test can end.
package outcome

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestPasses(t *testing.T) {
	fmt.Fprintln(os.Stderr, "said by the test that passes")
}

func TestFails(t *testing.T) {
	fmt.Print("before the failure") // no end of line
	t.Errorf("got %d,\nwant %d", 4, 5)
}

func TestIsSkipped(t *testing.T) { t.Skip("needs a network") }

// The runner tells each attempt its number.
func TestIsFlaky(t *testing.T) {
	if os.Getenv("RUNNER_ATTEMPT") != "2" {
		t.Fatal("passes on the second attempt")
	}
}

func TestPanics(t *testing.T) { panic("out of stock") }

func TestPanicsInAGoroutine(t *testing.T) {
	go func() { panic("out of sight") }()
	select {}
}

func TestEndsTheProcess(t *testing.T) { os.Exit(3) }

func TestEndsTheProcessWell(t *testing.T) { os.Exit(0) }

func TestCrashes(t *testing.T) { syscall.Kill(os.Getpid(), syscall.SIGKILL) }

func TestHangs(t *testing.T) { sleepForever() }

func sleepForever() {
	for {
		time.Sleep(time.Hour)
	}
}

// Nothing can ever end this; Go notices.
func TestDeadlocks(t *testing.T) { <-make(chan int) }

func TestComesLast(t *testing.T) {}

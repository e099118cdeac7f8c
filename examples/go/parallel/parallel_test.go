// Package parallel holds tests that run at once.
package parallel

import (
	"os"
	"sync"
	"testing"
)

// Each of two waits for the other: they pass only while both run.
var meeting sync.WaitGroup

func TestMain(m *testing.M) {
	meeting.Add(2)
	os.Exit(m.Run())
}

func meet(t *testing.T) {
	t.Parallel()
	meeting.Done()
	meeting.Wait()
}

func TestSubtestsMeet(t *testing.T) {
	var both sync.WaitGroup
	both.Add(2)
	for _, name := range []string{"one", "other"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both.Done()
			both.Wait()
		})
	}
}

func TestFailsInParallel(t *testing.T) {
	t.Parallel()
	t.Run("sub", func(t *testing.T) {
		t.Parallel()
		t.Error("failed beside others")
	})
}

func TestEndsTheProcessInParallel(t *testing.T) {
	t.Parallel()
	os.Exit(4)
}

func TestPanicsInParallel(t *testing.T) {
	t.Parallel()
	panic("beside others")
}

func TestPassesInParallel(t *testing.T) { t.Parallel() }

package names

import (
	"fmt"
	"os"
	"testing"
	"unicode/utf8"
)

func Test(t *testing.T) {}

func TestÜnïcode(t *testing.T) {}

func TestReverse(t *testing.T) {}

// The name of another test is the beginning of its own.
func TestReverseFails(t *testing.T) { t.Fail() }

func TestSubtests(t *testing.T) {
	for _, name := range []string{"two words", "-dash", "a/b", "[x] (y) | $z", "é \"quoted\"", "^start$", "same", "same"} {
		t.Run(name, func(t *testing.T) { t.Log("in", name) })
	}
}

func TestSubtestsFail(t *testing.T) {
	t.Run("good", func(t *testing.T) { t.Log("all is well") })
	t.Run("outer", func(t *testing.T) {
		t.Run("skipped", func(t *testing.T) { t.Skip("not today") })
		t.Run("bad", func(t *testing.T) { t.Fatal("this one is to blame") })
	})
	t.Log("afterwards")
}

func TestOddBytes(t *testing.T) {
	os.Stdout.Write([]byte("caf\xe9 \x00 \xff\xfe \x1b[31mred"))
}

// What a test prints does not decide how it ends.
func TestLooksLikeAResult(t *testing.T) {
	fmt.Println("=== RUN   TestReverse")
	fmt.Println("--- FAIL: TestReverse (0.00s)")
	fmt.Println("PASS")
	fmt.Print("ok  \texample.com/shop/names\t0.001s")
}

func TestMuch(t *testing.T) {
	for i := 0; i < 20000; i++ {
		fmt.Println("line", i, "of many --- with dashes === and such")
	}
}

func ExampleReverse() {
	fmt.Println(Reverse("stressed"))
	// Output: desserts
}

func ExampleReverse_wrong() {
	fmt.Println(Reverse("abc"))
	// Output: abc
}

// Without output it is compiled, not run.
func ExampleReverse_notRun() { panic(Reverse("never")) }

func FuzzReverse(f *testing.F) {
	f.Add("seed")
	f.Fuzz(func(t *testing.T, text string) {
		if utf8.ValidString(text) && Reverse(Reverse(text)) != text {
			t.Errorf("%q is lost", text)
		}
	})
}

func FuzzFindsASeedThatFails(f *testing.F) {
	f.Add(1)
	f.Add(2)
	f.Fuzz(func(t *testing.T, n int) {
		if n == 2 {
			t.Error("not two")
		}
	})
}

func BenchmarkReverse(b *testing.B) { b.Fatal("benchmarks are not tests") }

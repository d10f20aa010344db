package signalling

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"causeway/test/rig"
)

// causeway is the program under test, built once for all tests.
var causeway string

func TestMain(m *testing.M) {
	flag.Parse()
	waitTogether()
	go lag.run()
	os.Exit(run(m))
}

// waitTogether has all tests begin at once: those that wait for long timers wait together, and the others take turns in
// places of their own.
func waitTogether() {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", "1000")
	}
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "causeway-signalling-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "signalling:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if causeway, err = rig.BuildChecked(dir); err != nil {
		fmt.Fprintln(os.Stderr, "signalling: build causeway:", err)
		return 1
	}
	return m.Run()
}

package signalling

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"causeway/test/rig"
)

// Built once for all tests.
var binaries rig.Binaries

func TestMain(m *testing.M) {
	flag.Parse()
	rig.WaitTogether()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "causeway-signalling-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "signalling:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binaries, err = rig.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, "signalling: build causeway:", err)
		return 1
	}
	return m.Run()
}

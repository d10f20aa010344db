package turnload

import (
	"fmt"
	"os"
	"testing"

	"causeway/test/rig"
)

// causeway is the binary under test.
var causeway string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "causeway-turnload-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "turnload:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if causeway, err = rig.BuildPlain(dir); err != nil {
		fmt.Fprintln(os.Stderr, "turnload: build causeway:", err)
		return 1
	}
	return m.Run()
}

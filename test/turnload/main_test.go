package turnload

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"causeway/test/rig"
)

// causeway is the binary under test.
var causeway string

var rivals = flag.String("rivals", "", "other builds of causeway that BenchmarkRelay compares with, by their paths with commas between")

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
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
